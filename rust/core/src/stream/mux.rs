//! Many streams, one consumer.
//!
//! A stream is a request, decoded into a buffer of its own on the I/O thread, or one that the program pushes
//! into (`push`); the consumer takes what all of them hold in one go. A buffer above its limit stops the
//! reading of that one socket, and refuses what is pushed. Streams are served in the order
//! in which they got something, a batch is bounded, and what is left comes first in the next: no stream
//! starves another. The consumer is woken once when it waits and something arrives, never per token.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clocks::Timeouts;
use super::delta::{Delta, Deltas};
use super::error::StreamError;
use super::http::{self, Client, ClientError};
use super::push::{Push, Pushed};
use super::transfer::{Signals, Transfer};
use super::turn;
use super::wire::Wire;

/// Names a stream within its multiplexer.
pub type StreamId = u64;

/// Bytes in one batch; enough to spread the cost of a wake, little enough for the consumer to stay quick.
const BATCH_BYTES: usize = 1 << 20;

/// Called on the I/O thread, or by [`Mux::wake`]; must not block.
pub type Waker = Box<dyn Fn() + Send + Sync>;

/// What [`Mux::wait`] led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The waker will be called.
    Begun,
    /// Something has arrived, or the multiplexer is closed.
    Needless,
    /// [`Mux::wake`] was called since the last wait.
    Woken,
}

/// Merges many chat streams.
pub struct Mux {
    shared: Arc<Shared>,
    client: Mutex<Option<Client>>,
    gather: bool,
}

/// What the streams and the consumer share.
pub(super) struct Shared {
    state: Mutex<State>,
    limit: usize,
    waker: Waker,
}

#[derive(Default)]
struct State {
    streams: HashMap<StreamId, Stream>,
    /// Streams that hold something, the one that waits longest first.
    ready: VecDeque<StreamId>,
    /// Pushed streams that were full and are not any more; see [`Mux::roomy`].
    roomy: Vec<StreamId>,
    last: StreamId,
    waiting: bool,
    woken: bool,
    closed: bool,
}

#[derive(Default)]
struct Added {
    full: bool,
    wake: bool,
}

struct Stream {
    held: Deltas,
    ended: bool,
    /// How its transfer is told something; a pushed stream has none.
    signals: Option<Arc<Signals>>,
}

impl Mux {
    /// A multiplexer whose streams hold at most `limit` bytes of text each (and one read more).
    ///
    /// # Errors
    /// When the client belongs to the parent of a fork.
    pub fn new(client: Client, limit: usize, waker: Waker) -> Result<Self, ClientError> {
        client.io()?;
        let shared = Shared { state: Mutex::default(), limit: limit.max(1), waker };
        Ok(Self { shared: Arc::new(shared), client: Mutex::new(Some(client)), gather: false })
    }

    /// Lets text gather for some 30 ms before the consumer is woken, except a stream's first: much cheaper, and
    /// quick enough for people.
    #[must_use]
    pub fn gathering(mut self) -> Self {
        self.gather = true;
        self
    }

    /// The client, until [`Self::close`]: a closed multiplexer must not keep idle connections open.
    fn client(&self) -> Option<Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a request, whose response is read by `wire`. One that cannot be sent is a stream that fails at once.
    /// `None` after [`Self::close`].
    ///
    /// # Errors
    /// When the client belongs to the parent of a fork.
    pub fn open(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        wire: Wire,
        timeouts: Timeouts,
    ) -> Result<Option<StreamId>, ClientError> {
        let Some(client) = self.client() else {
            return Ok(None);
        };
        let io = client.io()?.clone();
        let signals = Arc::new(Signals::default());
        let Some(id) = self.shared.add(Some(Arc::clone(&signals))) else {
            return Ok(None);
        };
        match http::request(url, headers, body) {
            Ok((request, secrets)) => {
                let transfer = Transfer::new(id, Arc::clone(&self.shared), signals, wire, timeouts, &secrets);
                let transfer = transfer.prompt(!self.gather);
                io.spawn(transfer.run(client.clone(), request));
                client.nudge();
            }
            Err(error) => self.shared.refuse(id, error),
        }
        Ok(Some(id))
    }

    /// Starts a stream that the program itself writes. `None` after [`Self::close`].
    #[must_use]
    pub fn push_stream(&self) -> Option<Push> {
        let id = self.shared.add(None)?;
        Some(Push::new(id, Arc::clone(&self.shared)))
    }

    /// Stops a stream: its connection closes, what had arrived is delivered, then `Closed`. Does nothing
    /// for a stream that has ended.
    pub fn close_stream(&self, id: StreamId) {
        let signals = match self.shared.lock().streams.get(&id) {
            None => return,
            Some(stream) => stream.signals.clone(),
        };
        let Some(signals) = signals else {
            self.shared.push_end(id, Delta::Closed { usage: None });
            return;
        };
        signals.stop.notify_one();
        if let Some(client) = self.client() {
            client.nudge();
        }
    }

    /// What has arrived, possibly nothing.
    #[must_use]
    pub fn take(&self) -> Vec<(StreamId, Delta)> {
        self.shared.lock().take(self.shared.limit)
    }

    /// The pushed streams that were full, and take more since the last call.
    #[must_use]
    pub fn roomy(&self) -> Vec<StreamId> {
        std::mem::take(&mut self.shared.lock().roomy)
    }

    /// Whether every stream so far has ended and was delivered, or the multiplexer was closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let state = self.shared.lock();
        state.closed || state.streams.is_empty()
    }

    /// Asks for one call of the waker, unless there is no need to wait.
    #[must_use]
    pub fn wait(&self) -> Waiting {
        let mut state = self.shared.lock();
        if std::mem::take(&mut state.woken) {
            return Waiting::Woken;
        }
        state.waiting = !state.closed && state.ready.is_empty();
        if state.waiting { Waiting::Begun } else { Waiting::Needless }
    }

    /// Ends one wait although nothing arrived.
    pub fn wake(&self) {
        let waits = {
            let mut state = self.shared.lock();
            state.woken = true;
            std::mem::take(&mut state.waiting)
        };
        if waits {
            self.shared.wake();
        }
    }

    /// Stops all streams and forgets what they hold.
    pub fn close(&self) {
        let closed = {
            let mut state = self.shared.lock();
            state.closed = true;
            state.ready.clear();
            std::mem::take(&mut state.streams)
        };
        for signals in closed.into_values().filter_map(|stream| stream.signals) {
            signals.stop.notify_one();
        }
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(client) = client {
            client.nudge();
        }
        self.shared.wake();
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, signals: Option<Arc<Signals>>) -> Option<StreamId> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.last += 1;
        let id = state.last;
        state.streams.insert(id, Stream { held: Deltas::default(), ended: false, signals });
        Some(id)
    }

    /// Ends a stream from outside of its transfer.
    pub(super) fn refuse(&self, id: StreamId, error: StreamError) {
        let mut failed = Deltas::default();
        failed.push(Delta::Failed { error, usage: None });
        if self.add_to(id, &mut failed, true).wake {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        (self.waker)();
    }

    /// Hands over what a stream got, and `ended` with its last delta; I/O thread only. True when the
    /// stream's buffer is full.
    pub(super) fn deliver(self: &Arc<Self>, id: StreamId, got: &mut Deltas, ended: bool) -> bool {
        turn::content(got.chunks());
        let added = self.add_to(id, got, ended);
        if added.wake {
            turn::wake_later(self);
        }
        added.full
    }

    fn add_to(&self, id: StreamId, got: &mut Deltas, ended: bool) -> Added {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(stream) = state.streams.get_mut(&id) else {
            return Added::default();
        };
        if stream.held.is_empty() {
            state.ready.push_back(id);
        }
        stream.held.append(got);
        stream.ended |= ended;
        Added { full: stream.held.bytes() >= self.limit, wake: std::mem::take(&mut state.waiting) }
    }

    /// Adds what `write` writes to a pushed stream, if there is room, and calls `wake` when the consumer waits for
    /// it. At once: whoever pushes has no turn that ends.
    pub(super) fn push(
        &self,
        id: StreamId,
        write: impl FnOnce(&mut Deltas),
        wake: impl FnOnce(&Self),
    ) -> Pushed {
        let waits = {
            let mut state = self.lock();
            let state = &mut *state;
            let Some(stream) = state.streams.get_mut(&id).filter(|stream| !stream.ended) else {
                return Pushed::Closed;
            };
            if stream.held.bytes() >= self.limit {
                return Pushed::Full;
            }
            let first = stream.held.is_empty();
            write(&mut stream.held);
            if first && !stream.held.is_empty() {
                state.ready.push_back(id);
            }
            !state.ready.is_empty() && std::mem::take(&mut state.waiting)
        };
        if waits {
            wake(self);
        }
        Pushed::Taken
    }

    /// Ends a pushed stream; false when it had ended. An end always has room.
    pub(super) fn push_end(&self, id: StreamId, end: Delta) -> bool {
        let wake = {
            let mut state = self.lock();
            let state = &mut *state;
            let Some(stream) = state.streams.get_mut(&id).filter(|stream| !stream.ended) else {
                return false;
            };
            if stream.held.is_empty() {
                state.ready.push_back(id);
            }
            stream.held.push(end);
            stream.ended = true;
            std::mem::take(&mut state.waiting)
        };
        if wake {
            self.wake();
        }
        true
    }

    /// Whether a pushed stream takes nothing any more.
    pub(super) fn has_ended(&self, id: StreamId) -> bool {
        self.lock().streams.get(&id).is_none_or(|stream| stream.ended)
    }

    pub(super) fn is_full(&self, id: StreamId) -> bool {
        self.lock().streams.get(&id).is_some_and(|stream| stream.held.bytes() >= self.limit)
    }
}

impl State {
    fn take(&mut self, limit: usize) -> Vec<(StreamId, Delta)> {
        let mut batch = Vec::with_capacity(self.ready.len());
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let held = std::mem::take(&mut stream.held);
            bytes += held.bytes();
            if held.bytes() >= limit {
                match &stream.signals {
                    Some(signals) => signals.room.notify_one(),
                    None => self.roomy.push(id),
                }
            }
            if stream.ended {
                self.streams.remove(&id);
            }
            batch.extend(held.into_vec().into_iter().map(|delta| (id, delta)));
        }
        batch
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stream::error::ErrorCode;

    fn mux() -> Mux {
        Mux::new(Client::new("test").unwrap(), 1 << 16, Box::new(|| {})).unwrap()
    }

    #[test]
    fn a_transfer_that_panics_ends_its_stream() {
        let mux = mux();
        let signals = Arc::new(Signals::default());
        let id = mux.shared.add(Some(Arc::clone(&signals))).unwrap();
        let shared = Arc::clone(&mux.shared);
        let panicked = std::thread::spawn(move || {
            let _transfer = Transfer::new(id, shared, signals, Wire::default(), Timeouts::default(), &[]);
            std::panic::resume_unwind(Box::new("a bug"));
        });
        assert!(panicked.join().is_err());
        let [(failed, Delta::Failed { error, .. })] = &mux.take()[..] else { panic!("no end") };
        assert_eq!((*failed, error.code), (id, ErrorCode::ProviderError));
        assert!(mux.is_finished());
    }

    #[test]
    fn many_small_deltas_fill_a_buffer_and_a_batch() {
        let mux = mux();
        for _ in 0..100 {
            let id = mux.shared.add(None).unwrap();
            let mut got = Deltas::default();
            while !mux.shared.add_to(id, &mut got, false).full {
                got.content("a");
                got.reasoning("b");
            }
        }
        let batch = mux.take().len();
        assert!(batch < BATCH_BYTES / 50, "{batch}");
        assert!(!mux.take().is_empty());
    }
}
