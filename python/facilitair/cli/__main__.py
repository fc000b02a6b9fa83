"""`python -m facilitair.cli` is the `facilitair` command."""

from __future__ import annotations

import sys

from . import command

sys.exit(command())
