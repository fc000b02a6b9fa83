//! The fragment that is still being written: where it may be cut, and when it must.

/// Most code points of a fragment.
pub const FRAGMENT_LIMIT: usize = 1500;

/// A forced cut before this many code points would leave crumbs.
const SHORTEST_FORCED: usize = FRAGMENT_LIMIT / 2;

/// Positions are code points of the text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Open {
    start: usize,
    /// First character that is no blank.
    ink: Option<usize>,
    /// Behind the last blank.
    blank_end: usize,
    line_start: usize,
    line_ink: Option<usize>,
}

impl Open {
    pub(super) fn at(start: usize) -> Self {
        Self { start, ..Self::default() }
    }

    /// Where it starts.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    pub(super) fn see(&mut self, c: char, at: usize) {
        if !c.is_whitespace() {
            self.ink.get_or_insert(at);
            self.line_ink.get_or_insert(at);
            return;
        }
        self.blank_end = at + 1;
        if c == '\n' {
            self.line_start = at + 1;
            self.line_ink = None;
        }
    }

    /// Closes the fragment at `end`, unless it would hold only blanks; gives its start. `end` is the
    /// length of the text, the start of its last line, or behind its last blank.
    pub(super) fn cut(&mut self, end: usize, length: usize) -> Option<usize> {
        if self.ink.is_none_or(|ink| ink >= end) {
            return None;
        }
        let start = std::mem::replace(&mut self.start, end);
        self.ink = match end {
            _ if end == length => None,
            _ if end == self.line_start => self.line_ink,
            _ => Some(end),
        };
        Some(start)
    }

    /// Where the fragment must be cut now that it includes the character at `at`.
    pub(super) fn forced(&self, at: usize) -> Option<usize> {
        let length = at + 1;
        let ink = self.ink?;
        if length - self.start < FRAGMENT_LIMIT || length - ink < SHORTEST_FORCED {
            return None;
        }
        let good = |end: usize| end >= self.start + SHORTEST_FORCED && end > ink;
        [self.line_start, self.blank_end].into_iter().find(|end| good(*end)).or(Some(length))
    }
}
