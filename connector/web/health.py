"""Health and metrics over HTTP.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

import asyncio
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec
from litestar import MediaType, Response, Router, get

from connector.delivery.clock import Clock
from connector.errors import StoreUnavailable
from connector.store import decisions
from connector.store.base import Store
from connector.store.status import last_received_at, listening, sinks
from connector.web.metrics import Metrics

PROBE_SECONDS = 1.0
"""The result of a probe is reused for this time, so that frequent readiness checks do not write to the store."""


class Ready(msgspec.Struct, frozen=True):
    """The body of `/health/ready`. `sinks` maps the name of each sink to its state: ok, delivering or paused."""

    ready: bool
    reason: str
    sinks: dict[str, str]


class HealthChecks:
    """Checks whether the store accepts events, and measures the queues of the sinks."""

    def __init__(self, store: Store, clock: Clock, configured: Collection[str], store_file: Path | None = None) -> None:
        self._store = store
        self._clock = clock
        self._configured = configured
        self._store_file = store_file
        self._probed_at = -PROBE_SECONDS

    async def ready(self) -> Ready:
        """Returns whether the store accepts a write through the code that ingest uses, and the states of the sinks.

        The states of the sinks do not change the result.
        """
        now = self._clock.now()
        passed = asyncio.get_running_loop().time()  # monotonic: a corrected system clock does not keep an old result
        try:
            if passed - self._probed_at >= PROBE_SECONDS:
                await self._store.probe(now)
                self._probed_at = passed
            states = await self._store.query(lambda connection: sinks(connection, now, self._configured))
        except StoreUnavailable as error:
            return Ready(ready=False, reason=str(error), sinks={})
        return Ready(ready=True, reason="", sinks={entry.name: entry.state for entry in states})

    async def measure(self, metrics: Metrics) -> bytes:
        """Returns the metrics with the present queues; with the last known queues when the store is unavailable."""
        now = self._clock.now()
        metrics.store_log(self._store.log_bytes)
        if self._store_file is not None:
            disk = shutil.disk_usage(self._store_file.parent)
            metrics.disk(disk.free, disk.total)
        try:
            states, last_at, open_decisions, silent = await self._store.query(
                lambda connection: (
                    sinks(connection, now, self._configured),
                    last_received_at(connection),
                    decisions.count_for_operators(decisions.counts(connection)),
                    listening(connection),
                )
            )
        except StoreUnavailable:
            metrics.store(readable=False)
            return metrics.text()
        metrics.store(readable=True)
        metrics.last_event(last_at)
        metrics.decisions(open_decisions, silent, [each.name for each in states])
        for each in states:
            metrics.status(each)
        return metrics.text()


def health_routes(health: HealthChecks, metrics: Metrics) -> Router:
    """Returns the routes `/health/ready` and `/metrics`, which may have an address of their own."""

    @get("/health/ready", include_in_schema=False)
    async def ready() -> Response[Ready]:
        found = await health.ready()
        return Response(found, status_code=200 if found.ready else 503)

    @get("/metrics", media_type=MediaType.TEXT, include_in_schema=False)
    async def measure() -> Response[bytes]:
        return Response(await health.measure(metrics), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Router("/", route_handlers=[ready, measure])


@get("/health/live", media_type=MediaType.TEXT, include_in_schema=False)
async def live() -> str:
    """Answers 200 while the event loop runs."""
    return "alive\n"
