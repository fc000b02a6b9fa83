//! Text from the bytes of a JSON string, in which serde_json leaves lone surrogates (as WTF-8).
//!
//! Providers cut their text between UTF-16 units, so one half of an emoji ends one event and the other begins the next.

use std::borrow::Cow;

const REPLACEMENT: char = '\u{fffd}';

/// Joins the strings of one text: a first half at the end of one waits for its second in the next.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    half: Option<u16>,
}

impl Joiner {
    /// The text of the next string, without a half that may still be completed. What cannot be is U+FFFD.
    pub(super) fn join<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, str> {
        match std::str::from_utf8(bytes) {
            Ok(text) if self.half.is_none() || text.is_empty() => Cow::Borrowed(text),
            _ => Cow::Owned(self.mended(bytes)),
        }
    }

    /// What stands for a half that was never completed.
    pub(super) fn finish(&mut self) -> &'static str {
        self.half.take().map_or("", |_| "\u{fffd}")
    }

    fn mended(&mut self, mut bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len() + 4);
        while !bytes.is_empty() {
            let valid = match std::str::from_utf8(bytes) {
                Ok(all) => all,
                Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
            };
            if !valid.is_empty() {
                text.push_str(self.finish());
                text.push_str(valid);
            }
            bytes = self.invalid(&bytes[valid.len()..], &mut text);
        }
        text
    }

    /// Takes one unit that is no character of its own off the front.
    fn invalid<'b>(&mut self, bytes: &'b [u8], text: &mut String) -> &'b [u8] {
        let (taken, unit) = match bytes {
            [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] => {
                (3, Some(0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f)))
            }
            [_, ..] => (1, None),
            [] => return bytes,
        };
        match (unit, self.half) {
            (Some(low @ 0xdc00..=0xdfff), Some(high)) => {
                self.half = None;
                text.extend(char::decode_utf16([high, low]).map(|c| c.unwrap_or(REPLACEMENT)));
            }
            (Some(high @ 0xd800..=0xdbff), _) => {
                text.push_str(self.finish());
                self.half = Some(high);
            }
            _ => {
                text.push_str(self.finish());
                text.push(REPLACEMENT);
            }
        }
        &bytes[taken..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As serde_json leaves them.
    fn wtf8(units: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for unit in char::decode_utf16(units.iter().copied()) {
            match unit {
                Ok(c) => bytes.extend(c.to_string().into_bytes()),
                Err(lone) => {
                    let unit = lone.unpaired_surrogate();
                    let low = |shift: u16| 0x80 | u8::try_from(unit >> shift & 0x3f).unwrap();
                    bytes.extend([0xed, low(6), low(0)]);
                }
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_split_between_units_gives_the_same(
            text in "\\PC{0,12}", lone in any::<bool>(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)
        ) {
            let mut units: Vec<u16> = text.encode_utf16().collect();
            if lone {
                units.insert(units.len() / 2, 0xd83d);
            }
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(units.len() + 1)).collect();
            at.extend([0, units.len()]);
            at.sort_unstable();
            let mut joiner = Joiner::default();
            let mut joined: String =
                at.windows(2).map(|w| joiner.join(&wtf8(&units[w[0]..w[1]])).into_owned()).collect();
            joined.push_str(joiner.finish());
            prop_assert_eq!(joined, String::from_utf16_lossy(&units));
        }
    }

    #[test]
    fn bytes_that_are_nothing_become_one_mark_each() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.join(b"a\xffb\xed\xa0"), "a\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(joiner.join(&wtf8(&[0xde00])), "\u{fffd}");
        assert_eq!(joiner.join(&wtf8(&[0xd83d])), "");
        assert_eq!(joiner.join(b""), "");
        assert_eq!(joiner.join(&wtf8(&[0xde00])), "\u{1f600}");
    }
}
