"""Async iterators as streams of a `Mux`: text that does not come over our own HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable

from facilitair_rust import PushStream


async def feed(stream: PushStream, pieces: AsyncIterable[str]) -> None:
    """Push each of `pieces` into `stream` and end it; run it in a task of your own, beside the one that reads the Mux.

    A full buffer stops the iteration until the reader has taken what it holds. Returns early when the reader stops
    the stream. When the iterator raises, the stream fails, and the exception is raised here; a cancelled feed fails
    the stream as truncated.
    """
    try:
        async for piece in pieces:
            if not stream.push(piece) and not await pushed(stream, piece, stream.push):
                return
        stream.finish()
    except Exception as error:
        stream.fail("provider_error", f"{type(error).__name__}: {error}")
        raise
    finally:
        stream.fail("truncated", "its source was stopped before it ended")


async def pushed(stream: PushStream, piece: str, push: Callable[[str], bool]) -> bool:
    """Wait until there is room, then `push` the piece; false when the stream was stopped meanwhile."""
    while not push(piece):
        if stream.closed:
            return False
        await stream.room()
    return True
