"""The transport on a virtual clock: exact times, because no time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.clock import MonotonicClock, VirtualClock
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.script import ScriptTransport
from facilitair.transport import Channel, Delta, HttpRequest, Transport
from facilitair_rust import Closed, Content, Failed, Finished, Reasoning, Timeouts
from tests.simulator.chat import Messages, body

T = TypeVar("T")
TEN = Script(text="0 1 2 3 4 5 6 7 8 9", ttft_s=2.0, between_s=0.5)
TIMEOUTS = Timeouts(connect=5, first_content=60, between_content=30, total=600)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; one that waits for real time fails instead of hanging."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


def request(model: str, said: Messages | None = None, timeouts: Timeouts = TIMEOUTS) -> HttpRequest:
    return HttpRequest("https://nowhere.invalid", {}, msgspec.json.encode(body(model, said)), timeouts)


def transport(**scripts: Script) -> ScriptTransport:
    return ScriptTransport(Brain({"ten": TEN, **scripts}), VirtualClock())


async def timeline(models: Sequence[str], *, start: float = 0.0) -> list[tuple[float, Delta]]:
    """Return everything that the streams of these models deliver, with its time."""
    played = ScriptTransport(Brain({"ten": TEN}), VirtualClock(start))
    channel = played.channel()
    waiting = {channel.open(request(model)) for model in models}
    found: list[tuple[float, Delta]] = []
    while waiting:
        for delta in await channel.recv(None):
            found.append((played.clock.now(), delta))
            if isinstance(delta, Finished | Failed | Closed):
                waiting.remove(delta.stream)
    return found


def outline(found: list[tuple[float, Delta]]) -> list[tuple[float, str]]:
    """Return a timeline in a readable form."""
    return [(when, described(delta)) for when, delta in found]


def described(delta: Delta) -> str:
    match delta:
        case Content(stream, text):
            return f"{stream} says {text!r}"
        case Reasoning(stream, text):
            return f"{stream} thinks {text!r}"
        case Finished(stream, reason):
            return f"{stream} finished: {reason}"
        case Failed(stream, error):
            return f"{stream} failed: {error.code}"
        case Closed(stream):
            return f"{stream} closed"


def test_it_fits_the_seam() -> None:
    seam: Transport = transport()
    channel: Channel = seam.channel()
    assert channel is not seam.channel()


def test_bytes_arrive_at_exactly_the_times_of_the_script() -> None:
    found = outline(run(timeline(["ten"], start=100.0)))
    assert found == [
        (102.0, "1 says '0'"),
        *((102.0 + n * 0.5, f"1 says ' {n}'") for n in range(1, 10)),
        (106.5, "1 finished: stop"),
    ]


def test_streams_are_merged_in_time_and_by_number_at_one_instant() -> None:
    found = outline(run(timeline(["ten", "ten+slow=3", "ten"])))
    assert [when for when, _ in found] == sorted(when for when, _ in found)
    assert [what for when, what in found if when == 3.0] == ["1 says ' 2'", "2 says '0'", "3 says ' 2'"]


@pytest.mark.parametrize(
    ("fault", "when", "how"),
    [
        ("429", 0.0, "rate_limited"),
        ("500", 0.0, "http_status"),
        ("refused", 0.0, "connect_failed"),
        ("slow", 60.0, "first_content_timeout"),
        ("stall", 33.0, "stall_timeout"),
        ("silent", 33.0, "stall_timeout"),
        ("cut", 3.0, "truncated"),
        ("error", 3.0, "provider_error"),
        ("malformed", 3.0, "malformed"),
        ("huge", 2.0, "too_large"),
    ],
)
def test_a_fault_fails_its_stream_at_its_time_and_no_other(fault: str, when: float, how: str) -> None:
    found = outline(run(timeline([f"ten+{fault}", "ten"])))
    (failed,) = [(at, what) for at, what in found if what.startswith("1 f")]
    assert failed == (when, f"1 failed: {how}")
    assert (6.5, "2 finished: stop") in found


@pytest.mark.parametrize("fault", ["bytes", "dupdone", "nousage", "slow=10", "slow=10+bytes"])
def test_other_faults_leave_the_text_whole(fault: str) -> None:
    found = run(timeline([f"ten+{fault}"]))
    assert "".join(delta.text for _, delta in found if isinstance(delta, Content)) == TEN.text
    finished = found[-1][1]
    assert isinstance(finished, Finished)
    assert (finished.usage is None) == (fault == "nousage")


def test_a_limited_answer_says_so() -> None:
    assert outline(run(timeline(["ten+length"])))[-1] == (4.0, "1 finished: length")


def test_retry_after_reaches_the_error() -> None:
    ((_, delta),) = run(timeline(["ten+429=12"]))
    assert isinstance(delta, Failed)
    assert (delta.error.retry_after_s, delta.error.retryable) == (12.0, True)


def test_thoughts_are_told_apart() -> None:
    found = run(timeline(["thinker"]))
    kinds = [type(delta) for _, delta in found]
    assert kinds == sorted(kinds, key=[Reasoning, Content, Finished].index)
    assert {Reasoning, Content, Finished} == set(kinds)


def test_recv_ends_at_until_and_never_goes_back() -> None:
    async def work() -> None:
        played = transport()
        channel = played.channel()
        assert await channel.recv(1.25) == []
        assert played.clock.now() == 1.25
        channel.open(request("ten"))
        assert await channel.recv(1.0) == []
        assert played.clock.now() == 1.25
        (first,) = await channel.recv(3.25)
        assert described(first) == "1 says '0'"
        assert played.clock.now() == 3.25

    run(work())


def test_wake_ends_a_wait_that_nothing_else_would_end() -> None:
    async def work() -> None:
        channel = transport().channel()
        waiting = asyncio.create_task(channel.recv(None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        channel.wake()
        assert await waiting == []
        channel.wake()
        assert await channel.recv(None) == []

    run(work())


def test_other_tasks_run_while_the_clock_moves() -> None:
    async def work() -> None:
        played = transport()
        channel = played.channel()
        stream = channel.open(request("ten+stall"))

        async def stop() -> None:
            channel.close_stream(stream)

        stopping = asyncio.create_task(stop())
        found = await channel.recv(None)
        await stopping
        assert [described(delta) for delta in found] == ["1 closed"]
        assert played.clock.now() == 0.0

    run(work())


def test_closing_delivers_what_is_due_then_closed_then_nothing() -> None:
    async def work() -> None:
        played = transport()
        channel = played.channel()
        stream = channel.open(request("ten"))
        other = channel.open(request("ten+refused"))
        await channel.recv(None)
        played.clock.advance_to(2.5)
        channel.close_stream(stream)
        channel.close_stream(stream)
        channel.close_stream(other)
        channel.close_stream(99)
        found = await channel.recv(None)
        assert [described(delta) for delta in found] == ["1 says '0'", "1 says ' 1'", "1 closed"]
        assert await channel.recv(1000.0) == []

    run(work())


def test_aclose_drops_every_stream_and_ends_a_wait() -> None:
    async def work() -> None:
        played = transport()
        channel = played.channel()
        channel.open(request("ten"))
        await channel.aclose()
        assert await channel.recv(50.0) == []

    run(work())


def test_requests_are_kept_for_assertions() -> None:
    played = transport()
    channel = played.channel()
    sent = request("ten")
    channel.open(sent)
    assert list(played.requests) == [sent]


def test_a_request_that_is_no_chat_request_fails_its_stream() -> None:
    async def work() -> None:
        channel = transport().channel()
        channel.open(HttpRequest("https://nowhere.invalid", {}, b"not json", TIMEOUTS))
        (delta,) = await channel.recv(None)
        assert isinstance(delta, Failed)
        assert (delta.error.code, delta.error.status) == ("http_status", 400)

    run(work())


faults = st.sampled_from(
    ["", "+stall", "+cut", "+429x9", "+bytes", "+slow=70", "+malformed", "+refused", "+u2028"]
)


@given(
    st.lists(st.tuples(st.sampled_from(["ten", "thinker", "coder"]), faults), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_each_stream_ends_exactly_once_and_keeps_its_text_whatever_is_closed(
    models: list[tuple[str, str]], seed: int
) -> None:
    async def work() -> None:
        random = Random(seed)  # noqa: S311 (reproducible on purpose)
        played = transport()
        channel = played.channel()
        alive = {channel.open(request(name + fault)): name + fault for name, fault in models}
        ended: list[int] = []
        text = dict.fromkeys(alive, "")
        while alive.keys() - set(ended):
            if random.random() < 0.01:
                channel.close_stream(random.choice(list(alive)))
            before = played.clock.now()
            for delta in await channel.recv(before + random.choice([0.1, 1.0, 100.0])):
                assert delta.stream not in ended
                if isinstance(delta, Content):
                    text[delta.stream] += delta.text
                elif not isinstance(delta, Reasoning):
                    ended.append(delta.stream)
            assert played.clock.now() >= before
        whole = {
            name: "".join(d.text for _, d in await timeline([name]) if isinstance(d, Content))
            for name in alive.values()
        }
        assert all(whole[name].startswith(text[stream]) for stream, name in alive.items())

    run(work())


def test_the_virtual_clock_cannot_go_back() -> None:
    clock = VirtualClock(5.0)
    clock.advance_to(5.0)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance_to(4.0)


def test_the_monotonic_clock_moves_on() -> None:
    clock = MonotonicClock()
    assert clock.now() <= clock.now()
