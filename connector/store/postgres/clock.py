"""The clock of the database server: all machines use the same time, and a step of a machine's clock has no effect."""

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

MEASURE_SECONDS = 5.0
"""Interval between two measurements: a quartz clock drifts by about 0.1 ms meanwhile."""
SAMPLES = 3
"""Queries per measurement. The one with the shortest round trip decides."""

Ask = Callable[[Callable[[Connection], Any]], Awaitable[Any]]
"""Runs a query: `Store.read`."""


log = structlog.get_logger("connector.store")


def since_boot() -> float:
    """Seconds of a clock that is never set and that counts while the machine sleeps, where the system has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; elsewhere the next measurement corrects a sleep
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class DatabaseClock:
    """Computes the database's time from this machine's monotonic clock and the measured offset between the two.

    The server reads its clock between the start and the end of a query, which bounds the offset. The offset is adjusted
    only when it is outside of these bounds, so that the time does not jitter.
    """

    def __init__(self, ask: Ask, monotonic: Callable[[], float] = since_boot) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._ahead: float | None = None
        self._task: asyncio.Task[None] | None = None

    def now(self) -> int:
        """Epoch milliseconds. Requires `start` or `measure`."""
        assert self._ahead is not None, "the clock was not started"
        return round((self._monotonic() + self._ahead) * 1000)

    async def start(self) -> None:
        """Measures the offset, now and periodically until `stop`. Raises `StoreUnavailable`."""
        await self.measure()
        self._task = asyncio.create_task(self._go_on(), name="database clock")

    async def stop(self) -> None:
        """Ends the measurements. `now` continues to work."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def measure(self) -> None:
        """Measures the offset. Raises `StoreUnavailable`."""
        least, most = -float("inf"), float("inf")
        for _ in range(SAMPLES):
            start = self._monotonic()
            answer = await self._ask(_time)
            least, most = max(least, answer - self._monotonic()), min(most, answer - start)
        least = min(least, most)  # always true, unless the clock of the database was set meanwhile
        self._ahead = (least + most) / 2 if self._ahead is None else min(max(self._ahead, least), most)

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(MEASURE_SECONDS)
            try:
                await self.measure()
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - without measurements the clock would drift
                log.warning("database clock not read", error=place_of(error))


def _time(connection: Connection) -> float:
    """Seconds since 1970 by the server's clock at this moment, not at the start of the transaction."""
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())
