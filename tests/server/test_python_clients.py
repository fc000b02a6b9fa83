"""Clients from PyPI that nobody here wrote: langchain-openai, and the command `llm`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import openai
import pytest
from pydantic import SecretStr

from tests.live import brain

from .harness import KEY, Served, ran, served

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

THERE: Final = find_spec("langchain_openai") is not None and find_spec("llm") is not None
ANSWER: Final = "One thing. Another thing."
MODEL: Final = "facilitair/alone"


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


pytestmark = pytest.mark.skipif(not THERE and "CI" not in os.environ, reason="needs `make .setup/clients`")


@asynccontextmanager
async def langchain(at: Served, **facilitair: object) -> AsyncIterator[ChatOpenAI]:
    """Give a model of LangChain's that is one of the server's; `facilitair` are options of its runs."""
    from langchain_openai import ChatOpenAI

    async with openai.DefaultAsyncHttpxClient() as http:
        yield ChatOpenAI(
            model=MODEL,
            base_url=f"{at.url}/v1",
            api_key=SecretStr(KEY),
            extra_body={"facilitair": facilitair},
            http_async_client=http,
            max_retries=2,
            stream_usage=True,
        )


def test_langchain_gets_the_answer_and_its_usage_whole_and_streamed() -> None:
    async def run() -> None:
        async with served(script=brain()) as at, langchain(at, models="openai/brief") as chat:
            whole = await chat.ainvoke("Sort a list")
            pieces = [piece async for piece in chat.astream("Sort a list")]
            assert whole.content == "".join(str(piece.content) for piece in pieces) == ANSWER
            assert whole.usage_metadata is not None
            usage = [piece.usage_metadata for piece in pieces if piece.usage_metadata]
            assert [u["output_tokens"] for u in usage] == [whole.usage_metadata["output_tokens"]]

    asyncio.run(run())


def test_langchain_repeats_no_failed_run() -> None:
    async def run() -> None:
        async with served(script=brain()) as at, langchain(at, models="openai/steady", timeout=0.3) as chat:
            with pytest.raises(openai.APIError):
                await chat.ainvoke("Sort a list")
            assert len(at.runs.directory.records()) == 1

    asyncio.run(run())


async def llm(at: Served, home: Path, *args: str) -> str:
    """Return what the command prints for a model of the server; all that it keeps stands in `home`."""
    (home / "extra-openai-models.yaml").write_text(
        f"- model_id: ours\n  model_name: {MODEL}\n  api_base: {at.url}/v1\n  api_key_name: ours\n"
    )
    env = {"HOME": str(home), "LLM_USER_PATH": str(home), "LLM_LOAD_PLUGINS": ""}
    return await ran(sys.executable, "-m", "llm", "-m", "ours", *args, "--key", KEY, **env)


@pytest.mark.parametrize("how", [(), ("--no-stream",)], ids=["streamed", "whole"])
def test_llm_prints_the_answer(how: tuple[str, ...], tmp_path: Path) -> None:
    async def run() -> None:
        async with served(script=brain(), speed=100) as at:
            out = await llm(at, tmp_path, "Sort a list", *how)
            state = await at.runs.directory.records()[0].log.state()
            assert state.content
            assert out.strip() == state.content.strip()

    asyncio.run(run())
