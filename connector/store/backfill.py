"""Backfill: delivers stored interviews to a state sink that is new or has a new destination or new routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from connector.errors import ConnectorError
from connector.merge import decode, stage_of
from connector.routing import Routes
from connector.store import leases, subscriptions
from connector.store.dialects import among
from connector.store.ingest import FILL_PRIORITY, score_of
from connector.store.schema import DeliveryState, delivery, in_state, interview, sink

CHUNK = 500
"""Interviews per transaction. A longer transaction would delay the receiver."""


def needs_filling(row: Any, destination: str, digest: str) -> bool:
    """Whether a sink was last filled for another destination or by other routes, or never."""
    return bool(row.destination != destination or row.routes != digest)


class FillConflict(ConnectorError):
    """Another process fills the same sink for another destination or by other routes."""


def fill_chunk(
    connection: Connection, name: str, destination: str, routes: Routes, now: int, *, begun: bool = False
) -> bool:
    """Subscribes a sink to the next interviews and adds their deliveries. Returns `False` when none is left.

    Several processes may fill the same sink: they lock its row in turn and share the work. An interrupted backfill is
    continued, unless the destination or the routes changed. Raises `FillConflict` when this process had `begun` and
    another process started again since: two processes with different settings would never finish.
    """
    row = leases.lock(connection, name)
    digest = routes.digest(name)
    goal = f"{digest}\t{destination}\t"
    if not needs_filling(row, destination, digest):
        _filled_to(connection, name, row, None)
        return False
    is_ours = (row.filled_to or "").startswith(goal)
    if begun and row.filled_to is not None and not is_ours:
        raise FillConflict(f"{name} is filled by other rules elsewhere")
    after = row.filled_to[len(goal) :] if is_ours else ""
    rows = _next_interviews(connection, after)
    if not rows:
        mark_filled(connection, name, destination, digest)
        return False
    _subscribe(connection, name, rows, routes, now)
    _filled_to(connection, name, row, goal + rows[-1].id)
    return True


def _subscribe(connection: Connection, name: str, rows: Sequence[Any], routes: Routes, now: int) -> None:
    there = subscriptions.subscribed(connection, name, [row.id for row in rows])
    joining = [row.id for row in rows if row.id not in there and _should_subscribe(row, name, routes)]
    chosen = [*sorted(there), *joining]
    waiting = _waiting(connection, name, chosen, now)
    rows_to_add = [_delivery(id_, name, now) for id_ in chosen if id_ not in waiting]
    if rows_to_add:
        connection.execute(insert(delivery), rows_to_add)
    subscriptions.add(connection, [(name, id_) for id_ in joining])


def _waiting(connection: Connection, name: str, keys: Sequence[str], now: int) -> set[str]:
    """Returns the interviews that already have a due delivery of a backfill, so that no second one is added."""
    mine = (delivery.c.sink == name) & in_state(DeliveryState.PENDING)
    mine &= delivery.c.event_seq.is_(None) & (delivery.c.not_before <= now)
    chosen = select(delivery.c.key).where(mine, among(connection, delivery.c.key, keys))
    return set(connection.execute(chosen).scalars())


def _filled_to(connection: Connection, name: str, row: Any, progress: str | None) -> None:
    if row.filled_to != progress:
        connection.execute(update(sink).where(sink.c.name == name).values(filled_to=progress))


def _next_interviews(connection: Connection, after: str) -> Sequence[Any]:
    """Locks the rows where the database has row locks, so that a receiver that waits sees the subscriptions."""
    columns = (interview.c.id, interview.c.state, interview.c.position_id, interview.c.position_name)
    chosen = (interview.c.id > after, interview.c.erased_at.is_(None))
    following = select(*columns).where(*chosen).order_by(interview.c.id).limit(CHUNK)
    return connection.execute(following.with_for_update()).all()


def _should_subscribe(row: Any, name: str, routes: Routes) -> bool:
    values = decode(row.state).values
    return routes.entry(name, row.position_id, row.position_name, stage_of(values), score_of(values))


def _delivery(interview_id: str, name: str, now: int) -> dict[str, object]:
    return {"sink": name, "key": interview_id, "interview_id": interview_id, "priority": FILL_PRIORITY, "since": now}


def mark_filled(connection: Connection, name: str, destination: str, digest: str) -> None:
    """Stores the destination and routes that the sink was filled for."""
    connection.execute(
        update(sink).where(sink.c.name == name).values(destination=destination, routes=digest, filled_to=None)
    )
