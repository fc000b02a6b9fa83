"""Vectors as sentence-transformers gives them: `make_golden.py` has made them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import facilitair_rust as fr

GOLDEN = Path(__file__).parent / "golden"
TEXTS = json.loads((GOLDEN / "texts.json").read_text())
MINILM = [*TEXTS["minilm"], *(text * times for text, times in TEXTS["long"])]
TINY = ["bert-cls", "bert-tanh-half", "xlm-roberta-several"]

Vectors = NDArray[np.float32]


def cosines(ours: Vectors, theirs: Vectors) -> Vectors:
    lengths = np.linalg.norm(ours, axis=1)
    assert np.allclose(lengths, 1, atol=1e-6), lengths
    return np.asarray((ours * theirs).sum(axis=1))


def test_minilm_in_f32() -> None:
    vectors = fr.Embedder.load(device="cpu").encode(MINILM)
    theirs = np.load(GOLDEN / "minilm.npy")
    assert vectors.shape == theirs.shape
    assert cosines(vectors, theirs).min() > 0.99999
    assert np.abs(vectors - theirs).max() < 1e-5


def test_minilm_in_int8() -> None:
    vectors = fr.Embedder.load(device="cpu", dtype="int8").encode(MINILM)
    theirs = np.load(GOLDEN / "minilm.npy")
    assert cosines(vectors, theirs).min() > 0.995
    shift = np.abs(vectors @ vectors.T - theirs @ theirs.T)
    assert shift.max() < 0.03


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("dtype", "least"), [("f32", 0.99999), ("int8", 0.999)])
def test_other_shapes_of_model(name: str, dtype: Literal["f32", "int8"], least: float) -> None:
    embedder = fr.Embedder.load(GOLDEN / name, device="cpu", dtype=dtype)
    theirs = np.load(GOLDEN / name / "vectors.npy")
    assert embedder.dimensions == theirs.shape[1]
    ours = embedder.encode(TEXTS["tiny"])
    assert cosines(ours, theirs).min() > least
    assert np.abs(ours - theirs).max() < (1e-6 if dtype == "f32" else 0.01)


@pytest.mark.parametrize(
    ("name", "file", "setting"),
    [
        ("bert-cls", "1_Pooling/config.json", {"pooling_mode": "mean"}),
        ("bert-tanh-half", "1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("bert-cls", "config.json", {"num_attention_heads": 1}),
        ("bert-cls", "tokenizer_config.json", {"model_max_length": 8}),
        ("xlm-roberta-several", "config.json", {"hidden_act": "gelu"}),
        (
            "xlm-roberta-several",
            "1_Pooling/config.json",
            {"pooling_mode": ["max", "mean", "mean", "lasttoken"]},
        ),
        ("xlm-roberta-several", "config.json", {"pad_token_id": 1}),
    ],
)
def test_the_golden_vectors_notice_a_wrong_setting(
    tmp_path: Path, name: str, file: str, setting: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(GOLDEN / name, tmp_path / name))
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **setting}))
    vectors = fr.Embedder.load(folder, device="cpu").encode(TEXTS["tiny"])
    assert np.abs(vectors - np.load(folder / "vectors.npy")).max() > 0.02


def test_a_prompt_of_the_model_is_put_in_front() -> None:
    embedder = fr.Embedder.load(GOLDEN / "bert-cls", device="cpu")
    assert embedder.prompts == ["document", "passage", "query"]
    theirs = np.load(GOLDEN / "bert-cls" / "query.npy")
    assert cosines(embedder.encode(TEXTS["tiny"], "query"), theirs).min() > 0.99999
    plain = np.load(GOLDEN / "bert-cls" / "vectors.npy")
    assert cosines(embedder.encode(TEXTS["tiny"], "passage"), plain).min() > 0.99999
    assert embedder.count_tokens("a b", "query") == embedder.count_tokens("a b") + 5
    with pytest.raises(ValueError, match='no prompt "nobody"; it has document, passage, query'):
        embedder.encode(["a"], "nobody")
