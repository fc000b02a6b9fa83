//! `Embedder` and `EmbedderStats`.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use facilitair_embed as core;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::errors::Error;
use crate::find;

/// Turns texts into vectors.
#[pyclass(frozen, module = "facilitair_rust")]
pub struct Embedder {
    core: Arc<core::Embedder>,
    path: PathBuf,
}

#[pymethods]
impl Embedder {
    /// Load a model: a folder, or the name of one.
    #[staticmethod]
    #[pyo3(signature = (path_or_name=None, *, device="auto", dtype="f32", threads=None, memo_bytes=33_554_432))]
    fn load(
        py: Python<'_>,
        path_or_name: Option<PathBuf>,
        device: &str,
        dtype: &str,
        threads: Option<NonZero<usize>>,
        memo_bytes: usize,
    ) -> PyResult<Self> {
        let precision = match dtype {
            "f32" => core::Precision::F32,
            "int8" => core::Precision::Int8,
            other => return Err(Error::unknown("dtype", other, "f32, int8").into()),
        };
        let device = match device {
            "auto" if precision == core::Precision::Int8 => core::Device::Cpu,
            "auto" => core::Device::best(),
            "cpu" => core::Device::Cpu,
            "cuda" => core::Device::Cuda,
            "metal" => core::Device::Metal,
            other => return Err(Error::unknown("device", other, "auto, cpu, cuda, metal").into()),
        };
        let defaults = core::Options::default();
        let threads = threads.unwrap_or(defaults.threads);
        let wanted = path_or_name.as_ref().map(|path| path.to_string_lossy());
        let path = find::model(py, wanted.as_deref())?;
        let options = core::Options { device, precision, threads, memo_bytes, ..defaults };
        let core = py.detach(|| core::Embedder::load(&path, options)).map_err(Error::from)?;
        Ok(Self { core: Arc::new(core), path })
    }

    /// Return the vectors of the texts, one row each.
    #[pyo3(signature = (texts, prompt=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<PyBackedStr>,
        prompt: Option<&str>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (rows, columns) = (texts.len(), self.core.dimensions());
        let vectors = py
            .detach(|| {
                let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
                self.core.encode(self.core.prompt(prompt)?, &texts)
            })
            .map_err(Error::from)?;
        PyArray1::from_vec(py, vectors).reshape([rows, columns])
    }

    /// The same in a thread of the event loop's executor.
    #[pyo3(signature = (texts, prompt=None))]
    fn encode_async<'py>(
        slf: &Bound<'py, Self>,
        texts: Bound<'py, PyAny>,
        prompt: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let running = slf.py().import("asyncio")?.call_method0("get_running_loop")?;
        running.call_method1("run_in_executor", (slf.py().None(), slf.getattr("encode")?, texts, prompt))
    }

    /// A name for everything that decides what a text's vector is.
    #[getter]
    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        Ok(py.detach(|| self.core.fingerprint().map(str::to_owned)).map_err(Error::from)?)
    }

    /// Floats of a vector.
    #[getter]
    fn dimensions(&self) -> usize {
        self.core.dimensions()
    }

    /// The most tokens of a text.
    #[getter]
    fn max_tokens(&self) -> usize {
        self.core.longest()
    }

    #[getter]
    fn device(&self) -> &'static str {
        self.core.device().as_str()
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        match self.core.precision() {
            core::Precision::F32 => "f32",
            core::Precision::Int8 => "int8",
        }
    }

    /// The instructions of the processor that compute it.
    #[getter]
    fn instructions(&self) -> Option<String> {
        self.core.isa().map(|isa| isa.to_string())
    }

    /// The folder that it was loaded from.
    #[getter]
    fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The names of the prompts of the model.
    #[getter]
    fn prompts(&self) -> Vec<&str> {
        self.core.prompts().collect()
    }

    #[getter]
    fn stats(&self) -> EmbedderStats {
        EmbedderStats(self.core.stats())
    }

    /// How many tokens of a text the model reads.
    #[pyo3(signature = (text, prompt=None))]
    fn count_tokens(&self, py: Python<'_>, text: &str, prompt: Option<&str>) -> PyResult<usize> {
        let count = || {
            let whole = format!("{}{text}", self.core.prompt(prompt)?);
            self.core.tokens(&whole).map(|tokens| tokens.len())
        };
        Ok(py.detach(count).map_err(Error::from)?)
    }

    fn __repr__(&self) -> String {
        format!("<Embedder {} {} on {}>", self.path.display(), self.dtype(), self.device())
    }
}

/// What an embedder has done so far.
#[pyclass(frozen, module = "facilitair_rust")]
pub struct EmbedderStats(core::Stats);

#[pymethods]
impl EmbedderStats {
    #[getter]
    fn texts(&self) -> u64 {
        self.0.texts
    }

    #[getter]
    fn remembered(&self) -> u64 {
        self.0.remembered
    }

    #[getter]
    fn tokens(&self) -> u64 {
        self.0.tokens
    }

    #[getter]
    fn memo_entries(&self) -> usize {
        self.0.memo_entries
    }

    #[getter]
    fn memo_bytes(&self) -> usize {
        self.0.memo_bytes
    }

    fn __repr__(&self) -> String {
        let core::Stats { texts, remembered, tokens, memo_entries, memo_bytes } = self.0;
        format!(
            "EmbedderStats(texts={texts}, remembered={remembered}, tokens={tokens}, memo_entries={memo_entries}, \
             memo_bytes={memo_bytes})"
        )
    }
}
