"""The emulator's idea of time: epoch seconds from any callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]


class SetClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1_761_567_730.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
