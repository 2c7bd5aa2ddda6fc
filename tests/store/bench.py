"""A writer on a real file, with its statements on record."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import update

from connector.store.base import IngestResult
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.schema import meta
from connector.store.sqlite.ingest import Ingest
from connector.store.sqlite.writer import Writer
from tests.store.kit import arrival, routing_table, rows


class Bench:
    """`plans` are the committed groups, `statements` what the writer's connection ran, in order."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, of: RoutingTable | None = None, **options: Any
    ) -> None:
        self.path = path
        self.connection = connection
        self.plans: list[IngestPlan] = []
        self.begins_at_plan: list[int] = []
        self.statements: list[str] = []
        connection.set_trace_callback(self.statements.append)
        self.writer = Writer(connection, Ingest(of or routing_table(chat=False)), self._on_group, **options)

    def _on_group(self, plan: IngestPlan) -> None:
        self.plans.append(plan)
        self.begins_at_plan.append(self.begins)

    @property
    def begins(self) -> int:
        return self.statements.count("BEGIN IMMEDIATE")

    def offer(self, interview: str = "i1", **of_body: Any) -> asyncio.Future[IngestResult]:
        """Offers an event as the receiver does."""
        return self.writer.offer(*arrival(interview=interview, **of_body))

    def stored(self) -> list[tuple[int, str]]:
        """Number and interview of each event, as another process sees them."""
        return rows(self.path, "SELECT seq, interview_id FROM event ORDER BY seq")


async def rounds(number: int = 50) -> None:
    """Lets the loop go round so often: everything that can happen now happens."""
    for _ in range(number):
        await asyncio.sleep(0)


async def queued(bench: Bench, work: Any) -> asyncio.Task[Any]:
    """A job that waits for its transaction."""
    task = asyncio.create_task(bench.writer.run(work))
    await asyncio.sleep(0)
    return task


def writes(value: str) -> Any:
    """A job that leaves a mark."""
    return lambda connection: connection.execute(update(meta).where(meta.c.key == "written").values(value=value))


def marked(bench: Bench) -> str:
    """The mark that `writes` left."""
    return rows(bench.path, "SELECT value FROM meta WHERE key = 'written'")[0][0]
