"""What a turn can read: another turn, or a text that is none, such as what a call gives beforehand."""

from __future__ import annotations

from typing import Protocol

from .provenance import Provenance


class Source(Protocol):
    """A text in fragments, as its readers know it."""

    @property
    def id(self) -> str:
        """Its name, unique in a run; its fragments are called "<id>#<n>"."""
        ...

    @property
    def author(self) -> str:
        """Who it is from, as a prompt introduces it: "the coder"."""
        ...

    @property
    def text(self) -> str:
        """The text as it stands."""
        ...

    @property
    def provenance(self) -> Provenance:
        """Its fragments, which are all that readers are shown of it."""
        ...

    @property
    def settled(self) -> bool:
        """Whether a reader that is done with it can end: nothing more is to be waited for."""
        ...
