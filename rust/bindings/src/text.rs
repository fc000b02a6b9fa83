//! `ChunkText` and its segments.

use std::sync::{Mutex, MutexGuard, PoisonError};

use facilitair_core::stream as core;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::errors::Error;

/// Text to show, from code point `start`.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Text {
    start: usize,
    text: String,
}

/// A fragment `[start, end)` closed. `number` counts from 1 and is never reused in a chunk.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Boundary {
    number: u64,
    start: usize,
    end: usize,
}

/// A control line `@@<nonce> <verb> <rest>`; it is not part of the text.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Control {
    verb: String,
    rest: String,
}

#[pymethods]
impl Text {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("start", "text")
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Text(start={}, text={})", self.start, quoted(py, &self.text)?))
    }
}

#[pymethods]
impl Boundary {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str) {
        ("number", "start", "end")
    }

    fn __repr__(&self) -> String {
        format!("Boundary(number={}, start={}, end={})", self.number, self.start, self.end)
    }
}

#[pymethods]
impl Control {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("verb", "rest")
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (verb, rest) = (quoted(py, &self.verb)?, quoted(py, &self.rest)?);
        Ok(format!("Control(verb={verb}, rest={rest})"))
    }
}

/// As Python would write it.
pub fn quoted(py: Python<'_>, text: &str) -> PyResult<String> {
    Ok(PyString::new(py, text).repr()?.to_string())
}

fn segment(py: Python<'_>, segment: core::Segment) -> PyResult<Bound<'_, PyAny>> {
    Ok(match segment {
        core::Segment::Text { start, text } => Bound::new(py, Text { start, text })?.into_any(),
        core::Segment::Boundary { number, start, end } => {
            Bound::new(py, Boundary { number, start, end })?.into_any()
        }
        core::Segment::Control { verb, rest } => Bound::new(py, Control { verb, rest })?.into_any(),
    })
}

fn list(py: Python<'_>, segments: Vec<core::Segment>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for found in segments {
        list.append(segment(py, found)?)?;
    }
    Ok(list)
}

/// The text of one chunk: fragments, control lines, truncation.
///
/// Text is passed on at once; only a line that may still become a control line waits. A fragment includes
/// the one blank that ended it, further blanks open the next one.
#[pyclass(frozen, module = "facilitair_rust")]
pub struct ChunkText(Mutex<core::ChunkText>);

impl ChunkText {
    fn lock(&self) -> MutexGuard<'_, core::ChunkText> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl ChunkText {
    #[new]
    fn new(nonce: &str, verbs: Vec<String>) -> Result<Self, Error> {
        Ok(Self(Mutex::new(core::ChunkText::new(nonce, verbs)?)))
    }

    /// Take what the model wrote; gives text, boundaries and control lines in order.
    fn feed<'py>(&self, py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyList>> {
        let segments = self.lock().feed(text);
        list(py, segments)
    }

    /// Cut the text to `keep` code points; fragments that end within them stay closed, held text is dropped.
    fn truncate(&self, keep: usize) -> Result<(), Error> {
        Ok(self.lock().truncate(keep)?)
    }

    /// Close the last fragment and let go of held text.
    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let segments = self.lock().flush();
        list(py, segments)
    }

    /// The text passed on so far.
    #[getter]
    fn text(&self) -> String {
        self.lock().text().to_owned()
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }
}
