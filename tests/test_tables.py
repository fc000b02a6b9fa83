"""The tables that ship: what is read is what people wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.tables import TABLES, as_json


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_json_that_is_read_says_what_the_toml_says(table: Path) -> None:
    assert table.with_suffix(".json").read_text("utf-8") == as_json(table), "run `python scripts/tables.py`"
