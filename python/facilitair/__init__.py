"""Facilitair: several language models work on one task at the same time, and you watch every one of them think.

    async for event in facilitair.collaborate("Design a rate limiter"):
        ...

Names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .blocking import collaborate_sync, run_sync
    from .client import Client, Collaboration, collaborate, run
    from .config import Config, load_config
    from .engine.graph import AgentSpec, Edge, Loop, Strategy
    from .errors import (
        AgentsFailedError,
        BudgetExceededError,
        ConfigError,
        DeadlineExceededError,
        FacilitairError,
        GraphError,
        InternalError,
        KeyRefusedError,
        RecordingError,
        RunCancelledError,
        RunError,
        ServerError,
        UsageError,
    )
    from .options import RunOptions
    from .remote import RemoteClient, RemoteRun
    from .result import Result

_HOME = {
    "AgentSpec": "engine.graph",
    "AgentsFailedError": "errors",
    "BudgetExceededError": "errors",
    "Client": "client",
    "Collaboration": "client",
    "Config": "config",
    "ConfigError": "errors",
    "DeadlineExceededError": "errors",
    "Edge": "engine.graph",
    "FacilitairError": "errors",
    "GraphError": "errors",
    "InternalError": "errors",
    "KeyRefusedError": "errors",
    "Loop": "engine.graph",
    "RecordingError": "errors",
    "RemoteClient": "remote",
    "RemoteRun": "remote",
    "Result": "result",
    "RunCancelledError": "errors",
    "RunError": "errors",
    "RunOptions": "options",
    "ServerError": "errors",
    "Strategy": "engine.graph",
    "UsageError": "errors",
    "collaborate": "client",
    "collaborate_sync": "blocking",
    "load_config": "config",
    "run": "client",
    "run_sync": "blocking",
}

__all__ = [
    "AgentSpec",
    "AgentsFailedError",
    "BudgetExceededError",
    "Client",
    "Collaboration",
    "Config",
    "ConfigError",
    "DeadlineExceededError",
    "Edge",
    "FacilitairError",
    "GraphError",
    "InternalError",
    "KeyRefusedError",
    "Loop",
    "RecordingError",
    "RemoteClient",
    "RemoteRun",
    "Result",
    "RunCancelledError",
    "RunError",
    "RunOptions",
    "ServerError",
    "Strategy",
    "UsageError",
    "collaborate",
    "collaborate_sync",
    "events",
    "load_config",
    "run",
    "run_sync",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if name == "events":
        return import_module(".events", __name__)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
