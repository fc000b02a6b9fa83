//! Any bytes, split anywhere, give the same events.
#![no_main]

use facilitair_core::stream::sse::SseParser;
use libfuzzer_sys::fuzz_target;

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<(String, String, String)>> {
    let mut parser = SseParser::with_limit(1 << 12);
    let mut found = Vec::new();
    for piece in pieces {
        let fed = parser.feed(piece, |event| {
            found.push((event.kind.to_owned(), event.data.into_owned(), event.id.to_owned()));
            true
        });
        fed.ok()?;
    }
    Some(found)
}

fuzz_target!(|input: (usize, &[u8])| {
    let (size, bytes) = input;
    let whole = events(std::iter::once(bytes));
    let split = events(bytes.chunks(size % 17 + 1));
    // Which of two mistakes is found first may depend on the split; that there is one may not.
    if let (Some(whole), Some(split)) = (&whole, &split) {
        assert_eq!(whole, split);
    }
    assert_eq!(whole.is_some(), split.is_some());
});
