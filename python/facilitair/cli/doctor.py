"""`facilitair doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from .commands import Doctor
from .exit_codes import ExitCode
from .messages import say
from .render.sanitize import one_line

if TYPE_CHECKING:
    from ..doctor import Check

_MARKS = {True: "ok  ", False: "FAIL", None: "-   "}


def run(command: Doctor) -> ExitCode:
    """Print all checks, with `probe` also those of what models do; return 3 when one of them failed."""
    try:
        from ..doctor import diagnose
    except ImportError as error:  # without the compiled extension nothing below can be imported
        say(f"the installation is incomplete: {error}; run `make setup`, or install the package again")
        return ExitCode.CONFIG
    checks = asyncio.run(diagnose(before_probe=say if command.probe else None))
    width = max(len(check.name) for check in checks)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    for check in checks:
        print(_line(check, width))  # noqa: T201
    failed = any(check.ok is False for check in checks)
    return ExitCode.CONFIG if failed else ExitCode.OK


def _line(check: Check, width: int) -> str:
    head = f"{_MARKS[check.ok]}  {check.name:{width}}  "
    fix = f"\n{' ' * len(head)}{one_line(check.fix)}" if check.fix else ""
    return f"{head}{one_line(check.detail, 400)}{fix}"
