//! What may not be asked of the text of a chunk.

/// Misuse of `ChunkText`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// An empty nonce or verb would make ordinary text a control line.
    #[error("a nonce or verb must be a non-empty word without blanks, not {0:?}")]
    NotAWord(String),
    /// Truncation cannot make the text longer.
    #[error("cannot keep {keep} of {length} code points")]
    TooLong {
        /// Asked for.
        keep: usize,
        /// There are.
        length: usize,
    },
    /// What was inserted whole is kept whole.
    #[error("cannot keep {keep} code points: that is within a piece inserted as a whole")]
    Inside {
        /// Asked for.
        keep: usize,
    },
    /// A piece inserted whole ends its last line, so that what follows begins one.
    #[error("a piece inserted as a whole must be text that ends with a line end")]
    NoLines,
}
