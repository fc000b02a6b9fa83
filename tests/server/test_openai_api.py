"""`/v1`, asked by OpenAI's own client over loopback; and, without a server, that its text is only ever appended to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk
from starlette.types import Message

from facilitair import events as ev
from facilitair.config import ServerConfig
from facilitair.fold import answer, fold
from facilitair.options import RunOptions
from facilitair.server import openai_api
from facilitair.server.openai_api import LEFT
from facilitair.server.schemas import Call
from facilitair.server.sse import EventStreamResponse
from facilitair.server.transcript import Transcript
from tests.live import Prompts, brain, until

from .harness import KEY, Served, folded, served

TASK: Any = [{"role": "user", "content": "Sort a list"}]


def asking(models: str, **more: Any) -> dict[str, Any]:
    return {"facilitair": {"models": models, **more}}


@asynccontextmanager
async def asked(at: Served, key: str = KEY) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{at.url}/v1", api_key=key) as client:
        yield client


def reasoning(chunk: ChatCompletionChunk) -> str:
    return getattr(chunk.choices[0].delta, "reasoning_content", None) or "" if chunk.choices else ""


def content(chunk: ChatCompletionChunk) -> str:
    return chunk.choices[0].delta.content or "" if chunk.choices else ""


async def drained(stream: AsyncStream[ChatCompletionChunk]) -> None:
    async for chunk in stream:
        assert chunk.choices[0].finish_reason is None


async def raw(at: Served, body: dict[str, Any]) -> list[str]:
    """Return the lines of a streamed answer."""
    async with at.http.stream("POST", "/v1/chat/completions", json={"stream": True, **body}) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        return [line async for line in response.aiter_lines() if line]


# --- what goes well ----------------------------------------------------------------------------------------------


def test_every_strategy_is_a_model() -> None:
    async def run() -> None:
        async with served() as at, asked(at) as client:
            names = [model.id async for model in client.models.list()]
            assert names == [f"facilitair/{name}" for name in ("balanced", "pipeline", "single", "alone")]
            assert (await client.models.retrieve("facilitair/alone")).owned_by == "facilitair"
            with pytest.raises(openai.NotFoundError) as error:
                await client.chat.completions.create(model="gpt-4o", messages=TASK)
            assert error.value.code == "model_not_found"
            assert "facilitair/balanced" in error.value.message

    asyncio.run(run())


def test_a_stream_is_the_debate_and_then_the_answer() -> None:
    async def run() -> None:
        async with served(speed=50) as at, asked(at) as client:
            stream = await client.chat.completions.create(
                model="facilitair/balanced",
                messages=TASK,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=asking("openai/coder", sections=["Design", "Code"]),
            )
            chunks = [chunk async for chunk in stream]
            (record,) = at.runs.directory.records()

        state = folded(record)
        assert state.status == "completed"
        assert chunks[0].choices[0].delta.role == "assistant"
        assert "".join(map(content, chunks)) == state.content
        debate = "".join(map(reasoning, chunks))
        for chunk in state.chunks.values():
            assert f"**{chunk.agent}**" in debate
        assert "(Design)" in debate
        assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == [
            "stop"
        ]
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert state.usage is not None
        assert chunks[-1].usage.completion_tokens == state.usage.output_tokens
        assert all(chunk.usage is None for chunk in chunks[:-1])
        assert {chunk.id for chunk in chunks} == {f"chatcmpl-{record.stream_id}"}

    asyncio.run(run())


def test_all_that_an_agent_says_is_told() -> None:
    async def run() -> None:
        async with served(speed=20) as at:
            body = {"model": "facilitair/alone", "messages": TASK, **asking("openai/brief")}
            reply = (await at.http.post("/v1/chat/completions", json=body)).json()

        message = reply["choices"][0]["message"]
        assert message["reasoning_content"].endswith("**writer**:\nOne thing. Another thing.")
        assert message["content"] == "One thing. Another thing."
        assert reply["choices"][0]["finish_reason"] == "stop"
        assert reply["usage"]["total_tokens"] > 0

    asyncio.run(run())


def test_a_whole_answer_is_the_run_s() -> None:
    async def run() -> None:
        async with served(speed=50) as at, asked(at) as client:
            reply = await client.chat.completions.create(
                model="balanced",
                messages=TASK,
                temperature=0.3,
                max_completion_tokens=5,
                tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
                tool_choice="auto",
                extra_body=asking("openai/coder"),
            )
            (record,) = at.runs.directory.records()

        assert reply.choices[0].message.content == folded(record).content
        assert reply.model == "facilitair/balanced"
        assert folded(record).status == "completed"

    asyncio.run(run())


def test_the_last_user_message_is_the_task_and_the_others_are_told() -> None:
    prompts = Prompts()
    messages: Any = [
        {"role": "system", "content": "Answer as a pirate."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "A parrot."},
        {"role": "user", "content": [{"type": "text", "text": "Sort"}, {"type": "text", "text": "a list"}]},
    ]

    async def run() -> None:
        async with served(script=brain(prompts), speed=20) as at, asked(at) as client:
            await client.chat.completions.create(
                model="facilitair/alone", messages=messages, extra_body=asking("openai/echo")
            )

    asyncio.run(run())
    for told in ("begin: task\nSort\na list\n", "Answer as a pirate.", "Who are you?", "A parrot."):
        assert told in prompts.text()


def test_lines_that_clients_read_hold_nothing_but_ascii() -> None:
    task = [{"role": "user", "content": "Sort\u2028a\x85list\r\ndata: [DONE]\n\nevent: x — ✓"}]

    async def run() -> None:
        async with served(script=brain(), speed=20) as at:
            body = {"model": "facilitair/alone", "messages": task, **asking("openai/echo")}
            lines = await raw(at, body)

        assert lines[-1] == "data: [DONE]"
        assert lines.count("data: [DONE]") == 1
        assert all(line.startswith("data: {") and line.isascii() for line in lines[:-1])
        text = "".join(
            choice["delta"].get("content", "")
            for line in lines[:-1]
            for choice in json.loads(line.removeprefix("data: "))["choices"]
        )
        assert "Sort\u2028a\x85list" in text

    asyncio.run(run())


# --- what ends early ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["steady", "mute"])
def test_a_client_that_leaves_its_stream_stops_the_run(model: str) -> None:
    async def run() -> None:
        async with served() as at, asked(at) as client:
            stream = await client.chat.completions.create(
                model="facilitair/alone", messages=TASK, stream=True, extra_body=asking(f"openai/{model}")
            )
            await anext(aiter(stream))
            await until(lambda: at.simulator.open_streams == 1)
            await stream.close()
            await until(lambda: at.simulator.open_streams == 0)
            (record,) = at.runs.directory.records()
            await until(lambda: record.log.ended)

        assert at.simulator.closed_early == 1
        assert folded(record).status == "cancelled"
        assert folded(record).error_message == LEFT

    asyncio.run(run())


@pytest.mark.parametrize("model", ["steady", "mute"])
def test_a_client_that_leaves_without_an_answer_stops_the_run(model: str) -> None:
    async def run() -> None:
        async with served() as at, asked(at) as client:
            asking_it = asyncio.create_task(
                client.chat.completions.create(
                    model="facilitair/alone", messages=TASK, extra_body=asking(f"openai/{model}")
                )
            )
            await until(lambda: at.simulator.open_streams == 1)
            asking_it.cancel()
            await until(lambda: at.simulator.open_streams == 0)
            (record,) = at.runs.directory.records()
            await until(lambda: record.log.ended)

        assert folded(record).status == "cancelled"

    asyncio.run(run())


def test_a_client_that_reads_nothing_any_more_stops_the_run() -> None:
    async def run() -> None:
        async with served() as at:
            options: RunOptions = {"strategy": "alone", "models": "openai/steady"}
            record = await at.runs.start(Call("Sort", None, options), "me")
            pieces = openai_api.Completion(record, "m").stream(10, include_usage=False)
            sent = 0

            async def receive() -> Message:
                return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

            async def send(message: Message) -> None:
                nonlocal sent
                sent += 1
                if sent > 5:
                    await asyncio.get_running_loop().create_future()

            async def stop() -> None:
                await at.runs.directory.cancel(record.stream_id, "me", LEFT)

            response = EventStreamResponse(pieces, at_end=stop, send_timeout_s=0.05)
            await response({}, receive, send)
            await until(lambda: record.log.ended)
            await until(lambda: at.simulator.open_streams == 0)

        assert folded(record).status == "cancelled"

    asyncio.run(run())


def test_silence_is_filled_with_comments() -> None:
    async def run() -> None:
        async with served(ServerConfig(heartbeat_s=0.05)) as at:
            body = {"model": "facilitair/alone", "messages": TASK, **asking("openai/mute", timeout=0.5)}
            lines = await raw(at, body)

        assert lines.count(": keep-alive") >= 3
        assert lines[-1] == "data: [DONE]"

    asyncio.run(run())


def test_a_run_that_fails_in_mid_stream_is_an_error_object_and_the_end() -> None:
    body = {"model": "facilitair/alone", "messages": TASK, **asking("openai/steady", timeout=0.3)}

    async def run() -> None:
        async with served() as at, asked(at) as client:
            lines = await raw(at, body)
            stream = await client.chat.completions.create(
                model="facilitair/alone",
                messages=TASK,
                stream=True,
                extra_body=asking("openai/steady", timeout=0.31),  # another call: the same would fail at once
            )
            with pytest.raises(openai.APIError) as error:
                await drained(stream)

        failure = json.loads(lines[-2].removeprefix("data: "))["error"]
        assert failure["code"] == error.value.code == "deadline_exceeded"
        assert lines[-1] == "data: [DONE]"
        assert not any('"finish_reason":"stop"' in line for line in lines)

    asyncio.run(run())


def test_a_run_that_fails_is_not_tried_again_by_the_client() -> None:
    async def run() -> None:
        async with served() as at, asked(at) as client:
            with pytest.raises(openai.APIStatusError) as error:
                await client.chat.completions.create(
                    model="facilitair/alone", messages=TASK, extra_body=asking("openai/steady", timeout=0.3)
                )
            assert len(at.runs.directory.records()) == 1

        assert error.value.status_code == 504
        assert error.value.code == "deadline_exceeded"

    asyncio.run(run())


def test_a_run_cancelled_elsewhere_is_an_error() -> None:
    async def run() -> None:
        async with served() as at, asked(at) as client:
            stream = await client.chat.completions.create(
                model="facilitair/alone", messages=TASK, stream=True, extra_body=asking("openai/steady")
            )
            stream_id = stream.response.headers["x-facilitair-stream"]
            assert (await at.http.post(f"/api/stream/cancel/{stream_id}")).status_code == 200
            with pytest.raises(openai.APIError, match="stopped"):
                await drained(stream)

    asyncio.run(run())


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "42"}]}, "user message"),
        ({"messages": [{"role": "user", "content": "  "}]}, "empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "only text",
        ),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"facilitair": {"cash": 3}}, "cash"),
        ({"facilitair": {"max_cost": -1}}, "max_cost"),
        ({"facilitair": {"models": "nobody"}}, "models"),
        ({"facilitair": {"preset": "best"}}, "preset"),
    ],
)
def test_what_cannot_be_done_is_refused_in_openai_s_form(more: dict[str, Any], word: str) -> None:
    async def run() -> None:
        async with served() as at:
            body = {"model": "facilitair/balanced", "messages": TASK, **more}
            response = await at.http.post("/v1/chat/completions", json=body)
            assert at.runs.directory.records() == []

        assert response.status_code == 422, response.text
        error = response.json()["error"]
        assert word in error["message"]
        assert error["type"] == "invalid_request_error"

    asyncio.run(run())


def test_a_wrong_key_and_a_limit_are_the_client_s_own_errors() -> None:
    async def run() -> None:
        async with served(ServerConfig(max_runs_per_key=1)) as at, asked(at) as client:
            async with asked(at, "sk-wrong-0123456789") as stranger:
                with pytest.raises(openai.AuthenticationError):
                    await stranger.models.list()
            await at.start({"task": "Sort", "models": "openai/mute", "strategy": "alone"})
            with pytest.raises(openai.RateLimitError) as error:
                await client.with_options(max_retries=0).chat.completions.create(
                    model="facilitair/balanced", messages=TASK
                )

        assert int(error.value.response.headers["retry-after"]) > 0

    asyncio.run(run())


# --- the transcript ----------------------------------------------------------------------------------------------


class Story:
    """Events with running numbers."""

    def __init__(self) -> None:
        self.events: list[ev.AnyEvent] = []

    def stamp(self) -> dict[str, Any]:
        return {"stream_id": "s", "seq": len(self.events) + 1, "ts": 0.0}

    def sections(self, *names: str) -> None:
        self.events.append(
            ev.TaskProgressEvent(
                **self.stamp(),
                sections=tuple(ev.SectionInfo(id=name, title=name.title()) for name in names),
                total_chunks=1,
                completed_chunks=0,
                estimated_time_s=None,
                estimated_cost_usd=None,
                cost_usd=None,
                cache=ev.CacheInfo(state="off"),
            )
        )

    def begins(self, chunk: str) -> None:
        self.events.append(
            ev.ChunkStartedEvent(
                **self.stamp(), chunk_id=chunk, section="a", agent=chunk, role="coder", model="m", description="",
                current=1, total=1, section_index=1, section_total=1,
            )
        )  # fmt: skip

    def says(self, chunk: str, text: str) -> None:
        state = fold(self.events).chunks[chunk]
        start = len(state.text)
        self.events.append(ev.TokenStreamEvent(**self.stamp(), chunk_id=chunk, agent=chunk, tokens=text))
        self.events.append(
            ev.FragmentEvent(
                **self.stamp(), chunk_id=chunk, fragment=f"{chunk}#{start}", start=start, end=start + len(text),
                derived_from=(),
            )
        )  # fmt: skip

    def retracts(self, chunk: str, keep: int) -> None:
        self.events.append(
            ev.FragmentsRetractedEvent(
                **self.stamp(), chunk_id=chunk, agent=chunk, fragments=(), keep=keep, cause="withdrawn", root="r",
                reason="it was\nwrong",
            )
        )  # fmt: skip

    def synthesis(self, section: str, text: str, keep: int | None = None) -> None:
        self.events.append(ev.SynthesisStreamEvent(**self.stamp(), section=section, tokens=text, keep=keep))

    def stands(self, section: str) -> None:
        text = fold(self.events).syntheses[section].text
        self.events.append(ev.SynthesisCompletedEvent(**self.stamp(), section=section, content=text))

    def ends(self) -> str:
        state = fold(self.events)
        content = answer(state)
        self.events.append(
            ev.TaskCompletedEvent(
                **self.stamp(), content=content, sections=state.sections, points=(), ledger=(), confidence=None,
                usage=ev.Usage(), cost_usd=None, models_used=(), elapsed_s=1.0, degraded=(), simulated=False,
            )
        )  # fmt: skip
        return content


def told(events: Iterable[ev.AnyEvent], field: str) -> str:
    transcript = Transcript()
    return "".join(delta.text for event in events for delta in transcript.take(event) if delta.field == field)


steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "cut", "stand"]),
        st.sampled_from("abc"),
        st.text("xyz \n", max_size=5),
        st.integers(0, 8),
    ),
    max_size=40,
)


@given(steps)
def test_the_answer_is_complete_or_corrected_whatever_happens(
    script: list[tuple[str, str, str, int]],
) -> None:
    story = Story()
    story.sections("a", "b", "c")
    revised = False
    for what, section, text, keep in script:
        known = fold(story.events).syntheses
        if what == "write":
            story.synthesis(section, text)
        elif section in known:
            if what == "cut":
                story.synthesis(section, text, keep)
            else:
                story.stands(section)
                continue
        revised = revised or (section in known and known[section].status == "completed")
    final = story.ends()

    shown = told(story.events, "content")

    assert shown == final or (revised and shown.endswith(f"In full:**\n\n{final}"))


@given(st.lists(st.tuples(st.sampled_from("pq"), st.text("xyz \n", min_size=1, max_size=400)), max_size=30))
def test_the_debate_loses_and_doubles_nothing(turns: list[tuple[str, str]]) -> None:
    story = Story()
    story.begins("p")
    story.begins("q")
    for chunk, text in turns:
        story.says(chunk, text)
    for chunk in "pq":
        text = fold(story.events).chunks[chunk].text
        story.events.append(
            ev.ChunkCompletedEvent(
                **story.stamp(), chunk_id=chunk, agent=chunk, content=text, finish_reason="stop", usage=None,
                cost_usd=None, ttft_s=None, duration_s=1.0,
            )
        )  # fmt: skip

    pieces = told(story.events, "reasoning_content").split("\n\n**")[1:]

    for chunk, state in fold(story.events).chunks.items():
        spoken = "".join(piece.removeprefix(f"{chunk}**:\n") for piece in pieces if piece.startswith(chunk))
        assert spoken.replace("\n", "").strip() == state.text.replace("\n", "").strip()


def test_an_agent_keeps_the_floor_until_another_has_something_to_say() -> None:
    story = Story()
    story.begins("p")
    story.begins("q")
    story.says("p", "One. ")
    story.says("q", "Yes. ")
    story.says("p", "Two. ")
    story.says("q", "No. " * 100)
    story.says("p", "Three. ")

    assert told(story.events, "reasoning_content") == "\n\n**p**:\nOne. Two. \n\n**q**:\nYes. " + "No. " * 100


def test_text_taken_back_is_said_to_be() -> None:
    story = Story()
    story.begins("p")
    story.says("p", "Good. Bad.")
    story.retracts("p", 6)
    story.says("p", "Better.")

    assert (
        told(story.events, "reasoning_content")
        == "\n\n**p**:\nGood. Bad.\n\n[p takes this back: it was wrong]\n\n\n\n**p**:\nBetter."
    )


def test_a_snapshot_leaves_no_gap() -> None:
    story = Story()
    story.sections("a", "b")
    story.begins("p")
    story.says("p", "One. ")
    story.synthesis("a", "First.")
    early = list(story.events)
    story.says("p", "Two. ")
    story.stands("a")
    state = fold(story.events)
    snapshot = ev.StateSnapshotEvent(stream_id="s", seq=state.seq, ts=0.0, state=state)
    story.says("p", "Three. ")
    story.synthesis("b", "Second.")
    story.stands("b")
    story.ends()
    late = story.events[state.seq :]

    assert told([*early, snapshot, *late], "content") == "First.\n\nSecond."
    assert told([*early, snapshot, *late], "reasoning_content").endswith("One. Two. Three. ")
