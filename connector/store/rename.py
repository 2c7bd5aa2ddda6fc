"""Moves the rows of a renamed sink to its new name, in a transaction of the caller."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from connector.errors import ConnectorError
from connector.store import settle, subscriptions
from connector.store.dialects import insert_selected
from connector.store.schema import (
    DeliveryState,
    PauseKind,
    attempt,
    decision_request,
    delivery,
    in_state,
    note,
    rollup,
    sink,
)

_COUNTS = ("received", "delivered", "superseded", "dead", "dismissed")
_REPEATED = "the sink has this under its new name already"
"""The reason of deliveries that are superseded because the new name has an equal one."""


class RenameConflict(ConnectorError):
    """Both names of a renamed sink were used in a way that cannot be merged. `fix` says what an operator can do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"{reason}; {fix}")
        self.reason = reason
        self.fix = fix


def rename(connection: Connection, formerly: str, name: str, now: int, *, is_state: bool) -> None:
    """Moves the row, deliveries, attempts, notes, subscriptions and counts of a sink to its new name.

    The new name may be in use already: a receiver knew it first, or `renamed_from` was set late. Then both are merged.
    A state sink that was filled under its new name is filled again, because its destination may lack interviews of the
    old name. Repeating the call moves what a receiver with the old settings added since.

    Raises `RenameConflict`, before any change, when the names have different types, or when both are message sinks that
    stored different notes under one key: each has posted a message about the same thing.
    """
    chosen = select(sink).where(sink.c.name.in_([formerly, name])).order_by(sink.c.name).with_for_update()
    rows = {row.name: row for row in connection.execute(chosen)}
    old, new = rows.get(formerly), rows.get(name)
    if old is not None and new is not None:
        _require_mergeable(connection, old, new, is_state=is_state)
        connection.execute(update(sink).where(sink.c.name == name).values(_merged(old, new, is_state=is_state)))
    elif old is not None:
        connection.execute(update(sink).where(sink.c.name == formerly).values(name=name, lease_owner=None))
    groups = _supersede_repeats(connection, formerly, name, now)
    for table in (delivery, attempt):
        connection.execute(update(table).where(table.c.sink == formerly).values(sink=name))
    settle.release_unshown(connection, name, groups, now)
    connection.execute(update(decision_request).where(decision_request.c.sink == formerly).values(sink=name))
    _move_notes(connection, formerly, name)
    subscriptions.move_subscriptions(connection, formerly, name)
    _move_counts(connection, formerly, name)
    connection.execute(delete(sink).where(sink.c.name == formerly))


def has_pending(connection: Connection, formerly: str) -> bool:
    """Whether a receiver with the old settings added deliveries for the old name."""
    mine = select(delivery.c.id).where(delivery.c.sink == formerly, in_state(DeliveryState.PENDING)).limit(1)
    return connection.execute(mine).first() is not None


def _require_mergeable(connection: Connection, old: Any, new: Any, *, is_state: bool) -> None:
    fix = (
        f"remove `renamed_from` from [sinks.{new.name}]; to deliver what is pending for {old.name}, configure it again"
    )
    if old.type != new.type:
        raise RenameConflict(f"{old.name} was a sink of type {old.type}, but {new.name} is of type {new.type}", fix)
    count = 0 if is_state else _count_conflicts(connection, old.name, new.name)
    if count:
        reason = f"{old.name} and {new.name} have both posted messages about the same interviews or positions ({count})"
        raise RenameConflict(reason, fix)


def _count_conflicts(connection: Connection, formerly: str, name: str) -> int:
    """Returns the number of notes that differ between both names."""
    other = note.alias()
    pairs = note.join(other, and_(note.c.destination == other.c.destination, note.c.key == other.c.key))
    differ = (note.c.sink == formerly, other.c.sink == name, note.c.value != other.c.value)
    return int(connection.execute(select(func.count()).select_from(pairs).where(*differ)).scalar_one())


def _merged(old: Any, new: Any, *, is_state: bool) -> dict[str, Any]:
    """Returns the values that change in the row of the new name.

    The fencing token grows, so that a lane that runs under either name loses its lease and reads the notes again. A
    pause by an operator stays. An empty destination means that a state sink is filled from the start.
    """
    filled = old if not new.destination and new.filled_to is None else new
    fill_again = is_state and filled is new
    kept = old if old.paused == PauseKind.OPERATOR and new.paused != PauseKind.OPERATOR else new
    return {
        "destination": "" if fill_again else filled.destination,
        "routes": "" if fill_again else filled.routes,
        "filled_to": None if fill_again else filled.filled_to,
        "lease_owner": None,
        "lease_until": 0,
        "fence": max(old.fence, new.fence) + 1,
        **{column: getattr(kept, column) for column in ("paused", "reason", "fix", "probe_at", "paused_until")},
        "rest_until": max(old.rest_until, new.rest_until),
        "delivered": old.delivered + new.delivered,
        "last_delivered_at": max(
            (each for each in (old.last_delivered_at, new.last_delivered_at) if each), default=None
        ),
    }


def _supersede_repeats(connection: Connection, formerly: str, name: str, now: int) -> set[str]:
    """Settles pending deliveries of the old name of which the new name has an equal one, so that none is sent twice.

    One that may have been sent already is kept, so that its call is repeated under the same id. The follow-up of the
    new name takes the earlier of both times. Returns the groups that superseded follow-ups showed.
    """
    groups = set()
    for row in connection.execute(_repeated_events(formerly, name)).all():
        _supersede(connection, row.id, now)
    for row in connection.execute(_repeated_follow_ups(formerly, name)).all():
        _supersede(connection, row.id, now)
        sooner = (delivery.c.id == row.other, delivery.c.attempts == 0, delivery.c.not_before > row.not_before)
        connection.execute(update(delivery).where(*sooner).values(not_before=row.not_before, since=row.not_before))
        groups |= {row.wait_group} - {None}
    return groups


def _supersede(connection: Connection, id_: int, now: int) -> None:
    settled = {"state": int(DeliveryState.SUPERSEDED), "reason": _REPEATED, "done_at": now}
    connection.execute(update(delivery).where(delivery.c.id == id_).values(settled))


def _repeated_events(formerly: str, name: str) -> Select[Any]:
    mine, theirs = delivery.alias("mine"), delivery.alias("theirs")
    shown = (DeliveryState.PENDING, DeliveryState.WAITING, DeliveryState.DELIVERED)
    return select(mine.c.id).where(
        *_not_sent(mine, formerly),
        exists().where(
            theirs.c.event_seq == mine.c.event_seq,
            theirs.c.sink == name,
            or_(*(in_state(state, theirs) for state in shown)),
        ),
    )


def _repeated_follow_ups(formerly: str, name: str) -> Select[Any]:
    mine, theirs = delivery.alias("mine"), delivery.alias("theirs")
    return select(mine.c.id, mine.c.not_before, mine.c.wait_group, theirs.c.id.label("other")).where(
        *_not_sent(mine, formerly),
        mine.c.purpose != "",
        theirs.c.sink == name,
        in_state(DeliveryState.PENDING, theirs),
        *(theirs.c[column] == mine.c[column] for column in ("key", "purpose", "interview_id", "subject")),
    )


def _not_sent(mine: FromClause, formerly: str) -> tuple[ColumnElement[bool], ...]:
    return mine.c.sink == formerly, in_state(DeliveryState.PENDING, mine), mine.c.batch.is_(None)


def _move_notes(connection: Connection, formerly: str, name: str) -> None:
    """The new name keeps its own notes, which are newer."""
    columns = ["sink", "destination", "key", "value", "version"]
    mine = select(literal(name), *(note.c[column] for column in columns[1:])).where(note.c.sink == formerly)
    insert_selected(connection, note, columns, mine)
    connection.execute(delete(note).where(note.c.sink == formerly))


def _move_counts(connection: Connection, formerly: str, name: str) -> None:
    """Adds the hourly counts of both names."""
    rows = connection.execute(select(rollup).where(rollup.c.sink.in_([formerly, name]))).all()
    counts: dict[tuple[str, int], Counter[str]] = {}
    for row in rows:
        counts.setdefault((row.kind, row.hour), Counter()).update({each: getattr(row, each) for each in _COUNTS})
    if any(row.sink == formerly for row in rows):
        connection.execute(delete(rollup).where(rollup.c.sink.in_([formerly, name])))
        new = [{"sink": name, "kind": kind, "hour": hour, **each} for (kind, hour), each in counts.items()]
        connection.execute(insert(rollup), new)
