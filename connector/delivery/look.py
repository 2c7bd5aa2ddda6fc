"""One look at the store for a lane: what to call its sink with, or when to look again. Reads, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

from connector.delivery import load
from connector.delivery.holding import Holding, Seen
from connector.delivery.load import Stays
from connector.sink import Delivery, Sink
from connector.store import claim, leases, rate_limit
from connector.store.claim import Claim

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found: rows to call with, or when to look again (epoch milliseconds).

    `failing`: whoever called last saw the destination down. `is_taken`: another process has the sink.
    """

    seen: Seen
    claim: Claim | None = None
    deliveries: tuple[Delivery, ...] = ()
    look_at: int | None = None
    paused: str | None = None
    failing: bool = False
    is_taken: bool = False


class Looker:
    """Looks for one lane. `instance` is the name of the store, `stays` says whether an interview meets a route."""

    def __init__(self, sink: Sink[Any], holding: Holding, instance: Callable[[], str], stays: Stays) -> None:
        self._sink = sink
        self._holding = holding
        self._instance = instance
        self._stays = stays
        self.bucket: str | None = None
        """A state sink's lane waits for this bucket, instead of its thousands of rows."""

    def was_resumed(self, connection: Connection) -> bool:
        """Whether a person ended the rest of the sink."""
        return bool(leases.row(connection, self._sink.name).rest_until == 0)

    def burst(self, connection: Connection, now: int, above: int) -> Seen | None:
        """The lease, if more than `above` deliveries are due and nobody else has the sink."""
        row = leases.row(connection, self._sink.name)
        seen = Seen.of(row)
        if row.paused is not None or self._holding.is_taken(seen, now):
            return None
        return seen if self.count_due(connection, now, above + 1) > above else None

    def count_due(self, connection: Connection, now: int, limit: int) -> int:
        """How many deliveries are due, counted up to `limit`."""
        return claim.count_due(connection, self._sink.name, now, limit)

    def look(self, connection: Connection, now: int) -> Look:
        """Looks, whoever has the sink."""
        row = leases.row(connection, self._sink.name)
        seen = Seen.of(row)
        if self._holding.is_taken(seen, now):
            return Look(seen, is_taken=True)
        if row.paused is not None and (row.paused != "broken" or row.probe_at > now):
            return Look(seen, look_at=row.probe_at, paused=row.paused)
        if not self._holding.is_owner and self._holding.is_resting(row.rest_until, now):
            return Look(seen, look_at=row.rest_until)
        if self.bucket is not None and (opens_at := rate_limit.opens_at(connection, self.bucket)) > now:
            return Look(seen, look_at=opens_at)
        claimed = self._claim(connection, row, now)
        if claimed is None:
            return Look(seen, look_at=claim.next_due(connection, self._sink.name))
        deliveries = self._deliveries(connection, claimed, now)
        return Look(seen, claimed, deliveries, paused=row.paused, failing=row.rest_until > 0)

    def _claim(self, connection: Connection, row: Any, now: int) -> Claim | None:
        sink = self._sink
        if sink.state:
            return load.claim_states(connection, row, now, sink.max_batch)
        return load.claim_messages(connection, sink.name, now, sink.max_batch, sink.batchable_events)

    def _deliveries(self, connection: Connection, claimed: Claim, now: int) -> tuple[Delivery, ...]:
        return load.deliveries_of(
            connection,
            claimed.works,
            self._instance(),
            events=not self._sink.state,
            now=now,
            max_age=self._sink.max_age,
            stays=self._stays,
        )


def costed(work: Callable[[], T]) -> tuple[T, float]:
    """A result and the seconds of work that its thread had with it; waiting for others does not count."""
    before = time.thread_time()
    return work(), time.thread_time() - before
