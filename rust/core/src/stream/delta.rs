//! The deltas of a stream, neighbours of one kind merged into one.

use std::borrow::Cow;

use super::error::StreamError;

/// What the provider reported; `None` is "never said", not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: Option<u64>,
    /// Tokens written, reasoning included.
    pub output_tokens: Option<u64>,
    /// Tokens of the prompt that came from the provider's cache.
    pub cached_input_tokens: Option<u64>,
    /// Tokens of reasoning.
    pub reasoning_tokens: Option<u64>,
    /// What the provider says it cost.
    pub cost_usd: Option<f64>,
}

impl Usage {
    /// What is known after a later report, which counts what the earlier did.
    pub(super) fn updated(self, later: Self) -> Self {
        Self {
            input_tokens: cumulative(self.input_tokens, later.input_tokens),
            output_tokens: cumulative(self.output_tokens, later.output_tokens),
            cached_input_tokens: cumulative(self.cached_input_tokens, later.cached_input_tokens),
            reasoning_tokens: cumulative(self.reasoning_tokens, later.reasoning_tokens),
            cost_usd: later.cost_usd.filter(|cost| *cost > 0.0).or(self.cost_usd).or(later.cost_usd),
        }
    }
}

/// A count that only grows: the later one, unless it forgot what was counted.
pub(super) fn cumulative(earlier: Option<u64>, later: Option<u64>) -> Option<u64> {
    later.filter(|count| *count > 0).or(earlier).or(later)
}

/// One step of a stream. Exactly one of the last three ends it.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Visible text.
    Content {
        /// The text.
        text: String,
        /// Provider chunks merged into it.
        chunks: u64,
    },
    /// Text the model thinks aloud.
    Reasoning {
        /// The text.
        text: String,
        /// Provider chunks merged into it.
        chunks: u64,
    },
    /// The response ended as the protocol says.
    Finished {
        /// The provider's `finish_reason`.
        reason: String,
        /// Usage, if reported.
        usage: Option<Usage>,
        /// The model that answered, if named.
        model: Option<String>,
    },
    /// The response ended in an error.
    Failed {
        /// Why.
        error: StreamError,
        /// Usage, if reported before.
        usage: Option<Usage>,
    },
    /// The stop the owner asked for is done.
    Closed {
        /// Usage, if reported before.
        usage: Option<Usage>,
    },
}

/// What a delta costs besides its text, so that many small ones count as much as a long one.
pub const DELTA_BYTES: usize = 64;

/// Deltas in order, in which neighbours of one kind become one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deltas {
    items: Vec<Delta>,
    bytes: usize,
    chunks: u64,
}

impl Deltas {
    /// Appends one provider chunk of visible text.
    pub fn content(&mut self, text: &str) {
        if !text.is_empty() {
            self.merge_content(Cow::Borrowed(text), 1);
        }
    }

    /// Appends one provider chunk of reasoning.
    pub fn reasoning(&mut self, text: &str) {
        if !text.is_empty() {
            self.merge_reasoning(Cow::Borrowed(text), 1);
        }
    }

    /// Appends a delta, merged with the last one where that is possible.
    pub fn push(&mut self, delta: Delta) {
        match delta {
            Delta::Content { text, chunks } => self.merge_content(Cow::Owned(text), chunks),
            Delta::Reasoning { text, chunks } => self.merge_reasoning(Cow::Owned(text), chunks),
            end => self.add(end),
        }
    }

    /// Appends everything in `other` and leaves it empty.
    pub fn append(&mut self, other: &mut Self) {
        if self.items.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        (other.bytes, other.chunks) = (0, 0);
        for delta in other.items.drain(..) {
            self.push(delta);
        }
    }

    /// Bytes held: the text, and [`DELTA_BYTES`] for each delta.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Provider chunks of text held.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The deltas, oldest first.
    #[must_use]
    pub fn into_vec(self) -> Vec<Delta> {
        self.items
    }

    fn merge_content(&mut self, text: Cow<'_, str>, chunks: u64) {
        self.bytes += text.len();
        self.chunks += chunks;
        if let Some(Delta::Content { text: last, chunks: count }) = self.items.last_mut() {
            last.push_str(&text);
            *count += chunks;
        } else {
            self.add(Delta::Content { text: text.into_owned(), chunks });
        }
    }

    fn merge_reasoning(&mut self, text: Cow<'_, str>, chunks: u64) {
        self.bytes += text.len();
        self.chunks += chunks;
        if let Some(Delta::Reasoning { text: last, chunks: count }) = self.items.last_mut() {
            last.push_str(&text);
            *count += chunks;
        } else {
            self.add(Delta::Reasoning { text: text.into_owned(), chunks });
        }
    }

    fn add(&mut self, delta: Delta) {
        self.bytes += DELTA_BYTES;
        // Mostly there is one, and room for four would be most of what a waiting stream takes.
        if self.items.is_empty() {
            self.items.reserve_exact(1);
        }
        self.items.push(delta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_merge() {
        let mut deltas = Deltas::default();
        deltas.content("a");
        let mut more = Deltas::default();
        more.content("b");
        more.reasoning("r");
        deltas.append(&mut more);
        assert_eq!((deltas.bytes(), more.bytes(), more.is_empty()), (3 + 2 * DELTA_BYTES, 0, true));
        let merged = Delta::Content { text: "ab".into(), chunks: 2 };
        assert_eq!(deltas.into_vec(), [merged, Delta::Reasoning { text: "r".into(), chunks: 1 }]);
    }
}
