"""The words for figures: times, money, tokens, the plan and the bill. Pure; what nobody knows is said to be unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...events import CacheHitEvent, Confidence, TaskProgressEvent, Usage


def stamp(ts: float) -> str:
    """Return seconds since the start of the run as `[MM:SS.cc]`; minutes go past 59."""
    hundredths = round(max(ts, 0.0) * 100)
    minutes, rest = divmod(hundredths, 6000)
    return f"[{minutes:02}:{rest // 100:02}.{rest % 100:02}]"


def clock(ts: float) -> str:
    """Return whole seconds as `M:SS`."""
    minutes, rest = divmod(int(max(ts, 0.0)), 60)
    return f"{minutes}:{rest:02}"


def money(usd: float | None) -> str:
    """Return an amount with as many digits as say something."""
    if usd is None:
        return "price unknown"
    if usd == 0:
        return "$0"
    if usd < 0.0001:
        return "less than $0.0001"
    return f"${usd:.4f}" if usd < 0.01 else f"${usd:.2f}"


def seconds(duration: float) -> str:
    """Return a duration: milliseconds below a second, tenths below ten, minutes from two on."""
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < 10:
        return f"{duration:.1f} s"
    if duration < 120:
        return f"{duration:.0f} s"
    return f"{duration // 60:.0f} min {duration % 60:.0f} s"


def count(number: int, noun: str) -> str:
    """Return `1 chunk`, `2 chunks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def title(name: str) -> str:
    """Return an agent's name as it is shown."""
    return name[:1].upper() + name[1:]


def plan(event: TaskProgressEvent, *, simulated: bool) -> str:
    """Return the plan line: `4 chunks, ~12 s, ~$0.02`."""
    time = event.estimated_time_s
    parts = [
        count(event.total_chunks, "chunk"),
        "time unknown" if time is None else f"~{max(round(time), 1)} s",
    ]
    cost = event.estimated_cost_usd
    if cost:
        parts.append(f"~{money(cost)}")
    elif cost is None and not simulated:
        parts.append("price unknown")
    elif not simulated:
        parts.append("free")
    if simulated:
        parts.append("simulated: no real model is asked")
    return ", ".join(parts)


def tokens(usage: Usage | None) -> str:
    """Return what was read and written, in tokens."""
    if usage is None:
        return "tokens unknown"
    known = [
        f"{number:,} {label}"
        for number, label in (
            (usage.input_tokens, "in"),
            (usage.cached_input_tokens or None, "of them cached"),
            (usage.output_tokens, "out"),
            (usage.reasoning_tokens or None, "of them reasoning"),
        )
        if number is not None
    ]
    if not known:
        return "tokens unknown"
    return f"{'about ' if usage.estimated else ''}{', '.join(known)} tokens"


def bill(usage: Usage | None, cost: float | None, *, simulated: bool) -> str:
    """Return usage and cost of a run or a chunk; what was simulated cost nothing."""
    return f"{tokens(usage)}, {'simulated' if simulated and not cost else money(cost)}"


def confidence(value: Confidence) -> str:
    """Return a confidence with its parts, and whether the figure was fitted to anything."""
    parts = ", ".join(f"{name} {part:.2f}" for name, part in value.parts.items())
    kind = "" if value.calibrated else " (uncalibrated)"
    return f"confidence {value.value:.2f}{kind}" + (f": {parts}" if parts else "")


def cache_hit(event: CacheHitEvent) -> str:
    """Return how well a stored answer matches, how old it is, and what it saved."""
    saved = [] if event.saved_usd is None else [money(event.saved_usd)]
    saved += [] if event.saved_s is None else [seconds(event.saved_s)]
    gain = f", saved {' and '.join(saved)}" if saved else ""
    return f"similarity {event.similarity:.2f}, {seconds(event.age_s)} old{gain}"
