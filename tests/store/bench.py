"""A writer on a real file that records its statements."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import update

from connector.errors import StoreUnavailable
from connector.store.base import IngestResult
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.schema import meta
from connector.store.sqlite.store import FileConnection
from connector.store.writer import Writer
from tests.store.kit import arrival, routing_table, rows


class Bench:
    """`plans` are the committed groups, `statements` what the writer's connection ran, in order.

    `busy_ms` is how long the writer waits for another one.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        of: RoutingTable | None = None,
        *,
        busy_ms: int | None = None,
        **options: Any,
    ) -> None:
        if busy_ms is not None:
            connection.execute(f"PRAGMA busy_timeout={busy_ms}")
        self.path = path
        self.connection = connection
        self.plans: list[IngestPlan] = []
        self.statements: list[str] = []
        connection.set_trace_callback(self.statements.append)
        file = FileConnection(path, connection)
        self.writer = Writer(file, of or routing_table(chat=False), self.plans.append, **options)

    def offer(self, interview: str = "i1", **of_body: Any) -> asyncio.Future[IngestResult]:
        """Offers an event as the receiver does."""
        return self.writer.offer(*arrival(interview=interview, **of_body))

    def stored(self) -> list[tuple[int, str]]:
        """Number and interview of each event, as another process sees them."""
        return rows(self.path, "SELECT seq, interview_id FROM event ORDER BY seq")


@asynccontextmanager
async def held(bench: Bench) -> AsyncIterator[None]:
    """Keeps the writer in a transaction, so that all events that are offered share the next one."""
    is_held, goes_on = threading.Event(), threading.Event()

    def wait(_: Any) -> None:
        is_held.set()
        goes_on.wait()

    holding = asyncio.create_task(bench.writer.run(wait))
    await asyncio.to_thread(is_held.wait)
    bench.statements.clear()
    try:
        yield
    finally:
        goes_on.set()
    await holding


async def rounds(number: int = 50) -> None:
    """Runs this number of rounds of the event loop, so that everything that is ready is done."""
    for _ in range(number):
        await asyncio.sleep(0)


async def queued(bench: Bench, work: Any) -> asyncio.Task[Any]:
    """A job that waits for its transaction."""
    task = asyncio.create_task(bench.writer.run(work))
    await asyncio.sleep(0)
    return task


def writes(value: str) -> Any:
    """A job that writes a mark."""
    return lambda connection: connection.execute(update(meta).where(meta.c.key == "written").values(value=value))


def marked(bench: Bench) -> str:
    """The mark that `writes` wrote."""
    return rows(bench.path, "SELECT value FROM meta WHERE key = 'written'")[0][0]


async def until_taken(offer: Callable[[], asyncio.Future[IngestResult]]) -> IngestResult:
    """Offers until the writer takes events again."""
    while True:
        try:
            return await offer()
        except StoreUnavailable:
            await asyncio.sleep(0.01)
