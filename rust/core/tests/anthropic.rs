//! A stream as the Messages API documents it: the same deltas however its bytes are cut, and its ends.
#![allow(clippy::unwrap_used)]

use facilitair_core::stream::{ChatDecoder, Delta, Deltas, ErrorCode, Timeouts, Usage, Wire};
use proptest::prelude::*;

const STREAM: &[u8] = include_bytes!("data/anthropic.sse");
const HEADERS: [(&str, &str); 1] = [("content-type", "text/event-stream; charset=utf-8")];

fn opened() -> ChatDecoder {
    let mut decoder = ChatDecoder::new(Wire::Anthropic, Timeouts::default(), 0.0);
    decoder.head(200, HEADERS, 0.0, &mut Deltas::default());
    decoder
}

fn deltas<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Delta> {
    let (mut decoder, mut found) = (opened(), Deltas::default());
    pieces.into_iter().for_each(|piece| decoder.feed(piece, 0.0, &mut found));
    decoder.eof(true, 0.0, &mut found);
    assert!(decoder.done());
    found.into_vec()
}

fn failure(stream: &[u8]) -> (ErrorCode, String, Option<Usage>) {
    match deltas([stream]).pop() {
        Some(Delta::Failed { error, usage }) => (error.code, error.message, usage),
        last => panic!("{last:?}"),
    }
}

fn up_to(text: &str) -> &'static [u8] {
    let whole = std::str::from_utf8(STREAM).unwrap();
    &STREAM[..whole.find(text).unwrap()]
}

#[test]
fn what_it_says() {
    let usage = Usage {
        input_tokens: Some(2073),
        output_tokens: Some(15),
        cached_input_tokens: Some(2048),
        reasoning_tokens: Some(6),
        cost_usd: None,
    };
    let expected = [
        Delta::Reasoning { text: "The user greets: é\u{2028}🦀.".to_owned(), chunks: 1 },
        Delta::Content { text: "Hello \"wörld\" 👩‍💻\n".to_owned(), chunks: 2 },
        Delta::Finished {
            reason: "stop".to_owned(),
            usage: Some(usage),
            model: Some("claude-sonnet-5-5".to_owned()),
        },
    ];
    assert_eq!(deltas([STREAM]), expected);
}

#[test]
fn every_split_point_gives_the_same() {
    let whole = deltas([STREAM]);
    for at in 0..=STREAM.len() {
        assert_eq!(deltas([&STREAM[..at], &STREAM[at..]]), whole, "split at {at}");
    }
    assert_eq!(deltas(STREAM.chunks(1)), whole);
}

proptest! {
    #[test]
    fn any_split_of_any_part_gives_the_same(
        end in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let part = &STREAM[..end.index(STREAM.len() + 1)];
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(part.len() + 1)).collect();
        at.extend([0, part.len()]);
        at.sort_unstable();
        prop_assert_eq!(deltas(at.windows(2).map(|w| &part[w[0]..w[1]])), deltas([part]));
    }
}

#[test]
fn without_a_reason_and_its_stop_it_is_truncated() {
    assert!(matches!(deltas([up_to("event: message_stop")]).last(), Some(Delta::Finished { .. })));
    // The output so far is unknown then, not the one token of the start.
    let (code, message, usage) = failure(up_to("event: content_block_stop"));
    let said = "the response was cut before a stop reason or message_stop";
    assert_eq!((code, &*message), (ErrorCode::Truncated, said));
    assert_eq!(usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((Some(2073), None)));
    let mut last = up_to("event: message_stop").to_vec();
    last.extend(b"event: message_stop\ndata: {\"type\":\"message_stop\"}");
    assert!(matches!(deltas([&*last]).last(), Some(Delta::Finished { .. })));
}

#[test]
fn an_error_in_mid_stream_ends_it() {
    for event in ["event: error\n", ""] {
        let mut stream = up_to("event: message_delta").to_vec();
        stream.extend_from_slice(event.as_bytes());
        stream.extend(
            b"data: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow\"}}\n\n",
        );
        let (code, message, usage) = failure(&stream);
        assert_eq!((code, &*message), (ErrorCode::RateLimited, "slow"));
        assert!(usage.is_some());
    }
}

#[test]
fn an_event_of_the_wrong_shape_is_malformed() {
    let mut stream = up_to("event: message_delta").to_vec();
    stream.extend(b"data: {\"type\":\"content_block_delta\",\"delta\":[\"a\"]}\n\n");
    assert_eq!(failure(&stream).0, ErrorCode::Malformed);
}

#[test]
fn pings_do_not_keep_a_stalled_stream_alive() {
    let (mut decoder, mut found) = (opened(), Deltas::default());
    decoder.feed(up_to("event: ping"), 1.0, &mut found);
    assert_eq!(decoder.deadline(), Some(60.0));
    decoder.feed(b"event: ping\ndata: {\"type\": \"ping\"}\n\n", 50.0, &mut found);
    assert_eq!(decoder.deadline(), Some(60.0));
    decoder.feed(up_to("event: message_delta"), 55.0, &mut found);
    decoder.feed(b"event: ping\ndata: {\"type\": \"ping\"}\n\n", 80.0, &mut found);
    decoder.expire(85.0, &mut found);
    let last = found.into_vec().pop();
    assert!(matches!(last, Some(Delta::Failed { error, .. }) if error.code == ErrorCode::StallTimeout));
}

#[test]
fn a_message_that_was_not_streamed() {
    let body = br#"{"id":"msg_01","type":"message","model":"m","content":[{"type":"text","text":"hi"}],
        "stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":1}}"#;
    let found = deltas([&body[..]]);
    assert!(matches!(&found[0], Delta::Content { text, .. } if text == "hi"));
    assert!(matches!(&found[1], Delta::Finished { reason, .. } if reason == "length"));
    assert_eq!(failure(&body[..60]).0, ErrorCode::Truncated);
    assert_eq!(failure(b"{\"choices\":[]}").0, ErrorCode::Malformed);
    let overloaded = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    assert_eq!(failure(overloaded).1, "Overloaded");
}
