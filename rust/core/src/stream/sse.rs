//! Server-sent events from bytes, as WHATWG's event stream says.
//!
//! Lines end at CR, LF or CRLF and nowhere else: U+2028 and U+0085 are text. Any split of the bytes gives
//! the same events, and each byte is looked at once. One event (and one line) may hold
//! [`DEFAULT_LIMIT`] bytes, as a peer could otherwise fill the memory.
//!
//! The standard drops in silence what it does not know, and with it the last words of gateways that die. So, beyond the
//! standard: a line that is no field is data; names may be indented, in capitals or behind a byte order mark; an event
//! may have a name and no data; a new JSON object begins a new event where the blank line was forgotten; and
//! [`SseParser::finish`] hands out a last event that lacks its blank line, for the caller to judge.

use std::borrow::Cow;

/// Largest event, in bytes: as large as a completion that is not streamed, which some gateways send as one event.
pub const DEFAULT_LIMIT: usize = 8 << 20;

/// The byte order mark in UTF-8.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";
const FIELDS: [&str; 4] = ["data", "event", "id", "retry"];

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event:` field, empty for the default.
    pub kind: &'a str,
    /// The `data:` lines, joined by LF.
    pub data: Cow<'a, str>,
    /// The last `id:` seen on this stream.
    pub id: &'a str,
}

/// An event or a line above the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event exceeds {limit} bytes")]
pub struct EventTooLarge {
    /// The limit.
    pub limit: usize,
}

/// Frames one event stream.
#[derive(Debug, Clone)]
pub struct SseParser {
    limit: usize,
    after_cr: bool,
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The first byte of the event's data that is not blank.
    first: Option<u8>,
    kind: String,
    /// An `event:` line behind data: it names this event where a blank line follows, or else the next one.
    later_kind: Option<String>,
    id: String,
    retry_ms: Option<u64>,
}

impl Default for SseParser {
    fn default() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }
}

impl SseParser {
    /// A parser whose events hold at most `limit` bytes.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            after_cr: false,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            first: None,
            kind: String::new(),
            later_kind: None,
            id: String::new(),
            retry_ms: None,
        }
    }

    /// The last `retry:` field, in milliseconds.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Takes bytes and hands each completed event to `sink`, until it returns false.
    ///
    /// # Errors
    /// When an event grows above the limit; the parser is of no use afterwards.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Event<'_>) -> bool,
    ) -> Result<(), EventTooLarge> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = self.skip_line_end(rest);
            if !self.end_line(line, &mut sink)? {
                return Ok(());
            }
        }
        self.line.extend_from_slice(bytes);
        self.check(self.line.len())
    }

    /// The end of the bytes: hands out an event that was not closed by a blank line.
    ///
    /// # Errors
    /// When the event is above the limit.
    pub fn finish(&mut self, mut sink: impl FnMut(Event<'_>) -> bool) -> Result<(), EventTooLarge> {
        if !self.line.is_empty() && !self.end_line(b"", &mut sink)? {
            return Ok(());
        }
        self.dispatch(&mut sink);
        Ok(())
    }

    fn skip_line_end<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        match rest {
            [b'\r', b'\n', after @ ..] => after,
            [b'\r'] => {
                self.after_cr = true;
                &[]
            }
            [_, after @ ..] => after,
            [] => rest,
        }
    }

    fn end_line(
        &mut self,
        line: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> bool,
    ) -> Result<bool, EventTooLarge> {
        if self.line.is_empty() {
            return self.read_line(line, sink);
        }
        let mut whole = std::mem::take(&mut self.line);
        whole.extend_from_slice(line);
        let read = self.read_line(&whole, sink);
        whole.clear();
        self.line = whole;
        read
    }

    fn read_line(
        &mut self,
        line: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> bool,
    ) -> Result<bool, EventTooLarge> {
        self.check(line.len())?;
        if line.is_empty() {
            return Ok(self.dispatch(sink));
        }
        let (name, value) = split(line);
        match name {
            b"data" => return self.data(value, sink),
            b"" => {}
            b"event" | b"id" | b"retry" => self.field(name, value),
            _ => return self.stray(line, sink),
        }
        Ok(true)
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"event" if self.has_data => self.later_kind = Some(text()),
            b"event" => self.kind = text(),
            b"id" if !value.contains(&0) => self.id = text(),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                self.retry_ms = text().parse().ok().or(self.retry_ms);
            }
            _ => {}
        }
    }

    fn data(
        &mut self,
        value: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> bool,
    ) -> Result<bool, EventTooLarge> {
        if self.begins_anew(value.trim_ascii()) {
            let kind = self.later_kind.take();
            if !self.dispatch(sink) {
                return Ok(false);
            }
            self.kind = kind.unwrap_or_default();
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.first = self.first.or_else(|| value.trim_ascii_start().first().copied());
        self.data.extend_from_slice(value);
        self.check(self.data.len())?;
        Ok(true)
    }

    /// Whether data cannot go on what is held: no JSON value has anything else behind its last bracket.
    fn begins_anew(&self, data: &[u8]) -> bool {
        let (Some(first), [next, ..]) = (self.first, data) else { return false };
        let held = self.data.trim_ascii_end();
        match (first, held.last()) {
            _ if held == b"[DONE]" => true,
            (b'{', Some(b'}')) | (b'[', Some(b']')) => !b",]}".contains(next),
            (b'{' | b'[', _) => false,
            _ => *next == b'{' || data == b"[DONE]",
        }
    }

    /// A line that is no field as it stands.
    fn stray(
        &mut self,
        line: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> bool,
    ) -> Result<bool, EventTooLarge> {
        let mut bare = line.trim_ascii();
        while let Some(rest) = bare.strip_prefix(BOM).or(bare.strip_prefix(b"\0")) {
            bare = rest.trim_ascii_start();
        }
        if bare.is_empty() {
            return Ok(self.dispatch(sink));
        }
        let (name, value) = split(bare);
        let is_named = |known: &&str| name.trim_ascii_end().eq_ignore_ascii_case(known.as_bytes());
        match FIELDS.iter().find(|known| is_named(known)) {
            Some(&"data") => self.data(value, sink),
            Some(known) => {
                self.field(known.as_bytes(), value);
                Ok(true)
            }
            None if name.is_empty() => Ok(true),
            None => self.data(line, sink),
        }
    }

    fn dispatch(&mut self, sink: &mut impl FnMut(Event<'_>) -> bool) -> bool {
        if let Some(kind) = self.later_kind.take() {
            self.kind = kind;
        }
        let is_nothing = !self.has_data && self.kind.is_empty();
        let go_on = is_nothing || sink(Event { kind: &self.kind, data: text(&self.data), id: &self.id });
        self.has_data = false;
        self.first = None;
        self.data.clear();
        self.kind.clear();
        go_on
    }

    fn check(&self, size: usize) -> Result<(), EventTooLarge> {
        if size > self.limit { Err(EventTooLarge { limit: self.limit }) } else { Ok(()) }
    }
}

/// The usual case first: looking for what is wrong takes several times as long as seeing that nothing is.
pub(super) fn text(data: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(data).map_or_else(|_| String::from_utf8_lossy(data), Cow::Borrowed)
}

fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        None => (line, &[]),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (String, String, String);

    fn events(parser: &mut SseParser, pieces: &[&[u8]]) -> Result<Vec<Owned>, EventTooLarge> {
        let mut out = Vec::new();
        for piece in pieces {
            parser.feed(piece, |e| {
                out.push((e.kind.to_owned(), e.data.into_owned(), e.id.to_owned()));
                true
            })?;
        }
        Ok(out)
    }

    fn data(bytes: &[u8]) -> Vec<String> {
        let found = events(&mut SseParser::default(), &[bytes]).unwrap();
        found.into_iter().map(|(_, data, _)| data).collect()
    }

    #[test]
    fn line_ends_and_fields() {
        assert_eq!(data(b"\xef\xbb\xbfdata: a\r\rdata:b\n\ndata: c\r\n\r\n"), ["a", "b", "c"]);
        assert_eq!(data(b"data: a\ndata\ndata:  b\n\n"), ["a\n\n b"]);
        assert_eq!(data(b": comment\n\nevent: x\n\ndata: 1\n\n"), ["", "1"]);
        assert_eq!(data("data: \u{2028}\u{85}\n\n".as_bytes()), ["\u{2028}\u{85}"]);
        assert_eq!(data(b"data: not ended\n"), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_field_is_data() {
        assert_eq!(data(b"<h1>502</h1>\nBad: gateway\n\n"), ["<h1>502</h1>\nBad: gateway"]);
        assert_eq!(data(b"\xef\xbb\xbfdata: a\n\n\0 data: b\n \nData: c\n\n : comment\n\n"), ["a", "b", "c"]);
        assert_eq!(data(b"data: {\n \"a\":\ndata: {}\n}\n\n"), ["{\n \"a\":\n{}\n}"]);
    }

    #[test]
    fn a_new_object_begins_a_new_event() {
        let bytes = b"event: x\ndata: {\"a\":1}\nevent: y\ndata: ping\ndata: {}\ndata: [DONE]\n\n";
        let found = events(&mut SseParser::default(), &[bytes]).unwrap();
        let expected = [("x", "{\"a\":1}"), ("y", "ping"), ("", "{}"), ("", "[DONE]")];
        assert_eq!(found, expected.map(|(kind, data)| (kind.into(), data.into(), String::new())));
    }

    #[test]
    fn kind_is_reset_and_id_stays() {
        let mut parser = SseParser::default();
        let bytes = b"event: e\nid: 7\nretry: 250\ndata: 1\n\nretry: x\nid: a\0b\ndata: 2\n\n";
        let found = events(&mut parser, &[bytes]).unwrap();
        let expected = [("e", "1", "7"), ("", "2", "7")].map(|(k, d, i)| (k.into(), d.into(), i.into()));
        assert_eq!(found, expected);
        assert_eq!(parser.retry_ms(), Some(250));
    }

    #[test]
    fn crlf_split_over_reads() {
        let found =
            events(&mut SseParser::default(), &[b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n"]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, "a\nb");
    }

    #[test]
    fn limit_holds_for_lines_and_for_events() {
        let mut parser = SseParser::with_limit(8);
        assert!(events(&mut parser, &[b"data: 123456789"]).is_err());
        let mut parser = SseParser::with_limit(8);
        assert!(events(&mut parser, &[b"data:123\ndata:123\ndata:123\n"]).is_err());
    }

    #[test]
    fn sink_can_stop() {
        let mut seen = 0;
        let stop_at_first = |_: Event<'_>| {
            seen += 1;
            false
        };
        SseParser::default().feed(b"data: 1\n\ndata: 2\n\n", stop_at_first).unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn finish_hands_out_the_open_event() {
        let mut parser = SseParser::default();
        assert!(events(&mut parser, &[b"data: [DO", b"NE]"]).unwrap().is_empty());
        let mut last = String::new();
        parser
            .finish(|e| {
                last = e.data.into_owned();
                true
            })
            .unwrap();
        assert_eq!(last, "[DONE]");
    }

    fn stream() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("data: "),
            Just("data"),
            Just("event: x"),
            Just("id: 1"),
            Just(":"),
            Just("\r"),
            Just("\n"),
            Just("\r\n"),
            Just("\n\n"),
            Just("ä\u{2028}"),
            Just("\u{feff}"),
            Just("retry: 3"),
            Just("text")
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(text in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let whole = events(&mut SseParser::default(), &[bytes]).unwrap();
            prop_assert_eq!(events(&mut SseParser::default(), &pieces).unwrap(), whole);
        }
    }
}
