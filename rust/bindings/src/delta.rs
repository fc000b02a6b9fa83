//! The deltas of a stream as Python values.

use facilitair_core::stream as core;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

/// What the provider reported; `None` is "never said", not zero.
#[pyclass(frozen, get_all, eq, module = "facilitair_rust")]
#[derive(Clone, PartialEq)]
pub struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cost_usd: Option<f64>,
}

impl From<core::Usage> for Usage {
    fn from(usage: core::Usage) -> Self {
        let core::Usage { input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_usd } =
            usage;
        Self { input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_usd }
    }
}

impl From<&Usage> for core::Usage {
    fn from(usage: &Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_input_tokens: usage.cached_input_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            cost_usd: usage.cost_usd,
        }
    }
}

fn shown<T: std::fmt::Debug>(value: Option<T>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("{value:?}"))
}

#[pymethods]
impl Usage {
    #[new]
    #[pyo3(signature = (
        *, input_tokens=None, output_tokens=None, cached_input_tokens=None, reasoning_tokens=None, cost_usd=None
    ))]
    fn new(
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        cached_input_tokens: Option<u64>,
        reasoning_tokens: Option<u64>,
        cost_usd: Option<f64>,
    ) -> Self {
        Self { input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_usd }
    }

    fn __repr__(&self) -> String {
        format!(
            "Usage(input_tokens={}, output_tokens={}, cached_input_tokens={}, reasoning_tokens={}, cost_usd={})",
            shown(self.input_tokens),
            shown(self.output_tokens),
            shown(self.cached_input_tokens),
            shown(self.reasoning_tokens),
            shown(self.cost_usd),
        )
    }
}

/// Why one stream failed. Never holds a header, a key or a request body.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct StreamError {
    code: &'static str,
    message: String,
    status: Option<u16>,
    retry_after_s: Option<f64>,
    retryable: bool,
}

impl From<core::StreamError> for StreamError {
    fn from(error: core::StreamError) -> Self {
        let core::StreamError { code, message, status, retry_after_s, retryable } = error;
        Self { code: code.as_str(), message, status, retry_after_s, retryable }
    }
}

#[pymethods]
impl StreamError {
    fn __repr__(&self) -> String {
        format!(
            "StreamError(code={:?}, message={:?}, status={}, retry_after_s={}, retryable={})",
            self.code,
            self.message,
            shown(self.status),
            shown(self.retry_after_s),
            if self.retryable { "True" } else { "False" },
        )
    }
}

/// Visible text. Text of one stream that arrived together is merged into one delta; `chunks` counts the
/// provider chunks merged into it.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Content {
    stream: u64,
    text: Py<PyString>,
    chunks: u64,
}

/// Text the model thinks aloud (`reasoning_content`, `reasoning`).
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Reasoning {
    stream: u64,
    text: Py<PyString>,
    chunks: u64,
}

/// The stream ended as the protocol says. `reason` is the provider's finish_reason.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Finished {
    stream: u64,
    reason: String,
    usage: Option<Py<Usage>>,
    model: Option<String>,
}

/// The stream ended in an error; what came before it was delivered.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Failed {
    stream: u64,
    error: Py<StreamError>,
    usage: Option<Py<Usage>>,
}

/// The stop asked for by `close_stream` is done; what had arrived until then was delivered before this.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Closed {
    stream: u64,
    usage: Option<Py<Usage>>,
}

fn text_repr(py: Python<'_>, name: &str, stream: u64, text: &Py<PyString>, chunks: u64) -> PyResult<String> {
    Ok(format!("{name}(stream={stream}, text={}, chunks={chunks})", text.bind(py).repr()?))
}

fn usage_repr(py: Python<'_>, usage: Option<&Py<Usage>>) -> String {
    usage.map_or_else(|| "None".to_owned(), |usage| usage.bind(py).get().__repr__())
}

#[pymethods]
impl Content {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("stream", "text")
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        text_repr(py, "Content", self.stream, &self.text, self.chunks)
    }
}

#[pymethods]
impl Reasoning {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("stream", "text")
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        text_repr(py, "Reasoning", self.stream, &self.text, self.chunks)
    }
}

#[pymethods]
impl Finished {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("stream", "reason")
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let usage = usage_repr(py, self.usage.as_ref());
        let model = shown(self.model.as_ref());
        format!("Finished(stream={}, reason={:?}, usage={usage}, model={model})", self.stream, self.reason)
    }
}

#[pymethods]
impl Failed {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("stream", "error")
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let usage = usage_repr(py, self.usage.as_ref());
        format!(
            "Failed(stream={}, error={}, usage={usage})",
            self.stream,
            self.error.bind(py).get().__repr__()
        )
    }
}

#[pymethods]
impl Closed {
    #[classattr]
    fn __match_args__() -> (&'static str,) {
        ("stream",)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("Closed(stream={}, usage={})", self.stream, usage_repr(py, self.usage.as_ref()))
    }
}

pub fn usage(py: Python<'_>, usage: Option<core::Usage>) -> PyResult<Option<Py<Usage>>> {
    usage.map(|usage| Py::new(py, Usage::from(usage))).transpose()
}

fn delta(py: Python<'_>, stream: u64, delta: core::Delta) -> PyResult<Bound<'_, PyAny>> {
    Ok(match delta {
        core::Delta::Content { text, chunks } => {
            let text = PyString::new(py, &text).unbind();
            Bound::new(py, Content { stream, text, chunks })?.into_any()
        }
        core::Delta::Reasoning { text, chunks } => {
            let text = PyString::new(py, &text).unbind();
            Bound::new(py, Reasoning { stream, text, chunks })?.into_any()
        }
        core::Delta::Finished { reason, usage: said, model } => {
            Bound::new(py, Finished { stream, reason, usage: usage(py, said)?, model })?.into_any()
        }
        core::Delta::Failed { error, usage: said } => {
            let error = Py::new(py, StreamError::from(error))?;
            Bound::new(py, Failed { stream, error, usage: usage(py, said)? })?.into_any()
        }
        core::Delta::Closed { usage: said } => {
            Bound::new(py, Closed { stream, usage: usage(py, said)? })?.into_any()
        }
    })
}

pub fn list(
    py: Python<'_>,
    deltas: impl IntoIterator<Item = (u64, core::Delta)>,
) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for (stream, one) in deltas {
        list.append(delta(py, stream, one)?)?;
    }
    Ok(list)
}
