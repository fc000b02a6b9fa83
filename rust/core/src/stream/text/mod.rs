//! The text of one chunk: fragments, control lines, truncation.
//!
//! Text is passed on at once; only a line that may still become a control line waits. Fragments tile the
//! text: each starts where the one before ended and includes the one blank that ended it, further blanks
//! open the next. A fragment never consists of blanks, so that blanks at the very end may stay outside of
//! any. A boundary may lie before text that was already passed on: a fence is known only when its line
//! ends. A fragment has at most [`FRAGMENT_LIMIT`] code points, unless more than half of them are leading
//! blanks.

mod control;
mod error;
mod open;
mod scan;

use control::{Matcher, Step};
use open::Open;
use scan::Scan;

pub use error::TextError;
pub use open::FRAGMENT_LIMIT;

/// Distance of the states kept for [`ChunkText::truncate`], in code points.
const CHECKPOINT: usize = 1024;

/// What [`ChunkText`] found, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Text to show.
    Text {
        /// Its first code point.
        start: usize,
        /// The text.
        text: String,
    },
    /// A fragment closed.
    Boundary {
        /// From 1, never reused in a chunk.
        number: u64,
        /// First code point.
        start: usize,
        /// Behind the last code point.
        end: usize,
    },
    /// A control line; not part of the text.
    Control {
        /// One of the given verbs.
        verb: String,
        /// The rest of the line, trimmed.
        rest: String,
    },
}

#[derive(Debug, Clone)]
struct Checkpoint {
    chars: usize,
    bytes: usize,
    scan: Scan,
}

/// Cuts the text of one chunk.
#[derive(Debug, Clone)]
pub struct ChunkText {
    control: Matcher,
    text: String,
    chars: usize,
    scan: Scan,
    open: Open,
    ends: Vec<usize>,
    last_number: u64,
    checkpoints: Vec<Checkpoint>,
}

/// Segments found by one call; text up to `bytes` is in them.
struct Found {
    segments: Vec<Segment>,
    bytes: usize,
    chars: usize,
}

impl ChunkText {
    /// A chunk whose control lines are `@@<nonce> <verb> ...`.
    ///
    /// # Errors
    /// When the nonce or a verb is empty or holds a blank.
    pub fn new(nonce: &str, verbs: impl IntoIterator<Item = String>) -> Result<Self, TextError> {
        Ok(Self {
            control: Matcher::new(nonce, verbs.into_iter().collect())?,
            text: String::new(),
            chars: 0,
            scan: Scan::default(),
            open: Open::default(),
            ends: Vec::new(),
            last_number: 0,
            checkpoints: Vec::new(),
        })
    }

    /// The text passed on so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its length in code points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chars
    }

    /// Whether no text was passed on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chars == 0
    }

    /// Takes what the model wrote.
    pub fn feed(&mut self, input: &str) -> Vec<Segment> {
        let mut found = self.begin();
        for c in input.chars() {
            if self.control.is_idle() && !(c == '@' && self.scan.at_column_zero(self.chars)) {
                self.visible(c, &mut found);
                continue;
            }
            match self.control.step(c) {
                Step::Held => {}
                Step::Complete(verb, rest) => self.found_control(verb, rest, &mut found),
                Step::Text(held) => held.chars().for_each(|c| self.visible(c, &mut found)),
            }
        }
        self.end(found)
    }

    /// Closes the last fragment and lets go of held text.
    pub fn flush(&mut self) -> Vec<Segment> {
        let mut found = self.begin();
        match self.control.end() {
            Step::Held => {}
            Step::Complete(verb, rest) => self.found_control(verb, rest, &mut found),
            Step::Text(held) => held.chars().for_each(|c| self.visible(c, &mut found)),
        }
        self.close(self.chars, &mut found);
        self.end(found)
    }

    /// Cuts the text to `keep` code points, as if no more had been fed. Fragments that end within them
    /// stay closed, later ones are forgotten, held text is dropped.
    ///
    /// # Errors
    /// When the text is shorter than that.
    pub fn truncate(&mut self, keep: usize) -> Result<(), TextError> {
        if keep > self.chars {
            return Err(TextError::TooLong { keep, length: self.chars });
        }
        self.control.reset();
        self.ends.truncate(self.ends.partition_point(|end| *end <= keep));
        let start = self.ends.last().copied().unwrap_or(0);
        self.rescan(start, keep);
        Ok(())
    }

    /// Restores the state at `keep` from the last checkpoint before the open fragment.
    fn rescan(&mut self, start: usize, keep: usize) {
        let usable = self.checkpoints.partition_point(|checkpoint| checkpoint.chars <= start);
        let origin = usable.checked_sub(1).and_then(|last| self.checkpoints.get(last)).cloned();
        let origin = origin.unwrap_or(Checkpoint { chars: 0, bytes: 0, scan: Scan::default() });
        self.checkpoints.truncate(self.checkpoints.partition_point(|checkpoint| checkpoint.chars < keep));
        self.scan = origin.scan;
        self.open = Open::at(start);
        self.chars = origin.chars;
        let mut bytes = origin.bytes;
        for c in self.text[origin.bytes..].chars().take(keep - origin.chars) {
            if self.chars >= start {
                self.open.see(c, self.chars);
            }
            self.scan.step(c, self.chars);
            self.chars += 1;
            bytes += c.len_utf8();
        }
        self.text.truncate(bytes);
    }

    fn visible(&mut self, c: char, found: &mut Found) {
        let at = self.chars;
        if at.is_multiple_of(CHECKPOINT) && at > 0 {
            self.checkpoints.push(Checkpoint { chars: at, bytes: self.text.len(), scan: self.scan });
        }
        self.text.push(c);
        self.chars += 1;
        self.open.see(c, at);
        if let Some(end) = self.scan.step(c, at) {
            self.close(end, found);
        }
        if let Some(end) = self.open.forced(at) {
            self.close(end, found);
        }
    }

    fn close(&mut self, end: usize, found: &mut Found) {
        if let Some(start) = self.open.cut(end, self.chars) {
            self.pass_on(found);
            self.last_number += 1;
            self.ends.push(end);
            found.segments.push(Segment::Boundary { number: self.last_number, start, end });
        }
    }

    fn found_control(&mut self, verb: String, rest: String, found: &mut Found) {
        self.pass_on(found);
        found.segments.push(Segment::Control { verb, rest });
    }

    fn begin(&self) -> Found {
        Found { segments: Vec::new(), bytes: self.text.len(), chars: self.chars }
    }

    fn pass_on(&self, found: &mut Found) {
        if found.bytes < self.text.len() {
            let text = self.text[found.bytes..].to_owned();
            found.segments.push(Segment::Text { start: found.chars, text });
            (found.bytes, found.chars) = (self.text.len(), self.chars);
        }
    }

    fn end(&self, mut found: Found) -> Vec<Segment> {
        self.pass_on(&mut found);
        found.segments
    }
}

#[cfg(test)]
mod tests;
