//! Waking an event loop from the I/O thread.
//!
//! A byte through a socket pair that the loop watches: the I/O thread never takes the interpreter lock, so
//! neither a busy nor a closed loop can stop it. Loops that cannot watch sockets (Windows' proactor) get
//! `call_soon_threadsafe` instead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::exceptions::PyNotImplementedError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::errors::aside;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
mod pair {
    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    pub struct Pair {
        reader: UnixStream,
        writer: UnixStream,
    }

    impl Pair {
        pub fn new() -> io::Result<Self> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(Self { reader, writer })
        }

        pub fn fd(&self) -> Option<i32> {
            Some(self.reader.as_raw_fd())
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
mod pair {
    pub struct Pair;

    impl Pair {
        pub fn new() -> std::io::Result<Self> {
            Ok(Self)
        }

        pub fn fd(&self) -> Option<i32> {
            None
        }

        pub fn ring(&self) {}

        pub fn silence(&self) {}
    }
}

/// The loop's `call_soon_threadsafe` and what it should call.
struct Scheduled {
    call_soon: Py<PyAny>,
    callback: Py<PyAny>,
}

impl Scheduled {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { call_soon: self.call_soon.clone_ref(py), callback: self.callback.clone_ref(py) }
    }
}

/// What the I/O thread pulls.
pub struct Bell {
    pair: pair::Pair,
    scheduled: Mutex<Option<Scheduled>>,
    needs_python: AtomicBool,
}

impl Bell {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            pair: pair::Pair::new()?,
            scheduled: Mutex::new(None),
            needs_python: AtomicBool::new(false),
        })
    }

    pub fn ring(&self) {
        self.pair.ring();
        if self.needs_python.load(Ordering::Acquire) {
            Python::try_attach(|py| {
                // Python may let another thread run, which must not find the mutex held.
                let scheduled = lock(&self.scheduled).as_ref().map(|scheduled| scheduled.clone_ref(py));
                if let Some(Scheduled { call_soon, callback }) = scheduled {
                    // A closed loop refuses; nobody waits on it any more.
                    aside(py, || call_soon.call1(py, (callback,)).is_ok());
                }
            });
        }
    }

    fn schedule(&self, scheduled: Option<Scheduled>) -> Option<Scheduled> {
        self.needs_python.store(scheduled.is_some(), Ordering::Release);
        // The old one is dropped by the caller, behind the mutex: its end may run Python.
        std::mem::replace(&mut *lock(&self.scheduled), scheduled)
    }
}

/// Waits that time out leave futures behind, which are cleared away from here on.
const MANY: usize = 16;

/// The futures that wait for one multiplexer; called by the loop when the bell rings.
#[pyclass(frozen, module = "facilitair_rust")]
pub struct Waiters {
    bell: Arc<Bell>,
    futures: Mutex<Vec<Py<PyAny>>>,
}

impl Waiters {
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { bell, futures: Mutex::new(Vec::new()) }
    }

    pub fn add(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<()> {
        let mut futures = std::mem::take(&mut *lock(&self.futures));
        if futures.len() >= MANY {
            let mut live = Vec::new();
            for future in futures {
                if !is_done(py, &future)? {
                    live.push(future);
                }
            }
            futures = live;
        }
        futures.push(future);
        // Nothing was added meanwhile: all of this runs on the loop's own thread.
        *lock(&self.futures) = futures;
        Ok(())
    }

    /// Ends all waits; on the loop's thread only.
    pub fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let futures = std::mem::take(&mut *lock(&self.futures));
        resolve(py, futures)
    }
}

fn is_done(py: Python<'_>, future: &Py<PyAny>) -> PyResult<bool> {
    future.call_method0(py, intern!(py, "done"))?.is_truthy(py)
}

/// Ends the waits of all that wait on `futures`.
pub fn resolve(py: Python<'_>, futures: impl IntoIterator<Item = Py<PyAny>>) -> PyResult<()> {
    for future in futures {
        // A cancelled wait leaves its future behind.
        if !is_done(py, &future)? {
            future.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
        }
    }
    Ok(())
}

#[pymethods]
impl Waiters {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.bell.pair.silence();
        self.wake(py)
    }
}

/// The tie between a multiplexer's waiters and the loop they wait on.
pub struct Tie {
    event_loop: Py<PyAny>,
    thread: ThreadId,
    watched: Option<i32>,
}

impl Tie {
    pub fn new(waiters: &Bound<'_, Waiters>, event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        let bell = &waiters.get().bell;
        let watched = match bell.pair.fd() {
            None => None,
            Some(fd) => match event_loop.call_method1("add_reader", (fd, waiters)) {
                Ok(_) => Some(fd),
                Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => None,
                Err(error) => return Err(error),
            },
        };
        if watched.is_none() {
            let call_soon = event_loop.getattr("call_soon_threadsafe")?.unbind();
            let callback = waiters.clone().into_any().unbind();
            // The bell may have rung before it could reach this loop.
            call_soon.call1(py, (&callback,))?;
            bell.schedule(Some(Scheduled { call_soon, callback }));
        }
        Ok(Self { event_loop: event_loop.clone().unbind(), thread: thread::current().id(), watched })
    }

    /// Whether this is the thread that tied it, which is the loop's.
    pub fn is_here(&self) -> bool {
        self.thread == thread::current().id()
    }

    pub fn is_to(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        self.event_loop.is(event_loop)
    }

    /// Wakes whoever waits, then lets go of the loop. May run on any thread, and in the midst of anything.
    pub fn undo(self, waiters: &Bound<'_, Waiters>) {
        let py = waiters.py();
        waiters.get().bell.schedule(None);
        let event_loop = self.event_loop.bind(py);
        aside(py, || {
            // Both fail when the loop is closed, which has let go of everything by itself.
            let _ = event_loop.call_method1("call_soon_threadsafe", (waiters,));
            if let (Some(fd), Ok(remove)) = (self.watched, event_loop.getattr("remove_reader")) {
                let _ = event_loop.call_method1("call_soon_threadsafe", (remove, fd));
            }
        });
    }
}
