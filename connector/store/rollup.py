"""Counts per hour, for charts and the status. Functions on an open connection."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, delete, func, select

from connector.store.dialects import add_up, among
from connector.store.schema import DeliveryState, delivery, event, refusal, rollup

HOUR_MS = 3_600_000
KEPT_MS = 400 * 24 * HOUR_MS
"""Counts are kept for a year and a month, so that a chart can compare with the same month of the last year."""
RECEIVED_COLUMNS = ("sink", "kind", "hour", "part", "received")
PART = secrets.randbelow(16)
"""The part of the counts of received events that this process writes. Two receivers seldom have the same."""
SETTLED = {
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.SUPERSEDED: "superseded",
    DeliveryState.DEAD: "dead",
    DeliveryState.DISMISSED: "dismissed",
}
COUNTS = ("received", *SETTLED.values())


class Hour(msgspec.Struct, frozen=True):
    """The counts of one hour, which starts at `at` (epoch milliseconds)."""

    at: int
    received: int = 0
    delivered: int = 0
    superseded: int = 0
    dead: int = 0
    dismissed: int = 0


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


def received_rows(counts: Mapping[tuple[str, int], int]) -> list[tuple[object, ...]]:
    """Returns the rows of received events in the order of `RECEIVED_COLUMNS`, from counts by kind and hour."""
    return [("", kind, hour, PART, count) for (kind, hour), count in sorted(counts.items())]


def count_settled(connection: Connection, ids: Sequence[int], now: int) -> None:
    """Adds deliveries that were just settled to the present hour, by sink, kind of event and their new state."""
    if not ids:
        return
    kind = func.coalesce(event.c.name, "")
    found = connection.execute(
        select(delivery.c.sink, kind, delivery.c.state, func.count())
        .outerjoin(event, event.c.seq == delivery.c.event_seq)
        .where(among(connection, delivery.c.id, ids))
        .group_by(delivery.c.sink, kind, delivery.c.state)
    ).all()
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for sink, name, state, count in sorted(tuple(row) for row in found):
        if DeliveryState(state) not in SETTLED:
            continue
        row = rows.setdefault((sink, name), {"sink": sink, "kind": name, "hour": hour_of(now), "part": 0})
        row |= {each: row.get(each, 0) for each in SETTLED.values()} | {SETTLED[DeliveryState(state)]: count}
    add_up(connection, rollup, list(rows.values()), keys=("sink", "kind", "hour", "part"))


def series(
    connection: Connection, since: int, until: int, *, sink: str | None = "", kinds: Sequence[str] = ()
) -> list[Hour]:
    """Returns the counts of every hour from `since` to `until` (epoch milliseconds, exclusive), also empty ones.

    `sink` is the name of one, `""` for received events, `None` for all sinks together. `kinds` are names of events;
    empty: all.
    """
    conditions = [rollup.c.hour >= hour_of(since), rollup.c.hour < until]
    conditions.append(rollup.c.sink != "" if sink is None else rollup.c.sink == sink)
    if kinds:
        conditions.append(rollup.c.kind.in_(kinds))
    sums = [func.sum(rollup.c[name]).label(name) for name in COUNTS]
    rows = connection.execute(select(rollup.c.hour, *sums).where(*conditions).group_by(rollup.c.hour))
    found = {row.hour: Hour(row[0], *map(int, row[1:])) for row in rows}
    return [found.get(hour, Hour(hour)) for hour in range(hour_of(since), until, HOUR_MS)]


def expire(connection: Connection, now: int) -> int:
    """Deletes counts of hours that are older than `KEPT_MS`, also of refusals. Returns the number of rows."""
    deleted = 0
    for table in (rollup, refusal):
        deleted += connection.execute(delete(table).where(table.c.hour < now - KEPT_MS)).rowcount
    return deleted
