//! Many streams, one consumer.
//!
//! A stream is a request, decoded into a buffer of its own on the I/O thread, or one that the program pushes
//! into (`push`); the consumer takes what all of them hold in one go. A buffer above its limit stops the
//! reading of that one socket, and refuses what is pushed.

use std::sync::{Arc, Mutex, PoisonError};

use super::clocks::Timeouts;
use super::delta::Delta;
use super::http::{self, Client, ClientError};
use super::push::Push;
use super::shared::{Shared, Signals, StreamId, Waiting};
use super::transfer::Transfer;
use super::wire::Reading;

/// Merges many chat streams.
pub struct Mux {
    shared: Arc<Shared>,
    client: Mutex<Option<Client>>,
    gather: bool,
}

impl Mux {
    /// A multiplexer whose streams hold at most `limit` bytes of text each (and one read more). The `waker` is called
    /// on the I/O thread too, where it must not block.
    ///
    /// # Errors
    /// When the client belongs to the parent of a fork.
    pub fn new(
        client: Client,
        limit: usize,
        waker: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        client.io()?;
        let shared = Arc::new(Shared::new(limit, Arc::new(waker)));
        Ok(Self { shared, client: Mutex::new(Some(client)), gather: false })
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
        reading: impl Into<Reading>,
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
                let shared = Arc::clone(&self.shared);
                let transfer = Transfer::new(id, shared, signals, reading.into(), timeouts, &secrets);
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
        if self.shared.stop(id)
            && let Some(client) = self.client()
        {
            client.nudge();
        }
    }

    /// What has arrived, possibly nothing.
    #[must_use]
    pub fn take(&self) -> Vec<(StreamId, Delta)> {
        self.shared.take()
    }

    /// The pushed streams that were full, and take more since the last call.
    #[must_use]
    pub fn roomy(&self) -> Vec<StreamId> {
        self.shared.roomy()
    }

    /// Whether every stream so far has ended and was delivered, or the multiplexer was closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.is_finished()
    }

    /// Asks for one call of the waker, unless there is no need to wait.
    #[must_use]
    pub fn wait(&self) -> Waiting {
        self.shared.wait()
    }

    /// Ends one wait although nothing arrived.
    pub fn wake(&self) {
        self.shared.end_wait();
    }

    /// Stops all streams and forgets what they hold.
    pub fn close(&self) {
        self.shared.close();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::error::ErrorCode;

    #[test]
    fn a_transfer_that_panics_ends_its_stream() {
        let mux = Mux::new(Client::new("test").unwrap(), 1 << 16, || {}).unwrap();
        let signals = Arc::new(Signals::default());
        let id = mux.shared.add(Some(Arc::clone(&signals))).unwrap();
        let shared = Arc::clone(&mux.shared);
        let panicked = std::thread::spawn(move || {
            let _transfer = Transfer::new(id, shared, signals, Reading::default(), Timeouts::default(), &[]);
            std::panic::resume_unwind(Box::new("a bug"));
        });
        assert!(panicked.join().is_err());
        let [(failed, Delta::Failed { error, .. })] = &mux.take()[..] else { panic!("no end") };
        assert_eq!((*failed, error.code), (id, ErrorCode::ProviderError));
        assert!(mux.is_finished());
    }
}
