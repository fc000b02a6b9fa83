"""Mistakes of ours: written to the log, and told to the error reporter that the operator named.

A refusal is no mistake and is not reported. `FACILITAIR_ERROR_HOOK` names the function, and no file does: what a
directory happens to hold must not decide which code runs.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

from ..errors import ConfigError, FacilitairError

HOOK_VARIABLE: Final = "FACILITAIR_ERROR_HOOK"
ErrorHook = Callable[[BaseException, Mapping[str, str]], object]
_log = logging.getLogger(__name__)


class Reporter:
    """Tells `hook` of mistakes: the exception itself, and where it happened (`kind`, and `stream_id` or `path`)."""

    def __init__(self, hook: ErrorHook | None = None) -> None:
        self._hook = hook

    def failed_run(self, error: BaseException, stream_id: str) -> None:
        """Log and report that a run was stopped by a mistake."""
        where = {"kind": "run", "stream_id": stream_id}
        _log.error("a mistake in Facilitair stopped a run", exc_info=error, extra={"fields": where})
        self._tell(error, where)

    def failed_request(self, error: BaseException, path: str) -> None:
        """Report that a request was stopped by a mistake."""
        where = {"kind": "request", "path": path}
        if isinstance(
            error, FacilitairError
        ):  # answered, so that uvicorn, which logs all others, hears nothing of it
            _log.error("a mistake in Facilitair stopped a request", exc_info=error, extra={"fields": where})
        self._tell(error, where)

    def _tell(self, error: BaseException, where: Mapping[str, str]) -> None:
        if self._hook is None:
            return
        try:
            self._hook(error, where)
        except Exception:  # noqa: BLE001 - whatever it is, it must not stop the server too
            _log.exception("the error hook failed")


def hook_from(env: Mapping[str, str]) -> ErrorHook | None:
    """Return the function that `FACILITAIR_ERROR_HOOK` names, or `None`. Raises `ConfigError`."""
    name = env.get(HOOK_VARIABLE, "").strip()
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        hook = getattr(import_module(module), attribute) if module and attribute else None
    except Exception as error:  # whatever the module does when it is imported
        raise ConfigError(
            f"{HOOK_VARIABLE} is {name!r}, which cannot be loaded ({type(error).__name__}: {error}); "
            "install the module, or put its directory into PYTHONPATH."
        ) from error
    if not callable(hook) or inspect.iscoroutinefunction(hook):
        raise ConfigError(
            f"{HOOK_VARIABLE} is {name!r}; write module:function, such as my_company.errors:report, "
            "and let it be a plain function, since nobody awaits it."
        )
    return hook  # type: ignore[no-any-return]
