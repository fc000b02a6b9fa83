//! Why a model cannot be loaded or a text not be embedded.

use std::path::PathBuf;

/// What is wrong, with what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// A file that has to be there is not.
    #[error("{folder} has no {file}: {needed}")]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
        /// Its name.
        file: String,
        /// What it is for.
        needed: &'static str,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not say what it should.
    #[error("{path} is damaged or of another kind: {reason}")]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model that this code cannot compute.
    #[error("{path} asks for {what}, which is not supported; {instead}")]
    Unsupported {
        /// The file that asks for it.
        path: PathBuf,
        /// What it asks for.
        what: String,
        /// What is.
        instead: &'static str,
    },
    /// A device that is not there.
    #[error("{0}")]
    Device(String),
    /// What was asked for cannot be done: a text without tokens, a prompt that the model does not have.
    #[error("{0}")]
    Argument(String),
}
