//! What one chat-completion event says: <https://platform.openai.com/docs/api-reference/chat/streaming>.
//!
//! Only the choice numbered 0 is read. Content may be a string or a list of parts; what stands in a part's
//! `thinking` is reasoning. What usage says wrongly is "never said"; everything else that has the wrong type makes
//! the event malformed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use serde_json::value::RawValue;

use super::delta::Usage;
use super::json::{Bytes, Count, Lenient, Str, object};

/// US dollars that one response may cost.
const COSTS: RangeInclusive<f64> = 0.0..=1e9;

object! {
    /// One chunk of a stream, or a whole completion.
    Chunk {
        "choices" => choices: First<'a>,
        "usage" => usage: Lenient<WireUsage<'a>>,
        "model" => model: Str<'a>,
        "error" => error: serde_json::Value,
        "object" => object: Raw<'a>,
        "type" => kind: Raw<'a>,
        "success" => success: Raw<'a>,
        "base_resp" => base_resp: Raw<'a>,
    }
}

type Raw<'a> = &'a RawValue;

object! {
    Choice {
        "index" => index: Count,
        "delta" => delta: Message<'a>,
        "message" => message: Message<'a>,
        "finish_reason" => finish_reason: Str<'a>,
        "error" => error: serde_json::Value,
    }
}

object! {
    Message {
        "content" => content: Parts<'a>,
        "refusal" => refusal: Bytes<'a>,
        "reasoning_content" => reasoning_content: Bytes<'a>,
        "reasoning" => reasoning: Bytes<'a>,
    }
}

object! {
    Part {
        "text" => text: Bytes<'a>,
        "thinking" => thinking: Parts<'a>,
    }
}

object! {
    WireUsage {
        "prompt_tokens" => prompt: Count,
        "completion_tokens" => completion: Count,
        "prompt_cache_hit_tokens" => cache_hit: Count,
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
        self.choices.as_ref()?.0.as_ref()
    }

    /// Whether there is nothing in it that a completion would say.
    pub(super) fn says_nothing(&self) -> bool {
        self.choice().is_none() && self.usage.is_none()
    }

    /// Whether it may hold an error: fields say so, or a completion says nothing.
    pub(super) fn is_suspect(&self) -> bool {
        let is_error = |raw: &Option<Raw<'_>>| {
            let name = raw.map_or("", |raw| raw.get()).as_bytes();
            name.last_chunk::<6>().is_some_and(|end| end.eq_ignore_ascii_case(b"error\""))
        };
        self.says_nothing()
            || self.error.is_some()
            || is_error(&self.object)
            || is_error(&self.kind)
            || self.base_resp.is_some()
            || self.success.is_some_and(|success| success.get() == "false")
    }
}

impl Choice<'_> {
    fn is_first(&self) -> bool {
        self.index.as_ref().and_then(Count::value).is_none_or(|index| index == 0)
    }
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

    /// Text of the model's thinking; the two names for it are never used for different texts.
    pub(super) fn reasoning(&self) -> &[u8] {
        [self.reasoning_content.as_ref(), self.reasoning.as_ref()]
            .into_iter()
            .flatten()
            .map(|text| &*text.0)
            .chain(self.content.as_ref().map(|parts| &*parts.thinking))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }
}

impl WireUsage<'_> {
    /// The usage, or `None` where the object said nothing.
    pub(super) fn usage(&self) -> Option<Usage> {
        let count = |count: &Option<Count>| count.as_ref().and_then(Count::value);
        let usage = Usage {
            input_tokens: count(&self.prompt),
            output_tokens: count(&self.completion),
            cached_input_tokens: self
                .prompt_details
                .as_ref()
                .and_then(|details| count(&details.0.as_ref()?.cached))
                .or(count(&self.cache_hit)),
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
                    if let Some(text) = part.text {
                        parts.text.to_mut().extend_from_slice(&text.0);
                    }
                    if let Some(thinking) = part.thinking {
                        parts.thinking.extend_from_slice(&thinking.text);
                    }
                }
                Ok(parts)
            }
        }

        deserializer.deserialize_bytes(Either(PhantomData))
    }
}

/// The choice numbered 0, or the first that has no number; the rest is skipped.
#[derive(Debug)]
pub(super) struct First<'a>(pub(super) Option<Choice<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for List<'a> {
            type Value = First<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First<'a>, A::Error> {
                let mut first = None;
                while let Some(choice) = seq.next_element::<Choice<'a>>()? {
                    if choice.is_first() {
                        first = Some(choice);
                        break;
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> (String, String) {
        let message: Message<'_> = serde_json::from_str(json).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&message.content()), text(message.reasoning()))
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
        let content = chunk.choices.unwrap().0.unwrap().delta.unwrap().content().into_owned();
        assert_eq!(content, b"a");
        let second: Chunk<'_> =
            serde_json::from_str(r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#).unwrap();
        assert!(second.choices.unwrap().0.is_none());
    }
}
