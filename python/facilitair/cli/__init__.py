"""The `facilitair` command.

Data goes one way: arguments become one command, the run's events go to one renderer, its end becomes an exit code.
Answers and JSON go to standard output, everything else to standard error. Imports that cost time stand inside the
commands, so that `facilitair --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from .dying import end_by_signal, received
from .exit_codes import ExitCode
from .messages import say
from .parser import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .commands import Command

__all__ = ["main"]


def command() -> int:
    """Run the command of this process. One that a signal has stopped ends by that signal, once everything is saved."""
    code = main()
    if code != ExitCode.OK:
        end_by_signal()
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names; return its exit code."""
    _open_missing_streams()
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.BROKEN_PIPE
    except KeyboardInterrupt:
        received(signal.SIGINT)
        code = ExitCode.INTERRUPTED
    except OSError as error:  # standard output or error cannot be written
        say(str(error))
        code = ExitCode.FAILED
    _drop_broken_streams()
    return int(code)


def _run(argv: Sequence[str]) -> int:
    try:
        args = parse(argv)
    except SystemExit as end:  # help, the version, or wrong arguments
        return end.code if isinstance(end.code, int) else ExitCode.OK
    # Only now, like all below: help needs none of it.
    from ..errors import FacilitairError, exit_status
    from .arguments import command_of

    try:
        return _execute(command_of(args, os.environ))
    except FacilitairError as error:
        from .render.sanitize import one_line

        say(one_line(str(error), 2000))
        return exit_status(error)


def _execute(command: Command) -> int:
    from . import commands

    match command:
        case commands.Collaborate():
            from . import collaborate

            return collaborate.run(command)
        case commands.Attach():
            from . import attach

            return attach.run(command)
        case commands.Replay():
            from . import replay

            return replay.run(command)
        case commands.Serve():
            from . import serve

            return serve.run(command)
        case commands.Doctor():
            from . import doctor

            return doctor.run(command)
        case commands.Simulate():
            from . import simulate

            return simulate.run(command)


def _open_missing_streams() -> None:
    """A process may be started with closed streams; Python then leaves `None` in their place."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _drop_broken_streams() -> None:
    """Point streams whose reader is gone to nowhere, or the interpreter complains when it flushes them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
