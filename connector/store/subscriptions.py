"""Subscriptions: which interviews a sink shows. Functions on an open connection, in a transaction of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, literal, select

from connector.store.dialects import among, insert_new, insert_selected
from connector.store.schema import interview, subscription


def add(connection: Connection, rows: Sequence[tuple[str, str]]) -> None:
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


def rename(connection: Connection, formerly: str, name: str) -> None:
    """Moves the subscriptions of a sink to its new name, which may have some already."""
    mine = select(literal(name), subscription.c.interview_id).where(subscription.c.sink == formerly)
    insert_selected(connection, subscription, ["sink", "interview_id"], mine)
    connection.execute(delete(subscription).where(subscription.c.sink == formerly))
