//! JSON as providers write it: what the readers of all protocols forgive.
//!
//! Unknown and doubled fields are ignored (the last one counts), `null` is "absent". Text that may be cut anywhere is
//! [`Bytes`], which [`super::surrogate`] joins; in a [`Str`] a lone surrogate is U+FFFD. What the letter of JSON
//! forbids and Python, JavaScript and hands write all the same is [`mended`] where reading fails.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::sse::text;

const EMPTY: [&str; 6] = ["null", "false", "0", "\"\"", "[]", "{}"];
/// Token counts that f64 holds exactly.
const COUNTS: RangeInclusive<f64> = 0.0..=9e15;

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

/// A string, borrowed from the event where it holds no escape.
#[derive(Debug)]
pub(super) struct Str<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Bytes::deserialize(deserializer)?.0 {
            Cow::Borrowed(bytes) => text(bytes),
            Cow::Owned(bytes) => Cow::Owned(text(&bytes).into_owned()),
        }))
    }
}

/// A string as serde_json leaves it, which may hold lone surrogates.
#[derive(Debug, Default)]
pub(super) struct Bytes<'a>(pub(super) Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Text<'a> {
            type Value = Bytes<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Bytes<'a>, E> {
                Ok(Bytes(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes<'a>, E> {
                Ok(Bytes(Cow::Owned(bytes.to_vec())))
            }
        }

        // As bytes: serde_json refuses a lone surrogate in a str, and providers split emoji into them.
        deserializer.deserialize_bytes(Text(PhantomData))
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

/// The count of a field that may be absent.
pub(super) fn count(field: &Option<Count>) -> Option<u64> {
    field.as_ref().and_then(Count::value)
}

impl Count {
    fn value(&self) -> Option<u64> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.0.filter(|count| COUNTS.contains(count)).map(|count| count as u64)
    }
}

/// Whether a field holds anything at all; what is empty, whatever its type, is as good as absent.
pub(super) fn is_empty(raw: &RawValue) -> bool {
    EMPTY.contains(&raw.get())
}

/// The same of a value.
pub(super) fn is_void(value: &Value) -> bool {
    EMPTY.contains(&value.to_string().as_str())
}

/// A value of any shape; where the letter of JSON forbids it, what was meant, with U+FFFD for half a character.
///
/// # Errors
/// That of the text as it is, where nothing helps.
pub(super) fn value(data: &str) -> serde_json::Result<Value> {
    serde_json::from_str(data).or_else(|error| {
        let mended = rewritten(data, false).ok_or(error)?;
        serde_json::from_str(&mended)
    })
}

/// `data` without what the letter of JSON forbids: NaN and infinities, trailing commas, unknown escapes and naked
/// control characters. `None` where there is nothing of it.
pub(super) fn mended(data: &str) -> Option<String> {
    rewritten(data, true)
}

fn rewritten(data: &str, keep_halves: bool) -> Option<String> {
    let mut out = String::with_capacity(data.len() + 16);
    let (mut rest, mut changed) = (data, false);
    while let Some(first) = rest.chars().next() {
        let (taken, written) = match first {
            '"' => {
                let (taken, text) = string(rest, keep_halves);
                changed |= text != rest[..taken];
                out.push_str(&text);
                rest = &rest[taken..];
                continue;
            }
            ',' if rest[1..].trim_ascii_start().starts_with(['}', ']']) => (1, ""),
            'N' if rest.starts_with("NaN") => (3, "null"),
            'I' if rest.starts_with("Infinity") => (8, "null"),
            '-' if rest.starts_with("-Infinity") => (9, "null"),
            _ => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        changed = true;
        out.push_str(written);
        rest = &rest[taken..];
    }
    changed.then_some(out)
}

/// The string literal that `text` begins with: its length, and how it should have been written.
fn string(text: &str, keep_halves: bool) -> (usize, String) {
    let mut out = String::from("\"");
    let mut at = 1;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        let size = match next {
            '"' => {
                out.push('"');
                return (at + 1, out);
            }
            '\\' => escape(rest, keep_halves, &mut out),
            '\0'..='\x1f' => {
                out.push_str(&format!("\\u{:04x}", u32::from(next)));
                1
            }
            _ => {
                out.push(next);
                next.len_utf8()
            }
        };
        at += size;
    }
    (text.len(), out)
}

/// Writes the escape that `rest` begins with, and returns how long it was.
fn escape(rest: &str, keep_halves: bool, out: &mut String) -> usize {
    let unit = |from: usize| {
        let digits = rest.get(from..from + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (size, is_half) = match (unit(0), unit(6)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, false),
        (Some(0xd800..=0xdfff), _) => (6, true),
        (Some(_), _) => (6, false),
        (None, _) => (2, false),
    };
    match rest.as_bytes() {
        [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => out.push_str(&rest[..2]),
        [_, b'u', ..] if size > 2 && is_half && !keep_halves => out.push_str("\\ufffd"),
        [_, b'u', ..] if size > 2 => out.push_str(&rest[..size]),
        [_, b'\'', ..] => out.push('\''),
        _ => {
            out.push_str("\\\\"); // nobody knows what it was to be: it stays, and so does what follows
            return 1;
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_letter_forbids_is_mended() {
        for (written, meant) in [
            (r#"{"a":NaN,"b":[-Infinity,Infinity]}"#, r#"{"a":null,"b":[null,null]}"#),
            (r#"{"a":[1,2, ],}"#, r#"{"a":[1,2 ]}"#),
            (r#"{"a":"it\'s \x41"}"#, r#"{"a":"it's \\x41"}"#),
            ("{\"a\":\"x\ty\nz\"}", r#"{"a":"x\u0009y\u000az"}"#),
        ] {
            assert_eq!(mended(written).as_deref(), Some(meant));
            assert!(value(written).is_ok());
        }
        assert_eq!(mended(r#"{"NaN":"NaN, ]","b":"\ud83d\ude00\ud83d"}"#), None);
    }

    #[test]
    fn half_a_character_is_replaced_in_a_value() {
        assert_eq!(value(r#""a\ud83d""#).ok(), Some(Value::from("a\u{fffd}")));
        assert_eq!(value(r#""\ude00\ud83d\ude00""#).ok(), Some(Value::from("\u{fffd}\u{1f600}")));
        assert!(value(r#"{"a"#).is_err());
    }

    proptest! {
        #[test]
        fn good_json_stays_as_it_is(text in ".*", number in any::<f64>()) {
            let good = serde_json::json!({"text": text, "list": [number, null], "more": {}}).to_string();
            prop_assert_eq!(mended(&good), None);
        }

        #[test]
        fn nothing_breaks_it(text in r#"([{}\[\]",:\\u0-9a-fN-]|NaN|Infinity|[\x00-\x1f]|ä){0,40}"#) {
            if let Some(once) = mended(&text) {
                prop_assert_eq!(mended(&once), None);
            }
        }
    }
}
