"""Filling a state sink that is new, moved or differently routed, from what the store knows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from connector.event import decode, stage_of
from connector.route import Routes
from connector.store.plan import DEFAULT_PRIORITY, score_of
from connector.store.schema import delivery, interview, note, sink

CHUNK = 500
"""Interviews per transaction: short enough not to hold up the receiver."""


def needs_filling(row: Any, destination: str, digest: str) -> bool:
    """Whether a sink's row says that it was filled for another destination or by other routes, or never."""
    return bool(row.destination != destination or row.routes != digest)


def restart(connection: Connection) -> None:
    """Fills that were under way begin again: the routes may have changed, and a row delivered twice is the same row."""
    connection.execute(update(sink).values(filled_to=None))


def fill_chunk(connection: Connection, name: str, routes: Routes, now: int) -> bool:
    """Lets the next interviews enter and be delivered. `False` when there are none left."""
    after = connection.execute(select(sink.c.filled_to).where(sink.c.name == name)).scalar_one()
    columns = (
        interview.c.id,
        interview.c.state,
        interview.c.position_id,
        interview.c.position_name,
        interview.c.entered,
    )
    rows = connection.execute(
        select(*columns).where(interview.c.id > (after or "")).order_by(interview.c.id).limit(CHUNK)
    ).all()
    if not rows:
        return False
    chosen = [row for row in rows if name in row.entered.split(",") or _enters(row, name, routes)]
    if chosen:
        connection.execute(insert(delivery), [_delivery(row.id, name, now) for row in chosen])
    for row in chosen:
        entered = [entry for entry in row.entered.split(",") if entry]
        if name not in entered:
            joined = ",".join([*entered, name])
            connection.execute(update(interview).where(interview.c.id == row.id).values(entered=joined))
    connection.execute(update(sink).where(sink.c.name == name).values(filled_to=rows[-1].id))
    return True


def _enters(row: Any, name: str, routes: Routes) -> bool:
    values = decode(row.state).values
    return routes.entry(name, row.position_id, row.position_name, stage_of(values), score_of(values))


def _delivery(interview_id: str, name: str, now: int) -> dict[str, object]:
    return {"sink": name, "key": interview_id, "interview_id": interview_id, "priority": DEFAULT_PRIORITY, "since": now}


def filled(connection: Connection, name: str, destination: str, digest: str) -> None:
    """Remembers what the sink was filled for."""
    connection.execute(
        update(sink).where(sink.c.name == name).values(destination=destination, routes=digest, filled_to=None)
    )


def rename(connection: Connection, formerly: str, name: str) -> None:
    """Takes queue, notes and entries of a renamed sink along. Does nothing when there is no such sink any more."""
    if connection.execute(select(sink.c.name).where(sink.c.name == formerly)).first() is None:
        return
    if connection.execute(select(sink.c.name).where(sink.c.name == name)).first() is not None:
        return
    connection.execute(update(sink).where(sink.c.name == formerly).values(name=name, lease_owner=None))
    connection.execute(update(note).where(note.c.sink == formerly).values(sink=name))
    connection.execute(update(delivery).where(delivery.c.sink == formerly).values(sink=name))
    rows = connection.execute(select(interview.c.id, interview.c.entered).where(interview.c.entered.contains(formerly)))
    for row in rows.all():
        entered = ",".join(name if entry == formerly else entry for entry in row.entered.split(","))
        connection.execute(update(interview).where(interview.c.id == row.id).values(entered=entered))
