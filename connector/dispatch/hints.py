"""Hints to other processes that a sink has something to do: quick, never in the way of a request, without promise.

A hint that is lost costs a moment: the sweep of any worker finds what is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from connector.logs import place_of

GAP = 0.02
"""Seconds between two hints of this process about one sink."""
GAP_HOT = 0.5
"""The same in hot times, when lanes come back by themselves."""
GAP_MOST = 1.0
"""The gap doubles, up to this, while an earlier hint waits for a worker to take it: that one will find the new rows."""
REST = 2.0
"""Seconds without hints after one could not be sent."""

log = structlog.get_logger("connector.dispatch")


class Hinter:
    """Sends hints one after the other, each sink at most once in a while, the last word never left out.

    `send` returns whether the hint was new, or raises; `is_hot` tells whether the intake is busy.
    """

    def __init__(self, send: Callable[[str], Awaitable[bool]], is_hot: Callable[[], bool] = lambda: False) -> None:
        self._send = send
        self._is_hot = is_hot
        self._wanted: dict[str, float] = {}
        """Sink -> loop time before which it is not hinted at."""
        self._free_at: dict[str, float] = {}
        self._gaps: dict[str, float] = {}
        """Of sinks whose last hint was in vain."""
        self._news = asyncio.Event()
        self.is_failing = False

    def hint(self, sinks: Iterable[str]) -> None:
        """Rows were added for these sinks. Returns at once and never raises."""
        now = asyncio.get_running_loop().time()
        for sink in sinks:
            self._wanted.setdefault(sink, max(now, self._free_at.get(sink, 0.0)))
        self._news.set()

    async def run(self) -> None:
        """Sends what is hinted at, until cancelled."""
        while True:
            for sink in await self._next():
                await self._tell(sink)

    async def _next(self) -> list[str]:
        """Waits until some sinks may be hinted at, and takes them out."""
        loop = asyncio.get_running_loop()
        while not (ready := [sink for sink, at in self._wanted.items() if at <= loop.time()]):
            self._news.clear()
            try:
                async with asyncio.timeout_at(min(self._wanted.values(), default=None)):
                    await self._news.wait()
            except TimeoutError:
                pass
        for sink in ready:
            del self._wanted[sink]
        return ready

    async def _tell(self, sink: str) -> None:
        gap = GAP_HOT if self._is_hot() else GAP
        try:
            is_new = await self._send(sink)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sweep does the same work a little later
            self._failed(error)
            gap = REST
        else:
            self._worked()
            last = self._gaps.pop(sink, gap)
            if not is_new:
                gap = self._gaps[sink] = min(2 * last, GAP_MOST)
        self._free_at[sink] = asyncio.get_running_loop().time() + gap

    def _failed(self, error: Exception) -> None:
        if not self.is_failing:
            log.warning("hints cannot be sent, workers find what is due by themselves", error=place_of(error))
        self.is_failing = True

    def _worked(self) -> None:
        if self.is_failing:
            log.info("hints are sent again")
        self.is_failing = False
