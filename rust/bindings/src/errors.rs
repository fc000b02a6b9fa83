//! The one place where errors of the core become Python exceptions.
//!
//! Only misuse raises: a stream that fails says so in a `Failed` delta.

use facilitair_core::stream::{ClientError, InvalidTimeouts, TextError};
use facilitair_embed::EmbedError;
use pyo3::PyErr;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};

/// An error on its way to Python.
pub enum Error {
    Value(String),
    Runtime(String),
    Missing(String),
    Os(String),
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
