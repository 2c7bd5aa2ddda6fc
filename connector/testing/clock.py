"""A clock that moves only when a test says so."""

from __future__ import annotations

START = 1_757_500_000_000
"""Where every manual clock begins: 2025-09-10 10:26:40 UTC, epoch milliseconds."""


class ManualClock:
    """Tells epoch milliseconds; call it or ask `now()`."""

    def __init__(self, at: int = START) -> None:
        self._at = at

    def now(self) -> int:
        return self._at

    def __call__(self) -> int:
        return self._at

    def advance(self, seconds: float) -> int:
        """Advances by `seconds` (never back) and returns the new time."""
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._at += round(seconds * 1000)
        return self._at
