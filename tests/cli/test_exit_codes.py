"""The exit codes of the reference are all there are, whichever error ends a command."""

from __future__ import annotations

import pytest

from facilitair.cli.exit_codes import ExitCode
from facilitair.errors import TABLE, Meaning


@pytest.mark.parametrize("meaning", TABLE.values(), ids=TABLE.keys())
def test_the_status_of_every_error_is_an_exit_code(meaning: Meaning) -> None:
    assert meaning.exit_status in {code.value for code in ExitCode}


def test_what_the_command_decides_itself_is_what_the_table_says() -> None:
    assert TABLE["usage"].exit_status == ExitCode.USAGE
    assert TABLE["config"].exit_status == ExitCode.CONFIG
    assert TABLE["cancelled"].exit_status == ExitCode.INTERRUPTED
