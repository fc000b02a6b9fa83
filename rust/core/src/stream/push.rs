//! A stream whose text the program itself writes: from an iterator, from another SDK, from any thread.

use std::sync::Arc;

use super::delta::{Delta, Deltas, Usage};
use super::error::{ErrorCode, StreamError};
use super::shared::{Pushed, Shared, StreamId};

/// The writing end of a stream. Dropped before its end, the stream fails as truncated.
pub struct Push {
    id: StreamId,
    shared: Arc<Shared>,
}

impl Push {
    pub(super) fn new(id: StreamId, shared: Arc<Shared>) -> Self {
        Self { id, shared }
    }

    /// Its number within its multiplexer.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Adds one chunk of visible text.
    #[must_use]
    pub fn content(&self, text: &str) -> Pushed {
        self.content_waking(text, None)
    }

    /// Adds one chunk of visible text; `wake`, for who has a cheaper way, takes the place of the waker.
    #[must_use]
    pub fn content_waking(&self, text: &str, wake: Option<&dyn Fn()>) -> Pushed {
        let write = |held: &mut Deltas| {
            if !text.is_empty() {
                held.content(text);
            }
        };
        self.shared.push(self.id, write, |shared| match wake {
            Some(wake) => wake(),
            None => shared.wake(),
        })
    }

    /// Adds one chunk of reasoning.
    #[must_use]
    pub fn reasoning(&self, text: &str) -> Pushed {
        let write = |held: &mut Deltas| {
            if !text.is_empty() {
                held.reasoning(text);
            }
        };
        self.shared.push(self.id, write, Shared::wake)
    }

    /// Ends the stream as the protocol says. Does nothing for one that has ended.
    pub fn finish(&self, reason: String, usage: Option<Usage>, model: Option<String>) {
        self.shared.push_end(self.id, Delta::Finished { reason, usage, model });
    }

    /// Ends the stream in an error. Does nothing for one that has ended.
    pub fn fail(&self, error: StreamError, usage: Option<Usage>) {
        self.shared.push_end(self.id, Delta::Failed { error, usage });
    }

    /// Whether it has ended: by its writer, or because the consumer stopped it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended(self.id)
    }

    /// Whether it holds as much as it may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.is_full(self.id)
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        let message = "the source was given up before it ended its stream";
        self.fail(StreamError::new(ErrorCode::Truncated, message), None);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::http::Client;
    use super::super::mux::Mux;
    use super::super::shared::Waiting;
    use super::*;

    fn mux(limit: usize) -> Mux {
        Mux::new(Client::new("test").unwrap(), limit, Box::new(|| {})).unwrap()
    }

    #[test]
    fn a_full_stream_refuses_and_others_go_on() {
        let mux = mux(100);
        let (full, other) = (mux.push_stream().unwrap(), mux.push_stream().unwrap());
        while full.content("abcdefgh") == Pushed::Taken {}
        assert_eq!(full.content("more"), Pushed::Full);
        assert_eq!(other.content("x"), Pushed::Taken);
        assert!(mux.roomy().is_empty());
        assert_eq!(mux.take().len(), 2);
        assert_eq!(mux.roomy(), [full.id()]);
        assert_eq!(full.content("more"), Pushed::Taken);
    }

    #[test]
    fn every_stream_ends_once() {
        let mux = mux(1000);
        let (finished, closed, dropped) =
            (mux.push_stream().unwrap(), mux.push_stream().unwrap(), mux.push_stream().unwrap());
        let ids = [finished.id(), closed.id(), dropped.id()];
        finished.finish("stop".to_owned(), None, None);
        mux.close_stream(finished.id());
        mux.close_stream(closed.id());
        assert_eq!(closed.content("late"), Pushed::Closed);
        drop(dropped);
        let batch = mux.take();
        assert_eq!(batch.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
        assert!(matches!(batch[0].1, Delta::Finished { .. }));
        assert!(matches!(batch[1].1, Delta::Closed { .. }));
        assert!(matches!(&batch[2].1, Delta::Failed { error, .. } if error.code == ErrorCode::Truncated));
        assert!(mux.is_finished() && finished.has_ended() && closed.has_ended());
    }

    #[test]
    fn nothing_said_wakes_nobody() {
        let mux = mux(1000);
        let quiet = mux.push_stream().unwrap();
        assert_eq!(mux.wait(), Waiting::Begun);
        assert_eq!(quiet.content(""), Pushed::Taken);
        assert!(mux.take().is_empty());
        assert_eq!(mux.wait(), Waiting::Begun);
    }
}
