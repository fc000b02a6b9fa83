"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `ok` is `None` for what is absent and need not be there; `fix` says what to do."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""
