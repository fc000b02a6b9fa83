//! One tick of the I/O thread's loop: everything that is ready, one wake for each consumer, then a rest.
//!
//! The wake of a thread, the read of a socket and the acknowledgement it sends cost ten times what a chunk
//! itself does. So the busier the process is, the longer the thread leaves its sockets alone after a tick
//! that brought content, and the more it finds there, as network drivers do. Up to [`QUIET`] chunks a
//! second there is no rest, and every chunk passes at once; from there it grows to [`LONGEST`], a pace at
//! which no reader sees a difference. While every open stream belongs to a multiplexer that lets text gather,
//! the rest is at least [`GATHER`], however few chunks there are. While any stream waits for its first content
//! it stays below [`SHORTEST`]. Requests to open or close a stream end the rest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::shared::Waker;

/// Something to be done at a time; I/O thread only.
type Errand = Box<dyn FnOnce()>;

/// Chunks a second that need no rest: four fast streams.
const QUIET: f64 = 400.0;
/// How much longer the rest is for each chunk a second more.
const GROWTH: f64 = 27.0e-6;
/// The longest rest, reached at 2,250 chunks a second: a frame of a viewer that draws twenty a second.
const LONGEST: Duration = Duration::from_millis(50);
/// The rest where text may gather: such a frame as well.
const GATHER: Duration = Duration::from_millis(50);
/// How long text for a consumer that lets it gather waits at most while the ticks are short because another consumer
/// awaits a first content. Hundreds of runs begin one after the other, so that in a busy server this is always so, and
/// each token would be a wake of its own.
pub(super) const PACE: Duration = Duration::from_millis(24);
/// The longest rest while a first content is awaited.
const SHORTEST: Duration = Duration::from_millis(4);
/// The span over which chunks are counted.
const WINDOW: Duration = Duration::from_millis(100);

struct Tick {
    began: Instant,
    had_content: bool,
    wakes: Vec<Waker>,
    /// What ripens, by when and in order.
    ripening: BTreeMap<(Instant, u64), Errand>,
    errands: u64,
    timer: bool,
    load: Load,
    /// Streams without content so far.
    awaited: usize,
    /// Streams whose chunks shall pass at once.
    prompt: usize,
}

/// Chunks a second, over the last window.
struct Load {
    since: Instant,
    chunks: u64,
    rate: f64,
}

thread_local! {
    static TICK: RefCell<Tick> = RefCell::new(Tick::new(Instant::now()));
}

impl Tick {
    fn new(now: Instant) -> Self {
        let load = Load { since: now, chunks: 0, rate: 0.0 };
        Self {
            began: now,
            had_content: false,
            wakes: Vec::new(),
            ripening: BTreeMap::new(),
            errands: 0,
            timer: false,
            load,
            awaited: 0,
            prompt: 0,
        }
    }

    /// How long to leave the sockets alone at the end of this tick.
    fn rest(&mut self, now: Instant) -> Duration {
        self.load.count(now);
        if !std::mem::take(&mut self.had_content) {
            return Duration::ZERO;
        }
        let longest = if self.awaited > 0 { SHORTEST } else { LONGEST };
        let least = if self.prompt > 0 { Duration::ZERO } else { GATHER };
        let rest = Duration::try_from_secs_f64((self.load.rate - QUIET) * GROWTH).unwrap_or_default();
        let rest = rest.max(least).min(longest).saturating_sub(now.duration_since(self.began));
        let next = self.ripening.keys().next().map_or(rest, |(when, _)| when.saturating_duration_since(now));
        rest.min(next)
    }

    fn ripe(&mut self, now: Instant) -> Vec<Errand> {
        let later = self.ripening.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.ripening, later).into_values().collect()
    }
}

impl Load {
    fn count(&mut self, now: Instant) {
        let span = now.duration_since(self.since);
        if span >= WINDOW {
            #[allow(clippy::cast_precision_loss)]
            let chunks = self.chunks as f64;
            *self = Self { since: now, chunks: 0, rate: chunks / span.as_secs_f64() };
        }
    }
}

/// Wakes the consumer at the end of this tick; I/O thread only, like everything here.
pub(super) fn wake_later(waker: Waker) {
    TICK.with_borrow_mut(|tick| tick.wakes.push(waker));
}

/// Does `errand` at a time, in a tick; I/O thread only, within its runtime.
pub(super) fn ripens(when: Instant, errand: Errand) {
    let first = TICK.with_borrow_mut(|tick| {
        tick.errands += 1;
        tick.ripening.insert((when, tick.errands), errand);
        !std::mem::replace(&mut tick.timer, true)
    });
    if first {
        tokio::spawn(ripen());
    }
}

async fn ripen() {
    loop {
        let next = TICK.with_borrow_mut(|tick| {
            let next = tick.ripening.keys().next().map(|(when, _)| *when);
            tick.timer = next.is_some();
            next
        });
        let Some(next) = next else { return };
        tokio::time::sleep_until(next.into()).await;
        // Taken out first: an errand may run anything.
        let errands = TICK.with_borrow_mut(|tick| tick.ripe(Instant::now()));
        errands.into_iter().for_each(|errand| errand());
    }
}

/// This many chunks were delivered in this tick.
pub(super) fn content(chunks: u64) {
    TICK.with_borrow_mut(|tick| {
        tick.had_content = true;
        tick.load.chunks += chunks;
    });
}

/// Something was read, be it content or not: sends the wakes when they have waited long enough. Sockets that
/// fill faster than they are read make a tick without end.
pub(super) fn progress() {
    let late = TICK.with_borrow(|tick| !tick.wakes.is_empty() && tick.began.elapsed() > SHORTEST);
    if late {
        wake_all();
        begin();
    }
}

/// A stream waits for its first content, for as long as this lives.
pub(super) struct Awaited(());

impl Awaited {
    pub(super) fn begin() -> Self {
        TICK.with_borrow_mut(|tick| tick.awaited += 1);
        Self(())
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        TICK.with_borrow_mut(|tick| tick.awaited = tick.awaited.saturating_sub(1));
    }
}

/// A stream whose chunks shall pass at once is open, for as long as this lives.
pub(super) struct Prompt(());

impl Prompt {
    pub(super) fn begin() -> Self {
        TICK.with_borrow_mut(|tick| tick.prompt += 1);
        Self(())
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        TICK.with_borrow_mut(|tick| tick.prompt = tick.prompt.saturating_sub(1));
    }
}

fn wake_all() {
    // Taken out first: a waker may run anything.
    let wakes = TICK.with_borrow_mut(|tick| std::mem::take(&mut tick.wakes));
    wakes.iter().for_each(|wake| wake());
}

/// Before the thread waits for its sockets.
pub(super) fn end() {
    wake_all();
    let rest = TICK.with_borrow_mut(|tick| tick.rest(Instant::now()));
    if !rest.is_zero() {
        std::thread::park_timeout(rest);
    }
}

/// After the thread waited.
pub(super) fn begin() {
    TICK.with_borrow_mut(|tick| tick.began = Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest_at(rate: u64, awaited: usize) -> Duration {
        let start = Instant::now();
        let mut tick = Tick::new(start);
        (tick.load.chunks, tick.had_content, tick.awaited, tick.prompt) = (rate, true, awaited, 1);
        let now = start + Duration::from_secs(1);
        tick.began = now;
        tick.rest(now)
    }

    #[test]
    fn the_rest_grows_with_the_load() {
        assert_eq!(rest_at(400, 0), Duration::ZERO);
        assert!((rest_at(900, 0).as_secs_f64() - 0.0135).abs() < 1e-6);
        assert_eq!(rest_at(9000, 0), LONGEST);
        assert_eq!(rest_at(9000, 1), SHORTEST);
    }

    #[test]
    fn text_gathers_where_it_may() {
        let start = Instant::now();
        let mut tick = Tick::new(start);
        let rest = |tick: &mut Tick, awaited| {
            (tick.had_content, tick.awaited) = (true, awaited);
            tick.rest(start)
        };
        assert_eq!(rest(&mut tick, 0), GATHER);
        assert_eq!(rest(&mut tick, 1), SHORTEST);
        tick.prompt = 1;
        assert_eq!(rest(&mut tick, 0), Duration::ZERO);
    }

    #[test]
    fn a_tick_without_content_needs_no_rest() {
        let now = Instant::now();
        assert_eq!(Tick::new(now).rest(now), Duration::ZERO);
    }
}
