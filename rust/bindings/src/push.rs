//! `PushStream`.

use std::cell::Cell;

use facilitair_core::stream as core;
use pyo3::prelude::*;

use crate::delta::Usage;
use crate::errors::Error;
use crate::mux::Mux;

/// The writing end of a stream of a `Mux`, for text that comes from elsewhere than HTTP.
///
/// All but `room` may be called from any thread. A `PushStream` that is dropped before its end fails as truncated.
#[pyclass(frozen, module = "facilitair_rust")]
pub struct PushStream {
    core: core::Push,
    mux: Py<Mux>,
}

impl PushStream {
    pub fn new(core: core::Push, mux: Py<Mux>) -> Self {
        Self { core, mux }
    }
}

#[pymethods]
impl PushStream {
    /// The number of the stream.
    #[getter]
    fn stream(&self) -> u64 {
        self.core.id()
    }

    /// Whether it has ended, or its consumer has stopped it: nothing more is taken.
    #[getter]
    fn closed(&self) -> bool {
        self.core.has_ended()
    }

    /// Add one chunk of visible text; false when nothing was taken, because the buffer is full or the stream closed.
    fn push(&self, py: Python<'_>, text: &str) -> PyResult<bool> {
        let mux = self.mux.bind(py).get();
        if !mux.is_on_loop() {
            return Ok(self.core.content(text) == core::Pushed::Taken);
        }
        // On the loop's own thread the futures are at hand, and a byte through a socket would cost more than the rest.
        let waits = Cell::new(false);
        let pushed = self.core.content_waking(text, Some(&|| waits.set(true)));
        if waits.get() {
            mux.wake_here(py)?;
        }
        Ok(pushed == core::Pushed::Taken)
    }

    /// Add one chunk of reasoning, like `push`.
    fn push_reasoning(&self, text: &str) -> bool {
        self.core.reasoning(text) == core::Pushed::Taken
    }

    /// A future of the Mux's event loop, done when there is room or the stream is closed.
    fn room<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.mux.bind(py).get().room(py, &self.core)
    }

    /// End the stream; one that has ended stays as it is.
    #[pyo3(signature = (reason="stop", usage=None, model=None))]
    fn finish(&self, reason: &str, usage: Option<&Usage>, model: Option<String>) {
        self.core.finish(reason.to_owned(), usage.map(core::Usage::from), model);
    }

    /// End the stream in an error; one that has ended stays as it is. Codes are those of `StreamError`.
    #[pyo3(signature = (code, message, *, status=None, retry_after_s=None, retryable=false, usage=None))]
    fn fail(
        &self,
        code: &str,
        message: String,
        status: Option<u16>,
        retry_after_s: Option<f64>,
        retryable: bool,
        usage: Option<&Usage>,
    ) -> Result<(), Error> {
        let code = core::ErrorCode::named(code).ok_or_else(|| Error::unknown_code(code))?;
        let mut error = core::StreamError::new(code, message);
        (error.status, error.retry_after_s, error.retryable) = (status, retry_after_s, retryable);
        self.core.fail(error, usage.map(core::Usage::from));
        Ok(())
    }
}
