//! What one chat-completion event says, and the deltas made of it.
//!
//! Only the choice numbered 0 is read. Unknown and doubled fields are ignored (the last one counts), `null`
//! is "absent", a lone surrogate becomes U+FFFD. Content may be a string or a list of parts; what stands in a
//! part's `thinking` is reasoning. What usage says wrongly is "never said"; everything else that has the wrong
//! type makes the event malformed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::StreamError;

/// What the provider reported; `None` is "never said", not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: Option<u64>,
    /// Tokens written, reasoning included.
    pub output_tokens: Option<u64>,
    /// Tokens of the prompt that came from the provider's cache.
    pub cached_input_tokens: Option<u64>,
    /// Tokens of reasoning.
    pub reasoning_tokens: Option<u64>,
    /// What the provider says it cost.
    pub cost_usd: Option<f64>,
}

/// One step of a stream. Exactly one of the last three ends it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Delta {
    /// Visible text.
    Content {
        /// The text.
        text: String,
        /// Provider chunks merged into it.
        chunks: u64,
    },
    /// Text the model thinks aloud.
    Reasoning {
        /// The text.
        text: String,
        /// Provider chunks merged into it.
        chunks: u64,
    },
    /// The response ended as the protocol says.
    Finished {
        /// The provider's `finish_reason`.
        reason: String,
        /// Usage, if reported.
        usage: Option<Usage>,
        /// The model that answered, if named.
        model: Option<String>,
    },
    /// The response ended in an error.
    Failed {
        /// Why.
        error: StreamError,
        /// Usage, if reported before.
        usage: Option<Usage>,
    },
    /// The stop the owner asked for is done.
    Closed {
        /// Usage, if reported before.
        usage: Option<Usage>,
    },
}

/// What a delta costs besides its text, so that many small ones count as much as a long one.
pub const DELTA_BYTES: usize = 64;

/// Deltas in order, in which neighbours of one kind become one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deltas {
    items: Vec<Delta>,
    bytes: usize,
    chunks: u64,
}

impl Deltas {
    /// Appends one provider chunk of visible text.
    pub fn content(&mut self, text: &str) {
        self.merge_content(Cow::Borrowed(text), 1);
    }

    /// Appends one provider chunk of reasoning.
    pub fn reasoning(&mut self, text: &str) {
        self.merge_reasoning(Cow::Borrowed(text), 1);
    }

    /// Appends a delta, merged with the last one where that is possible.
    pub fn push(&mut self, delta: Delta) {
        match delta {
            Delta::Content { text, chunks } => self.merge_content(Cow::Owned(text), chunks),
            Delta::Reasoning { text, chunks } => self.merge_reasoning(Cow::Owned(text), chunks),
            end => self.add(end),
        }
    }

    /// Appends everything in `other` and leaves it empty.
    pub fn append(&mut self, other: &mut Self) {
        if self.items.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        (other.bytes, other.chunks) = (0, 0);
        for delta in other.items.drain(..) {
            self.push(delta);
        }
    }

    /// Bytes held: the text, and [`DELTA_BYTES`] for each delta.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Provider chunks of text held.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The deltas, oldest first.
    #[must_use]
    pub fn into_vec(self) -> Vec<Delta> {
        self.items
    }

    fn merge_content(&mut self, text: Cow<'_, str>, chunks: u64) {
        self.bytes += text.len();
        self.chunks += chunks;
        if let Some(Delta::Content { text: last, chunks: count }) = self.items.last_mut() {
            last.push_str(&text);
            *count += chunks;
        } else {
            self.add(Delta::Content { text: text.into_owned(), chunks });
        }
    }

    fn merge_reasoning(&mut self, text: Cow<'_, str>, chunks: u64) {
        self.bytes += text.len();
        self.chunks += chunks;
        if let Some(Delta::Reasoning { text: last, chunks: count }) = self.items.last_mut() {
            last.push_str(&text);
            *count += chunks;
        } else {
            self.add(Delta::Reasoning { text: text.into_owned(), chunks });
        }
    }

    fn add(&mut self, delta: Delta) {
        self.bytes += DELTA_BYTES;
        // Mostly there is one, and room for four would be most of what a waiting stream takes.
        if self.items.is_empty() {
            self.items.reserve_exact(1);
        }
        self.items.push(delta);
    }
}

/// The visitor of a JSON object whose unknown fields are skipped and whose doubled fields overwrite.
///
/// serde's derive refuses doubled fields, and providers behind proxies do send them. Whoever uses it imports what
/// it names.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($key:literal => $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name<'a> {
            $(pub(super) $field: Option<$type>,)*
            lifetime: PhantomData<&'a ()>,
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(field_identifier)]
                #[allow(non_camel_case_types)]
                enum Key {
                    $(#[serde(rename = $key)] $field,)*
                    #[serde(other)]
                    Other,
                }

                struct Object<'a>(PhantomData<&'a ()>);

                impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
                    type Value = $name<'a>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut value = $name::default();
                        while let Some(key) = map.next_key()? {
                            match key {
                                $(Key::$field => value.$field = map.next_value()?,)*
                                Key::Other => {
                                    map.next_value::<IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(value)
                    }
                }

                deserializer.deserialize_map(Object(PhantomData))
            }
        }
    };
}

pub(super) use object;

object! {
    /// One chunk of a stream, or a whole completion.
    Chunk {
        "choices" => choices: First<'a>,
        "usage" => usage: Lenient<WireUsage<'a>>,
        "model" => model: Str<'a>,
        "error" => error: serde_json::Value,
    }
}

object! {
    Choice {
        "index" => index: Count,
        "delta" => delta: Message<'a>,
        "message" => message: Message<'a>,
        "finish_reason" => finish_reason: Str<'a>,
    }
}

object! {
    Message {
        "content" => content: Parts<'a>,
        "refusal" => refusal: Str<'a>,
        "reasoning_content" => reasoning_content: Str<'a>,
        "reasoning" => reasoning: Str<'a>,
    }
}

object! {
    Part {
        "text" => text: Str<'a>,
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

impl Choice<'_> {
    fn is_first(&self) -> bool {
        self.index.as_ref().and_then(Count::value).is_none_or(|index| index == 0)
    }
}

impl Message<'_> {
    /// Text for the reader. A refusal is what the model says instead of content.
    pub(super) fn content(&self) -> Cow<'_, str> {
        let content = self.content.as_ref().map_or("", |parts| &*parts.text);
        match self.refusal.as_ref().map_or("", |refusal| &*refusal.0) {
            "" => Cow::Borrowed(content),
            refusal => Cow::Owned(format!("{content}{refusal}")),
        }
    }

    /// Text of the model's thinking; the two names for it are never used for different texts.
    pub(super) fn reasoning(&self) -> &str {
        [self.reasoning_content.as_ref(), self.reasoning.as_ref()]
            .into_iter()
            .flatten()
            .map(|text| &*text.0)
            .chain(self.content.as_ref().map(|parts| parts.thinking.as_str()))
            .find(|text| !text.is_empty())
            .unwrap_or("")
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

/// A string, borrowed from the event where it holds no escape.
#[derive(Debug)]
pub(super) struct Str<'a>(pub(super) Cow<'a, str>);

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Text<'a> {
            type Value = Str<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Str<'a>, E> {
                Ok(Str(lossy(bytes)))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Str<'a>, E> {
                Ok(Str(Cow::Owned(lossy(bytes).into_owned())))
            }
        }

        // As bytes: serde_json refuses a lone surrogate in a str, and providers split emoji into them.
        deserializer.deserialize_bytes(Text(PhantomData))
    }
}

/// `content`: a string, or a list of typed parts.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    text: Cow<'a, str>,
    thinking: String,
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
                Ok(Parts { text: lossy(bytes), thinking: String::new() })
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Parts<'a>, E> {
                Ok(Parts { text: Cow::Owned(lossy(bytes).into_owned()), thinking: String::new() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'a>, A::Error> {
                let mut parts = Parts::default();
                while let Some(part) = seq.next_element::<Part<'a>>()? {
                    if let Some(text) = part.text {
                        parts.text.to_mut().push_str(&text.0);
                    }
                    if let Some(thinking) = part.thinking {
                        parts.thinking.push_str(&thinking.text);
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

/// A value that counts as absent when it is something else.
#[derive(Debug)]
pub(super) struct Lenient<T>(pub(super) Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

/// A token count; some proxies write 12.0.
pub(super) type Count = Lenient<f64>;

impl Count {
    pub(super) fn value(&self) -> Option<u64> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.0.filter(|count| COUNTS.contains(count)).map(|count| count as u64)
    }
}

/// Token counts that f64 holds exactly.
const COUNTS: RangeInclusive<f64> = 0.0..=9e15;
/// US dollars that one response may cost.
const COSTS: RangeInclusive<f64> = 0.0..=1e9;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> (String, String) {
        let message: Message<'_> = serde_json::from_str(json).unwrap();
        (message.content().into_owned(), message.reasoning().to_owned())
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
        assert_eq!(content, "a");
        let second: Chunk<'_> =
            serde_json::from_str(r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#).unwrap();
        assert!(second.choices.unwrap().0.is_none());
    }

    #[test]
    fn neighbours_merge() {
        let mut deltas = Deltas::default();
        deltas.content("a");
        let mut more = Deltas::default();
        more.content("b");
        more.reasoning("r");
        deltas.append(&mut more);
        assert_eq!((deltas.bytes(), more.bytes(), more.is_empty()), (3 + 2 * DELTA_BYTES, 0, true));
        let merged = Delta::Content { text: "ab".into(), chunks: 2 };
        assert_eq!(deltas.into_vec(), [merged, Delta::Reasoning { text: "r".into(), chunks: 1 }]);
    }
}
