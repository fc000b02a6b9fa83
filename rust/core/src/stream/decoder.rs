//! One chat-completion response without I/O: bytes and time in, deltas out.
//!
//! The finish is reported when `[DONE]`, the end of the bytes or a clock comes after the finish reason,
//! as usage follows it in a chunk of its own. `[DONE]` without a finish reason is a finish with reason
//! "stop", as the OpenAI client and proxies take it; the end of the bytes with neither is `truncated`.
//! Exactly one of finished, failed and closed is the last delta; whatever comes after it is ignored.

use super::clocks::{Clocks, Seconds, Timeouts};
use super::delta::{Chunk, Delta, Deltas, Message, Usage};
use super::error::{ErrorCode, Scrubber, StreamError};
use super::refusal;
use super::sse::{Event, SseParser};

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
    clocks: Clocks,
    scrubber: Scrubber,
    reason: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    done: bool,
}

impl ChatDecoder {
    /// A request that starts now.
    #[must_use]
    pub fn new(timeouts: Timeouts, now: Seconds) -> Self {
        let response = Response {
            clocks: Clocks::new(timeouts, now),
            scrubber: Scrubber::default(),
            reason: None,
            model: None,
            usage: None,
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
            Body::Opening => self.response.fail(truncated(), out),
            Body::Events(mut parser) => {
                self.response.last_event(&mut parser, now, out);
                self.response.end_of_bytes(out);
            }
            Body::Json(body) => self.response.completion(&body, now, out),
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
                Body::Events(_) if self.response.reason.is_some() => self.response.finish(out),
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
        } else if data == "[DONE]" {
            self.finish(out);
        } else if !data.is_empty() {
            match serde_json::from_str::<Chunk<'_>>(data) {
                Ok(chunk) => self.chunk(&chunk, now, out),
                Err(error) => self.broken(malformed(&error), out),
            }
        }
        !self.done
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
        if let Some(model) = chunk.model.as_ref().filter(|model| !model.0.is_empty()) {
            if self.model.as_deref() != Some(&*model.0) {
                self.model = Some(self.scrubber.clean_to(&model.0, MODEL_LIMIT));
            }
        }
    }

    fn message(&mut self, message: &Message<'_>, now: Seconds, out: &mut Deltas) {
        let (reasoning, content) = (message.reasoning(), message.content());
        if !reasoning.is_empty() {
            out.reasoning(reasoning);
        }
        if !content.is_empty() {
            out.content(&content);
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

    /// A completion that was not streamed although a stream was asked for.
    fn completion(&mut self, body: &[u8], now: Seconds, out: &mut Deltas) {
        let chunk = match serde_json::from_slice::<Chunk<'_>>(body) {
            Ok(chunk) => chunk,
            Err(error) if error.is_eof() => return self.fail(truncated(), out),
            Err(error) => return self.fail(malformed(&error), out),
        };
        self.envelope(&chunk);
        if let Some(error) = chunk.error.as_ref().filter(|error| refusal::is_reported(error)) {
            return self.fail(refusal::reported(error, &self.scrubber), out);
        }
        let Some(choice) = chunk.choices.as_ref().and_then(|choices| choices.0.as_ref()) else {
            let message = "the response is JSON but no completion";
            return self.fail(StreamError::new(ErrorCode::Malformed, message), out);
        };
        if let Some(message) = &choice.message {
            self.message(message, now, out);
        }
        self.finish_reason(choice.finish_reason.as_ref().map(|reason| &*reason.0), now);
        self.finish(out);
    }

    fn end_of_bytes(&mut self, out: &mut Deltas) {
        self.broken(truncated(), out);
    }

    /// The bytes are of no use from here on, which hurts only what has not said why it finished.
    fn broken(&mut self, error: StreamError, out: &mut Deltas) {
        if self.reason.is_some() { self.finish(out) } else { self.fail(error, out) }
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

fn truncated() -> StreamError {
    let message = "the response was cut before a finish reason or [DONE]";
    StreamError::new(ErrorCode::Truncated, message)
}

/// Says where, never what: the event may hold anything.
fn malformed(error: &serde_json::Error) -> StreamError {
    let message = format!("an event is not a chat completion chunk (column {})", error.column());
    StreamError::new(ErrorCode::Malformed, message)
}
