"""Singling out the row that Google does not take: halves a refused write, down to one row, then to none. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from sinks.google_sheets.plan import Limits

MOST = Limits().rows


class Verdict(Enum):
    """What a refusal says that has no other cause than what was in the write."""

    SMALLER = auto()
    """Try with fewer rows."""
    POISON = auto()
    """It is this row."""
    EVERYTHING = auto()
    """It is no row: not even a write without any is taken."""


@dataclass(slots=True)
class Narrowing:
    """`rows` is how many the next write may hold. It lives on from one flush to the next, so that a search which the
    quota interrupts goes on where it was.

    `probed`: a write without rows went through, so that the next refusal is the fault of its one row.
    """

    rows: int = MOST
    probed: bool = False

    def taken(self, rows: int) -> None:
        """A write of so many rows went through."""
        if not self.rows:
            self.probed = True
        elif rows:
            self.probed = False
        self.rows = min(max(1, self.rows * 2), MOST)

    def refused(self, rows: int) -> Verdict:
        """A write of so many rows was refused."""
        if not rows:
            return Verdict.EVERYTHING
        if rows == 1 and self.probed:
            self.probed = False
            return Verdict.POISON
        self.rows = rows // 2
        return Verdict.SMALLER
