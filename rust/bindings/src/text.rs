//! `ChunkText` and its segments.

use std::sync::{Mutex, MutexGuard, PoisonError};

use facilitair_core::stream as core;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::errors::Error;

/// Text to show, from code point `start`; what was shown from there on is taken back.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Text {
    start: usize,
    text: String,
}

/// A fragment `[start, end)` closed. `number` counts from 1 and is never reused in a chunk. `forced`: it was cut only
/// because it was long; `in_code`: the code goes on in its fence.
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Boundary {
    number: u64,
    start: usize,
    end: usize,
    forced: bool,
    in_code: bool,
}

/// A block `[start, end)` closed, and what follows begins the next. What is no heading starts at `body`; `kind` is
/// "heading" (nothing else stands in it), "prose", "list", "table" or "code".
#[pyclass(frozen, get_all, module = "facilitair_rust")]
pub struct Block {
    start: usize,
    body: usize,
    end: usize,
    kind: &'static str,
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
impl Block {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str, &'static str) {
        ("start", "body", "end", "kind")
    }

    fn __repr__(&self) -> String {
        let Self { start, body, end, kind } = self;
        format!("Block(start={start}, body={body}, end={end}, kind='{kind}')")
    }
}

impl From<core::Block> for Block {
    fn from(block: core::Block) -> Self {
        let kind = match block.kind {
            core::BlockKind::Heading => "heading",
            core::BlockKind::Prose => "prose",
            core::BlockKind::List => "list",
            core::BlockKind::Table => "table",
            core::BlockKind::Code => "code",
        };
        Self { start: block.start, body: block.body, end: block.end, kind }
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
        core::Segment::Boundary { number, start, end, forced, in_code } => {
            Bound::new(py, Boundary { number, start, end, forced, in_code })?.into_any()
        }
        core::Segment::Block(block) => Bound::new(py, Block::from(block))?.into_any(),
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

/// The text of one chunk: fragments, blocks, control lines, truncation.
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

    /// Add a piece of whole lines that is neither searched nor ever cut: one fragment and one block.
    fn insert<'py>(&self, py: Python<'py>, piece: &str) -> PyResult<Bound<'py, PyList>> {
        let segments = self.lock().insert(piece).map_err(Error::from)?;
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

    /// The line that opened the fence which is open at the end of the text, or `None`.
    #[getter]
    fn open_fence(&self) -> Option<String> {
        self.lock().open_fence().map(str::to_owned)
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }
}
