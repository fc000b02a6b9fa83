//! The futures that wait for one multiplexer.
//!
//! A ring, from whatever thread, puts them on the list of their loop's bell (see `hub`), which ends their waits. One that
//! comes while nobody waits, between a multiplexer's word that it will ring and the future that waits for that, is kept
//! for the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::hub::LoopBell;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits that time out leave futures behind, which are cleared away from here on.
const MANY: usize = 16;

/// Never locked while Python runs.
#[derive(Default)]
pub struct Waiters(Mutex<State>);

#[derive(Default)]
struct State {
    futures: Vec<Py<PyAny>>,
    bell: Weak<LoopBell>,
    ring: Ring,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Ring {
    #[default]
    None,
    /// For who waits next.
    Kept,
    /// On the bell's list, where once is enough.
    Listed,
}

impl Waiters {
    /// Has the loop end all waits; from any thread, and without Python where the loop watches its bell.
    pub fn ring(self: &Arc<Self>) {
        let bell = {
            let mut state = lock(&self.0);
            match state.ring {
                Ring::None if !state.futures.is_empty() => state.list(),
                Ring::None | Ring::Kept => {
                    state.ring = Ring::Kept;
                    return;
                }
                Ring::Listed => return,
            }
        };
        self.ring_for(bell);
    }

    /// Whoever waits does so on the loop of this bell.
    pub fn tie(&self, bell: Weak<LoopBell>) {
        lock(&self.0).bell = bell;
    }

    /// On the loop's thread only, like what follows.
    pub fn add(self: &Arc<Self>, py: Python<'_>, future: Py<PyAny>) -> PyResult<()> {
        let (bell, crowd) = {
            let mut state = lock(&self.0);
            state.futures.push(future);
            let bell = if state.ring == Ring::Kept { state.list() } else { None };
            let crowded = state.futures.len() > MANY;
            (bell, if crowded { std::mem::take(&mut state.futures) } else { Vec::new() })
        };
        self.ring_for(bell);
        if !crowd.is_empty() {
            let mut live = Vec::with_capacity(crowd.len());
            for future in crowd {
                if !is_done(py, &future)? {
                    live.push(future);
                }
            }
            // Nothing was added meanwhile: all of this runs on the loop's own thread.
            lock(&self.0).futures = live;
        }
        Ok(())
    }

    fn ring_for(self: &Arc<Self>, bell: Option<Arc<LoopBell>>) {
        if let Some(bell) = bell {
            bell.ring(Arc::clone(self));
        }
    }

    /// Ends all waits.
    pub fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let futures = std::mem::take(&mut lock(&self.0).futures);
        resolve(py, futures)
    }

    /// Ends all waits for the bell, from whose list these waiters were just taken.
    pub fn answer(&self, py: Python<'_>) -> PyResult<()> {
        let futures = {
            let mut state = lock(&self.0);
            state.ring = Ring::None;
            std::mem::take(&mut state.futures)
        };
        resolve(py, futures)
    }

    /// Lets go of the futures of a loop that is closed.
    pub fn forget(&self) {
        let futures = std::mem::take(&mut lock(&self.0).futures);
        // Their end may run Python.
        drop(futures);
    }
}

impl State {
    /// The bell that is to be rung.
    fn list(&mut self) -> Option<Arc<LoopBell>> {
        self.ring = Ring::Listed;
        self.bell.upgrade()
    }
}

fn is_done(py: Python<'_>, future: &Py<PyAny>) -> PyResult<bool> {
    future.call_method0(py, intern!(py, "done"))?.is_truthy(py)
}

/// Ends the waits of all that wait on `futures`.
pub fn resolve(py: Python<'_>, futures: impl IntoIterator<Item = Py<PyAny>>) -> PyResult<()> {
    let mut result = Ok(());
    for future in futures {
        // One that fails must not keep the others waiting.
        result = result.and(resolve_one(py, &future));
    }
    result
}

fn resolve_one(py: Python<'_>, future: &Py<PyAny>) -> PyResult<()> {
    static DONE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    match future.call_method1(py, intern!(py, "set_result"), (py.None(),)) {
        // A cancelled wait leaves its future behind.
        Err(error) if error.matches(py, DONE.import(py, "asyncio", "InvalidStateError")?)? => Ok(()),
        result => result.map(drop),
    }
}
