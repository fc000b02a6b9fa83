//! Recognises a control line character by character, from its first `@`.
//!
//! `@@<nonce> <verb>`, then a blank, a colon or a mark of emphasis, and anything up to the end of the line. The first
//! character that does not fit lets the held text go. A line that grows above [`LINE_LIMIT`] is text, so that nothing
//! waits without end. What may stand in front of it, [`is_label`] says.

use super::error::TextError;

/// Longest control line, in bytes.
const LINE_LIMIT: usize = 4096;
/// Most characters of a label in front of a control line, marks and blanks aside.
const LABEL_LIMIT: usize = 32;
/// Most characters in front of a control line in all.
pub(super) const LEAD_LIMIT: usize = 96;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Prefix,
    Verb,
    /// Holds where the verb ends.
    Rest(usize),
}

/// A control line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) verb: String,
    pub(super) rest: String,
}

/// What became of the line.
pub(super) enum Step {
    /// It may still become a control line.
    Held,
    /// It is one.
    Complete(Order),
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
            Phase::Verb if self.verb(&self.held[self.prefix.len()..]).is_some() => {
                self.complete(self.held.len())
            }
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
        if !c.is_whitespace() && !is_mark(c) && c != ':' {
            let so_far = word.to_ascii_lowercase();
            return self.verbs.iter().any(|verb| verb.starts_with(&so_far));
        }
        let verb_end = self.held.len() - c.len_utf8();
        if self.verb(&self.held[self.prefix.len()..verb_end]).is_none() {
            return false;
        }
        self.phase = Phase::Rest(verb_end);
        true
    }

    fn verb(&self, word: &str) -> Option<&String> {
        self.verbs.iter().find(|verb| verb.eq_ignore_ascii_case(word))
    }

    fn complete(&mut self, verb_end: usize) -> Step {
        let verb = self.verb(&self.held[self.prefix.len()..verb_end]).cloned().unwrap_or_default();
        let rest = undecorated(&self.held[verb_end..]);
        self.reset();
        Step::Complete(Order { verb, rest })
    }

    fn let_go(&mut self) -> Step {
        self.phase = Phase::Prefix;
        Step::Text(std::mem::take(&mut self.held))
    }
}

/// Whether a control line may follow `lead` on its line: blanks, marks of emphasis, of a list or a quote, and a short
/// label; models write "**Verdict:** `@@...`".
pub(super) fn is_label(lead: &str) -> bool {
    let ink = lead.chars().filter(|c| !c.is_whitespace() && !is_mark(*c)).count();
    ink <= LABEL_LIMIT && !lead.contains('@')
}

/// The rest of a control line without the marks that open in front of the line or behind its verb and close here, and
/// without those that stand around all of it.
fn undecorated(rest: &str) -> String {
    let mut rest = rest.trim_start_matches(|c| is_mark(c) || c == ':').trim();
    for mark in ['`', '*', '_'] {
        if rest.ends_with(mark) && unpaired(rest, mark) {
            rest = rest.trim_end_matches(mark).trim_end();
        }
        let inner = rest.trim_matches(mark);
        if rest.starts_with(mark) && rest.ends_with(mark) && !inner.contains(mark) {
            rest = inner.trim();
        }
    }
    rest.to_owned()
}

/// Whether `mark` closes in `rest` what opened before it.
fn unpaired(rest: &str, mark: char) -> bool {
    let runs = rest.split(|c: char| c != mark).filter(|run| !run.is_empty()).count();
    runs % 2 == 1
}

fn is_mark(c: char) -> bool {
    matches!(c, '`' | '*' | '_' | '>' | '~')
}
