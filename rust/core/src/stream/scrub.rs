//! What providers say about a failure, scrubbed of what nobody may see.
//!
//! A provider may echo the key it was sent, and whatever it says may reach a terminal: messages are
//! shortened, stripped of control characters and of anything that looks like a key.

use std::fmt;

/// Longest message kept, in code points.
const MESSAGE_LIMIT: usize = 500;
const REDACTED: &str = "[redacted]";
/// A shorter secret would redact ordinary words.
const SHORTEST_SECRET: usize = 6;

/// Removes secrets and control characters from messages of one stream.
#[derive(Clone, Default)]
pub(super) struct Scrubber {
    secrets: Vec<String>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({})", self.secrets.len())
    }
}

impl Scrubber {
    /// Registers a value that must never appear in a message, such as a header's.
    pub(super) fn add_secret(&mut self, value: &str) {
        let value = &*printable(value);
        let bare = value.split_once(' ').map_or(value, |(_, credentials)| credentials.trim());
        for secret in [value, bare] {
            if secret.len() >= SHORTEST_SECRET && !self.secrets.iter().any(|known| known == secret) {
                self.secrets.push(secret.to_owned());
            }
        }
    }

    /// The message as it may be shown.
    pub(super) fn clean(&self, message: &str) -> String {
        self.clean_to(message, MESSAGE_LIMIT)
    }

    /// Any text of the provider as it may be shown, of at most `limit` code points.
    pub(super) fn clean_to(&self, text: &str, limit: usize) -> String {
        let shown = self.redact(printable(text));
        let decoded = decode(text);
        if decoded == text {
            return shorten(&shown, limit);
        }
        // What is spelled in escapes stays readable to whoever wants to read it.
        let decoded = printable(&decoded);
        let redacted = self.redact(decoded.clone());
        shorten(if redacted == decoded { &shown } else { &redacted }, limit)
    }

    fn redact(&self, mut text: String) -> String {
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED);
            }
        }
        redact_patterns(&text)
    }
}

/// Without the escapes of JSON and of URLs, as far as they spell single ASCII characters.
fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '%']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let hex = |from: usize, to: usize| u8::from_str_radix(rest.get(from..to)?, 16).ok();
        let (code, length) = match rest.as_bytes() {
            [b'\\', b'u', b'0', b'0', ..] => (hex(4, 6), 6),
            [b'\\', mark @ (b'/' | b'"' | b'\\'), ..] => (Some(*mark), 2),
            [b'%', ..] => (hex(1, 3), 3),
            _ => (None, 1),
        };
        let (c, length) = match code.filter(u8::is_ascii) {
            Some(code) => (char::from(code), length),
            None => (if rest.starts_with('%') { '%' } else { '\\' }, 1),
        };
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// Without control, bidirectional and zero-width characters, behind which a key could hide; blanks in a row become
/// one.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(4 * MESSAGE_LIMIT));
    for c in text.chars() {
        if is_invisible(c) || (c.is_control() && !c.is_whitespace()) {
            continue;
        }
        match (c.is_whitespace(), out.is_empty() || out.ends_with(' ')) {
            (false, _) => out.push(c),
            (true, false) => out.push(' '),
            (true, true) => {}
        }
    }
    out.truncate(out.trim_end().len());
    out
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => {
            let mut short: String = text.chars().take(limit - 1).collect();
            short.push('…');
            short
        }
    }
}

/// Prefixes of provider keys; what follows them up to the next delimiter is a key.
const KEY_PREFIXES: [&str; 9] = ["sk-", "sk_", "gsk_", "xai-", "AIza", "hf_", "pplx-", "r8_", "nvapi-"];

fn redact_patterns(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_scheme = false;
    for piece in text.split_inclusive(is_delimiter) {
        let word = piece.trim_end_matches(is_delimiter);
        let rest = &piece[word.len()..];
        if is_key(word) || (after_scheme && word.len() >= SHORTEST_SECRET) {
            out.push_str(REDACTED);
        } else {
            out.push_str(word);
        }
        out.push_str(rest);
        if !word.is_empty() {
            after_scheme = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
        }
    }
    out
}

fn is_delimiter(c: char) -> bool {
    !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '*' | '~' | '+' | '/'))
}

fn is_key(word: &str) -> bool {
    // The path of a URL is one word, and may hold a key.
    let is_key = |part: &str| {
        KEY_PREFIXES.iter().any(|prefix| part.len() >= prefix.len() + 8 && part.starts_with(prefix))
    };
    word.split('/').any(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacts_registered_values_and_patterns() {
        let mut scrubber = Scrubber::default();
        scrubber.add_secret("Bearer abcdef123456");
        let said = scrubber.clean("bad key abcdef123456, Bearer zzzzzzzzz, 'sk-proj-0123456789' and sk-1");
        assert_eq!(said, "bad key [redacted], Bearer [redacted], '[redacted]' and sk-1");
    }

    #[test]
    fn removes_control_characters_and_shortens() {
        let said = Scrubber::default().clean(&format!("a\u{1b}[31m\r\n\tb\u{202e}{}", "x".repeat(900)));
        assert!(said.starts_with("a[31m bx"));
        assert_eq!(said.chars().count(), MESSAGE_LIMIT);
    }

    #[test]
    fn redacts_what_is_spelled_in_another_way() {
        let mut scrubber = Scrubber::default();
        scrubber.add_secret("zq9-Secret/Key+12345==");
        for said in [
            r#"{"error":"zq9-Secret\/Key+12345==" oops"#,
            r"zq9\u002dSecret/Key\u002B12345==",
            "zq9-Secret%2FKey%2b12345%3D%3D",
            "zq9-Sec\u{200b}ret\u{0}/Key+12345==",
            "https://host/zq9-Secret/Key+12345==/x",
        ] {
            let shown = scrubber.clean(said);
            assert!(shown.contains(REDACTED) && !shown.contains("zq9"), "{shown}");
        }
        assert_eq!(scrubber.clean("https://host/sk-proj-0123456789/x"), "https:[redacted]");
        assert_eq!(scrubber.clean("100% of \\u12 %zz \\"), "100% of \\u12 %zz \\");
    }

    proptest::proptest! {
        #[test]
        fn no_secret_survives(before in ".{0,20}", after in ".{0,20}", secret in "[!-~]{6,20}") {
            let mut scrubber = Scrubber::default();
            scrubber.add_secret(&secret);
            proptest::prop_assume!(!REDACTED.contains(&secret));
            let shown = scrubber.clean(&format!("{before}{secret}{after}"));
            proptest::prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }

    #[test]
    fn debug_hides_secrets() {
        let mut scrubber = Scrubber::default();
        scrubber.add_secret("supersecret");
        assert_eq!(format!("{scrubber:?}"), "Scrubber(1)");
    }
}
