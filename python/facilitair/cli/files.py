"""Files that a command leaves: found unwritable before any money is spent, and replaced whole or not at all."""

from __future__ import annotations

import os
import tempfile
from itertools import count
from pathlib import Path

from ..errors import UsageError


def check_writable(path: Path, option: str) -> None:
    """Raise `UsageError` when the file that `option` names cannot be written."""
    try:
        if path.is_dir():
            raise UsageError(f"{option} {str(path)!r} is a directory; name a file")
        if path.exists() and not os.access(path, os.W_OK):
            raise UsageError(f"{option} {str(path)!r} cannot be written: it is read-only")
        if not path.exists() or path.is_file():
            _scratch_beside(path).unlink()
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{option} {str(path)!r} cannot be written: {reason}") from error


def place_for_partial(path: Path) -> Path:
    """Return where a partial answer goes that was wanted in `path`: beside it, where something is there already."""
    if _is_free(path):
        return path
    names = (f"{path.stem}.partial{'' if n == 1 else f'-{n}'}{path.suffix}" for n in count(1))
    return next(place for place in map(path.with_name, names) if _is_free(place))


def _is_free(path: Path) -> bool:
    return not path.exists() or (path.is_file() and not path.stat().st_size)


def write_whole(path: Path, text: str) -> None:
    """Write `text` so that the file holds all of it or what it held before. Raises `OSError`.

    Links are followed; what is no regular file (a terminal, a pipe) is written to directly.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    target = Path(os.path.realpath(path))
    scratch = _scratch_beside(target)
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask())
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _scratch_beside(path: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", dir=Path(os.path.realpath(path)).parent)
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
