//! One bell for all multiplexers that wait on the same event loop.
//!
//! The loop watches it as long as a multiplexer is tied to it. The I/O thread that rings never takes the interpreter
//! lock, so neither a busy nor a closed loop can stop it. Loops that cannot watch sockets (Windows' proactor) get
//! `call_soon_threadsafe` instead.

use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, ThreadId};

use facilitair_core::stream as core;
use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;

use crate::errors::aside;
use crate::wake::{Waiters, lock};

/// What is rung for the waiters on one loop. Kept by what the loop calls, so that it ends with the loop.
pub struct LoopBell {
    bell: core::Bell<Arc<Waiters>>,
    /// Of a loop that cannot watch the bell.
    call_soon: Option<Py<PyAny>>,
}

impl LoopBell {
    pub fn ring(self: &Arc<Self>, waiters: Arc<Waiters>) {
        if self.bell.ring(waiters)
            && let Some(call_soon) = &self.call_soon
        {
            Python::try_attach(|py| {
                let answer = Answer { bell: Arc::clone(self), hub: Weak::new() };
                // A closed loop refuses; nobody waits on it any more.
                aside(py, || call_soon.call1(py, (answer,)).is_ok())
            });
        }
    }
}

/// What the loop calls when the bell rings.
#[pyclass(frozen, module = "facilitair_rust")]
struct Answer {
    bell: Arc<LoopBell>,
    hub: Weak<Hub>,
}

#[pymethods]
impl Answer {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let mut result = Ok(());
        for waiters in self.bell.bell.answer() {
            // One that fails must not keep the others waiting.
            result = result.and(waiters.answer(py));
        }
        result
    }
}

impl Drop for Answer {
    /// The loop lets go of what it watches when it is closed.
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.forget();
        }
    }
}

/// The hubs of all loops, by the addresses of these. Locked for an instant, by threads that hold the interpreter lock:
/// so it is free wherever Python forks.
static HUBS: Mutex<Vec<(usize, Weak<Hub>)>> = Mutex::new(Vec::new());

/// What the multiplexers of one loop share.
struct Hub {
    bell: Weak<LoopBell>,
    /// `None` when the loop was closed.
    open: Mutex<Option<Open>>,
}

/// What there is to know of a loop that is not closed.
struct Open {
    event_loop: Py<PyAny>,
    create_future: Py<PyAny>,
    tied: Vec<Weak<Waiters>>,
    /// Keeps a bell that the loop cannot watch.
    _bell: Option<Arc<LoopBell>>,
}

impl Hub {
    /// The one of `event_loop`, on its thread.
    fn of(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        // No other loop has this address: the hub keeps its loop until it is closed, and is then taken out.
        let address = event_loop.as_ptr().addr();
        let found = lock(&HUBS).iter().find(|(of, _)| *of == address).and_then(|(_, hub)| hub.upgrade());
        if let Some(hub) = found {
            return Ok(hub);
        }
        let hub = match Self::watched(event_loop)? {
            Some(hub) => hub,
            None => Self::called(event_loop)?,
        };
        let mut hubs = lock(&HUBS);
        hubs.retain(|(_, hub)| hub.strong_count() > 0);
        hubs.push((address, Arc::downgrade(&hub)));
        Ok(hub)
    }

    fn watched(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Self>>> {
        let bell = Arc::new(LoopBell { bell: core::Bell::new()?, call_soon: None });
        let Some(fd) = bell.bell.fd() else { return Ok(None) };
        let hub = Self::new(event_loop, &bell, None)?;
        let answer = Answer { bell, hub: Arc::downgrade(&hub) };
        match event_loop.call_method1("add_reader", (fd, answer)) {
            Ok(_) => Ok(Some(hub)),
            Err(error) if error.is_instance_of::<PyNotImplementedError>(event_loop.py()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn called(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let call_soon = event_loop.getattr("call_soon_threadsafe")?.unbind();
        let bell = Arc::new(LoopBell { bell: core::Bell::mute(), call_soon: Some(call_soon) });
        Self::new(event_loop, &bell, Some(Arc::clone(&bell)))
    }

    fn new(
        event_loop: &Bound<'_, PyAny>,
        bell: &Arc<LoopBell>,
        kept: Option<Arc<LoopBell>>,
    ) -> PyResult<Arc<Self>> {
        let open = Open {
            create_future: event_loop.getattr("create_future")?.unbind(),
            event_loop: event_loop.clone().unbind(),
            tied: Vec::new(),
            _bell: kept,
        };
        Ok(Arc::new(Self { bell: Arc::downgrade(bell), open: Mutex::new(Some(open)) }))
    }

    /// Lets go of a loop that was closed. What was tied to it stays so, and can wait no more.
    fn forget(&self) {
        lock(&HUBS).retain(|(_, hub)| !std::ptr::eq(hub.as_ptr(), self));
        // Dropped behind the mutex, here and below: the end of a loop or a future may run Python.
        let open = lock(&self.open).take();
        for waiters in open.iter().flat_map(|open| &open.tied).filter_map(Weak::upgrade) {
            waiters.forget();
        }
    }

    /// The last multiplexer has left: the loop answers what was rung, and lets go of the bell. Never here and now, even
    /// on the loop's own thread: that may be in the child of a fork, which shares what its parent watches.
    fn close(self, py: Python<'_>) {
        lock(&HUBS).retain(|(_, hub)| hub.strong_count() > 0);
        let open = lock(&self.open).take();
        if let (Some(open), Some(bell)) = (open, self.bell.upgrade()) {
            let event_loop = open.event_loop.bind(py);
            let fd = bell.bell.fd();
            let answer = Answer { bell, hub: Weak::new() };
            // Both fail when the loop is closed, which has let go of everything by itself.
            let _ = event_loop.call_method1("call_soon_threadsafe", (answer,));
            if let (Some(fd), Ok(remove)) = (fd, event_loop.getattr("remove_reader")) {
                let _ = event_loop.call_method1("call_soon_threadsafe", (remove, fd));
            }
        }
    }
}

/// The tie between a multiplexer's waiters and the loop they wait on.
pub struct Tie {
    hub: Arc<Hub>,
    thread: ThreadId,
}

impl Tie {
    /// On the thread of the loop.
    pub fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { hub: Hub::of(event_loop)?, thread: thread::current().id() })
    }

    pub fn begin(&self, waiters: &Arc<Waiters>) {
        if let Some(open) = &mut *lock(&self.hub.open) {
            open.tied.push(Arc::downgrade(waiters));
        }
        waiters.tie(Weak::clone(&self.hub.bell));
    }

    /// Whether this is the thread that tied it, which is the loop's.
    pub fn is_here(&self) -> bool {
        self.thread == thread::current().id()
    }

    /// What makes a future of `event_loop`; `None` when the tie is to another.
    pub fn create_future(&self, event_loop: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
        let open = lock(&self.hub.open);
        let open = open.as_ref().filter(|open| open.event_loop.is(event_loop))?;
        Some(open.create_future.clone_ref(event_loop.py()))
    }

    /// Lets go of the loop. May run on any thread, and in the midst of anything.
    pub fn undo(self, py: Python<'_>, waiters: &Arc<Waiters>) {
        if let Some(open) = &mut *lock(&self.hub.open) {
            open.tied.retain(|tied| !std::ptr::eq(tied.as_ptr(), Arc::as_ptr(waiters)));
        }
        if let Some(hub) = Arc::into_inner(self.hub) {
            aside(py, || hub.close(py));
        }
    }
}
