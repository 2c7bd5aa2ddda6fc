"""The database's clock, so that all machines agree what time it is and a step of one machine's clock does nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import Connection, func, select

from connector.errors import StoreUnavailable
from connector.logging import place_of

ASK_EVERY = 5.0
"""Seconds between two looks at the database's clock: quartz drifts by a tenth of a millisecond meanwhile."""
SAMPLES = 3
"""Questions per look; the answers with the shortest way decide."""

Ask = Callable[[Callable[[Connection], Any]], Awaitable[Any]]
"""Runs a query: `Store.read`."""


log = structlog.get_logger("connector.store")


def since_boot() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine sleeps, where the system has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; elsewhere the next measurement finds the sleep out
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class DatabaseClock:
    """Tells the database's time from this machine's monotonic clock and the difference between the two.

    An answer came about between the question and its arrival, so the difference is known to lie between two bounds.
    It is moved only when it lies outside of them: the time does not tremble.
    """

    def __init__(self, ask: Ask, monotonic: Callable[[], float] = since_boot) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._ahead: float | None = None
        self._task: asyncio.Task[None] | None = None

    def now(self) -> int:
        """Epoch milliseconds. Only after `start` or `measure`."""
        assert self._ahead is not None, "the clock was not started"
        return round((self._monotonic() + self._ahead) * 1000)

    async def start(self) -> None:
        """Asks for the time and goes on asking, until `stop`. Raises `StoreUnavailable`."""
        await self.measure()
        self._task = asyncio.create_task(self._go_on(), name="database clock")

    async def stop(self) -> None:
        """Asks no more; the time goes on."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def measure(self) -> None:
        """Asks for the time now. Raises `StoreUnavailable`."""
        least, most = -float("inf"), float("inf")
        for _ in range(SAMPLES):
            asked = self._monotonic()
            told = await self._ask(_time)
            least, most = max(least, told - self._monotonic()), min(most, told - asked)
        least = min(least, most)  # unless the database's clock was set meanwhile, it is
        self._ahead = (least + most) / 2 if self._ahead is None else min(max(self._ahead, least), most)

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(ASK_EVERY)
            try:
                await self.measure()
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - a clock that asked no more would drift for ever
                log.warning("database clock not read", error=place_of(error))


def _time(connection: Connection) -> float:
    """Seconds since 1970 by the server's clock, at this moment and not at the transaction's begin."""
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())
