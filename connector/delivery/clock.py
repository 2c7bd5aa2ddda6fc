"""The clock of the dispatcher: the only place where lanes read the time, wait or retry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_base

from connector.errors import StoreUnavailable


class Clock(Protocol):
    """Returns the time, and waits."""

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


def store_retries(
    clock: Clock, wait: wait_base, wake: asyncio.Event, is_stopping: Callable[[], bool] = lambda: False
) -> AsyncRetrying:
    """Retries a coroutine function while the store is unavailable. `wake` ends a wait early.

    When `is_stopping` is true after a failed attempt, the result is `None`.
    """

    async def sleep(seconds: float) -> None:
        await clock.wait(wake, seconds)

    return AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=wait,
        sleep=sleep,
        stop=lambda _: is_stopping(),
        retry_error_callback=lambda _: None,
    )
