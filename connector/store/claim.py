"""The outbox: finds due deliveries and claims a batch. Functions on an open connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeAlias

from sqlalchemy import ColumnElement, Connection, FromClause, and_, bindparam, case, exists, func, or_, select, update

from connector.capabilities import DECIDED, ERASE
from connector.errors import ConnectorError
from connector.store import leases
from connector.store.dialects import Now, among
from connector.store.leases import Lease
from connector.store.schema import DeliveryState, PauseKind, bucket, delivery, event, in_state, sink

PENDING = in_state(DeliveryState.PENDING)
OF_SINK = and_(delivery.c.sink == bindparam("sink"), PENDING)

Topic: TypeAlias = tuple[str, str]
"""The subject of a state sink's delivery: an interview (`("", id)`), or a purpose and a subject."""


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A claimed delivery. `older` are the ids of the rows that it supersedes (state sinks)."""

    id: int
    key: str
    interview_id: str
    event_seq: int | None
    attempts: int
    since: int
    older: tuple[int, ...] = ()
    purpose: str = ""
    subject: str = ""
    group: str | None = None
    silent: bool = False

    @classmethod
    def of(cls, row: Any) -> Self:
        """Creates it from a row of `delivery`."""
        return cls(
            row.id,
            row.key,
            row.interview_id,
            row.event_seq,
            row.attempts,
            row.since,
            purpose=row.purpose,
            subject=row.subject,
            group=row.wait_group,
            silent=bool(row.silent),
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """The deliveries of one call to a sink. `maybe_sent`: an earlier call with them may have been applied."""

    batch: str
    started_at: int
    works: tuple[ClaimedDelivery, ...]
    maybe_sent: bool


class ClaimMoved(ConnectorError):
    """Another transaction changed a claimed row before the call; claim again."""


def _blocked_until() -> ColumnElement[int]:
    """The time at which the rate limit of a delivery has a token; 0 without a rate limit."""
    return func.coalesce(bucket.c.full_at - bucket.c.burst_ms, 0)


def _is_blocked() -> ColumnElement[bool]:
    """The condition that another delivery of the same sink, purpose and key is in flight, failed or unclear."""
    other = delivery.alias()
    same = and_(other.c.sink == delivery.c.sink, other.c.key == delivery.c.key, other.c.purpose == delivery.c.purpose)
    holder = exists().where(same, in_state(DeliveryState.PENDING, other), other.c.blocks_key == 1)
    return and_(delivery.c.blocks_key == 0, holder)


def due(connection: Connection, name: str, now: Now, limit: int) -> Sequence[Any]:
    """Returns the due rows of a message sink, by priority, then in order of arrival.

    A row that is in flight, failed or unclear blocks the others of its purpose and key, and nothing else.
    """
    statement = (
        select(delivery)
        .outerjoin(bucket, bucket.c.name == delivery.c.bucket)
        .where(OF_SINK, delivery.c.not_before <= now, _blocked_until() <= now, ~_is_blocked())
        .order_by(delivery.c.priority, delivery.c.id)
        .limit(limit)
    )
    return connection.execute(statement, {"sink": name}).all()


def count_queued(connection: Connection, name: str, events: Collection[str], now: Now, limit: int) -> int:
    """Counts the due rows of a message sink about events with these names, among the first `limit` rows."""
    first = (
        select(delivery.c.event_seq)
        .where(OF_SINK, delivery.c.not_before <= now, delivery.c.event_seq.is_not(None), delivery.c.silent == 0)
        .order_by(delivery.c.priority, delivery.c.id)
        .limit(limit)
        .subquery()
    )
    statement = select(func.count()).join_from(first, event, event.c.seq == first.c.event_seq)
    return int(connection.execute(statement.where(event.c.name.in_(sorted(events))), {"sink": name}).scalar_one())


def topic_of(row: Any) -> Topic:
    """Returns the topic of a row. All rows about one interview have the same topic, except results of decisions:
    each of them is shown.
    """
    if row.purpose == DECIDED:
        return f"{DECIDED}:{row.subject}", row.key
    return ("", row.key) if row.interview_id else (row.purpose, row.key)


def due_topics(connection: Connection, name: str, now: Now, limit: int) -> list[Topic]:
    """Returns the topics of a state sink with due rows, by priority. A topic in backoff is due only for a follow-up of
    another purpose: the call shows the newest state, and may fail as the one before did.

    Reads at most `limit` rows: a topic with many rows shortens the list instead of slowing down the query.
    """
    statement = (
        select(delivery.c.purpose, delivery.c.key, delivery.c.interview_id, delivery.c.subject)
        .where(OF_SINK, delivery.c.not_before <= now, ~_is_blocked())
        .order_by(delivery.c.priority, delivery.c.id)
        .limit(limit)
    )
    return list(dict.fromkeys(topic_of(row) for row in connection.execute(statement, {"sink": name})))


def newest(connection: Connection, name: str, topics: Sequence[Topic], now: Now) -> tuple[ClaimedDelivery, ...]:
    """Returns the newest row of each topic with the older rows that it supersedes, in the order of `topics`.

    A row that is not due yet (a follow-up) neither supersedes nor is superseded.
    """
    keys = sorted({key for _, key in topics})
    chosen = (OF_SINK, among(connection, delivery.c.key, keys), delivery.c.not_before <= now)
    rows_of_keys = connection.execute(select(delivery).where(*chosen), {"sink": name}).all()
    found: dict[Topic, list[Any]] = {topic: [] for topic in topics}
    for row in sorted(rows_of_keys, key=lambda row: row.id):  # an order in SQL would keep it from the index of keys
        if (rows := found.get(topic_of(row))) is not None:
            rows.append(row)
    return tuple(_newest(rows) for rows in found.values() if rows)


def _newest(rows: Sequence[Any]) -> ClaimedDelivery:
    last = next((row for row in rows if row.purpose == ERASE), rows[-1])  # nothing is newer than an erase
    attempts = max(row.attempts for row in rows)
    since = min(row.since for row in rows if row.attempts == attempts)
    older = tuple(row.id for row in rows if row is not last)
    return replace(ClaimedDelivery.of(last), attempts=attempts, since=since, older=older)


def pending_keys(connection: Connection, name: str, keys: Sequence[str]) -> set[str]:
    """Returns those of the keys that have a pending delivery, other than the result of a decision."""
    mine = (OF_SINK, among(connection, delivery.c.key, keys), delivery.c.purpose != DECIDED)
    statement = select(delivery.c.key).where(*mine)
    return set(connection.execute(statement, {"sink": name}).scalars())


def rows_of_batch(connection: Connection, name: str, batch: str) -> Sequence[Any]:
    """Returns the unsettled rows with this batch id."""
    rows = connection.execute(select(delivery).where(OF_SINK, delivery.c.batch == batch), {"sink": name}).all()
    return sorted(rows, key=lambda row: (row.priority, row.id))  # an order in SQL would keep it from the batch's index


def count_due(connection: Connection, name: str, now: Now, limit: int) -> int:
    """Counts the rows of a sink whose time has come, up to `limit`."""
    rows = select(delivery.c.id).where(OF_SINK, delivery.c.not_before <= now).limit(limit).subquery()
    return int(connection.execute(select(func.count()).select_from(rows), {"sink": name}).scalar_one())


def due_sinks(connection: Connection, owner: str, now: Now) -> list[str]:
    """Returns the sinks with due deliveries that this worker may claim.

    They are neither paused nor resting, and their lease is free, expired or held by `owner`. The query probes an index
    once per sink, unless all pending deliveries of the sink are due later.
    """
    is_free = or_(sink.c.lease_owner.is_(None), sink.c.lease_owner == owner, sink.c.lease_until < now)
    is_active = or_(sink.c.paused.is_(None), and_(sink.c.paused == PauseKind.BROKEN, sink.c.probe_at <= now))
    first = (
        select(delivery.c.id)
        .outerjoin(bucket, bucket.c.name == delivery.c.bucket)
        .where(
            delivery.c.sink == sink.c.name,
            PENDING,
            delivery.c.not_before <= now,
            _blocked_until() <= now,
            ~_is_blocked(),
        )
        .limit(1)
        .correlate(sink)
        .scalar_subquery()  # as a join the database may choose to read all that is pending
    )
    statement = select(sink.c.name).where(is_free, is_active, sink.c.rest_until <= now, first.is_not(None))
    return list(connection.execute(statement.order_by(sink.c.name)).scalars())


class Due(NamedTuple):
    """When a row is due (epoch milliseconds), and whether a rate limit is the reason that it is not due before."""

    at: int
    is_limited: bool


def next_due(connection: Connection, name: str) -> Due | None:
    """Returns when the first row of a sink is due; `None` without pending rows.

    Blocked rows are not due before the row that blocks them, so they are not considered.
    """
    pending = delivery.outerjoin(bucket, bucket.c.name == delivery.c.bucket)
    statement = select(_due_at(), _is_limited()).select_from(pending).where(OF_SINK, ~_is_blocked())
    found = connection.execute(statement.order_by(_due_at(), _is_limited()).limit(1), {"sink": name}).first()
    return None if found is None else Due(int(found[0]), bool(found[1]))


def _due_at(rows: FromClause = delivery) -> ColumnElement[int]:
    """The later of the time of a delivery and that of its rate limit."""
    return case((_is_limited(rows), _blocked_until()), else_=rows.c.not_before)


def _is_limited(rows: FromClause = delivery) -> ColumnElement[bool]:
    return _blocked_until() > rows.c.not_before


def first_shown(connection: Connection, name: str) -> tuple[str, Due] | None:
    """Returns the reason of the waiting deliveries of a sink that are shown first, and when the call that shows them is
    due; `None` when nothing waits for a call.
    """
    waiting = delivery.alias("waiting")
    same = (waiting.c.sink == delivery.c.sink, waiting.c.wait_group == delivery.c.wait_group)
    waits = in_state(DeliveryState.WAITING, waiting)
    statement = (
        select(_due_at(), _is_limited(), select(waiting.c.reason).where(*same, waits).limit(1).scalar_subquery())
        .select_from(delivery.outerjoin(bucket, bucket.c.name == delivery.c.bucket))
        .where(OF_SINK, delivery.c.wait_group.is_not(None), exists().where(*same, waits))
        .order_by(_due_at())
        .limit(1)
    )
    found = connection.execute(statement, {"sink": name}).first()
    return None if found is None else (found[2] or "", Due(int(found[0]), bool(found[1])))


def shown_at() -> ColumnElement[Any]:
    """When the call is due that shows a waiting delivery; null without one, and for other deliveries."""
    call = delivery.alias("call")
    same = (call.c.sink == delivery.c.sink, call.c.wait_group == delivery.c.wait_group)
    due = select(func.min(_due_at(call))).select_from(call.outerjoin(bucket, bucket.c.name == call.c.bucket))
    due = due.where(*same, in_state(DeliveryState.PENDING, call), in_state(DeliveryState.WAITING))
    return due.correlate(delivery).scalar_subquery()


def mark(connection: Connection, lease: Lease, claim: Claim, *, state_sink: bool) -> None:
    """Stores the batch id before the call. Raises `LeaseLost`, or `ClaimMoved` when a row was changed meanwhile."""
    leases.require(connection, lease)
    if state_sink:
        here = sink.c.name == lease.sink
        connection.execute(
            update(sink).where(here).values(batch=claim.batch, batch_started_at=claim.started_at, rest_until=0)
        )
        return
    ids = [work.id for work in claim.works]
    free = or_(delivery.c.batch.is_(None), delivery.c.batch == claim.batch)
    changed = connection.execute(
        update(delivery)
        .where(among(connection, delivery.c.id, ids), PENDING, free)
        .values(batch=claim.batch, batch_started_at=claim.started_at, blocks_key=1, bucket=None)
    )
    if changed.rowcount != len(ids):
        raise ClaimMoved(f"a delivery of {lease.sink} was changed meanwhile")
