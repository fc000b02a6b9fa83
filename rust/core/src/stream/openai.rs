//! What one chat-completion event says: <https://platform.openai.com/docs/api-reference/chat/streaming>.
//!
//! Only the choice numbered 0 is read. Content may be a string or a list of parts; what stands in a part's
//! `thinking` is reasoning. What usage says wrongly is "never said"; everything else that has the wrong type makes
//! the event malformed, unless [`tidied`] knows what was meant.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::delta::Usage;
use super::json::{self, Bytes, Count, Lenient, Str, count, is_void, object};

/// US dollars that one response may cost.
const COSTS: RangeInclusive<f64> = 0.0..=1e9;

object! {
    /// One chunk of a stream, or a whole completion.
    Chunk {
        "choices" => choices: First<'a>,
        "usage" => usage: Lenient<Box<WireUsage<'a>>>,
        "model" => model: Str<'a>,
        "finish_reason" => finish_reason: Raw<'a>,
        "x_groq" => x_groq: Lenient<Box<Groq<'a>>>,
        "error" => error: Raw<'a>,
        "object" => object: Raw<'a>,
        "type" => kind: Raw<'a>,
        "stop_reason" => stop_reason: Raw<'a>,
        "success" => success: Raw<'a>,
        "base_resp" => base_resp: Raw<'a>,
    }
}

object! {
    /// <https://console.groq.com/docs/errors>: usage and errors beside the chunk.
    Groq {
        "usage" => usage: Lenient<Box<WireUsage<'a>>>,
        "error" => error: Raw<'a>,
    }
}

type Raw<'a> = &'a RawValue;

object! {
    Choice {
        "index" => index: Raw<'a>,
        "delta" => delta: Box<Message<'a>>,
        "message" => message: Box<Message<'a>>,
        "text" => text: Bytes<'a>,
        "finish_reason" => finish_reason: Str<'a>,
        "usage" => usage: Lenient<Box<WireUsage<'a>>>,
        "error" => error: Raw<'a>,
    }
}

object! {
    Message {
        "content" => content: Parts<'a>,
        "refusal" => refusal: Bytes<'a>,
        "reasoning_content" => reasoning_content: Bytes<'a>,
        "reasoning" => reasoning: Bytes<'a>,
        "reasoning_text" => reasoning_text: Raw<'a>,
        "reasoning_details" => reasoning_details: Raw<'a>,
        "thinking" => thinking: Raw<'a>,
        "thinking_blocks" => thinking_blocks: Raw<'a>,
        "thought" => thought: Raw<'a>,
        "tool_calls" => tool_calls: Raw<'a>,
        "function_call" => function_call: Raw<'a>,
        "finish_reason" => finish_reason: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

object! {
    Part {
        "type" => kind: Raw<'a>,
        "text" => text: Bytes<'a>,
        "refusal" => refusal: Bytes<'a>,
        "thinking" => thinking: Parts<'a>,
        "summary" => summary: Parts<'a>,
    }
}

object! {
    WireUsage {
        "prompt_tokens" => prompt: Count,
        "completion_tokens" => completion: Count,
        "input_tokens" => input: Count,
        "output_tokens" => output: Count,
        "total_tokens" => total: Count,
        "prompt_cache_hit_tokens" => cache_hit: Count,
        "cache_read_input_tokens" => cache_read: Count,
        "cached_tokens" => cached: Count,
        "prompt_tokens_details" => prompt_details: Lenient<PromptDetails<'a>>,
        "completion_tokens_details" => completion_details: Lenient<CompletionDetails<'a>>,
        "cost" => cost: Lenient<f64>,
    }
}

object! { PromptDetails { "cached_tokens" => cached: Count, } }
object! { CompletionDetails { "reasoning_tokens" => reasoning: Count, } }

impl<'a> Chunk<'a> {
    /// The choice that is read.
    pub(super) fn choice(&self) -> Option<&Choice<'a>> {
        self.choices().next()
    }

    /// The choice that is read, in all its pieces.
    pub(super) fn choices(&self) -> impl Iterator<Item = &Choice<'a>> {
        let choices = self.choices.as_ref();
        choices.into_iter().flat_map(|choices| choices.first.iter().chain(&choices.more))
    }

    /// A reason that stands beside the choices.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        word(self.finish_reason?)
    }

    /// What it says was used.
    pub(super) fn usage(&self) -> Option<Usage> {
        let beside = self.x_groq.as_ref().and_then(|groq| groq.0.as_ref()?.usage.as_ref());
        let within = self.choice().and_then(|choice| choice.usage.as_ref());
        [self.usage.as_ref(), within, beside]
            .into_iter()
            .flatten()
            .find_map(|usage| usage.0.as_ref()?.usage())
    }

    /// Whether there is nothing in it that a completion would say; usage alone may be beside an error.
    pub(super) fn says_nothing(&self) -> bool {
        self.choices().all(Choice::says_nothing)
    }

    /// Whether it may hold an error: fields say so, or a completion says nothing.
    pub(super) fn is_suspect(&self) -> bool {
        let is_error = |raw: &Option<Raw<'_>>| {
            let name = raw.map_or("", |raw| raw.get()).as_bytes();
            name.last_chunk::<6>().is_some_and(|end| end.eq_ignore_ascii_case(b"error\""))
        };
        self.error.is_some()
            || self
                .x_groq
                .as_ref()
                .is_some_and(|groq| groq.0.as_ref().is_some_and(|groq| groq.error.is_some()))
            || is_error(&self.object)
            || is_error(&self.kind)
            || self.base_resp.is_some()
            || self.success.is_some_and(|success| success.get() == "false")
            || self.says_nothing()
    }

    /// Whether it is an event of an Anthropic message.
    pub(super) fn is_anthropic(&self) -> bool {
        let is_kind = |kind: &str| self.kind.and_then(word) == Some(kind);
        self.choices.is_none()
            && (is_kind("message_start")
                || is_kind("content_block_delta")
                || is_kind("message") && self.stop_reason.is_some())
    }
}

impl<'a> Choice<'a> {
    fn number(&self) -> Option<usize> {
        match self.index?.get() {
            "0" => Some(0),
            other => other.trim_matches('"').trim_end_matches(".0").parse().ok(),
        }
    }

    fn says_nothing(&self) -> bool {
        self.text.is_none()
            && self.finish_reason().is_none()
            && [&self.delta, &self.message].into_iter().flatten().all(|message| message.says_nothing())
    }

    /// Why it ended; some write it into the delta.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        let own = self.finish_reason.as_ref().map(|reason| &*reason.0);
        own.or_else(|| word(self.delta.as_ref()?.finish_reason?))
    }
}

fn word(raw: &RawValue) -> Option<&str> {
    raw.get().strip_prefix('"')?.strip_suffix('"')
}

impl Message<'_> {
    /// Text for the reader. A refusal is what the model says instead of content.
    pub(super) fn content(&self) -> Cow<'_, [u8]> {
        let content = self.content.as_ref().map_or(&b""[..], |parts| &*parts.text);
        match self.refusal.as_ref().map_or(&b""[..], |refusal| &*refusal.0) {
            [] => Cow::Borrowed(content),
            refusal => Cow::Owned([content, refusal].concat()),
        }
    }

    /// Text of the model's thinking; the names for it are never used for different texts.
    pub(super) fn reasoning(&self) -> Cow<'_, [u8]> {
        let told = [self.reasoning_content.as_ref(), self.reasoning.as_ref()]
            .into_iter()
            .flatten()
            .map(|text| &*text.0)
            .chain(self.content.as_ref().map(|parts| &*parts.thinking))
            .find(|text| !text.is_empty());
        match told {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.thoughts().map(words).find(|text| !text.is_empty()).unwrap_or_default()),
        }
    }

    /// Thinking under the names that few providers use.
    fn thoughts(&self) -> impl Iterator<Item = Raw<'_>> {
        let names =
            [self.reasoning_text, self.reasoning_details, self.thinking, self.thinking_blocks, self.thought];
        names.into_iter().flatten()
    }

    /// Whether the model is at work on what is no text: hidden thinking, calls of tools.
    pub(super) fn is_working(&self) -> bool {
        let calls = [self.tool_calls, self.function_call].into_iter().flatten();
        self.thoughts().chain(calls).any(|raw| !json::is_empty(raw))
    }

    /// Whether there is neither text nor thinking nor work in it.
    pub(super) fn says_nothing(&self) -> bool {
        self.content().is_empty() && self.reasoning().is_empty() && !self.is_working()
    }
}

/// The text of thinking in a shape that is a provider's own.
fn words(raw: Raw<'_>) -> Vec<u8> {
    if let Ok(text) = serde_json::from_str::<Bytes<'_>>(raw.get()) {
        return text.0.into_owned();
    }
    json::value(raw.get()).map(|value| text_of(&value).into_bytes()).unwrap_or_default()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect(),
        Value::Object(object) => {
            let named = ["text", "thinking", "summary", "content"].iter().find_map(|name| object.get(*name));
            named.map(text_of).unwrap_or_default()
        }
        _ => String::new(),
    }
}

impl WireUsage<'_> {
    /// The usage, or `None` where the object said nothing.
    pub(super) fn usage(&self) -> Option<Usage> {
        let input = count(&self.prompt).or(count(&self.input));
        let rest = || count(&self.total)?.checked_sub(input?);
        let cached = [&self.cache_hit, &self.cache_read, &self.cached];
        let usage = Usage {
            input_tokens: input,
            output_tokens: count(&self.completion).or(count(&self.output)).or_else(rest),
            cached_input_tokens: self
                .prompt_details
                .as_ref()
                .and_then(|details| count(&details.0.as_ref()?.cached))
                .or(cached.into_iter().find_map(count)),
            reasoning_tokens: self
                .completion_details
                .as_ref()
                .and_then(|details| count(&details.0.as_ref()?.reasoning)),
            cost_usd: self.cost.as_ref().and_then(|cost| cost.0.filter(|cost| COSTS.contains(cost))),
        };
        (usage != Usage::default()).then_some(usage)
    }
}

/// `content`: a string, or a list of typed parts.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    text: Cow<'a, [u8]>,
    thinking: Vec<u8>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Either<'a> {
            type Value = Parts<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of parts")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Parts<'a>, E> {
                Ok(Parts { text: Cow::Borrowed(bytes), thinking: Vec::new() })
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Parts<'a>, E> {
                Ok(Parts { text: Cow::Owned(bytes.to_vec()), thinking: Vec::new() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'a>, A::Error> {
                let mut parts = Parts::default();
                while let Some(part) = seq.next_element::<Part<'a>>()? {
                    let text = [&part.text, &part.refusal].into_iter().flatten();
                    let into = if part.is_thinking() { &mut parts.thinking } else { parts.text.to_mut() };
                    text.for_each(|text| into.extend_from_slice(&text.0));
                    for thinking in [part.thinking, part.summary].into_iter().flatten() {
                        parts.thinking.extend_from_slice(&thinking.text);
                    }
                }
                Ok(parts)
            }
        }

        deserializer.deserialize_bytes(Either(PhantomData))
    }
}

impl Part<'_> {
    fn is_thinking(&self) -> bool {
        let kind = self.kind.map_or("", RawValue::get);
        kind.contains("reasoning") || kind.contains("thinking")
    }
}

/// The choice numbered 0, or the first that has no number. Some gateways write one choice as several.
#[derive(Debug, Default)]
pub(super) struct First<'a> {
    first: Option<Choice<'a>>,
    more: Vec<Choice<'a>>,
}

impl<'a> First<'a> {
    /// One of no number is the first where nothing was said before it.
    fn push(&mut self, choice: Choice<'a>) {
        match (choice.number(), &self.first) {
            (None | Some(0), None) => self.first = Some(choice),
            (Some(0), Some(_)) => self.more.push(choice),
            (None, Some(first)) if first.number().is_none() && first.says_nothing() => self.more.push(choice),
            _ => {}
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for List<'a> {
            type Value = First<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First<'a>, A::Error> {
                let mut choices = First::default();
                while choices.first.is_none() {
                    match seq.next_element::<Choice<'a>>()? {
                        Some(choice) => choices.push(choice),
                        None => return Ok(choices),
                    }
                }
                while let Some(other) = seq.next_element::<Lenient<Choice<'a>>>()? {
                    other.0.into_iter().for_each(|choice| choices.push(choice));
                }
                Ok(choices)
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// A chunk whose types are not those of the protocol, with the types it should have had. What is empty is left out
/// whatever it is; where a full value of a wrong type may have been text, there is no knowing, and so `None`.
pub(super) fn tidied(data: &str) -> Option<String> {
    let Ok(Value::Object(mut chunk)) = json::value(data) else { return None };
    let choices = chunk.get_mut("choices")?;
    match choices {
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().try_for_each(tidy_choice)?;
        }
        other if is_void(other) => *other = Value::Array(Vec::new()),
        _ => return None,
    }
    keep_if(&mut chunk, "model", Value::is_string);
    serde_json::to_string(&chunk).ok()
}

fn tidy_choice(choice: &mut Value) -> Option<()> {
    let choice = choice.as_object_mut()?;
    if let Some(reason) = choice.get_mut("finish_reason") {
        let said = [reason.get("type"), reason.get(0)].into_iter().flatten().find(|said| said.is_string());
        *reason = said.cloned().unwrap_or(if reason.is_string() { reason.take() } else { Value::Null });
    }
    for name in ["delta", "message"] {
        match choice.get_mut(name) {
            Some(Value::Object(message)) => tidy_message(message)?,
            Some(other) if is_void(other) => *other = Value::Null,
            Some(_) => return None,
            None => {}
        }
    }
    keep_if(choice, "text", |text| !is_void(text));
    Some(())
}

fn tidy_message(message: &mut Map<String, Value>) -> Option<()> {
    for name in ["content", "refusal"] {
        match message.get_mut(name) {
            None | Some(Value::String(_)) => {}
            Some(Value::Array(parts)) if name == "content" => {
                parts.retain(|part| !is_void(part));
                parts.iter_mut().try_for_each(tidy_part)?;
            }
            Some(part @ Value::Object(_)) if name == "content" && !is_void(part) => {
                *part = Value::Array(vec![part.take()]);
            }
            Some(other) if is_void(other) => *other = Value::Null,
            Some(_) => return None,
        }
    }
    for name in ["reasoning", "reasoning_content"] {
        if let Some(thinking) = message.get_mut(name) {
            *thinking = Value::String(text_of(thinking));
        }
    }
    Some(())
}

fn tidy_part(part: &mut Value) -> Option<()> {
    match part {
        Value::String(_) => *part = serde_json::json!({"text": part.take()}),
        Value::Object(_) => {}
        _ => return None,
    }
    Some(())
}

fn keep_if(object: &mut Map<String, Value>, name: &str, is_kept: impl Fn(&Value) -> bool) {
    if object.get(name).is_some_and(|value| !is_kept(value)) {
        object.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> (String, String) {
        let message: Message<'_> = serde_json::from_str(json).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&message.content()), text(&message.reasoning()))
    }

    #[test]
    fn content_in_all_its_forms() {
        let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(message(r#"{"content":"a\"b"}"#), own("a\"b", ""));
        assert_eq!(message(r#"{"content":null,"refusal":"no"}"#), own("no", ""));
        assert_eq!(message(r#"{"content":"","reasoning":"r"}"#), own("", "r"));
        assert_eq!(message(r#"{"reasoning_content":"r","reasoning":"r"}"#), own("", "r"));
        assert_eq!(message(r#"{"content":"first","content":"last"}"#), own("last", ""));
        assert_eq!(message(r#"{"content":"\ud83d"}"#), own("\u{fffd}\u{fffd}\u{fffd}", ""));
        let parts = r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]},{"type":"text","text":"x"}]}"#;
        assert_eq!(message(parts), own("x", "t"));
        assert!(serde_json::from_str::<Message<'_>>(r#"{"content":5}"#).is_err());
    }

    #[test]
    fn usage_of_several_providers() {
        let usage = |json: &str| serde_json::from_str::<WireUsage<'_>>(json).unwrap().usage();
        let openai = usage(
            r#"{"prompt_tokens":10,"completion_tokens":5.0,"total_tokens":15,
                "prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":2},"cost":0.25}"#,
        );
        let expected = Usage {
            input_tokens: Some(10),
            output_tokens: Some(5),
            cached_input_tokens: Some(4),
            reasoning_tokens: Some(2),
            cost_usd: Some(0.25),
        };
        assert_eq!(openai, Some(expected));
        let deepseek = usage(r#"{"prompt_cache_hit_tokens":7,"prompt_tokens_details":null}"#);
        assert_eq!(deepseek.and_then(|usage| usage.cached_input_tokens), Some(7));
        assert_eq!(usage("{}"), None);
    }

    #[test]
    fn wrong_usage_is_absent() {
        let wrong =
            ["-1", "1e300", "1e999", "18446744073709551616", r#""12""#, "true", "[1]", r#"{"usd":1}"#];
        for value in wrong {
            let json = format!(
                r#"{{"usage":{{"prompt_tokens":{value},"completion_tokens":3,"cost":{value},
                    "prompt_tokens_details":{value},"completion_tokens_details":{{"reasoning_tokens":{value}}}}}}}"#
            );
            let chunk: Chunk<'_> = serde_json::from_str(&json).unwrap();
            let usage = chunk.usage.unwrap().0.unwrap().usage();
            assert_eq!(usage, Some(Usage { output_tokens: Some(3), ..Usage::default() }), "{value}");
            let json = format!(r#"{{"usage":{value}}}"#);
            let chunk: Chunk<'_> = serde_json::from_str(&json).unwrap();
            assert_eq!(chunk.usage.and_then(|usage| usage.0?.usage()), None, "{value}");
        }
    }

    #[test]
    fn only_the_first_choice_counts() {
        let chunk: Chunk<'_> =
            serde_json::from_str(r#"{"choices":[{"delta":{"content":"a"}},{"delta":5}],"x":[1]}"#).unwrap();
        let content = chunk.choice().unwrap().delta.as_ref().unwrap().content().into_owned();
        assert_eq!(content, b"a");
        let second: Chunk<'_> =
            serde_json::from_str(r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#).unwrap();
        assert!(second.choice().is_none());
    }
}
