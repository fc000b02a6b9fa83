"""What every test can rely on: it reaches no real provider, whoever runs it, and a slow machine fails none.

The developer's keys, endpoints, proxies and own settings are taken out of the environment before anything is
imported, for the processes that tests start too. Failing examples of hypothesis are printed so that they can be
run again; under CI they are the same in each run.
"""

from __future__ import annotations

import os
import tempfile

from hypothesis import settings

REAL = ("_API_KEY", "_API_BASE", "_BASE_URL", "_PROXY", "_SERVER_KEY", "_SERVER_KEYS")
for name in [name for name in os.environ if name.upper().endswith(REAL)]:
    del os.environ[name]
os.environ.pop("FACILITAIR_MODEL", None)
os.environ["FACILITAIR_SIMULATE"] = "1"  # as `make run` does

_no_settings = tempfile.TemporaryDirectory(prefix="facilitair-tests-")
for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
    os.environ[name] = _no_settings.name

settings.register_profile("facilitair", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("facilitair")


def pytest_unconfigure() -> None:
    _no_settings.cleanup()
