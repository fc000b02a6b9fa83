//! One bell for many: who rings it is put on a list, and a byte through a socket pair makes an event loop look at it.
//!
//! The byte is written for the first on the list alone. So however many ring in one tick of the I/O thread, the loop
//! is woken once, and reads once.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rung from any thread, answered by one.
pub struct Bell<T> {
    wire: Option<wire::Wire>,
    rung: Mutex<Vec<T>>,
}

impl<T> Bell<T> {
    /// A bell whose [`fd`](Self::fd) can be read when it was rung, where the system has such things.
    ///
    /// # Errors
    /// When the process may not open more files.
    pub fn new() -> io::Result<Self> {
        Ok(Self { wire: wire::Wire::new()?, rung: Mutex::default() })
    }

    /// A bell that is only a list.
    #[must_use]
    pub fn mute() -> Self {
        Self { wire: None, rung: Mutex::default() }
    }

    /// What an event loop has to watch.
    #[must_use]
    pub fn fd(&self) -> Option<i32> {
        self.wire.as_ref().map(wire::Wire::fd)
    }

    /// True for the first since the last answer, whose ring must be heard: of a mute bell the caller has to tell.
    pub fn ring(&self, who: T) -> bool {
        let first = {
            let mut rung = self.lock();
            rung.push(who);
            rung.len() == 1
        };
        if first && let Some(wire) = &self.wire {
            wire.ring();
        }
        first
    }

    /// All who rang since the last answer.
    #[must_use]
    pub fn answer(&self) -> Vec<T> {
        // Before the list is taken: a byte written after that stands for somebody on the next list.
        if let Some(wire) = &self.wire {
            wire.silence();
        }
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(unix)]
mod wire {
    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    pub struct Wire {
        pub(super) reader: UnixStream,
        writer: UnixStream,
    }

    impl Wire {
        pub fn new() -> io::Result<Option<Self>> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(Some(Self { reader, writer }))
        }

        pub fn fd(&self) -> i32 {
            self.reader.as_raw_fd()
        }

        /// A full pipe wakes as well, so that a failed write needs no care.
        pub fn ring(&self) {
            let _ = (&self.writer).write(&[1]);
        }

        pub fn silence(&self) {
            let mut rest = [0; 64];
            while (&self.reader).read(&mut rest).is_ok_and(|read| read == rest.len()) {}
        }
    }
}

#[cfg(not(unix))]
mod wire {
    pub enum Wire {}

    impl Wire {
        pub fn new() -> std::io::Result<Option<Self>> {
            Ok(None)
        }

        pub fn fd(&self) -> i32 {
            match *self {}
        }

        pub fn ring(&self) {
            match *self {}
        }

        pub fn silence(&self) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_is_heard_and_all_are_told() {
        for bell in [Bell::new().unwrap(), Bell::mute()] {
            assert!(bell.answer().is_empty());
            assert_eq!([bell.ring(1), bell.ring(2), bell.ring(2)], [true, false, false]);
            assert_eq!(bell.answer(), [1, 2, 2]);
            assert!(bell.answer().is_empty());
            assert!(bell.ring(3));
            assert_eq!(bell.answer(), [3]);
        }
    }

    #[cfg(unix)]
    mod wired {
        use std::io::Read;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::thread;
        use std::time::{Duration, Instant};

        use super::super::*;

        fn heard<T>(bell: &Bell<T>, bytes: &mut [u8]) -> usize {
            (&bell.wire.as_ref().unwrap().reader).read(bytes).unwrap_or(0)
        }

        #[test]
        fn one_byte_stands_for_all() {
            let bell = Bell::new().unwrap();
            for _ in 0..3 {
                (0..1000).for_each(|who| _ = bell.ring(who));
                assert_eq!(heard(&bell, &mut [0; 64]), 1);
                assert_eq!(bell.answer().len(), 1000);
            }
        }

        #[test]
        fn an_answer_silences() {
            let bell = Bell::new().unwrap();
            bell.ring(());
            assert_eq!(bell.answer().len(), 1);
            assert_eq!(heard(&bell, &mut [0; 64]), 0);
        }

        /// Each ringer waits to be answered before it rings again, and nobody answers who did not hear.
        #[test]
        fn no_ring_is_lost() {
            const RINGS: usize = 10_000;
            let bell = Bell::new().unwrap();
            let answered = [const { AtomicUsize::new(0) }; 4];
            let deadline = Instant::now() + Duration::from_secs(30);
            let late = || Instant::now() > deadline;
            thread::scope(|scope| {
                for (who, answered) in answered.iter().enumerate() {
                    let bell = &bell;
                    scope.spawn(move || {
                        for ring in 1..=RINGS {
                            bell.ring(who);
                            while answered.load(Ordering::Acquire) < ring && !late() {
                                thread::yield_now();
                            }
                        }
                    });
                }
                let all = || answered.iter().all(|answered| answered.load(Ordering::Acquire) >= RINGS);
                while !all() && !late() {
                    if heard(&bell, &mut [0]) == 0 {
                        thread::yield_now();
                    } else {
                        for who in bell.answer() {
                            answered[who].fetch_add(1, Ordering::AcqRel);
                        }
                    }
                }
                assert!(all(), "{answered:?}");
            });
        }
    }
}
