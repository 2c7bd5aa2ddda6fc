"""Receivers on one PostgreSQL store, each a writer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from connector.store.base import IngestResult
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.postgres.store import SILENCE_SECONDS, ServerConnection
from connector.store.writer import Writer
from tests.postgres import rows
from tests.serving import until
from tests.store.kit import arrival, routing_table


class Receiver:
    """`plans` are its committed groups."""

    def __init__(
        self, url: str, of: RoutingTable | None = None, *, silence: float = SILENCE_SECONDS, **options: Any
    ) -> None:
        self.url = url
        self.plans: list[IngestPlan] = []
        connection = ServerConnection(url, silence)
        self.writer = Writer(connection, of or routing_table(chat=False), self.plans.append, **options)

    def offer(self, interview: str = "i1", **of_body: Any) -> asyncio.Future[IngestResult]:
        """Offers an event as the receiver does."""
        return self.writer.offer(*arrival(interview=interview, **of_body))

    def stored(self) -> Sequence[Any]:
        """Number and interview of each event, as another process sees them."""
        return rows(self.url, "SELECT seq, interview_id FROM event ORDER BY seq")


async def waits_for_a_lock(url: str, *, processes: int = 1) -> None:
    """Returns when this number of connections waits for transactions of others."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    await until(lambda: len(rows(url, waiting)) >= processes)
