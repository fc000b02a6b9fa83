"""What works here and what does not: the checks behind `facilitair doctor`, as data.

Each check fails alone. `installation` looks at what is installed here, `providers` asks each provider for one tiny
answer, `models` says what each model that runs would ask can do; `diagnosis` has all of it done.
"""

from .check import Check
from .diagnosis import diagnose

__all__ = ["Check", "diagnose"]
