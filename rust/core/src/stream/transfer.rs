//! One request on the I/O thread: sends it, feeds the decoder, watches the clocks, hands over the deltas.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use reqwest::{Request, Response, header};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::clocks::{LONGEST, Seconds, Timeouts};
use super::decoder::ChatDecoder;
use super::delta::Deltas;
use super::error::{ErrorCode, StreamError};
use super::http::{Client, Connection};
use super::shared::{Haste, Shared, Signals, StreamId};
use super::tick::{self, Awaited, Prompt};
use super::wire::Reading;

/// A connection can be used again once its response was read to the end, which follows `[DONE]` at once.
const DRAIN: Duration = Duration::from_millis(250);

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> Seconds {
    EPOCH.elapsed().as_secs_f64()
}

fn instant(at: Seconds) -> Instant {
    let after = Duration::try_from_secs_f64(at).unwrap_or_default();
    EPOCH.checked_add(after).unwrap_or_else(|| *EPOCH + Duration::from_secs_f64(LONGEST))
}

pub(super) struct Transfer {
    id: StreamId,
    shared: Arc<Shared>,
    signals: Arc<Signals>,
    decoder: ChatDecoder,
    got: Deltas,
    full: bool,
    ended: bool,
    prompt: bool,
    awaited: Option<Awaited>,
}

impl Transfer {
    pub(super) fn new(
        id: StreamId,
        shared: Arc<Shared>,
        signals: Arc<Signals>,
        reading: Reading,
        timeouts: Timeouts,
        secrets: &[String],
    ) -> Self {
        let mut decoder = ChatDecoder::new(reading, timeouts, now());
        secrets.iter().for_each(|secret| decoder.add_secret(secret));
        Self {
            id,
            shared,
            signals,
            decoder,
            got: Deltas::default(),
            full: false,
            ended: false,
            prompt: true,
            awaited: None,
        }
    }

    /// Whether its chunks shall pass at once.
    pub(super) fn prompt(mut self, prompt: bool) -> Self {
        self.prompt = prompt;
        self
    }

    pub(super) async fn run(mut self, client: Client, request: Request) {
        self.awaited = Some(Awaited::begin());
        self.shared.expect(true);
        let _prompt = self.prompt.then(Prompt::begin);
        let signals = Arc::clone(&self.signals);
        // The exchange is dropped, and with it the connection, before the end is told.
        tokio::select! {
            biased;
            () = signals.stop.notified() => {}
            () = self.exchange(&client, request) => {}
        }
        self.decoder.close(&mut self.got);
        self.deliver();
    }

    async fn exchange(&mut self, client: &Client, request: Request) {
        let mut timer = pin!(sleep_until(self.deadline()));
        let Some(mut response) = self.head(client, request, timer.as_mut()).await else {
            return;
        };
        let framed = is_framed(&response);
        while !self.decoder.done() {
            if self.full {
                self.wait_for_room(timer.as_mut()).await;
                continue;
            }
            match self.watch(response.chunk(), timer.as_mut()).await {
                None => {}
                Some(Ok(Some(bytes))) => self.decoder.feed(&bytes, now(), &mut self.got),
                Some(end) => self.decoder.eof(framed && end.is_ok(), now(), &mut self.got),
            }
            self.deliver();
            tick::progress();
        }
        let _ = timeout(DRAIN, drain(&mut response)).await;
    }

    async fn head(
        &mut self,
        client: &Client,
        request: Request,
        mut timer: Pin<&mut Sleep>,
    ) -> Option<Response> {
        let connection = Arc::new(Connection::default());
        let mut sending = pin!(client.send(request, Arc::clone(&connection)));
        while !self.decoder.done() {
            let waiting_to_connect = !self.decoder.is_connected();
            // Also ready when the connection stands, as another clock runs from there.
            let progress = poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if waiting_to_connect && connection.stands() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match self.watch(progress, timer.as_mut()).await {
                None => {}
                Some(None) => self.decoder.connected(now()),
                Some(Some(Ok(response))) => {
                    self.read_head(&response);
                    return Some(response);
                }
                Some(Some(Err(error))) => self.fail(error),
            }
            self.deliver();
        }
        None
    }

    fn read_head(&mut self, response: &Response) {
        let headers = response.headers().iter();
        let text = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        self.decoder.head(response.status().as_u16(), text, now(), &mut self.got);
    }

    fn fail(&mut self, error: StreamError) {
        self.decoder.fail(error, &mut self.got);
    }

    /// Waits until the consumer took what it holds of this stream; nothing is read meanwhile.
    async fn wait_for_room(&mut self, mut timer: Pin<&mut Sleep>) {
        self.decoder.pause(now());
        let signals = Arc::clone(&self.signals);
        while self.shared.is_full(self.id) && !self.decoder.done() {
            let _ = self.watch(signals.room.notified(), timer.as_mut()).await;
        }
        self.full = false;
        self.decoder.resume(now());
        self.deliver();
    }

    /// `work`, or `None` when a clock wants to be looked at before it is done.
    async fn watch<T>(&mut self, work: impl Future<Output = T>, mut timer: Pin<&mut Sleep>) -> Option<T> {
        // Each content moves the deadline back, which can wait until the timer fires.
        let deadline = self.deadline();
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        tokio::select! {
            biased;
            done = work => Some(done),
            () = timer.as_mut() => {
                self.expire(timer);
                None
            }
        }
    }

    fn expire(&mut self, timer: Pin<&mut Sleep>) {
        self.decoder.expire(now(), &mut self.got);
        timer.reset(self.deadline());
    }

    fn deadline(&self) -> Instant {
        instant(self.decoder.deadline().unwrap_or_default())
    }

    fn deliver(&mut self) {
        if self.got.is_empty() {
            return;
        }
        let first = self.awaited.take().is_some();
        if first {
            self.shared.expect(false);
        }
        self.ended = self.decoder.done();
        tick::content(self.got.chunks());
        // The first content that another consumer waits for makes the ticks short; text for this one gathers on.
        let now = self.prompt || first || self.ended || self.shared.expects();
        let haste = if now { Haste::Now } else { Haste::Within(tick::PACE) };
        let added = self.shared.add_to(self.id, &mut self.got, self.ended, haste);
        self.full = added.full;
        if added.wake {
            tick::wake_later(self.shared.waker());
        }
        if let Some(when) = added.later {
            let shared = Arc::clone(&self.shared);
            tick::ripens(when, Box::new(move || shared.ripe()));
        }
    }
}

impl Drop for Transfer {
    /// A panic must not leave a stream without an end.
    fn drop(&mut self) {
        if self.awaited.take().is_some() {
            self.shared.expect(false);
        }
        if !self.ended {
            let message = "an internal error ended the transfer; this is a bug of Facilitair";
            self.shared.refuse(self.id, StreamError::new(ErrorCode::ProviderError, message));
        }
    }
}

/// Whether the end of the body is said, and not only that of the connection, which is how a server dies, too.
fn is_framed(response: &Response) -> bool {
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
        .iter()
        .any(|name| response.headers().contains_key(name))
}

async fn drain(response: &mut Response) {
    while let Ok(Some(_)) = response.chunk().await {
        tick::progress();
    }
}
