//! What `wait()` and `__anext__()` give: an awaitable that is done at once when something has arrived.
//!
//! Otherwise it waits on one future per wait. The batch is taken only when the waiting task runs again, so
//! that a cancelled wait loses nothing.

use facilitair_core::stream::Waiting;
use pyo3::exceptions::{PyStopAsyncIteration, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::mux::Mux;

/// What the awaitable is for.
#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    Wait,
    Batch,
}

/// What there is without waiting (any longer).
enum Found<'py> {
    /// The wait goes on.
    Nothing,
    /// There is no need to wait.
    Word,
    Batch(Bound<'py, PyList>),
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

    fn found<'py>(&self, py: Python<'py>) -> PyResult<Found<'py>> {
        let mux = self.mux.get();
        if self.purpose == Purpose::Wait {
            return Ok(if mux.core().wait() == Waiting::Begun { Found::Nothing } else { Found::Word });
        }
        loop {
            if let Some(batch) = mux.arrived(py)? {
                return Ok(Found::Batch(batch));
            }
            if mux.core().is_finished() {
                return Err(PyStopAsyncIteration::new_err(()));
            }
            match mux.core().wait() {
                Waiting::Begun => return Ok(Found::Nothing),
                Waiting::Needless => {}
                Waiting::Woken => return Ok(Found::Batch(PyList::empty(py))),
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

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.found(py)? {
            Found::Nothing => {
                let future = self.mux.get().future(py)?;
                // What asyncio's own future does when awaited: tells the task that this yield is a wait.
                future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
                Ok(Some(future))
            }
            // An end without a value needs no exception.
            Found::Word => Ok(None),
            Found::Batch(batch) => Err(PyStopIteration::new_err(batch.unbind())),
        }
    }
}
