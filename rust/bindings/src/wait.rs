//! What `wait()` and `__anext__()` give: an awaitable that is done at once when something has arrived.
//!
//! Otherwise it waits on one future per wait. The batch is taken only when the waiting task runs again, so
//! that a cancelled wait loses nothing.

use facilitair_core::stream::Waiting;
use pyo3::exceptions::{PyStopAsyncIteration, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;

use crate::mux::Mux;

/// What the awaitable is for.
#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    Wait,
    Batch,
}

#[pyclass(frozen, module = "facilitair_rust")]
pub struct Wait {
    mux: Py<Mux>,
    purpose: Purpose,
}

impl Wait {
    pub fn new(mux: Py<Mux>, purpose: Purpose) -> Self {
        Self { mux, purpose }
    }

    /// The value, if there is no need to wait (any longer).
    fn value(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mux = self.mux.bind(py).get();
        if self.purpose == Purpose::Wait {
            return Ok((mux.core().wait() != Waiting::Begun).then(|| py.None()));
        }
        loop {
            let batch = mux.take(py)?;
            if !batch.is_empty() {
                return Ok(Some(batch.into_any().unbind()));
            }
            if mux.core().is_finished() {
                return Err(PyStopAsyncIteration::new_err(()));
            }
            match mux.core().wait() {
                Waiting::Begun => return Ok(None),
                Waiting::Needless => {}
                Waiting::Woken => return Ok(Some(batch.into_any().unbind())),
            }
        }
    }
}

#[pymethods]
impl Wait {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(value) = self.value(py)? {
            return Err(PyStopIteration::new_err((value,)));
        }
        let future = self.mux.bind(py).get().future(py)?;
        // What asyncio's own future does when awaited: tells the task that this yield is a wait.
        future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
        Ok(future.unbind())
    }
}
