//! Thinking that a model writes into its content: `<think>` at the very beginning, up to `</think>`.
//!
//! Servers without a parser for it pass it on as it is. Tags anywhere else are text: an answer may be about them.

/// The names of the tag, as models know it.
const NAMES: [&str; 4] = ["think", "thinking", "thought", "reasoning"];

/// A piece of content, as what it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Reasoning(String),
    Content(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but blanks and the beginning of a tag has come.
    Opening,
    /// Up to the closing tag of that name.
    Thinking(&'static str),
    /// The blanks behind the closing tag belong to nothing.
    Closed,
    Answer,
}

/// Parts the content of one message. Any split of it gives the same text.
#[derive(Debug)]
pub(super) struct ThinkTags {
    state: State,
    held: String,
}

impl Default for ThinkTags {
    fn default() -> Self {
        Self { state: State::Opening, held: String::new() }
    }
}

impl ThinkTags {
    /// Takes content and gives what it is, as far as that can be told.
    pub(super) fn part(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.held.push_str(text);
        loop {
            match self.state {
                State::Opening => match opening(&self.held) {
                    Opening::Unknown => break,
                    Opening::Tag(name, end) => {
                        self.held.drain(..end);
                        self.state = State::Thinking(name);
                    }
                    Opening::None => self.state = State::Answer,
                },
                State::Thinking(name) => {
                    let tag = format!("</{name}>");
                    let Some(at) = self.held.find(&tag) else {
                        let rest = self.held.split_off(self.held.len() - beginning(&self.held, &tag));
                        push(&mut pieces, Piece::Reasoning, std::mem::replace(&mut self.held, rest));
                        break;
                    };
                    let rest = self.held.split_off(at + tag.len());
                    self.held.truncate(at);
                    push(&mut pieces, Piece::Reasoning, std::mem::replace(&mut self.held, rest));
                    self.state = State::Closed;
                }
                State::Closed => {
                    let blanks = self.held.len() - self.held.trim_start().len();
                    self.held.drain(..blanks);
                    if self.held.is_empty() {
                        break;
                    }
                    self.state = State::Answer;
                }
                State::Answer => {
                    push(&mut pieces, Piece::Content, std::mem::take(&mut self.held));
                    break;
                }
            }
        }
        pieces
    }

    /// What was held at the end.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let held = std::mem::take(&mut self.held);
        let kind = if matches!(self.state, State::Thinking(_)) { Piece::Reasoning } else { Piece::Content };
        (!held.is_empty()).then(|| kind(held))
    }
}

enum Opening {
    Unknown,
    Tag(&'static str, usize),
    None,
}

fn opening(held: &str) -> Opening {
    let text = held.trim_start();
    for name in NAMES {
        let tag = format!("<{name}>");
        if text.starts_with(&tag) {
            return Opening::Tag(name, held.len() - text.len() + tag.len());
        }
        if tag.starts_with(text) {
            return Opening::Unknown;
        }
    }
    Opening::None
}

/// How many bytes at the end of `text` may be the beginning of `tag`.
fn beginning(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|&length| text.ends_with(&tag[..length])).unwrap_or(0)
}

fn push(pieces: &mut Vec<Piece>, kind: fn(String) -> Piece, text: String) {
    if !text.is_empty() {
        pieces.push(kind(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reasoning and content of a text that arrives in pieces of `size` code points.
    fn parted(text: &str, size: usize) -> (String, String) {
        let mut tags = ThinkTags::default();
        let chars: Vec<char> = text.chars().collect();
        let mut pieces: Vec<Piece> =
            chars.chunks(size).flat_map(|piece| tags.part(&piece.iter().collect::<String>())).collect();
        pieces.extend(tags.finish());
        let (mut reasoning, mut content) = (String::new(), String::new());
        for piece in pieces {
            match piece {
                Piece::Reasoning(text) => reasoning.push_str(&text),
                Piece::Content(text) => content.push_str(&text),
            }
        }
        (reasoning, content)
    }

    #[test]
    fn only_what_a_message_begins_with_is_thinking() {
        for (text, reasoning, content) in [
            ("<think>a</think>b", "a", "b"),
            (
                "\n <think>\na < b </thin\n</think>\n\nThe <think> tag.",
                "\na < b </thin\n",
                "The <think> tag.",
            ),
            ("<thinking>a</think></thinking> b", "a</think>", "b"),
            ("<think></think>x", "", "x"),
            ("<think>never closed</thi", "never closed</thi", ""),
            ("<thin", "", "<thin"),
            ("<thinker>a", "", "<thinker>a"),
            ("  plain <think>x</think>", "", "  plain <think>x</think>"),
            ("", "", ""),
        ] {
            for size in 1..12 {
                let expected = (reasoning.to_owned(), content.to_owned());
                assert_eq!(parted(text, size), expected, "{text:?} by {size}");
            }
        }
    }
}
