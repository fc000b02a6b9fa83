//! Python bindings of `facilitair-core` and `facilitair-embed`: one file per module of theirs, nothing but conversion;
//! and `find`, as Python knows best what is installed.

#![forbid(unsafe_code)]

mod decoder;
mod delta;
mod embed;
mod errors;
mod find;
mod hub;
mod mux;
mod push;
mod text;
mod wait;
mod wake;

use pyo3::prelude::*;

/// The Rust core of Facilitair.
#[pymodule]
mod facilitair_rust {
    use super::*;

    #[pymodule_export]
    use super::decoder::{ChatDecoder, Timeouts};
    #[pymodule_export]
    use super::delta::{Closed, Content, Failed, Finished, Reasoning, StreamError, Usage};
    #[pymodule_export]
    use super::embed::{Embedder, EmbedderStats};
    #[pymodule_export]
    use super::mux::{HttpClient, Mux};
    #[pymodule_export]
    use super::push::PushStream;
    #[pymodule_export]
    use super::text::{Block, Boundary, ChunkText, Control, Text};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
