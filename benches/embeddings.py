"""Embeddings on the processor: time for one text, texts a second, loading, memory and fidelity, each against peers.

Every contender has a process of its own and as many threads as ours; their turns alternate. The time is that from the
text to its vector, the tokenizer included. Peers that are not installed are left out, and named: `make .setup/bench`
brings onnxruntime, `make .setup/peers` sentence-transformers with PyTorch (gigabytes), and cargo builds stock candle.
The ONNX model and the reference vectors come from the folder of measuring data, if there is one.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import facilitair_rust as fr
from _machine import cpu_model

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = (8, 16, 32, 77, 128)
FLOP_A_TOKEN = 6 * (4 * 384 * 384 + 2 * 384 * 1536) * 2  # of the linear layers of MiniLM-L6
OURS = ("facilitair f32", "facilitair int8")


class Peer:
    """A contender's process."""

    def __init__(self, stack: ExitStack, command: Sequence[str], threads: int) -> None:
        names = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS", "CANDLE_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads)) | {"TOKENIZERS_PARALLELISM": "false"}
        self._process = stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        )
        stack.callback(self._process.kill)
        self.ready = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(f"{self._process.args!r} ended without an answer")

    def ask(self, **asked: object) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def median(self, texts: Sequence[str], times: int) -> float:
        seconds: list[float] = self.ask(texts=texts, times=times)["seconds"]
        return statistics.median(seconds)


def python(name: str, folder: Path, threads: int, *extra: object) -> list[str]:
    peer = Path(__file__).with_name("_embedding_peer.py")
    return [sys.executable, str(peer), name, str(folder), str(threads), *map(str, extra)]


def onnx_models(tool: Path, folder: Path, where: Path) -> dict[str, Path]:
    """Return the model in floats and, quantised as onnxruntime does by default, in bytes."""
    if not tool.is_file() or importlib.util.find_spec("onnxruntime") is None:
        print(f"onnxruntime is left out: it needs `make .setup/bench` and {tool}")
        return {}
    models = {"f32": where / "f32.onnx", "int8": where / "int8.onnx"}
    subprocess.run([sys.executable, tool, folder, models["f32"]], check=True, capture_output=True)
    quantise = "from onnxruntime.quantization import quantize_dynamic as q; import sys; q(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", quantise, *models.values()], check=True, capture_output=True)
    return models


def stock_candle() -> Path | None:
    build = ["cargo", "build", "--release", "--locked", "-p", "facilitair-embed", "--features", "candle"]
    done = subprocess.run([*build, "--example", "stock_candle"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(f"stock candle is left out: {done.stderr.strip().splitlines()[-1]}")
        return None
    return ROOT / "target/release/examples/stock_candle"


def one_text(peers: Mapping[str, Peer], embedder: fr.Embedder, rounds: int) -> None:
    print("\n### One text, one thread: milliseconds, median of all rounds (GFLOP/s of the linear layers)\n")
    print(f"| | {' | '.join(f'{length} tokens' for length in LENGTHS)} |")
    print("|---|" + "---:|" * len(LENGTHS))
    found: dict[str, list[float]] = {name: [] for name in peers}
    for length in LENGTHS:
        text = " ".join(["cat"] * (length - 2))
        assert embedder.count_tokens(text) == length
        seconds: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(rounds):
            for name, peer in peers.items():
                seconds[name].append(peer.median([text], max(5, 400 // length)))
        for name, medians in seconds.items():
            found[name].append(statistics.median(medians))
    for name, medians in found.items():
        cells = [
            f"{seconds * 1e3:.2f} ({FLOP_A_TOKEN * length / seconds / 1e9:.0f})"
            for seconds, length in zip(medians, LENGTHS, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    for own in OURS:
        for name, medians in found.items():
            dtype = own.removeprefix("facilitair ")
            if name in OURS or ("onnx" in name and not name.endswith(dtype)):
                continue
            shares = [ours / theirs for ours, theirs in zip(found[own], medians, strict=True)]
            print(f"| {own}: share of {name} | {' | '.join(f'{share:.2f}' for share in shares)} |")


def many_texts(
    stack: ExitStack, folder: Path, models: Mapping[str, Path], texts: Sequence[str], rounds: int
) -> None:
    print("\n### 64 texts of mixed length, two threads: texts a second\n\n| | f32 | int8 |\n|---|---:|---:|")
    rows: dict[str, dict[str, float]] = {}
    for dtype in ("f32", "int8"):
        peers = {"facilitair": Peer(stack, python(f"facilitair {dtype}", folder, 2), 2)}
        if models:
            for how in ("padded", "sorted", "single"):
                command = python("onnxruntime", folder, 2, models[dtype], how)
                peers[f"onnxruntime, {how}"] = Peer(stack, command, 2)
        seconds: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(rounds):
            for name, peer in peers.items():
                seconds[name].append(peer.median(texts, 3))
        for name, medians in seconds.items():
            rows.setdefault(name, {})[dtype] = len(texts) / statistics.median(medians)
    for name, rates in rows.items():
        print(f"| {name} | {rates['f32']:.0f} | {rates['int8']:.0f} |")
    if models:
        ratios = [
            rows["facilitair"][dtype]
            / max(rates[dtype] for name, rates in rows.items() if name != "facilitair")
            for dtype in ("f32", "int8")
        ]
        print(f"| times the best of onnxruntime | {ratios[0]:.2f} | {ratios[1]:.2f} |")


def loading(folder: Path) -> None:
    weights = (folder / "model.safetensors").stat().st_size
    print("\n### Loading, and the memory it takes (median of 5 processes)\n")
    print("| | loaded in, ms | memory, MB | times the weights |\n|---|---:|---:|---:|")
    for name in OURS:
        ready = []
        for _ in range(5):
            with ExitStack() as stack:
                ready.append(Peer(stack, python(name, folder, 1), 1).ready)
        seconds, memory = (statistics.median(one[key] for one in ready) for key in ("load_s", "bytes"))
        print(f"| {name} | {seconds * 1e3:.0f} | {memory / 1e6:.0f} | {memory / weights:.2f} |")


def fidelity(peers: Mapping[str, Peer], data: Path, where: Path) -> None:
    if not (data / "minilm_reference.npy").is_file():
        print(f"\nfidelity is left out: there is no {data}/minilm_reference.npy")
        return
    with (data / "train.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][::10][:1000]
    reference = np.load(data / "minilm_reference.npy")
    pairs = np.triu_indices(len(texts), 1)
    print("\n### Fidelity to sentence-transformers, 1,000 questions of BANKING77\n")
    print(
        "| | smallest cosine | shift of a pair's similarity, 99.9th percentile | largest |\n|---|---:|---:|---:|"
    )
    for name, peer in peers.items():
        if name in ("stock candle", "sentence-transformers"):
            continue
        peer.ask(texts=texts, times=1, save=str(where / "vectors.npy"))
        vectors = np.load(where / "vectors.npy")
        shift = np.abs(vectors @ vectors.T - reference @ reference.T)[pairs]
        cosine = (vectors * reference).sum(1).min()
        print(f"| {name} | {cosine:.7f} | {np.quantile(shift, 0.999):.5f} | {shift.max():.5f} |")


def main() -> None:
    shared = ROOT.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--onnx-tool", type=Path, default=shared / "tools/minilm_onnx.py")
    parser.add_argument("--data", type=Path, default=shared / "data/banking77")
    args = parser.parse_args()
    embedder = fr.Embedder.load(device="cpu")
    folder = embedder.path
    loading(folder)
    with ExitStack() as stack:
        where = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = {name: Peer(stack, python(name, folder, 1), 1) for name in OURS}
        models = onnx_models(args.onnx_tool, folder, where)
        for dtype, model in models.items():
            command = python("onnxruntime", folder, 1, model, "single")
            peers[f"onnxruntime {dtype}"] = Peer(stack, command, 1)
        if candle := stock_candle():
            peers["stock candle"] = Peer(stack, [str(candle), str(folder)], 1)
        if importlib.util.find_spec("sentence_transformers"):
            peers["sentence-transformers"] = Peer(stack, python("sentence-transformers", folder, 1), 1)
        else:
            print("sentence-transformers is left out: it is not installed (`make .setup/peers`)")
        packages = [
            f"{name} {version(name)}"
            for name in ("onnxruntime", "sentence-transformers", "torch")
            if importlib.util.find_spec(name.replace("-", "_"))
        ]
        print(f"{cpu_model()}, {os.cpu_count()} cores, {embedder.instructions}; {', '.join(packages)}")
        one_text(peers, embedder, args.rounds)
        fidelity(peers, args.data, where)
        dice = random.Random(7)  # noqa: S311
        mixed = [" ".join(["cat"] * dice.randint(4, 100)) for _ in range(64)]
        many_texts(stack, folder, models, mixed, args.rounds)


if __name__ == "__main__":
    main()
