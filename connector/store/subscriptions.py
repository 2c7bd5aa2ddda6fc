"""Subscriptions: which interviews a sink shows, and the fill of a state sink with stored interviews.

A state sink is filled when it is new, or has a new destination or new routes. Functions on an open connection, in a
transaction of the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, literal, select, update

from connector.capabilities import DECIDED
from connector.errors import ConnectorError
from connector.interview import score_of
from connector.merge import decode, stage_of
from connector.routing import Routes
from connector.store import leases
from connector.store.dialects import among, insert_new, insert_selected
from connector.store.ingest import FILL_PRIORITY
from connector.store.schema import DeliveryState, delivery, in_state, interview, sink, subscription

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
    """Subscribes a sink to the next interviews and adds their deliveries. Returns `False` when none is left, and for a
    sink that a newer process renamed.

    Several processes may fill the same sink: they lock its row in turn and share the work. An interrupted backfill is
    continued, unless the destination or the routes changed. Raises `FillConflict` when this process had `begun` and
    another process started again since: two processes with different settings would never finish.
    """
    row = leases.lock(connection, name)
    if row is None:
        return False
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
    _subscribe_matching(connection, name, rows, routes, now)
    _filled_to(connection, name, row, goal + rows[-1].id)
    return True


def _subscribe_matching(connection: Connection, name: str, rows: Sequence[Any], routes: Routes, now: int) -> None:
    there = subscribed(connection, name, [row.id for row in rows])
    joining = [row.id for row in rows if row.id not in there and _should_subscribe(row, name, routes)]
    chosen = [*sorted(there), *joining]
    waiting = _waiting(connection, name, chosen, now)
    rows_to_add = [_delivery(id_, name, now) for id_ in chosen if id_ not in waiting]
    if rows_to_add:
        connection.execute(insert(delivery), rows_to_add)
    subscribe(connection, [(name, id_) for id_ in joining])


def _waiting(connection: Connection, name: str, keys: Sequence[str], now: int) -> set[str]:
    """Returns the interviews that already have a due delivery of a backfill, so that no second one is added.

    The result of a decision is not one: it does not show the interview.
    """
    mine = (delivery.c.sink == name) & in_state(DeliveryState.PENDING) & (delivery.c.purpose != DECIDED)
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


def subscribe(connection: Connection, rows: Sequence[tuple[str, str]]) -> None:
    """Adds subscriptions, as pairs of a sink and the id of a stored interview. One that exists stays as it is."""
    columns = [{"sink": sink, "interview_id": interview_id} for sink, interview_id in rows]
    insert_new(connection, subscription, columns, ["sink", "interview_id"])


def sinks_of(connection: Connection, interview_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the names of the subscribed sinks, sorted, of each of the interviews that has any."""
    chosen = select(subscription).where(among(connection, subscription.c.interview_id, interview_ids))
    found: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(chosen.order_by(subscription.c.sink)):
        found[row.interview_id] = (*found.get(row.interview_id, ()), row.sink)
    return found


def interviews_of(connection: Connection, sink: str, after: str, limit: int) -> Sequence[Any]:
    """Returns id and state of the next interviews of a sink, by id from the one after `after`, without erased ones."""
    chosen = (
        subscription.c.sink == sink,
        subscription.c.interview_id > after,
        interview.c.erased_at.is_(None),
    )
    following = select(interview.c.id, interview.c.state).join_from(subscription, interview).where(*chosen)
    return connection.execute(following.order_by(subscription.c.interview_id).limit(limit)).all()


def subscribed(connection: Connection, sink: str, interview_ids: Sequence[str]) -> set[str]:
    """Returns those of the interviews that the sink is subscribed to."""
    chosen = (subscription.c.sink == sink, among(connection, subscription.c.interview_id, interview_ids))
    return set(connection.execute(select(subscription.c.interview_id).where(*chosen)).scalars())


def move_subscriptions(connection: Connection, formerly: str, name: str) -> None:
    """Moves the subscriptions of a sink to its new name, which may have some already."""
    mine = select(literal(name), subscription.c.interview_id).where(subscription.c.sink == formerly)
    insert_selected(connection, subscription, ["sink", "interview_id"], mine)
    connection.execute(delete(subscription).where(subscription.c.sink == formerly))
