//! The end of a sentence: `.`, `!` or `?`, closing marks, then a blank; 。！？ end one at once.
//!
//! A dot behind a known abbreviation or an initial ends nothing. What cannot be told without
//! understanding is decided towards fewer ends: a fragment that holds two sentences does no harm.

/// Without the last dot; those with dots inside ("e.g") follow from the rule for initials.
const ABBREVIATIONS: [&str; 17] = [
    "al", "approx", "bzw", "ca", "cf", "dr", "eq", "etc", "fig", "incl", "jr", "mr", "mrs", "ms", "prof",
    "resp", "vs",
];
const LONGEST: usize = 6;

/// One sentence so far, as much of it as matters.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Sentence {
    ended: bool,
    word: [u8; LONGEST],
    length: usize,
    /// Characters since the last dot inside the word.
    since_dot: usize,
    has_dot: bool,
    last: Option<char>,
}

impl Sentence {
    /// Whether a blank would end the sentence here.
    pub(in super::super) fn ended(&self) -> bool {
        self.ended
    }

    /// Takes the character at `at`; gives the end of the sentence, if it ended.
    pub(in super::super) fn step(&mut self, c: char, at: usize) -> Option<usize> {
        match c {
            _ if c.is_whitespace() => return std::mem::take(self).ended.then_some(at + 1),
            '。' | '！' | '？' | '｡' => {
                *self = Self::default();
                return Some(at + 1);
            }
            '!' | '?' => self.ended = self.ended || self.length > 0,
            '.' => self.dot(),
            _ if is_closing(c) => {}
            _ if is_opening(c) => *self = Self::default(),
            _ => self.letter(c),
        }
        None
    }

    fn dot(&mut self) {
        self.ended = self.ended || (self.length > 0 && !self.is_abbreviation());
        self.has_dot = true;
        self.since_dot = 0;
    }

    fn letter(&mut self, c: char) {
        self.ended = false;
        if let Some(slot) = self.word.get_mut(self.length) {
            *slot = u8::try_from(c).unwrap_or(0).to_ascii_lowercase();
        }
        self.length += 1;
        self.since_dot += 1;
        self.last = Some(c);
    }

    fn is_abbreviation(&self) -> bool {
        let initial = self.since_dot == 1
            && self.last.is_some_and(|c| c.is_alphabetic() && (self.has_dot || c.is_uppercase()));
        initial
            || self
                .word
                .get(..self.length)
                .is_some_and(|word| ABBREVIATIONS.iter().any(|a| a.as_bytes() == word))
    }
}

/// Marks of emphasis close like quotes: "**Done.** Next".
fn is_closing(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | ')' | ']' | '}' | '*' | '_' | '`' | '»' | '”' | '’' | '」' | '』' | '）' | '】' | '》'
    )
}

fn is_opening(c: char) -> bool {
    matches!(c, '(' | '[' | '{' | '«' | '“' | '„' | '‘' | '「' | '『' | '（' | '【' | '《')
}
