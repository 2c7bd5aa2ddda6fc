"""Receivers on one PostgreSQL store, each a writer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from connector.store.base import IngestResult
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.postgres.database import connect_async
from connector.store.postgres.ingest import Ingest
from connector.store.postgres.writer import Writer
from tests.postgres import rows
from tests.store.kit import arrival, routing_table


class Receiver:
    """`plans` are its committed groups, `connections` those it made, the present one last."""

    def __init__(self, url: str, of: RoutingTable | None = None, **options: Any) -> None:
        self.url = url
        self.plans: list[IngestPlan] = []
        self.connections: list[Any] = []
        self.writer = Writer(self._connect, Ingest(of or routing_table(chat=False)), self.plans.append, **options)

    async def _connect(self) -> Any:
        self.connections.append(await connect_async(self.url))
        return self.connections[-1]

    def offer(self, interview: str = "i1", **of_body: Any) -> asyncio.Future[IngestResult]:
        """Offers an event as the receiver does."""
        return self.writer.offer(*arrival(interview=interview, **of_body))

    def stored(self) -> Sequence[Any]:
        """Number and interview of each event, as another process sees them."""
        return rows(self.url, "SELECT seq, interview_id FROM event ORDER BY seq")
