"""The library's front door: a client with shared settings and connections, and the runs it starts."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import msgspec

from facilitair_rust import HttpClient

from . import events as ev
from . import lazy, pricing
from .clock import Clock
from .config import Config, ProviderConfig, load_config
from .engine.drive import drive
from .engine.plan import Plan
from .errors import ConfigError, UsageError
from .options import RunOptions
from .planning import RunRequest, check_priced, check_request, make_plan
from .providers.catalog import SIMULATE_VARIABLE, Catalog
from .providers.discovery import discover, what_decides
from .providers.http import HttpTransport
from .result import Result, result_of
from .stream import Cancel, EventStream, Say
from .transport import Channel, Transport

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from .simulator.server import Simulator

DISCOVERED_FOR_S: Final = 60.0
_CLOSED: Final = "this client is closed; make a new one."
_NOWHERE: Final = "http://simulator.invalid/v1"  # until the simulator has been started
SPEED_VARIABLE: Final = "FACILITAIR_SIMULATOR_SPEED"


class Client:
    """Settings and connections shared by many runs; an async context manager, or call `aclose`.

    `config` is what `load_config` returns; without it the configuration of `directory` (the working directory) and
    `env` (the process's environment) is read here. `sdk_clients` are clients of the `openai` SDK by the name of the
    provider they ask, such as `{"azure": AsyncAzureOpenAI(...)}` for the models `azure/NAME`; they stay the caller's.
    `transport` replaces HTTP, for tests. Belongs to one event loop. Raises `ConfigError`.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        directory: Path | None = None,
        env: Mapping[str, str] | None = None,
        sdk_clients: Mapping[str, AsyncOpenAI] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._env = dict(os.environ if env is None else env)
        if transport is not None:
            self._env.setdefault(SIMULATE_VARIABLE, "1")  # whatever is asked over it, it is no model
        self._sdk_clients = dict(sdk_clients or {})
        config = load_config(directory, env) if config is None else config
        self._config = _with_sdk(config, self._sdk_clients)
        self._speed = _simulator_speed(self._env)
        self._transport = transport
        self._http: HttpTransport | None = None
        self._simulator: Simulator | None = None
        self._starting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[EventStream, Channel] = {}
        self._found: dict[tuple[str | None, bool], tuple[float, Catalog]] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        self._loop = self._loop or asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def config(self) -> Config:
        """The configuration that holds when a call says nothing else."""
        return self._config

    async def aclose(self) -> None:
        """Close all connections. Runs still going on end with `task_cancelled`."""
        self._closed = True
        for events, channel in list(self._running.items()):
            events.inbox.put(Cancel("the client was closed"))
            await channel.aclose()
        http, self._http = self._http, None
        simulator, self._simulator = self._simulator, None
        try:
            if http is not None:
                http.close()
        finally:
            if simulator is not None:
                await simulator.__aexit__(None, None, None)

    def collaborate(
        self, task: str, context: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
    ) -> Collaboration:
        """Return a run of `task`; iterate it to make it go. For the options see `RunOptions`.

        Raises `UsageError`, `ConfigError` or `GraphError` at once; what concerns models (an unknown provider, a
        missing key) is raised when the run begins.
        """
        return Collaboration(self, check_request(self._config, task, context, options))

    async def run(
        self, task: str, context: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
    ) -> Result:
        """Run `task` to its end and return the result; arguments as for `collaborate`.

        Raises `RunError` with the partial result when the run fails.
        """
        return await self.collaborate(task, context, **options).result()

    @asynccontextmanager
    async def prepared(
        self, request: RunRequest, events: EventStream
    ) -> AsyncIterator[tuple[Plan, Channel, Clock]]:
        """Give the plan of a run, a channel for it and the channel's clock; the simulator is started when a model is
        simulated.

        Raises `ConfigError` and `UsageError`.
        """
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise UsageError("this client belongs to another event loop; make one client for each.")
        plan = await self._plan(request)
        self._check_open()
        transport = self._transport or await self._over_http()
        channel = transport.channel()
        self._running[events] = channel
        try:
            yield plan, channel, transport.clock
        finally:
            del self._running[events]
            await channel.aclose()

    async def _over_http(self) -> HttpTransport:
        async with self._starting:
            self._check_open()
            if self._http is None:
                # In a thread: it reads the system's certificates, which takes 16 ms.
                client = await asyncio.to_thread(HttpClient)
                if self._closed:
                    client.close()
                    raise UsageError(_CLOSED)
                self._http = HttpTransport(client, self._sdk_clients)
            return self._http

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(_CLOSED)

    async def _plan(self, request: RunRequest) -> Plan:
        self._check_open()
        plan = make_plan(request, await self._discovered(request.config))
        if plan.needs_prices:
            await asyncio.to_thread(pricing.load)  # the first time an import of 0.3 s
        check_priced(plan)
        if self._transport is not None or not plan.needs_simulator:
            return plan
        _check_scripts(plan)
        if self._simulator is None:
            await self._start_simulator()
            plan = make_plan(request, await self._discovered(request.config))
        return plan

    async def _start_simulator(self) -> None:
        """Start the simulator, and let the models that were found be asked there."""
        async with self._starting:
            self._check_open()
            if self._simulator is None:
                await lazy.load("facilitair.simulator.server")
                from .simulator.server import Simulator

                self._simulator = await Simulator(speed=self._speed).__aenter__()
                url = self._simulator.base_url
                self._found = {
                    key: (at, found.with_simulator(url)) for key, (at, found) in self._found.items()
                }

    async def _discovered(self, config: Config) -> Catalog:
        """Return what there is to work with; local servers are asked again after a while, not for every run."""
        key, now = what_decides(config), time.monotonic()
        at, catalog = self._found.get(key, (-math.inf, None))
        if catalog is None or now - at > DISCOVERED_FOR_S:
            url = _NOWHERE if self._simulator is None else self._simulator.base_url
            catalog = (await discover(config, self._env)).with_simulator(url)
            self._found[key] = now, catalog
        return catalog.of(config)


class Collaboration:
    """One run. Iterate it once, or await `result`; leaving the loop ends it.

    However it ends, its events end with exactly one terminal event, and what was open is closed before. Who left the
    loop, or was cancelled in it, gets those last events from `rest`.
    """

    def __init__(self, client: Client, request: RunRequest) -> None:
        self._client = client
        self._request = request
        self._events = EventStream()
        self._begun = False
        self._unread: Iterator[ev.AnyEvent] = iter(())

    @property
    def stream_id(self) -> str:
        """The run's name, in each of its events."""
        return self._events.stream_id

    @property
    def state(self) -> ev.RunState:
        """The run as folded so far; it may be ahead of the event that is being looked at."""
        return self._events.state

    @property
    def standing(self) -> ev.RunState:
        """As `state`, but without the end: what a snapshot shows, which the terminal event follows."""
        return self._events.standing

    def cancel(self, reason: str) -> None:
        """Ask the run to stop. It ends with `task_cancelled`, which carries the partial answer. Call it on the
        event loop's thread."""
        self._events.inbox.put(Cancel(reason))

    def say(self, message: str, level: ev.Level = "warning") -> None:
        """Tell those who watch something that the run does not know, as a `system_message`. Call it on the event
        loop's thread."""
        self._events.inbox.put(Say(message, level))

    async def __aiter__(self) -> AsyncGenerator[ev.AnyEvent]:
        """Yield the events of the run; the last is terminal."""
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                self._unread = iter(batch)
                for event in self._unread:
                    yield event

    async def batches(self) -> AsyncGenerator[list[ev.AnyEvent]]:
        """Yield the events of the run in the batches in which they come; the last event is terminal."""
        if self._begun:
            raise UsageError("a collaboration can be iterated once; call collaborate again for another run.")
        self._begun = True
        async with (
            self._client.prepared(self._request, self._events) as (plan, channel, clock),
            aclosing(drive(plan, channel, clock, self._events)) as batches,
        ):
            async for batch in batches:
                yield batch

    def rest(self) -> list[ev.AnyEvent]:
        """Return the events that nobody has taken; empty for a run that never began. A loop that is left with `break`
        ends the run only when it is closed: use `contextlib.aclosing`."""
        return [*self._unread, *self._events.drain()]

    async def result(self) -> Result:
        """Run to the end and return the result; once it has ended, return it again.

        Raises `RunError` with the partial result when the run fails.
        """
        if self.state.status != "running":
            return result_of(self.state)
        async with aclosing(self.__aiter__()) as events:
            async for _ in events:
                pass
        return result_of(self.state)


async def collaborate(
    task: str, context: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
) -> AsyncGenerator[ev.AnyEvent]:
    """Run `task` with a client of its own and yield its events; arguments as for `Client.collaborate`."""
    async with Client() as client:
        run = client.collaborate(task, context, **options)
        async with aclosing(run.__aiter__()) as events:
            async for event in events:
                yield event


async def run(task: str, context: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]) -> Result:
    """Run `task` with a client of its own and return the result; raises as `Client.run`."""
    async with Client() as client:
        return await client.run(task, context, **options)


def _with_sdk(config: Config, clients: Mapping[str, AsyncOpenAI]) -> Config:
    """Return the configuration in which each SDK client is a provider, at its own address unless another is named.
    That SDK speaks one protocol, also where the provider has another one of its own."""
    providers = dict(config.providers)
    for name, client in clients.items():
        own = msgspec.structs.replace(providers.get(name, ProviderConfig()), wire="openai")
        providers[name] = own
        if own.base_url is None:
            url = str(client.base_url).rstrip("/")
            providers[name] = msgspec.structs.replace(own, base_url=url, allow_http=True)
    return msgspec.structs.replace(config, providers=providers)


def _check_scripts(plan: Plan) -> None:
    from .simulator.naming import read_name
    from .simulator.personas import personas

    for model in (m for agent in plan.agents.values() for m in agent.models if m.simulated):
        script = read_name(model.name).script
        if script not in personas():
            raise ConfigError(f"the simulator has no script {script!r}; use one of {', '.join(personas())}.")


def _simulator_speed(env: Mapping[str, str]) -> float:
    text = env.get(SPEED_VARIABLE, "1")
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ConfigError(f"{SPEED_VARIABLE} is {text!r}; set it to a number above 0 (1 is real time).")
    return speed
