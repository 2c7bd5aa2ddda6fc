"""The clock of the dispatcher: the only place where lanes read the time, wait or retry.

Whether a lease is free or a delivery is due is decided in SQL, by `Clock.in_sql`. `Clock.now` is for waits, and for
times that are only shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_base

from connector.errors import StoreUnavailable
from connector.store.dialects import SERVER_NOW, Now


def since_boot() -> float:
    """Seconds of a clock that is never set and that counts while the machine sleeps, where the system has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; elsewhere the next transaction corrects a sleep
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Clock(Protocol):
    """Returns the time, and waits."""

    def now(self) -> int:
        """Epoch milliseconds."""
        ...

    def in_sql(self) -> Now:
        """The present time for a statement: by the clock of the database when processes share it."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Waits until the event is set (`True`) or the time is over (`False`)."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def in_sql(self) -> Now:
        return self.now()

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            return False
        return True


class ServerClock(SystemClock):
    """The clock of a PostgreSQL server. In this process it is a monotonic clock plus an offset, which each transaction
    corrects, so that a wrong clock of a machine, or a step of it, has no effect.
    """

    def __init__(self, monotonic: Callable[[], float] = since_boot, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._offset = wall() - monotonic()  # until the first transaction

    def now(self) -> int:
        return round((self._monotonic() + self._offset) * 1000)

    def in_sql(self) -> Now:
        return SERVER_NOW

    def observe(self, ask: Callable[[], float]) -> None:
        """Asks the server for its time in epoch seconds, and corrects the offset.

        The server reads its clock between the start and the end of `ask`, which bounds the offset. An offset within the
        bounds stays, so that the time does not jitter.
        """
        start = self._monotonic()
        answer = ask()
        self._offset = min(max(self._offset, answer - self._monotonic()), answer - start)


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
