"""What lanes count; the metrics of the service stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from connector.delivery.rules import Answer
from connector.store.claim import Work
from connector.store.settle import Settlement


class Meter(Protocol):
    """Told about every call, after it was settled."""

    def settled(self, sink: str, works: Sequence[Work], answer: Answer, settlement: Settlement) -> None:
        """One call came to this."""
        ...

    def broken(self, sink: str) -> None:
        """A sink paused itself, or its probe failed."""
        ...

    def called(self, sink: str, kind: str) -> None:
        """A sink called its destination."""
        ...
