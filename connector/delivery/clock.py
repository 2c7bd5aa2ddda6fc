"""The clock of the dispatcher: the only place where lanes read the time or wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> int:
        """Epoch milliseconds."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Waits until the event is set (`True`) or the time is over (`False`)."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            return False
        return True


class SharedClock(SystemClock):
    """The clock that all processes on a store agree on; `read` returns its epoch milliseconds."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read

    def now(self) -> int:
        return self._read()
