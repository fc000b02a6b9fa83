//! One chat response without I/O: bytes and time in, deltas out.
//!
//! A finish reason is information, not the end: usage follows it in an event of its own, and some gateways send one
//! with every chunk. The response ends with `[DONE]` (`message_stop`), with its body, or when nothing comes for a while
//! after a reason. Content after a reason shows that it was premature; from then on the reasons of this response are
//! believed only at a clean end. The end of the bytes without a reason is `truncated`. `[DONE]` without a reason is a
//! finish with reason "stop", as the OpenAI client and proxies take it. Whether a reason is a good one is not said here;
//! but one that servers say by default does not take the place of one that says more.
//!
//! Exactly one of finished, failed and closed is the last delta; whatever comes after it is ignored.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::anthropic::{self, Counts, Said};
use super::clocks::{Clocks, Seconds, Timeouts};
use super::delta::{Delta, Deltas, Usage};
use super::error::{ErrorCode, StreamError};
use super::json;
use super::openai::{self, Choice, Chunk, Message};
use super::opening::{self, Opening};
use super::refusal;
use super::scrub::Scrubber;
use super::sse::{Event, SseParser};
use super::surrogate::Joiner;
use super::think::{Piece, ThinkTags};
use super::unexpected::{self, Unexpected};
use super::wire::{Reading, Wire};

/// More of an error's body is not read.
const ERROR_BODY_LIMIT: usize = 64 << 10;
/// Largest completion that is not streamed.
const JSON_BODY_LIMIT: usize = 8 << 20;
/// Longest finish reason kept, in code points.
const REASON_LIMIT: usize = 100;
/// Longest name of a model kept, in code points.
const MODEL_LIMIT: usize = 200;
/// What servers say when nothing else ended the text.
const DEFAULT_REASONS: [&str; 2] = ["stop", "end_turn"];
/// What some servers send with every chunk that ends nothing.
const NO_REASONS: [&str; 3] = ["", "null", "none"];
/// Names of events that only say that the connection lives.
const SIGNS_OF_LIFE: [&str; 4] = ["ping", "keepalive", "keep-alive", "heartbeat"];

#[derive(Debug)]
enum Body {
    /// The head has not arrived.
    Awaited,
    /// Its first bytes tell what it is; content types do not, as proxies set them at will.
    Opening(Vec<u8>),
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
    /// One that content has followed.
    earlier_reason: Option<String>,
    /// Whether content has followed a reason.
    premature: bool,
    /// Whether there has been text of the answer.
    spoke: bool,
    content: Joiner,
    reasoning: Joiner,
    think_tags: Option<ThinkTags>,
    model: Option<String>,
    usage: Option<Usage>,
    /// The parts of the usage, where the protocol gives them one after the other.
    counts: Counts,
    /// How long the provider asks to wait, should this be an error after all.
    retry_after_s: Option<f64>,
    done: bool,
}

impl ChatDecoder {
    /// A request that starts now.
    #[must_use]
    pub fn new(reading: impl Into<Reading>, timeouts: Timeouts, now: Seconds) -> Self {
        let reading = reading.into();
        let response = Response {
            wire: reading.wire,
            clocks: Clocks::new(timeouts, now),
            scrubber: Scrubber::default(),
            reason: None,
            earlier_reason: None,
            premature: false,
            spoke: false,
            content: Joiner::default(),
            reasoning: Joiner::default(),
            think_tags: reading.think_tags.then(ThinkTags::default),
            model: None,
            usage: None,
            counts: Counts::default(),
            retry_after_s: None,
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
        out: &mut Deltas,
    ) {
        if !matches!(self.body, Body::Awaited) {
            return;
        }
        self.response.clocks.connected(now);
        let head = refusal::Head::read(headers);
        self.response.retry_after_s = head.retry_after_s();
        let encoding = head.encoding().map(str::to_owned);
        self.body = match (status, encoding) {
            (200..=299, Some(encoding)) => return self.fail(opening::compressed(&encoding), out),
            (200..=299, None) => Body::Opening(Vec::new()),
            (_, Some(_)) => return self.fail(head.error(status), out), // nobody could read why
            (_, None) => {
                // The status says enough; its explanation must come at once and end.
                self.response.clocks.refused(now);
                Body::Refused(head.error(status), Vec::new())
            }
        };
    }

    /// Bytes of the body.
    pub fn feed(&mut self, data: &[u8], now: Seconds, out: &mut Deltas) {
        let Body::Opening(held) = &mut self.body else { return self.body(data, now, out) };
        let first = [std::mem::take(held), data.to_vec()].concat();
        let body = opening::bare(&first);
        self.body = match Opening::of(body) {
            Opening::Unclear => return *held = body.to_vec(),
            Opening::Compressed(encoding) => return self.fail(opening::compressed(encoding), out),
            Opening::WebPage => return self.fail(opening::web_page(), out),
            Opening::Json => Body::Json(Vec::new()),
            Opening::Events => Body::Events(SseParser::default()),
        };
        self.body(body, now, out);
    }

    fn body(&mut self, data: &[u8], now: Seconds, out: &mut Deltas) {
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
            Body::Awaited | Body::Opening(_) | Body::Ended => {}
        }
        self.settle();
    }

    /// The end of the bytes; `clean` where the peer said that there are no more, and did not just go.
    pub fn eof(&mut self, clean: bool, now: Seconds, out: &mut Deltas) {
        match std::mem::replace(&mut self.body, Body::Ended) {
            Body::Awaited => self.response.fail(broke_before_head(), out),
            Body::Opening(_) => self.response.fail(self.response.truncated(), out),
            Body::Events(mut parser) => {
                self.response.last_event(&mut parser, now, out);
                self.response.end_of_bytes(clean, out);
            }
            Body::Json(body) => self.response.whole(&body, clean, now, out),
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
            self.response.rest(out);
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
                Body::Events(_) => self.response.broken(error, out),
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

/// What came of reading one event.
type Read = serde_json::Result<()>;

impl Response {
    fn event(&mut self, event: &Event<'_>, now: Seconds, out: &mut Deltas) -> bool {
        let data = event.data.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
        if is_one_of(event.kind, &["error", "exception"]) {
            self.fail(refusal::reported_text(data, &self.scrubber), out);
        } else if is_one_of(event.kind, &SIGNS_OF_LIFE) {
            self.suspect(data, false, out);
        } else if !data.is_empty()
            && let Err(error) = self.read(event.kind, data, now, out)
        {
            self.unread(event.kind, data, &error, now, out);
        }
        !self.done
    }

    fn read(&mut self, kind: &str, data: &str, now: Seconds, out: &mut Deltas) -> Read {
        match self.wire {
            _ if is_done(data) => self.finish(out),
            Wire::OpenAi => self.chunk(&serde_json::from_str(data)?, data, now, out),
            Wire::Anthropic => self.said(anthropic::read(data, kind)?, data, now, out),
        }
        Ok(())
    }

    /// An event that is not what the protocol says: it is taken for what was meant, as far as that is clear.
    fn unread(&mut self, kind: &str, data: &str, error: &serde_json::Error, now: Seconds, out: &mut Deltas) {
        if self.reread(kind, data, now, out) {
            return;
        }
        // Some servers forget the blank lines between events, or the line ends, or send a list of them.
        let pieces = if data.starts_with('{') && error.is_data() { Vec::new() } else { pieces(data) };
        if let [] | [_] = pieces[..]
            && pieces.first().is_none_or(|piece| piece.len() == data.len())
        {
            return self.unexpected(data, error, out);
        }
        for piece in pieces {
            if self.done {
                return;
            }
            if let Err(error) = self.read("", piece, now, out)
                && !self.reread("", piece, now, out)
            {
                self.unexpected(piece, &error, out);
            }
        }
    }

    fn reread(&mut self, kind: &str, data: &str, now: Seconds, out: &mut Deltas) -> bool {
        self.meant(data).is_some_and(|meant| self.read(kind, &meant, now, out).is_ok())
    }

    /// What was meant by data that is not what the protocol says, where that can be known.
    fn meant(&self, data: &str) -> Option<String> {
        let mended = json::mended(data);
        let text = mended.as_deref().unwrap_or(data);
        match self.wire {
            Wire::OpenAi if serde_json::from_str::<Chunk<'_>>(text).is_err_and(|error| error.is_data()) => {
                openai::tidied(text)
            }
            _ => mended,
        }
    }

    fn unexpected(&mut self, data: &str, error: &serde_json::Error, out: &mut Deltas) {
        match unexpected::read(data) {
            Unexpected::Error(said) => self.fail(refusal::reported(&said, &self.scrubber), out),
            // A value that is no object was never meant to be a completion.
            Unexpected::Nothing if !data.starts_with('{') => {}
            Unexpected::Nothing if !self.is_completion(data) => {}
            Unexpected::Nothing | Unexpected::Malformed => self.broken(malformed(error), out),
        }
    }

    /// Whether an object means to be an event of this protocol.
    fn is_completion(&self, data: &str) -> bool {
        let Ok(serde_json::Value::Object(object)) = serde_json::from_str(data) else { return false };
        match self.wire {
            Wire::OpenAi => object.contains_key("choices"),
            Wire::Anthropic => object.get("type").is_some_and(serde_json::Value::is_string),
        }
    }

    /// Fails where `data` is an error beside or instead of what was understood of it.
    fn suspect(&mut self, data: &str, says_nothing: bool, out: &mut Deltas) {
        let said = match json::value(data) {
            Ok(value) if says_nothing => unexpected::complaint(&value),
            Ok(serde_json::Value::Object(object)) => unexpected::named(&object),
            _ => None,
        };
        if let Some(said) = said {
            self.fail(refusal::reported(&said, &self.scrubber), out);
        }
    }

    /// Fails where the other side speaks the other protocol, of which nothing would be understood.
    fn foreign(&mut self, is_foreign: bool, out: &mut Deltas) {
        if is_foreign && !self.spoke {
            let (other, ours) = match self.wire {
                Wire::OpenAi => ("Anthropic's", "\"openai\""),
                Wire::Anthropic => ("OpenAI's", "\"anthropic\""),
            };
            let message = format!(
                "the response speaks {other} protocol, and this provider's wire is {ours}: change it"
            );
            let error = StreamError::new(ErrorCode::Malformed, message);
            self.fail(StreamError { retryable: false, ..error }, out);
        }
    }

    /// An event of an Anthropic message.
    fn said(&mut self, said: Said<'_>, data: &str, now: Seconds, out: &mut Deltas) {
        match said {
            Said::Text(text) => self.text(b"", &text.0, now, out),
            Said::Thinking(thinking) => self.text(&thinking.0, b"", now, out),
            Said::Start(head) => {
                self.named(head.model.as_ref().map_or("", |model| &*model.0));
                self.count(head.usage);
                self.text(&head.thinking, &head.text, now, out);
            }
            Said::Change { reason, usage } => {
                self.count(usage);
                self.finish_reason(reason.as_deref(), now);
            }
            Said::Stop(usage) => {
                self.count(usage);
                self.finish(out);
            }
            Said::Foreign => self.foreign(true, out),
            Said::Error(error) => {
                self.suspect(data, true, out); // what stands beside the error says more
                self.fail(refusal::reported(&error, &self.scrubber), out);
            }
            Said::Whole(message) => {
                self.named(message.model.as_deref().unwrap_or(""));
                self.count(message.usage);
                self.text(&message.thinking, &message.text, now, out);
                self.finish_reason(message.reason.as_deref(), now);
                self.finish(out);
            }
            Said::Nothing => self.suspect(data, true, out),
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
        // A last event above the limit is a cut as well.
        let _ = parser.finish(|event| {
            let data = event.data.trim_ascii();
            let (before, last) = data.rsplit_once('\n').unwrap_or(("", data));
            if is_cut(last) {
                let kept = Event { data: Cow::Borrowed(before), ..event };
                self.event(&kept, now, out)
            } else {
                self.event(&event, now, out)
            }
        });
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, data: &str, now: Seconds, out: &mut Deltas) {
        self.envelope(chunk);
        for choice in chunk.choices() {
            // Some gateways send what is not streamed as one event, or repeat all of it in the last one.
            let whole = choice.message.as_deref().filter(|_| !self.spoke);
            let delta = choice.delta.as_deref().filter(|delta| whole.is_none() || !delta.says_nothing());
            self.choice(choice, delta.or(whole), now, out);
        }
        self.finish_reason(chunk.finish_reason(), now);
        if chunk.is_suspect() {
            self.suspect(data, chunk.says_nothing(), out);
        }
        self.foreign(chunk.is_anthropic(), out);
    }

    fn choice(&mut self, choice: &Choice<'_>, message: Option<&Message<'_>>, now: Seconds, out: &mut Deltas) {
        if let Some(message) = message {
            if message.is_working() {
                self.clocks.content(now);
            }
            self.text(&message.reasoning(), &message.content(), now, out);
        } else if let Some(text) = &choice.text {
            self.text(b"", &text.0, now, out);
        }
        self.finish_reason(choice.finish_reason(), now);
        let errors = [choice.error, message.and_then(|message| message.error)];
        for error in errors.into_iter().flatten().filter_map(|error| json::value(error.get()).ok()) {
            if refusal::is_reported(&error) {
                self.fail(refusal::reported(&error, &self.scrubber), out);
            }
        }
    }

    fn envelope(&mut self, chunk: &Chunk<'_>) {
        if let Some(usage) = chunk.usage() {
            self.usage = Some(self.usage.map_or(usage, |earlier| earlier.updated(usage)));
        }
        self.named(chunk.model.as_ref().map_or("", |model| &*model.0));
    }

    fn named(&mut self, model: &str) {
        if !model.is_empty() && self.model.as_deref() != Some(model) {
            self.model = Some(self.scrubber.clean_to(model, MODEL_LIMIT));
        }
    }

    /// Text of the message, as the strings of an event hold it.
    fn text(&mut self, reasoning: &[u8], content: &[u8], now: Seconds, out: &mut Deltas) {
        if reasoning.is_empty() && content.is_empty() {
            return;
        }
        if let Some(reason) = self.reason.take() {
            self.premature = true;
            self.earlier_reason = Some(reason);
        }
        self.spoke |= !content.is_empty();
        self.clocks.content(now);
        if !reasoning.is_empty() {
            out.reasoning(&self.reasoning.join(reasoning));
        }
        if !content.is_empty() {
            let content = self.content.join(content);
            Self::content(&content, self.think_tags.as_mut(), out);
        }
    }

    fn content(content: &str, think_tags: Option<&mut ThinkTags>, out: &mut Deltas) {
        let Some(tags) = think_tags else { return out.content(content) };
        tags.part(content).iter().for_each(|piece| say(piece, out));
    }

    /// What was held back in the hope of more.
    fn rest(&mut self, out: &mut Deltas) {
        out.reasoning(self.reasoning.finish());
        let rest = self.content.finish();
        Self::content(rest, self.think_tags.as_mut(), out);
        if let Some(piece) = self.think_tags.as_mut().and_then(ThinkTags::finish) {
            say(&piece, out);
        }
    }

    fn finish_reason(&mut self, reason: Option<&str>, now: Seconds) {
        let Some(reason) = reason.map(str::trim_ascii).filter(|reason| !is_one_of(reason, &NO_REASONS))
        else {
            return;
        };
        let is_default = is_one_of(reason, &DEFAULT_REASONS);
        if !is_default || self.reason.is_none() {
            self.reason = Some(self.scrubber.clean_to(reason, REASON_LIMIT));
        }
        // A text that has not begun has not ended by default.
        if !self.premature && (self.spoke || !is_default) {
            self.clocks.ending(now);
        }
    }

    /// An answer that was not streamed although a stream was asked for.
    fn whole(&mut self, body: &[u8], clean: bool, now: Seconds, out: &mut Deltas) {
        let body = String::from_utf8_lossy(body);
        let data = body.trim_ascii();
        let read = self.completion(data, now, out).or_else(|error| match self.meant(data) {
            Some(meant) => self.completion(&meant, now, out),
            None => Err(error),
        });
        match read {
            Ok(()) => {}
            Err(error) if error.is_eof() => self.fail(self.truncated(), out),
            Err(error) => {
                // An object per line, or the end of a stream behind what was never one.
                self.unread("", data, &error, now, out);
                if self.spoke || self.reason.is_some() {
                    self.end_of_bytes(clean, out);
                }
            }
        }
        if !self.done {
            self.fail(no_completion(), out);
        }
    }

    fn completion(&mut self, data: &str, now: Seconds, out: &mut Deltas) -> Read {
        match self.wire {
            Wire::OpenAi => {
                let chunk: Chunk<'_> = serde_json::from_str(data)?;
                self.chunk(&chunk, data, now, out);
                if chunk.choice().is_some() {
                    self.finish(out);
                }
            }
            Wire::Anthropic => {
                let said = anthropic::read(data, "message")?;
                if matches!(said, Said::Whole(_) | Said::Error(_) | Said::Foreign | Said::Nothing) {
                    self.said(said, data, now, out);
                }
            }
        }
        Ok(())
    }

    fn end_of_bytes(&mut self, clean: bool, out: &mut Deltas) {
        if clean && self.reason.is_some() { self.finish(out) } else { self.broken(self.truncated(), out) }
    }

    fn truncated(&self) -> StreamError {
        let end = match self.wire {
            Wire::OpenAi => "a finish reason or [DONE]",
            Wire::Anthropic => "a stop reason or message_stop",
        };
        StreamError::new(ErrorCode::Truncated, format!("the response was cut before {end}"))
    }

    /// The bytes are of no use from here on, which hurts only what has not said why it finished, or said it too soon.
    fn broken(&mut self, error: StreamError, out: &mut Deltas) {
        if self.reason.is_some() && !self.premature { self.finish(out) } else { self.fail(error, out) }
    }

    fn refuse(&mut self, error: StreamError, body: &[u8], is_cut: bool, out: &mut Deltas) {
        let error = refusal::explain(error, body, is_cut, &self.scrubber);
        self.fail(error, out);
    }

    fn finish(&mut self, out: &mut Deltas) {
        let is_error = self.reason.as_deref().is_some_and(|reason| is_one_of(reason, &["error"]));
        if is_error {
            return self.fail(unexplained(), out);
        }
        if !std::mem::replace(&mut self.done, true) {
            self.rest(out);
            let reason = self.reason.take().or_else(|| self.earlier_reason.take());
            let reason = reason.unwrap_or_else(|| "stop".to_owned());
            out.push(Delta::Finished { reason, usage: self.usage, model: self.model.take() });
        }
    }

    fn fail(&mut self, mut error: StreamError, out: &mut Deltas) {
        if !std::mem::replace(&mut self.done, true) {
            self.rest(out);
            error.retry_after_s = error.retry_after_s.or(self.retry_after_s.filter(|_| error.retryable));
            out.push(Delta::Failed { error, usage: self.usage });
        }
    }
}

fn is_done(data: &str) -> bool {
    data == "[DONE]" || data.trim_matches(['"', ';']).eq_ignore_ascii_case("[done]")
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// The JSON values and other lines of an event, without the field names that servers put in once too often.
fn pieces(data: &str) -> Vec<&str> {
    if data.starts_with('[')
        && let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(data)
    {
        return list.into_iter().map(RawValue::get).collect();
    }
    let mut found = Vec::new();
    for line in data.lines() {
        let mut rest = line.trim_ascii();
        while !rest.is_empty() {
            while let Some(value) = rest.strip_prefix("data:") {
                rest = value.trim_ascii_start();
            }
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
            let end = match values.next() {
                Some(Ok(_)) if rest.starts_with(['{', '[']) => values.byte_offset(),
                _ => rest.len(),
            };
            found.push(&rest[..end]);
            rest = rest[end..].trim_ascii();
        }
    }
    found.retain(|piece| !piece.is_empty());
    found
}

/// Whether the last line of the bytes is half an object, or half of `[DONE]`; other words are whole as they are.
fn is_cut(line: &str) -> bool {
    let is_half = || serde_json::from_str::<serde::de::IgnoredAny>(line).is_err_and(|error| error.is_eof());
    match line.as_bytes() {
        [b'{', ..] | [b'[', b'{', ..] => is_half(),
        _ => line != "[DONE]" && "[DONE]".starts_with(line),
    }
}

fn say(piece: &Piece, out: &mut Deltas) {
    match piece {
        Piece::Content(text) => out.content(text),
        Piece::Reasoning(text) => out.reasoning(text),
    }
}

fn unexplained() -> StreamError {
    let message = "the provider ended the response with an error it did not explain";
    StreamError { retryable: true, ..StreamError::new(ErrorCode::ProviderError, message) }
}

/// The same request would get the same again.
fn no_completion() -> StreamError {
    let error = StreamError::new(ErrorCode::Malformed, "the response is JSON but no completion");
    StreamError { retryable: false, ..error }
}

/// Says where, never what: the event may hold anything.
fn malformed(error: &serde_json::Error) -> StreamError {
    let message = format!("an event is not what the protocol says (column {})", error.column());
    StreamError::new(ErrorCode::Malformed, message)
}
