"""How the process ends when a signal has stopped its run: by that signal, once everything is saved.

So a loop of the shell ends too: <https://www.cons.org/cracauer/sigint.html>. Imports nothing that a Ctrl-C may find
half imported.
"""

from __future__ import annotations

import os
import signal

_received: list[int] = []


def received(number: int) -> None:
    """Note that a signal has stopped the run."""
    _received.append(number)


def end_by_signal() -> None:
    """End the process by the signal that stopped its run, if one did."""
    if _received:
        die(_received[0])


def die(number: int) -> None:
    """End the process by a signal, at once."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
