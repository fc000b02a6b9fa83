"""The door: parsed arguments, the environment and the standard streams become one value, the command.

Whatever can be found wrong without loading the engine is found here. Nothing behind this knows how it was asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..keys import Secret
from . import inputs
from .commands import (
    ADDRESS_VARIABLES,
    KEY_VARIABLE,
    Attach,
    Collaborate,
    Command,
    Doctor,
    Replay,
    Serve,
    Server,
    Simulate,
)
from .folder import Folder
from .output import Output, Streams

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from ..options import RunOptions


def command_of(args: argparse.Namespace, env: Mapping[str, str]) -> Command:
    """Return the command that `parser.parse` read as `args`; a task may be on standard input.

    Raises `UsageError` naming the argument, stream or file that is wrong.
    """
    match args.command:
        case "collaborate":
            return _collaborate(args, env)
        case "attach":
            return _attach(args, env)
        case "replay":
            return Replay(file=args.file, speed=args.speed, output=_output(args, env))
        case "serve":
            return _serve(args)
        case "doctor":
            return Doctor(probe=args.probe)
        case _:
            return Simulate(port=args.port, speed=args.speed)


def _collaborate(args: argparse.Namespace, env: Mapping[str, str]) -> Collaborate:
    output = _output(args, env, answer=args.output, record=args.record, folder=_folder(args))
    options: RunOptions = {
        "strategy": args.strategy,
        "preset": args.preset,
        "models": inputs.models_of(args.model),
        "sections": args.section or None,
        "max_cost": args.max_cost,
        "max_tokens": args.max_tokens,
        "timeout": args.timeout,
        "cache": args.cache,
        "simulate": args.simulate or None,
    }
    context = inputs.context_of(
        args.context_json, args.context, language=args.language, frameworks=args.framework
    )
    task = inputs.read_task(args.task, sys.stdin)
    server = _server(args, env)
    return Collaborate(task=task, context=context, options=options, server=server, output=output)


def _attach(args: argparse.Namespace, env: Mapping[str, str]) -> Attach:
    output = _output(args, env, answer=args.output, record=args.record, folder=_folder(args))
    server = _server(args, env)
    if server is None:
        raise UsageError(f"which server? Give --server URL, or set {ADDRESS_VARIABLES[0]}")
    stream_id = inputs.text_of(args.id, "ID")
    return Attach(stream_id=stream_id, after=args.after, server=server, output=output)


def _serve(args: argparse.Namespace) -> Serve:
    return Serve(
        host=args.host,
        port=args.port,
        allowed_hosts=tuple(args.allowed_host),
        simulate=args.simulate,
        log_format=args.log_format,
        log_level=args.log_level,
    )


def _server(args: argparse.Namespace, env: Mapping[str, str]) -> Server | None:
    if args.server == "":
        raise UsageError("--server is empty; give the URL of a server, or `none` to run here")
    url = next(filter(None, (args.server, *map(env.get, ADDRESS_VARIABLES))), "none")
    if url.lower() == "none":
        return None
    key = env.get(KEY_VARIABLE)
    return Server(url, Secret(key) if key else None)


def _folder(args: argparse.Namespace) -> Folder | None:
    if args.write is None and args.force:
        raise UsageError("--force is for --write; give --write DIR as well, or leave it out")
    return None if args.write is None else Folder(args.write, force=args.force)


def _output(
    args: argparse.Namespace,
    env: Mapping[str, str],
    *,
    answer: Path | None = None,
    record: Path | None = None,
    folder: Folder | None = None,
) -> Output:
    output = Output(
        json=args.json,
        verbosity=args.verbosity,
        view=args.view,
        answer=answer,
        record=record,
        folder=folder,
        streams=Streams.of(sys.stdout, sys.stderr, env),
    )
    output.check()
    return output
