"""One contender of benches/embeddings.py, in a process of its own: what is asked comes as JSON lines on stdin."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]


def ours(folder: Path, threads: int, dtype: Literal["f32", "int8"]) -> Encode:
    import facilitair_rust as fr

    return fr.Embedder.load(folder, device="cpu", dtype=dtype, threads=threads, memo_bytes=0).encode


def onnx(model: Path, folder: Path, threads: int, how: str) -> Encode:
    """onnxruntime: `how` is padded (all texts together), sorted (eight of similar length together) or single."""
    import onnxruntime as ort
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)

    def batch(tokens: Sequence[Sequence[int]]) -> Vectors:
        longest = max(map(len, tokens))
        ids = np.zeros((len(tokens), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(tokens):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        asked = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = cast("Vectors", session.run(None, asked)[0])
        means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return cast("Vectors", (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32))

    def encode(texts: Sequence[str]) -> Vectors:
        tokens = [tokenizer.encode(text).ids for text in texts]
        order = (
            sorted(range(len(texts)), key=lambda at: len(tokens[at]))
            if how == "sorted"
            else range(len(texts))
        )
        size = {"padded": len(texts), "sorted": 8, "single": 1}[how]
        vectors = np.empty((len(texts), 384), np.float32)
        for first in range(0, len(texts), size):
            rows = list(order)[first : first + size]
            vectors[rows] = batch([tokens[row] for row in rows])
        return vectors

    return encode


def sentence_transformers(folder: Path, threads: int) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts: cast("Vectors", model.encode(list(texts), show_progress_bar=False))


def resident_bytes() -> int:
    """Return the memory of this process that is its own and not read from a file."""
    fields = dict(
        line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return (int(fields["RssAnon"].split()[0]) + int(fields["RssFile"].split()[0])) * 1024


def main() -> None:
    name, folder, threads, extra = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    if name.startswith("facilitair"):
        import facilitair_rust  # noqa: F401  so that its import is not measured

    before, began = resident_bytes(), time.perf_counter()
    encode: Encode
    match name:
        case "facilitair f32":
            encode = ours(folder, threads, "f32")
        case "facilitair int8":
            encode = ours(folder, threads, "int8")
        case "onnxruntime":
            encode = onnx(Path(extra[0]), folder, threads, extra[1])
        case _:
            encode = sentence_transformers(folder, threads)
    loaded = time.perf_counter() - began
    encode(["warm up " * 100])
    ready: dict[str, Any] = {"ready": True, "load_s": loaded, "bytes": resident_bytes() - before}
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        seconds = []
        for _ in range(asked["times"]):
            began = time.perf_counter()
            vectors = encode(asked["texts"])
            seconds.append(time.perf_counter() - began)
        answer: dict[str, Any] = {"seconds": seconds, "vector": vectors[0].tolist()}
        if file := asked.get("save"):
            np.save(file, vectors)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main()
