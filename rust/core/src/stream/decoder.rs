//! One chat response without I/O: bytes and time in, deltas out.
//!
//! The finish is reported when `[DONE]`, the end of the bytes or a clock comes after the finish reason,
//! as usage follows it in a chunk of its own. `[DONE]` without a finish reason is a finish with reason
//! "stop", as the OpenAI client and proxies take it; the end of the bytes with neither is `truncated`.
//! An Anthropic message says itself where it ends (`message_stop`); without that it is `truncated`.
//! Exactly one of finished, failed and closed is the last delta; whatever comes after it is ignored.

use super::anthropic::{self, Counts, Said};
use super::clocks::{Clocks, Seconds, Timeouts};
use super::delta::{Delta, Deltas, Usage};
use super::error::{ErrorCode, StreamError};
use super::openai::{Chunk, Message};
use super::refusal;
use super::scrub::Scrubber;
use super::sse::{Event, SseParser};
use super::wire::Wire;

/// More of an error's body is not read.
const ERROR_BODY_LIMIT: usize = 64 << 10;
/// Largest completion that is not streamed.
const JSON_BODY_LIMIT: usize = 8 << 20;
/// Longest finish reason kept, in code points.
const REASON_LIMIT: usize = 100;
/// Longest name of a model kept, in code points.
const MODEL_LIMIT: usize = 200;

#[derive(Debug)]
enum Body {
    /// The head has not arrived.
    Awaited,
    /// Its first byte tells what it is; content types do not, as proxies set them at will.
    Opening,
    Events(SseParser),
    Json(Vec<u8>),
    Refused(StreamError, Vec<u8>),
    Ended,
}

/// The state of one response.
#[derive(Debug)]
pub struct ChatDecoder {
    body: Body,
    response: Response,
}

/// What the events have said so far.
#[derive(Debug)]
struct Response {
    wire: Wire,
    clocks: Clocks,
    scrubber: Scrubber,
    reason: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    /// The parts of the usage, where the protocol gives them one after the other.
    counts: Counts,
    done: bool,
}

impl ChatDecoder {
    /// A request that starts now.
    #[must_use]
    pub fn new(wire: Wire, timeouts: Timeouts, now: Seconds) -> Self {
        let response = Response {
            wire,
            clocks: Clocks::new(timeouts, now),
            scrubber: Scrubber::default(),
            reason: None,
            model: None,
            usage: None,
            counts: Counts::default(),
            done: false,
        };
        Self { body: Body::Awaited, response }
    }

    /// Registers a value that must never appear in an error message.
    pub fn add_secret(&mut self, value: &str) {
        self.response.scrubber.add_secret(value);
    }

    /// The connection stands; [`Self::head`] implies it.
    pub fn connected(&mut self, now: Seconds) {
        self.response.clocks.connected(now);
    }

    /// The head of the response.
    pub fn head<'h>(
        &mut self,
        status: u16,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        now: Seconds,
    ) {
        if !matches!(self.body, Body::Awaited) {
            return;
        }
        self.response.clocks.connected(now);
        let head = refusal::Head::read(headers);
        self.body = match status {
            200..=299 => Body::Opening,
            _ => {
                // The status says enough; its explanation must come at once and end.
                self.response.clocks.ending(now);
                Body::Refused(head.error(status), Vec::new())
            }
        };
    }

    /// Bytes of the body.
    pub fn feed(&mut self, mut data: &[u8], now: Seconds, out: &mut Deltas) {
        if matches!(self.body, Body::Opening) {
            data = data.trim_ascii_start();
            self.body = match data {
                [] => Body::Opening,
                [b'{', ..] => Body::Json(Vec::new()),
                [b'<', ..] => return self.fail(web_page(), out),
                _ => Body::Events(SseParser::default()),
            };
        }
        match &mut self.body {
            Body::Events(parser) => {
                let response = &mut self.response;
                let fed = parser.feed(data, |event| response.event(&event, now, out));
                if let Err(error) = fed {
                    response.broken(StreamError::new(ErrorCode::TooLarge, error.to_string()), out);
                }
            }
            Body::Json(body) if body.len() + data.len() > JSON_BODY_LIMIT => {
                let message = format!("the response exceeds {JSON_BODY_LIMIT} bytes");
                self.response.fail(StreamError::new(ErrorCode::TooLarge, message), out);
            }
            Body::Json(body) => body.extend_from_slice(data),
            Body::Refused(error, body) => {
                let room = ERROR_BODY_LIMIT.saturating_sub(body.len());
                body.extend_from_slice(&data[..data.len().min(room)]);
                if body.len() == ERROR_BODY_LIMIT {
                    self.response.refuse(error.clone(), body, true, out);
                }
            }
            Body::Awaited | Body::Opening | Body::Ended => {}
        }
        self.settle();
    }

    /// The end of the bytes, clean or not: a connection that broke is the same to the reader.
    pub fn eof(&mut self, now: Seconds, out: &mut Deltas) {
        match std::mem::replace(&mut self.body, Body::Ended) {
            Body::Awaited => self.response.fail(broke_before_head(), out),
            Body::Opening => self.response.fail(self.response.truncated(), out),
            Body::Events(mut parser) => {
                self.response.last_event(&mut parser, now, out);
                self.response.end_of_bytes(out);
            }
            Body::Json(body) => self.response.whole(&body, now, out),
            Body::Refused(error, body) => self.response.refuse(error, &body, false, out),
            Body::Ended => {}
        }
        self.settle();
    }

    /// The request could not be sent, or the connection broke before the head.
    pub fn connect_failed(&mut self, message: &str, out: &mut Deltas) {
        self.fail(StreamError::new(ErrorCode::ConnectFailed, message), out);
    }

    /// Ends the stream with an error of the transport.
    pub fn fail(&mut self, mut error: StreamError, out: &mut Deltas) {
        error.message = self.response.scrubber.clean(&error.message);
        self.response.fail(error, out);
        self.settle();
    }

    /// Ends the stream as its owner asked.
    pub fn close(&mut self, out: &mut Deltas) {
        if !self.response.done {
            self.response.done = true;
            out.push(Delta::Closed { usage: self.response.usage });
        }
        self.settle();
    }

    /// The reader stops reading of its own will: stalls do not count.
    pub fn pause(&mut self, now: Seconds) {
        self.response.clocks.pause(now);
    }

    /// The reader reads again.
    pub fn resume(&mut self, now: Seconds) {
        self.response.clocks.resume(now);
    }

    /// When to call [`Self::expire`]; `None` once done.
    #[must_use]
    pub fn deadline(&self) -> Option<Seconds> {
        (!self.response.done).then(|| self.response.clocks.deadline())
    }

    /// Looks at the clocks.
    pub fn expire(&mut self, now: Seconds, out: &mut Deltas) {
        if let Some(error) = self.response.clocks.expired(now) {
            match std::mem::replace(&mut self.body, Body::Ended) {
                // The status says more than the clock that ran out while its explanation was read.
                Body::Refused(refused, body) => self.response.refuse(refused, &body, true, out),
                Body::Events(_) if self.response.is_whole() => self.response.finish(out),
                Body::Events(_) if self.response.reason.is_some() => {
                    self.response.fail(self.response.truncated(), out)
                }
                _ => self.response.fail(error, out),
            }
            self.settle();
        }
    }

    /// Whether the connection is known to stand.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.response.clocks.is_connected()
    }

    /// Whether the last delta was given out.
    #[must_use]
    pub fn done(&self) -> bool {
        self.response.done
    }

    /// What the provider reported so far.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.response.usage
    }

    fn settle(&mut self) {
        if self.response.done {
            self.body = Body::Ended;
        }
    }
}

fn broke_before_head() -> StreamError {
    StreamError::new(ErrorCode::ConnectFailed, "the connection ended before the response began")
}

fn web_page() -> StreamError {
    let message = "the response is a web page where a completion was expected; check the URL";
    StreamError { retryable: false, ..StreamError::new(ErrorCode::Malformed, message) }
}

impl Response {
    fn event(&mut self, event: &Event<'_>, now: Seconds, out: &mut Deltas) -> bool {
        let data = event.data.trim_ascii();
        if event.kind == "error" {
            self.fail(refusal::reported_text(data, &self.scrubber), out);
        } else if !data.is_empty() {
            match self.wire {
                Wire::OpenAi => self.chunk_or_done(data, now, out),
                Wire::Anthropic => self.said(anthropic::read(data), now, out),
            }
        }
        !self.done
    }

    fn chunk_or_done(&mut self, data: &str, now: Seconds, out: &mut Deltas) {
        if data == "[DONE]" {
            return self.finish(out);
        }
        match serde_json::from_str::<Chunk<'_>>(data) {
            Ok(chunk) => self.chunk(&chunk, now, out),
            Err(error) => self.broken(malformed(&error), out),
        }
    }

    /// An event of an Anthropic message.
    fn said(&mut self, said: serde_json::Result<Said<'_>>, now: Seconds, out: &mut Deltas) {
        match said {
            Ok(Said::Text(text)) => self.text("", &text.0, now, out),
            Ok(Said::Thinking(thinking)) => self.text(&thinking.0, "", now, out),
            Ok(Said::Start(head)) => {
                self.named(head.model.as_ref().map_or("", |model| &*model.0));
                self.count(head.usage);
            }
            Ok(Said::Change { reason, usage }) => {
                self.count(usage);
                self.finish_reason(reason.as_deref(), now);
            }
            Ok(Said::Stop) => self.finish(out),
            Ok(Said::Error(error)) => self.fail(refusal::reported(&error, &self.scrubber), out),
            Ok(Said::Whole(message)) => {
                self.named(message.model.as_deref().unwrap_or(""));
                self.count(message.usage);
                self.text(&message.thinking, &message.text, now, out);
                self.finish_reason(message.reason.as_deref(), now);
                self.finish(out);
            }
            Ok(Said::Nothing) => {}
            Err(error) => self.broken(malformed(&error), out),
        }
    }

    fn count(&mut self, counts: Option<Counts>) {
        if let Some(counts) = counts {
            self.counts.update(counts);
            self.usage = self.counts.usage();
        }
    }

    /// The last event where the server forgot the blank line behind it; half an object is a cut.
    fn last_event(&mut self, parser: &mut SseParser, now: Seconds, out: &mut Deltas) {
        let whole =
            |data: &str| data == "[DONE]" || serde_json::from_str::<serde::de::IgnoredAny>(data).is_ok();
        // A last event above the limit is a cut as well.
        let _ = parser.finish(|event| whole(event.data.trim_ascii()) && self.event(&event, now, out));
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, now: Seconds, out: &mut Deltas) {
        self.envelope(chunk);
        if let Some(choice) = chunk.choices.as_ref().and_then(|choices| choices.0.as_ref()) {
            if let Some(message) = &choice.delta {
                self.message(message, now, out);
            }
            self.finish_reason(choice.finish_reason.as_ref().map(|reason| &*reason.0), now);
        }
        if let Some(error) = chunk.error.as_ref().filter(|error| refusal::is_reported(error)) {
            self.fail(refusal::reported(error, &self.scrubber), out);
        } else if self.reason.as_deref() == Some("error") {
            let message = "the provider ended the response with an error it did not explain";
            self.fail(
                StreamError { retryable: true, ..StreamError::new(ErrorCode::ProviderError, message) },
                out,
            );
        }
    }

    fn envelope(&mut self, chunk: &Chunk<'_>) {
        if let Some(usage) = chunk.usage.as_ref().and_then(|usage| usage.0.as_ref()?.usage()) {
            self.usage = Some(usage);
        }
        self.named(chunk.model.as_ref().map_or("", |model| &*model.0));
    }

    fn named(&mut self, model: &str) {
        if !model.is_empty() && self.model.as_deref() != Some(model) {
            self.model = Some(self.scrubber.clean_to(model, MODEL_LIMIT));
        }
    }

    fn message(&mut self, message: &Message<'_>, now: Seconds, out: &mut Deltas) {
        self.text(message.reasoning(), &message.content(), now, out);
    }

    fn text(&mut self, reasoning: &str, content: &str, now: Seconds, out: &mut Deltas) {
        if !reasoning.is_empty() {
            out.reasoning(reasoning);
        }
        if !content.is_empty() {
            out.content(content);
        }
        if !(reasoning.is_empty() && content.is_empty()) {
            self.clocks.content(now);
        }
    }

    /// Some providers send an empty reason with every chunk.
    fn finish_reason(&mut self, reason: Option<&str>, now: Seconds) {
        if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
            self.reason = Some(self.scrubber.clean_to(reason, REASON_LIMIT));
            self.clocks.ending(now);
        }
    }

    /// An answer that was not streamed although a stream was asked for.
    fn whole(&mut self, body: &[u8], now: Seconds, out: &mut Deltas) {
        if self.wire == Wire::OpenAi {
            return self.completion(body, now, out);
        }
        let body = String::from_utf8_lossy(body);
        match anthropic::read(&body) {
            Err(error) if error.is_eof() => self.fail(self.truncated(), out),
            said @ (Ok(Said::Whole(_) | Said::Error(_)) | Err(_)) => self.said(said, now, out),
            Ok(_) => self.fail(no_completion(), out),
        }
    }

    fn completion(&mut self, body: &[u8], now: Seconds, out: &mut Deltas) {
        let chunk = match serde_json::from_slice::<Chunk<'_>>(body) {
            Ok(chunk) => chunk,
            Err(error) if error.is_eof() => return self.fail(self.truncated(), out),
            Err(error) => return self.fail(malformed(&error), out),
        };
        self.envelope(&chunk);
        if let Some(error) = chunk.error.as_ref().filter(|error| refusal::is_reported(error)) {
            return self.fail(refusal::reported(error, &self.scrubber), out);
        }
        let Some(choice) = chunk.choices.as_ref().and_then(|choices| choices.0.as_ref()) else {
            return self.fail(no_completion(), out);
        };
        if let Some(message) = &choice.message {
            self.message(message, now, out);
        }
        self.finish_reason(choice.finish_reason.as_ref().map(|reason| &*reason.0), now);
        self.finish(out);
    }

    fn end_of_bytes(&mut self, out: &mut Deltas) {
        self.broken(self.truncated(), out);
    }

    /// Whether what may still come would only be usage.
    fn is_whole(&self) -> bool {
        self.wire == Wire::OpenAi && self.reason.is_some()
    }

    fn truncated(&self) -> StreamError {
        let end = match self.wire {
            Wire::OpenAi => "a finish reason or [DONE]",
            Wire::Anthropic => "message_stop",
        };
        StreamError::new(ErrorCode::Truncated, format!("the response was cut before {end}"))
    }

    /// The bytes are of no use from here on, which hurts only what has not said why it finished.
    fn broken(&mut self, error: StreamError, out: &mut Deltas) {
        if self.is_whole() { self.finish(out) } else { self.fail(error, out) }
    }

    fn refuse(&mut self, error: StreamError, body: &[u8], is_cut: bool, out: &mut Deltas) {
        let error = refusal::explain(error, body, is_cut, &self.scrubber);
        self.fail(error, out);
    }

    fn finish(&mut self, out: &mut Deltas) {
        if !std::mem::replace(&mut self.done, true) {
            let reason = self.reason.take().unwrap_or_else(|| "stop".to_owned());
            out.push(Delta::Finished { reason, usage: self.usage, model: self.model.take() });
        }
    }

    fn fail(&mut self, error: StreamError, out: &mut Deltas) {
        if !std::mem::replace(&mut self.done, true) {
            out.push(Delta::Failed { error, usage: self.usage });
        }
    }
}

fn no_completion() -> StreamError {
    StreamError::new(ErrorCode::Malformed, "the response is JSON but no completion")
}

/// Says where, never what: the event may hold anything.
fn malformed(error: &serde_json::Error) -> StreamError {
    let message = format!("an event is not what the protocol says (column {})", error.column());
    StreamError::new(ErrorCode::Malformed, message)
}
