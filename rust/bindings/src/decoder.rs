//! `Timeouts`, `ChatDecoder`, and the names of the protocols.

use std::sync::{Mutex, MutexGuard, PoisonError};

use facilitair_core::stream as core;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::delta::{self, Usage};
use crate::errors::Error;

/// The four clocks of one stream, in seconds. All must be positive and at most 1e7.
///
/// `connect` runs until the connection stands, `first_content` from there to the first content (the head of
/// the response included), `between_content` from one content to the next, `total` over everything.
#[pyclass(frozen, get_all, eq, module = "facilitair_rust")]
#[derive(Clone, Copy, PartialEq)]
pub struct Timeouts {
    connect: f64,
    first_content: f64,
    between_content: f64,
    total: f64,
}

impl From<&Timeouts> for core::Timeouts {
    fn from(timeouts: &Timeouts) -> Self {
        Self {
            connect: timeouts.connect,
            first_content: timeouts.first_content,
            between_content: timeouts.between_content,
            total: timeouts.total,
        }
    }
}

#[pymethods]
impl Timeouts {
    #[new]
    #[pyo3(signature = (*, connect=5.0, first_content=60.0, between_content=30.0, total=600.0))]
    fn new(connect: f64, first_content: f64, between_content: f64, total: f64) -> Result<Self, Error> {
        let timeouts = Self { connect, first_content, between_content, total };
        core::Timeouts::from(&timeouts).validated()?;
        Ok(timeouts)
    }

    fn __repr__(&self) -> String {
        format!(
            "Timeouts(connect={:?}, first_content={:?}, between_content={:?}, total={:?})",
            self.connect, self.first_content, self.between_content, self.total
        )
    }
}

/// How a response is read, in the words of Python.
pub fn reading(wire: &str, think_tags: bool) -> Result<core::Reading, Error> {
    let wire = core::Wire::named(wire).ok_or_else(|| {
        let known = core::Wire::ALL.map(core::Wire::as_str).join(", ");
        Error::unknown("wire", wire, &known)
    })?;
    Ok(core::Reading { wire, think_tags })
}

/// One chat response without I/O: bytes and time in, deltas out. Exactly one of Finished,
/// Failed and Closed is its last delta.
#[pyclass(frozen, module = "facilitair_rust")]
pub struct ChatDecoder {
    stream: u64,
    inner: Mutex<core::ChatDecoder>,
}

impl ChatDecoder {
    fn lock(&self) -> MutexGuard<'_, core::ChatDecoder> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect<'py>(
        &self,
        py: Python<'py>,
        act: impl FnOnce(&mut core::ChatDecoder, &mut core::Deltas),
    ) -> PyResult<Bound<'py, PyList>> {
        let mut deltas = core::Deltas::default();
        act(&mut self.lock(), &mut deltas);
        delta::list(py, deltas.into_vec().into_iter().map(|delta| (self.stream, delta)))
    }
}

#[pymethods]
impl ChatDecoder {
    #[new]
    #[pyo3(signature = (stream, timeouts, now, wire="openai", *, think_tags=false))]
    fn new(stream: u64, timeouts: &Timeouts, now: f64, wire: &str, think_tags: bool) -> Result<Self, Error> {
        let inner = core::ChatDecoder::new(reading(wire, think_tags)?, timeouts.into(), now);
        Ok(Self { stream, inner: Mutex::new(inner) })
    }

    /// Register a value that must never appear in an error message.
    fn add_secret(&self, value: &str) {
        self.lock().add_secret(value);
    }

    /// The connection stands; `head` implies it.
    fn connected(&self, now: f64) {
        self.lock().connected(now);
    }

    /// The head of the response.
    #[allow(clippy::needless_pass_by_value)]
    fn head<'py>(
        &self,
        py: Python<'py>,
        status: u16,
        headers: Vec<(String, String)>,
        now: f64,
    ) -> PyResult<Bound<'py, PyList>> {
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.collect(py, |decoder, out| decoder.head(status, headers, now, out))
    }

    /// Bytes of the body, cut anywhere.
    fn feed<'py>(&self, py: Python<'py>, data: &[u8], now: f64) -> PyResult<Bound<'py, PyList>> {
        self.collect(py, |decoder, out| decoder.feed(data, now, out))
    }

    /// The end of the bytes; `clean` where the peer said that there are no more, and did not just go.
    #[pyo3(signature = (now, *, clean=true))]
    fn eof<'py>(&self, py: Python<'py>, now: f64, clean: bool) -> PyResult<Bound<'py, PyList>> {
        self.collect(py, |decoder, out| decoder.eof(clean, now, out))
    }

    /// No connection, or it broke before the head.
    fn connect_failed<'py>(&self, py: Python<'py>, message: &str) -> PyResult<Bound<'py, PyList>> {
        self.collect(py, |decoder, out| decoder.connect_failed(message, out))
    }

    /// End the stream as its owner asked; nothing once done.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.collect(py, |decoder, out| decoder.close(out))
    }

    /// When to call `expire`; None once done.
    fn deadline(&self) -> Option<f64> {
        self.lock().deadline()
    }

    /// Look at the clocks.
    fn expire<'py>(&self, py: Python<'py>, now: f64) -> PyResult<Bound<'py, PyList>> {
        self.collect(py, |decoder, out| decoder.expire(now, out))
    }

    /// Whether the last delta was given out.
    #[getter]
    fn done(&self) -> bool {
        self.lock().done()
    }

    /// What the provider reported so far.
    #[getter]
    fn usage(&self, py: Python<'_>) -> PyResult<Option<Py<Usage>>> {
        let said = self.lock().usage();
        delta::usage(py, said)
    }
}
