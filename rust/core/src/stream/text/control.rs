//! Recognises a control line character by character, from column 0.
//!
//! `@@<nonce> <verb>`, then a blank and anything up to the end of the line. The first character that does
//! not fit lets the held text go. A line that grows above [`LINE_LIMIT`] is text, so that nothing waits
//! without end.

use super::error::TextError;

/// Longest control line, in bytes.
const LINE_LIMIT: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Prefix,
    Verb,
    /// Holds where the verb ends.
    Rest(usize),
}

/// What became of the line.
pub(super) enum Step {
    /// It may still become a control line.
    Held,
    /// Verb and rest.
    Complete(String, String),
    /// It is text.
    Text(String),
}

#[derive(Debug, Clone)]
pub(super) struct Matcher {
    prefix: String,
    verbs: Vec<String>,
    held: String,
    phase: Phase,
}

impl Matcher {
    pub(super) fn new(nonce: &str, verbs: Vec<String>) -> Result<Self, TextError> {
        let words = verbs.iter().map(String::as_str).chain([nonce]);
        for word in words {
            if word.is_empty() || word.contains(char::is_whitespace) {
                return Err(TextError::NotAWord(word.to_owned()));
            }
        }
        Ok(Self { prefix: format!("@@{nonce} "), verbs, held: String::new(), phase: Phase::Prefix })
    }

    /// Whether nothing is held.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn reset(&mut self) {
        self.held.clear();
        self.phase = Phase::Prefix;
    }

    pub(super) fn step(&mut self, c: char) -> Step {
        self.held.push(c);
        let fits = match self.phase {
            Phase::Prefix => self.prefix_fits(),
            Phase::Verb => self.verb_fits(c),
            Phase::Rest(_) => self.held.len() <= LINE_LIMIT,
        };
        match self.phase {
            Phase::Rest(verb_end) if fits && c == '\n' => self.complete(verb_end),
            _ if fits => Step::Held,
            _ => self.let_go(),
        }
    }

    /// The end of the text: a whole control line needs no line end there.
    pub(super) fn end(&mut self) -> Step {
        match self.phase {
            _ if self.held.is_empty() => Step::Held,
            Phase::Rest(verb_end) => self.complete(verb_end),
            Phase::Verb if self.is_verb(&self.held[self.prefix.len()..]) => self.complete(self.held.len()),
            _ => self.let_go(),
        }
    }

    fn prefix_fits(&mut self) -> bool {
        if self.held.len() == self.prefix.len() {
            self.phase = Phase::Verb;
        }
        self.prefix.starts_with(&self.held)
    }

    fn verb_fits(&mut self, c: char) -> bool {
        let word = &self.held[self.prefix.len()..];
        if !c.is_whitespace() {
            return self.verbs.iter().any(|verb| verb.starts_with(word));
        }
        let verb_end = self.held.len() - c.len_utf8();
        if !self.is_verb(&self.held[self.prefix.len()..verb_end]) {
            return false;
        }
        self.phase = Phase::Rest(verb_end);
        true
    }

    fn is_verb(&self, word: &str) -> bool {
        self.verbs.iter().any(|verb| verb == word)
    }

    fn complete(&mut self, verb_end: usize) -> Step {
        let verb = self.held[self.prefix.len()..verb_end].to_owned();
        let rest = self.held[verb_end..].trim().to_owned();
        self.reset();
        Step::Complete(verb, rest)
    }

    fn let_go(&mut self) -> Step {
        self.phase = Phase::Prefix;
        Step::Text(std::mem::take(&mut self.held))
    }
}
