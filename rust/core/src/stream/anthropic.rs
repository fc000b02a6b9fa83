//! What one event of an Anthropic message says: <https://platform.claude.com/docs/en/build-with-claude/streaming>.
//!
//! The type in the data counts; the name of the event, which proxies drop, only where the data has none. Unknown types of events, blocks
//! and deltas are skipped, as the protocol asks for; a known one that has the wrong shape is malformed.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::delta::{Usage, cumulative};
use super::json::{self, Bytes, Count, Lenient, Str, count, object};
use super::refusal;

/// What one event is to the reader.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// The message has begun.
    Start(Head<'a>),
    /// Text of the answer.
    Text(Bytes<'a>),
    /// Text of its thinking.
    Thinking(Bytes<'a>),
    /// News of the whole message: in the end why it stopped, and what it used.
    Change {
        /// Why it stopped, in the words of the chat protocol.
        reason: Option<String>,
        /// Cumulative counts.
        usage: Option<Counts>,
    },
    /// The message is complete; some servers count only now.
    Stop(Option<Counts>),
    /// An event of the chat protocol.
    Foreign,
    /// It failed.
    Error(serde_json::Value),
    /// A message that was not streamed.
    Whole(Whole),
    /// Nothing that matters, such as a ping.
    Nothing,
}

/// What the beginning of a message says.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) model: Option<Str<'a>>,
    pub(super) usage: Option<Counts>,
    pub(super) thinking: Vec<u8>,
    pub(super) text: Vec<u8>,
}

/// A message that was not streamed.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) model: Option<String>,
    pub(super) thinking: Vec<u8>,
    pub(super) text: Vec<u8>,
    pub(super) reason: Option<String>,
    pub(super) usage: Option<Counts>,
}

/// Token counts as this protocol splits them: the prompt in three parts that do not overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl Counts {
    /// The later counts are cumulative; what they leave out stays, and so does what gateways then call zero.
    pub(super) fn update(&mut self, later: Self) {
        self.input = cumulative(self.input, later.input);
        self.cache_read = cumulative(self.cache_read, later.cache_read);
        self.cache_creation = cumulative(self.cache_creation, later.cache_creation);
        self.output = cumulative(self.output, later.output);
        self.thinking = cumulative(self.thinking, later.thinking);
    }

    /// The usage as the chat protocol counts: cached tokens are part of the input. `None` where nothing was said.
    pub(super) fn usage(self) -> Option<Usage> {
        let prompt = [self.input, self.cache_read, self.cache_creation];
        let usage = Usage {
            input_tokens: self.input.map(|_| prompt.into_iter().flatten().sum()),
            output_tokens: self.output,
            cached_input_tokens: self.cache_read,
            reasoning_tokens: self.thinking,
            cost_usd: None,
        };
        (usage != Usage::default()).then_some(usage)
    }

    /// At the start the output counts what was written by then, which says nothing of the answer: a stream that is
    /// stopped must not pass for one that wrote two tokens.
    fn at_start(self) -> Self {
        Self { output: None, thinking: None, ..self }
    }
}

type Raw<'a> = &'a RawValue;

object! {
    Event {
        "type" => kind: Str<'a>,
        "message" => message: Raw<'a>,
        "content_block" => block: Raw<'a>,
        "delta" => delta: Raw<'a>,
        "usage" => usage: Lenient<WireCounts<'a>>,
        "error" => error: Raw<'a>,
        "model" => model: Str<'a>,
        "content" => content: Raw<'a>,
        "stop_reason" => stop_reason: Str<'a>,
        "choices" => choices: Raw<'a>,
        "amazon-bedrock-invocationMetrics" => metrics: Lenient<Metrics<'a>>,
    }
}

object! {
    Message {
        "model" => model: Str<'a>,
        "usage" => usage: Lenient<WireCounts<'a>>,
        "content" => content: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

object! {
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html>
    Metrics {
        "inputTokenCount" => input: Count,
        "outputTokenCount" => output: Count,
        "cacheReadInputTokenCount" => cache_read: Count,
        "cacheWriteInputTokenCount" => cache_creation: Count,
    }
}

object! {
    /// A block of a message, or a delta of one.
    Piece {
        "type" => kind: Str<'a>,
        "text" => text: Raw<'a>,
        "thinking" => thinking: Raw<'a>,
    }
}

object! { Change { "stop_reason" => stop_reason: Str<'a>, } }

object! {
    WireCounts {
        "input_tokens" => input: Count,
        "cache_read_input_tokens" => cache_read: Count,
        "cache_creation_input_tokens" => cache_creation: Count,
        "output_tokens" => output: Count,
        "output_tokens_details" => details: Lenient<Details<'a>>,
    }
}

object! { Details { "thinking_tokens" => thinking: Count, } }

impl WireCounts<'_> {
    fn counts(&self) -> Counts {
        Counts {
            input: count(&self.input),
            cache_read: count(&self.cache_read),
            cache_creation: count(&self.cache_creation),
            output: count(&self.output),
            thinking: self.details.as_ref().and_then(|details| count(&details.0.as_ref()?.thinking)),
        }
    }
}

impl Metrics<'_> {
    fn counts(&self) -> Counts {
        Counts {
            input: count(&self.input),
            cache_read: count(&self.cache_read),
            cache_creation: count(&self.cache_creation),
            output: count(&self.output),
            thinking: None,
        }
    }
}

fn counts(usage: Option<Lenient<WireCounts<'_>>>) -> Option<Counts> {
    usage.and_then(|usage| usage.0).map(|usage| usage.counts())
}

impl<'a> Piece<'a> {
    /// What a block begins with or a delta adds; tool calls, signatures and citations are nothing to read.
    fn said(self) -> serde_json::Result<Said<'a>> {
        Ok(match (self.kind.as_ref().map_or("", |kind| &*kind.0), self.text, self.thinking) {
            ("text" | "text_delta" | "", Some(text), _) => Said::Text(shape(text)?),
            ("thinking" | "thinking_delta" | "", _, Some(thinking)) => Said::Thinking(shape(thinking)?),
            _ => Said::Nothing,
        })
    }
}

/// Reads one event, or a message that was not streamed. `name` is that of the event.
pub(super) fn read<'a>(data: &'a str, name: &'a str) -> serde_json::Result<Said<'a>> {
    let event: Event<'a> = serde_json::from_str(data)?;
    if let Some(error) = error(event.error) {
        return Ok(Said::Error(error));
    }
    let usage = counts(event.usage).or(event.metrics.and_then(|metrics| metrics.0).map(|m| m.counts()));
    let kind = event.kind.as_ref().map_or(name, |kind| &*kind.0);
    Ok(match (kind, full(event.message), full(event.block), full(event.delta)) {
        ("message_start", Some(message), ..) => start(shape(message)?)?,
        ("content_block_start", _, Some(piece), _) | ("content_block_delta", _, _, Some(piece)) => {
            shape::<Piece<'_>>(piece)?.said()?
        }
        ("message_delta", _, _, delta) => {
            let change = delta.map(shape::<Change<'_>>).transpose()?;
            let reason = change.and_then(|change| change.stop_reason).map(|reason| finish_reason(&reason.0));
            Said::Change { reason, usage }
        }
        ("message_stop", ..) => Said::Stop(usage),
        ("message", ..) if event.content.is_some() => {
            let reason = event.stop_reason.map(|reason| finish_reason(&reason.0));
            let model = event.model.map(|model| model.0.into_owned());
            let (thinking, text) = texts(event.content)?;
            Said::Whole(Whole { model, thinking, text, reason, usage })
        }
        _ if event.choices.is_some() => Said::Foreign,
        _ => Said::Nothing,
    })
}

fn start(message: Message<'_>) -> serde_json::Result<Said<'_>> {
    if let Some(error) = error(message.error) {
        return Ok(Said::Error(error));
    }
    let (thinking, text) = texts(message.content)?;
    let usage = counts(message.usage).map(Counts::at_start);
    Ok(Said::Start(Head { model: message.model, usage, thinking, text }))
}

fn error(raw: Option<Raw<'_>>) -> Option<serde_json::Value> {
    raw.and_then(|raw| json::value(raw.get()).ok()).filter(refusal::is_reported)
}

/// What there is of a field that some servers fill with an empty list where the protocol has an object.
fn full(raw: Option<Raw<'_>>) -> Option<Raw<'_>> {
    raw.filter(|raw| !json::is_empty(raw))
}

/// The thinking and the text of a content, which is a list of blocks or, as in requests, one string.
fn texts(content: Option<Raw<'_>>) -> serde_json::Result<(Vec<u8>, Vec<u8>)> {
    let (mut thinking, mut text) = (Vec::new(), Vec::new());
    let Some(content) = full(content) else { return Ok((thinking, text)) };
    if content.get().starts_with('"') {
        text.extend_from_slice(&shape::<Bytes<'_>>(content)?.0);
        return Ok((thinking, text));
    }
    for piece in shape::<Vec<Piece<'_>>>(content)? {
        match piece.said()? {
            Said::Text(said) => text.extend_from_slice(&said.0),
            Said::Thinking(said) => thinking.extend_from_slice(&said.0),
            _ => {}
        }
    }
    Ok((thinking, text))
}

fn shape<'a, T: Deserialize<'a>>(raw: Raw<'a>) -> serde_json::Result<T> {
    serde_json::from_str(raw.get())
}

/// The word of the chat protocol for a stop reason; one that has none stays as it is.
fn finish_reason(stop_reason: &str) -> String {
    match stop_reason {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data: &str) -> String {
        match read(data, "").unwrap() {
            Said::Text(text) => String::from_utf8_lossy(&text.0).into_owned(),
            Said::Thinking(thinking) => format!("({})", String::from_utf8_lossy(&thinking.0)),
            said => format!("{said:?}"),
        }
    }

    #[test]
    fn text_and_thinking() {
        for (piece, said) in [
            (r#"{"type":"text_delta","text":"a\"b"}"#, "a\"b"),
            (r#"{"text":"type last","type":"text_delta"}"#, "type last"),
            (r#"{"type":"text_delta","text":"\ud83d"}"#, "\u{fffd}\u{fffd}\u{fffd}"),
            (r#"{"type":"thinking_delta","thinking":"t"}"#, "(t)"),
            (r#"{"type":"signature_delta","signature":"s"}"#, "Nothing"),
            (r#"{"type":"input_json_delta","partial_json":"{"}"#, "Nothing"),
            (r#"{"type":"novel_delta","text":{"rich":true}}"#, "Nothing"),
        ] {
            let event = format!(r#"{{"type":"content_block_delta","index":0,"delta":{piece}}}"#);
            assert_eq!(text(&event), said);
        }
        let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"x"}}"#;
        assert_eq!(text(block), "x");
        assert_eq!(text(r#"{"type":"ping"}"#), "Nothing");
        assert_eq!(text(r#"{"type":"novel","delta":5,"usage":[],"message":"m"}"#), "Nothing");
    }

    #[test]
    fn a_known_event_of_the_wrong_shape_is_malformed() {
        for data in [
            r#"{"type":"content_block_delta","delta":5}"#,
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":5}}"#,
            r#"{"type":"message_start","message":["m"]}"#,
            r#"{"type":5}"#,
            "[]",
        ] {
            assert!(read(data, "").is_err(), "{data}");
        }
    }

    #[test]
    fn stop_reasons_become_finish_reasons() {
        for (stop, finish) in [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("refusal", "content_filter"),
            ("pause_turn", "pause_turn"),
        ] {
            let event = format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{stop}"}}}}"#);
            let Said::Change { reason, .. } = read(&event, "").unwrap() else { panic!("no change") };
            assert_eq!(reason.as_deref(), Some(finish));
        }
    }

    #[test]
    fn cached_tokens_are_part_of_the_input() {
        let start = r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":7,
            "cache_creation_input_tokens":20,"cache_read_input_tokens":100,"output_tokens":1}}}"#;
        let Said::Start(head) = read(start, "").unwrap() else { panic!("no start") };
        let mut counts = head.usage.unwrap();
        let expected = Usage { input_tokens: Some(127), cached_input_tokens: Some(100), ..Usage::default() };
        assert_eq!(counts.usage(), Some(expected));
        let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},
            "usage":{"output_tokens":9,"output_tokens_details":{"thinking_tokens":4},"input_tokens":null}}"#;
        let Said::Change { usage: Some(later), .. } = read(end, "").unwrap() else { panic!("no usage") };
        counts.update(later);
        let expected = Usage { output_tokens: Some(9), reasoning_tokens: Some(4), ..expected };
        assert_eq!(counts.usage(), Some(expected));
        assert_eq!(Counts::default().usage(), None);
    }

    #[test]
    fn a_message_that_was_not_streamed() {
        let data = r#"{"type":"message","model":"m","content":[{"type":"thinking","thinking":"t","signature":"s"},
            {"type":"text","text":"a"},{"type":"tool_use","input":{}},{"type":"text","text":"b"}],
            "stop_reason":"max_tokens","usage":{"input_tokens":1,"output_tokens":2}}"#;
        let Said::Whole(message) = read(data, "").unwrap() else { panic!("no message") };
        assert_eq!((&*message.thinking, &*message.text), (&b"t"[..], &b"ab"[..]));
        assert_eq!(message.reason.as_deref(), Some("length"));
        assert_eq!(message.usage.and_then(Counts::usage).and_then(|usage| usage.output_tokens), Some(2));
    }
}
