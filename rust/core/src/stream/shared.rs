//! What the streams of a multiplexer and its consumer share: a buffer for each stream, their order, and a wake.
//!
//! Streams are served in the order in which they got something, a batch is bounded, and what is left comes first in
//! the next: no stream starves another. The consumer is woken once when it waits and something arrives, never per
//! token.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::delta::{Delta, Deltas};
use super::error::StreamError;

/// Bytes in one batch; enough to spread the cost of a wake, little enough for the consumer to stay quick.
const BATCH_BYTES: usize = 1 << 20;
/// A wake that would be put off by less than this is not worth a timer.
const SLACK: Duration = Duration::from_millis(4);

/// Names a stream within its multiplexer.
pub type StreamId = u64;

/// Called on the I/O thread, where it must not block, and by whoever pushes or ends a wait.
pub(super) type Waker = Arc<dyn Fn() + Send + Sync>;

/// What [`Mux::wait`](super::Mux::wait) led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The waker will be called.
    Begun,
    /// Something has arrived, or the multiplexer is closed.
    Needless,
    /// [`Mux::wake`](super::Mux::wake) was called since the last wait.
    Woken,
}

/// What became of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It will be in a batch.
    Taken,
    /// The stream holds as much as it may; nothing was taken, and there is room when the consumer took that.
    Full,
    /// The stream has ended, or its consumer stopped it; nothing was taken.
    Closed,
}

/// From the consumer to one stream; both keep until they are seen.
#[derive(Default)]
pub(super) struct Signals {
    pub(super) stop: Notify,
    pub(super) room: Notify,
}

/// What came of handing over what a transfer got.
#[derive(Default)]
pub(super) struct Added {
    /// The stream's buffer takes nothing more.
    pub(super) full: bool,
    /// The consumer waits, and nobody else will wake it.
    pub(super) wake: bool,
    /// The consumer waits, and is to be woken then: see [`Shared::ripe`].
    pub(super) later: Option<Instant>,
}

/// How soon the consumer has to know what was added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// At the end of the tick.
    Now,
    /// Within this time since it was woken last.
    Within(Duration),
}

pub(super) struct Shared {
    state: Mutex<State>,
    limit: usize,
    waker: Waker,
    /// Streams that wait for their first content.
    expecting: AtomicUsize,
}

#[derive(Default)]
struct State {
    streams: HashMap<StreamId, Stream>,
    /// Streams that hold something, the one that waits longest first.
    ready: VecDeque<StreamId>,
    /// Pushed streams that were full and are not any more; see [`Shared::roomy`].
    roomy: Vec<StreamId>,
    last: StreamId,
    waiting: bool,
    woken: bool,
    closed: bool,
    /// When what a transfer got woke the consumer last.
    rang: Option<Instant>,
    /// Whether a wake is due later.
    deferred: bool,
}

struct Stream {
    held: Deltas,
    ended: bool,
    /// How its transfer is told something; a pushed stream has none.
    signals: Option<Arc<Signals>>,
}

/// The consumer's side.
impl Shared {
    pub(super) fn new(limit: usize, waker: Waker) -> Self {
        Self { state: Mutex::default(), limit: limit.max(1), waker, expecting: AtomicUsize::new(0) }
    }

    pub(super) fn take(&self) -> Vec<(StreamId, Delta)> {
        self.lock().take(self.limit)
    }

    pub(super) fn roomy(&self) -> Vec<StreamId> {
        std::mem::take(&mut self.lock().roomy)
    }

    pub(super) fn is_finished(&self) -> bool {
        let state = self.lock();
        state.closed || state.streams.is_empty()
    }

    pub(super) fn wait(&self) -> Waiting {
        let mut state = self.lock();
        if std::mem::take(&mut state.woken) {
            return Waiting::Woken;
        }
        state.waiting = !state.closed && state.ready.is_empty();
        if state.waiting { Waiting::Begun } else { Waiting::Needless }
    }

    pub(super) fn end_wait(&self) {
        let waits = {
            let mut state = self.lock();
            state.woken = true;
            std::mem::take(&mut state.waiting)
        };
        if waits {
            self.wake();
        }
    }

    /// Stops a stream. True when that is up to its transfer, which has been told but may be at rest.
    pub(super) fn stop(&self, id: StreamId) -> bool {
        let signals = match self.lock().streams.get(&id) {
            None => return false,
            Some(stream) => stream.signals.clone(),
        };
        match &signals {
            Some(signals) => signals.stop.notify_one(),
            None => _ = self.push_end(id, Delta::Closed { usage: None }),
        }
        signals.is_some()
    }

    /// Stops all streams and forgets what they hold; wakes nobody yet.
    pub(super) fn close(&self) {
        let closed = {
            let mut state = self.lock();
            state.closed = true;
            state.ready.clear();
            std::mem::take(&mut state.streams)
        };
        for signals in closed.into_values().filter_map(|stream| stream.signals) {
            signals.stop.notify_one();
        }
    }
}

/// The streams' side.
impl Shared {
    /// A new stream, `None` after [`Self::close`].
    pub(super) fn add(&self, signals: Option<Arc<Signals>>) -> Option<StreamId> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.last += 1;
        let id = state.last;
        state.streams.insert(id, Stream { held: Deltas::default(), ended: false, signals });
        Some(id)
    }

    /// Adds what a stream got, and `ended` with its last delta. Whoever calls it sees to the wake.
    pub(super) fn add_to(&self, id: StreamId, got: &mut Deltas, ended: bool, haste: Haste) -> Added {
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
        let mut added = Added { full: stream.held.bytes() >= self.limit, ..Added::default() };
        if !state.waiting {
            return added;
        }
        let now = Instant::now();
        match (haste, state.rang) {
            (Haste::Within(pause), Some(rang)) if !added.full && rang + pause > now + SLACK => {
                // One timer, however many streams get something until then.
                added.later = (!std::mem::replace(&mut state.deferred, true)).then_some(rang + pause);
            }
            _ => {
                (state.waiting, state.rang) = (false, Some(now));
                added.wake = true;
            }
        }
        added
    }

    /// The time has come for a wake that was put off; there is no need of it when the consumer came by itself.
    pub(super) fn ripe(&self) {
        let due = {
            let mut state = self.lock();
            state.deferred = false;
            let due = state.waiting && !state.ready.is_empty();
            if due {
                (state.waiting, state.rang) = (false, Some(Instant::now()));
            }
            due
        };
        if due {
            self.wake();
        }
    }

    /// One stream more, or one less, waits for its first content.
    pub(super) fn expect(&self, more: bool) {
        if more {
            self.expecting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.expecting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a stream waits for its first content.
    pub(super) fn expects(&self) -> bool {
        self.expecting.load(Ordering::Relaxed) > 0
    }

    /// Ends a stream from outside of its transfer.
    pub(super) fn refuse(&self, id: StreamId, error: StreamError) {
        let mut failed = Deltas::default();
        failed.push(Delta::Failed { error, usage: None });
        if self.add_to(id, &mut failed, true, Haste::Now).wake {
            self.wake();
        }
    }

    /// Adds what `write` writes to a pushed stream, if there is room, and calls `wake` when the consumer waits for
    /// it. At once: whoever pushes has no tick that ends.
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

impl Shared {
    pub(super) fn wake(&self) {
        (self.waker)();
    }

    /// For whoever wakes the consumer later.
    pub(super) fn waker(&self) -> Waker {
        Arc::clone(&self.waker)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests {
    use super::*;

    #[test]
    fn many_small_deltas_fill_a_buffer_and_a_batch() {
        let shared = Shared::new(1 << 16, Arc::new(|| {}));
        for _ in 0..100 {
            let id = shared.add(None).unwrap();
            let mut got = Deltas::default();
            while !shared.add_to(id, &mut got, false, Haste::Now).full {
                got.content("a");
                got.reasoning("b");
            }
        }
        let batch = shared.take().len();
        assert!(batch < BATCH_BYTES / 50, "{batch}");
        assert!(!shared.take().is_empty());
    }

    fn added(shared: &Shared, id: StreamId, haste: Haste) -> Added {
        let mut got = Deltas::default();
        got.content("a");
        shared.add_to(id, &mut got, false, haste)
    }

    #[test]
    fn a_wake_that_can_wait_comes_once_and_not_too_soon() {
        let shared = Shared::new(1 << 16, Arc::new(|| {}));
        let id = shared.add(None).unwrap();
        let haste = Haste::Within(Duration::from_secs(5));
        assert_eq!(shared.wait(), Waiting::Begun);
        assert!(added(&shared, id, haste).wake, "the first since ever");
        assert_eq!(shared.take().len(), 1);
        assert_eq!(shared.wait(), Waiting::Begun);
        let first = added(&shared, id, haste);
        assert!(!first.wake && first.later.is_some_and(|when| when > Instant::now()));
        let second = added(&shared, id, haste);
        assert!(!second.wake && second.later.is_none(), "one timer is enough");
        assert!(added(&shared, id, Haste::Now).wake, "what is urgent does not wait for it");
    }

    #[test]
    fn a_wake_that_was_put_off_is_left_out_when_the_consumer_came_by_itself() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let shared = Shared::new(1 << 16, Arc::new(move || _ = count.fetch_add(1, Ordering::Relaxed)));
        let id = shared.add(None).unwrap();
        let haste = Haste::Within(Duration::from_secs(5));
        assert_eq!(shared.wait(), Waiting::Begun);
        assert!(added(&shared, id, haste).wake);
        assert_eq!(shared.take().len(), 1);
        assert_eq!(shared.wait(), Waiting::Begun);
        assert!(added(&shared, id, haste).later.is_some());
        assert_eq!(shared.take().len(), 1);
        shared.ripe();
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        assert_eq!(shared.wait(), Waiting::Begun);
        assert!(added(&shared, id, haste).later.is_some());
        shared.ripe();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }
}
