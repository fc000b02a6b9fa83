//! `HttpClient` and `Mux`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use facilitair_core::stream as core;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyMapping};

use crate::decoder::{self, Timeouts};
use crate::delta;
use crate::errors::Error;
use crate::hub::Tie;
use crate::push::PushStream;
use crate::wait::{Purpose, Wait};
use crate::wake::{Waiters, lock, resolve};

/// Connections shared by many multiplexers: HTTP/1.1, rustls, kept alive, proxies from the environment.
#[pyclass(frozen, module = "facilitair_rust")]
pub struct HttpClient(Mutex<Option<core::Client>>);

#[pymethods]
impl HttpClient {
    #[new]
    #[pyo3(signature = (*, user_agent=concat!("facilitair/", env!("CARGO_PKG_VERSION"))))]
    fn new(py: Python<'_>, user_agent: &str) -> Result<Self, Error> {
        // Reads the system's certificates from disk.
        let client = py.detach(|| core::Client::new(user_agent))?;
        Ok(Self(Mutex::new(Some(client))))
    }

    /// A new multiplexer over these connections.
    #[pyo3(signature = (*, buffered_bytes=65536, gather=false))]
    fn mux(&self, buffered_bytes: usize, gather: bool) -> PyResult<Mux> {
        let client = lock(&self.0).clone();
        let client = client.ok_or_else(|| Error::closed("HttpClient"))?;
        Ok(Mux::new(client, buffered_bytes, gather)?)
    }

    /// Refuse new multiplexers; idle connections close when the last multiplexer is closed.
    fn close(&self) {
        lock(&self.0).take();
    }
}

type Futures = Vec<Py<PyAny>>;

/// Merges many chat streams; each batch holds what arrived since the last one.
///
/// `async for batch in mux` ends when every stream opened so far has ended and been delivered, or after
/// `close`. One stream buffers at most `buffered_bytes`; past that its socket is not read until Python takes a
/// batch. Belongs to one event loop (the one that first waits).
#[pyclass(frozen, module = "facilitair_rust")]
pub struct Mux {
    core: core::Mux,
    waiters: Arc<Waiters>,
    tie: Mutex<Option<Tie>>,
    /// Who waits for room in a pushed stream; touched on the loop's thread only.
    rooms: Mutex<HashMap<core::StreamId, Futures>>,
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET.import(py, "asyncio", "get_running_loop")?.call0()
}

impl Mux {
    fn new(client: core::Client, buffered_bytes: usize, gather: bool) -> Result<Self, Error> {
        let waiters = Arc::new(Waiters::default());
        let rung = Arc::clone(&waiters);
        let core = core::Mux::new(client, buffered_bytes, move || rung.ring())?;
        let core = if gather { core.gathering() } else { core };
        Ok(Self { core, waiters, tie: Mutex::new(None), rooms: Mutex::default() })
    }

    pub fn core(&self) -> &core::Mux {
        &self.core
    }

    /// What has arrived, if anything has.
    pub fn arrived<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let batch = self.core.take();
        if !lock(&self.rooms).is_empty() {
            self.make_room(py, self.core.roomy())?;
        }
        if batch.is_empty() { Ok(None) } else { delta::list(py, batch).map(Some) }
    }

    /// A future of the running loop that the next arrival resolves.
    pub fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = running_loop(py)?;
        // Never held while Python runs, which may switch to a thread that wants it.
        let tied = lock(&self.tie).as_ref().map(|tie| tie.create_future(&event_loop));
        let create = match tied {
            Some(create) => create,
            None => self.tie(&event_loop)?,
        };
        let future = create.ok_or_else(Error::foreign_loop)?.bind(py).call0()?;
        self.waiters.add(py, future.clone().unbind())?;
        Ok(future)
    }

    /// Ties the waiters to `event_loop`, unless another was quicker, and gives what makes futures of it.
    fn tie(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let tie = Tie::new(event_loop)?;
        let mut tied = lock(&self.tie);
        if tied.is_some() {
            drop(tied);
            tie.undo(event_loop.py(), &self.waiters);
            return Ok(None);
        }
        tie.begin(&self.waiters);
        Ok(tied.insert(tie).create_future(event_loop))
    }

    /// Whether this is the thread of the loop that waits.
    pub fn is_on_loop(&self) -> bool {
        lock(&self.tie).as_ref().is_some_and(Tie::is_here)
    }

    /// Wakes whoever waits; on the loop's thread only.
    pub fn wake_here(&self, py: Python<'_>) -> PyResult<()> {
        self.waiters.wake(py)
    }

    /// A future of the running loop that is done when `push` has room or has ended.
    pub fn room<'py>(&self, py: Python<'py>, push: &core::Push) -> PyResult<Bound<'py, PyAny>> {
        let future = running_loop(py)?.call_method0(intern!(py, "create_future"))?;
        if push.is_full() && !push.has_ended() {
            lock(&self.rooms).entry(push.id()).or_default().push(future.clone().unbind());
        } else {
            future.call_method1(intern!(py, "set_result"), (py.None(),))?;
        }
        Ok(future)
    }

    /// Tells those who wait for room in one of `streams`.
    fn make_room(&self, py: Python<'_>, streams: impl IntoIterator<Item = core::StreamId>) -> PyResult<()> {
        for stream in streams {
            // Never held while Python runs.
            let futures = lock(&self.rooms).remove(&stream);
            resolve(py, futures.into_iter().flatten())?;
        }
        Ok(())
    }

    fn untie(&self, py: Python<'_>) {
        let tie = lock(&self.tie).take();
        if let Some(tie) = tie {
            tie.undo(py, &self.waiters);
        }
    }
}

#[pymethods]
impl Mux {
    /// Start a request whose response is read by `wire`; gives the number of its stream. A request that cannot be
    /// sent is a stream that fails. With `think_tags`, what content begins with in `<think>` is reasoning.
    #[pyo3(signature = (url, headers, body, timeouts=None, wire="openai", *, think_tags=false))]
    fn open(
        &self,
        url: &str,
        headers: &Bound<'_, PyMapping>,
        body: &[u8],
        timeouts: Option<&Timeouts>,
        wire: &str,
        think_tags: bool,
    ) -> PyResult<u64> {
        let reading = decoder::reading(wire, think_tags)?;
        let headers: Vec<(String, String)> = headers.items()?.extract()?;
        let timeouts = timeouts.map_or_else(core::Timeouts::default, core::Timeouts::from);
        let opened = self.core.open(url, &headers, body.to_vec(), reading, timeouts).map_err(Error::from)?;
        Ok(opened.ok_or_else(|| Error::closed("Mux"))?)
    }

    /// Start a stream that the program itself writes.
    fn push_stream(slf: Py<Self>, py: Python<'_>) -> PyResult<PushStream> {
        let push = slf.get().core.push_stream();
        let push = push.ok_or_else(|| Error::closed("Mux"))?;
        Ok(PushStream::new(push, slf.clone_ref(py)))
    }

    /// Stop a stream and its connection; `Closed` follows what had arrived. Does nothing for an ended one.
    fn close_stream(&self, py: Python<'_>, stream: u64) -> PyResult<()> {
        self.core.close_stream(stream);
        self.make_room(py, [stream])
    }

    /// What has arrived, possibly nothing.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.arrived(py)?.unwrap_or_else(|| PyList::empty(py)))
    }

    /// Wait until there is something to take, the multiplexer is closed, or `wake` is called.
    fn wait(slf: Py<Self>) -> Wait {
        Wait::new(slf, Purpose::Wait)
    }

    /// End one wait although nothing arrived; `async for` then gets an empty batch. From any thread.
    fn wake(&self) {
        self.core.wake();
    }

    /// Stop all streams and forget what they hold.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.core.close();
        self.untie(py);
        let waiting: Vec<_> = lock(&self.rooms).keys().copied().collect();
        self.make_room(py, waiting)
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__(slf: Py<Self>) -> Wait {
        Wait::new(slf, Purpose::Batch)
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        // Before the tie is undone, so that whoever still waits is told.
        self.core.close();
        Python::try_attach(|py| self.untie(py));
    }
}
