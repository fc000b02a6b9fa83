//! The one place where errors of the core become Python exceptions.
//!
//! Only misuse raises: a stream that fails says so in a `Failed` delta.

use facilitair_core::stream::{ClientError, InvalidTimeouts, TextError};
use pyo3::PyErr;
use pyo3::exceptions::{PyRuntimeError, PyValueError};

/// An error on its way to Python.
pub enum Error {
    Value(String),
    Runtime(String),
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Value(message) => PyValueError::new_err(message),
            Error::Runtime(message) => PyRuntimeError::new_err(message),
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
