"""Modules that only some runs need, imported when they are, without keeping the event loop."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module


async def load(*names: str) -> None:
    """Import modules in a thread, so that an `import` of them costs nothing afterwards."""
    for name in names:
        if name not in sys.modules:
            await asyncio.to_thread(import_module, name)
