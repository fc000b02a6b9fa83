//! Any response, split anywhere, gives the same deltas, ends exactly once and never shows a secret.
#![no_main]

use facilitair_core::stream::{ChatDecoder, Delta, Deltas, Timeouts, Wire};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "sk-never-to-be-shown-0123";

fn deltas<'a>(wire: Wire, status: u16, json: bool, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Delta> {
    let mut decoder = ChatDecoder::new(wire, Timeouts::default(), 0.0);
    decoder.add_secret(SECRET);
    let kind = if json { "application/json" } else { "text/event-stream" };
    let mut found = Deltas::default();
    decoder.head(status, [("content-type", kind)].into_iter(), 0.0, &mut found);
    for piece in pieces {
        decoder.feed(piece, 0.0, &mut found);
    }
    decoder.eof(true, 0.0, &mut found);
    assert!(decoder.done());
    found.into_vec()
}

fuzz_target!(|input: (usize, bool, bool, bool, &[u8])| {
    let (size, refused, json, anthropic, bytes) = input;
    let wire = if anthropic { Wire::Anthropic } else { Wire::OpenAi };
    let status = if refused { 429 } else { 200 };
    let whole = deltas(wire, status, json, std::iter::once(bytes));
    let split = deltas(wire, status, json, bytes.chunks(size % 13 + 1));
    assert_eq!(whole, split);
    let ends = |delta: &&Delta| {
        matches!(delta, Delta::Finished { .. } | Delta::Failed { .. } | Delta::Closed { .. })
    };
    assert_eq!(whole.iter().filter(ends).count(), 1);
    assert!(whole.last().is_some_and(|last| ends(&last)));
    for delta in &whole {
        if let Delta::Failed { error, .. } = delta {
            assert!(!error.message.contains(SECRET));
        }
    }
});
