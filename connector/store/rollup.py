"""Counts per hour, for charts and the status. Functions on an open connection."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from connector.store.dialects import add_up
from connector.store.schema import refusal

HOUR_MS = 3_600_000


def hour_of(at: int) -> int:
    """Returns the start of the hour of a time, both in epoch milliseconds."""
    return at - at % HOUR_MS


def count_refused(connection: Connection, counts: Mapping[str, int], now: int) -> None:
    """Adds refused requests, by reason, to the present hour."""
    rows = [
        {"reason": reason, "hour": hour_of(now), "count": count, "last_at": now}
        for reason, count in sorted(counts.items())
    ]
    add_up(connection, refusal, rows, keys=("reason", "hour"), newest=("last_at",))
