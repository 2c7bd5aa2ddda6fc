"""Which deliveries are due, and which go out together. Functions on an open connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, exists, func, or_, select, update

from connector.errors import ConnectorError
from connector.store import leases
from connector.store.dialects import among
from connector.store.leases import Lease
from connector.store.schema import DeliveryState, bucket, delivery, in_state, sink

PENDING = in_state(DeliveryState.PENDING)
OF_SINK = and_(delivery.c.sink == bindparam("sink"), PENDING)

Topic: TypeAlias = tuple[str, str]
"""What a state sink shows at once: an interview (`("", id)`), or a purpose and a subject."""


@dataclass(frozen=True, slots=True)
class Work:
    """One claimed row; `older` are the rows of a state sink that it supersedes."""

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
        """From the row of a delivery."""
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
    """Rows that go to a sink in one call. `maybe_sent`: an earlier call with them may have been applied."""

    batch: str
    started_at: int
    works: tuple[Work, ...]
    maybe_sent: bool


class ClaimMoved(ConnectorError):
    """A claimed row was changed by somebody else before the call; claim again."""


def _blocked_until() -> ColumnElement[int]:
    """When the bucket that a delivery waits for has a token; at once for one that waits for none."""
    return func.coalesce(bucket.c.full_at - bucket.c.burst_ms, 0)


def _held_back() -> ColumnElement[bool]:
    """That another delivery of the same sink, purpose and key is in flight, failed or unclear."""
    other = delivery.alias()
    same = and_(other.c.sink == delivery.c.sink, other.c.key == delivery.c.key, other.c.purpose == delivery.c.purpose)
    holder = exists().where(same, in_state(DeliveryState.PENDING, other), other.c.held == 1)
    return and_(delivery.c.held == 0, holder)


def due(connection: Connection, name: str, now: int, limit: int) -> Sequence[Any]:
    """Rows of a sink that may be called now, best first: by priority, then by order of each.

    A row that is in flight, failed or unclear holds back all others of its purpose and key, and nothing else.
    """
    statement = (
        select(delivery)
        .outerjoin(bucket, bucket.c.name == delivery.c.bucket)
        .where(OF_SINK, delivery.c.not_before <= now, _blocked_until() <= now, ~_held_back())
        .order_by(delivery.c.priority, delivery.c.id)
        .limit(limit)
    )
    return connection.execute(statement, {"sink": name}).all()


def topic_of(row: Any) -> Topic:
    """The topic of a row: all rows about one interview have the same, whatever asked for them."""
    return ("", row.key) if row.interview_id else (row.purpose, row.key)


def due_topics(connection: Connection, name: str, now: int, limit: int) -> list[Topic]:
    """Topics of a state sink with something due, best first; one in backoff is not due.

    Looks at the first `limit` rows, so that a topic with many rows makes the list shorter, not the look longer.
    """
    statement = (
        select(delivery.c.purpose, delivery.c.key, delivery.c.interview_id)
        .where(OF_SINK, delivery.c.not_before <= now, ~_held_back())
        .order_by(delivery.c.priority, delivery.c.id)
        .limit(limit)
    )
    return list(dict.fromkeys(topic_of(row) for row in connection.execute(statement, {"sink": name})))


def newest(connection: Connection, name: str, topics: Sequence[Topic], now: int) -> tuple[Work, ...]:
    """The newest row of each topic with the older ones it supersedes, in the order of `topics`.

    A row whose time has not come (a follow-up) neither supersedes nor is superseded.
    """
    keys = sorted({key for _, key in topics})
    chosen = (OF_SINK, among(connection, delivery.c.key, keys), delivery.c.not_before <= now)
    statement = select(delivery).where(*chosen).order_by(delivery.c.id)
    found: dict[Topic, list[Any]] = {topic: [] for topic in topics}
    for row in connection.execute(statement, {"sink": name}):
        if (rows := found.get(topic_of(row))) is not None:
            rows.append(row)
    return tuple(_newest(rows) for rows in found.values() if rows)


def _newest(rows: Sequence[Any]) -> Work:
    last = rows[-1]
    attempts = max(row.attempts for row in rows)
    since = min(row.since for row in rows if row.attempts == attempts)
    older = tuple(row.id for row in rows[:-1])
    return replace(Work.of(last), attempts=attempts, since=since, older=older)


def pending_keys(connection: Connection, name: str, keys: Sequence[str]) -> set[str]:
    """Which of the keys have something pending."""
    statement = select(delivery.c.key).where(OF_SINK, among(connection, delivery.c.key, keys))
    return set(connection.execute(statement, {"sink": name}).scalars())


def rows_of_batch(connection: Connection, name: str, batch: str) -> Sequence[Any]:
    """The rows that went out under one batch id and are not settled."""
    rows = connection.execute(select(delivery).where(OF_SINK, delivery.c.batch == batch), {"sink": name}).all()
    return sorted(rows, key=lambda row: (row.priority, row.id))  # an order in SQL would keep it from the batch's index


def count_due(connection: Connection, name: str, now: int, limit: int) -> int:
    """How many rows of a sink have come to their time, counted up to `limit`."""
    rows = select(delivery.c.id).where(OF_SINK, delivery.c.not_before <= now).limit(limit).subquery()
    return int(connection.execute(select(func.count()).select_from(rows), {"sink": name}).scalar_one())


def due_sinks(connection: Connection, owner: str, now: int) -> list[str]:
    """Sinks with something to do that no other worker is at: neither paused nor resting, the lease free, over or ours.

    One probe of an index for each sink, however much is pending, unless all of it waits for later.
    """
    is_free = or_(sink.c.lease_owner.is_(None), sink.c.lease_owner == owner, sink.c.lease_until < now)
    is_active = or_(sink.c.paused.is_(None), and_(sink.c.paused == "broken", sink.c.probe_at <= now))
    first = (
        select(delivery.c.id)
        .outerjoin(bucket, bucket.c.name == delivery.c.bucket)
        .where(
            delivery.c.sink == sink.c.name,
            PENDING,
            delivery.c.not_before <= now,
            _blocked_until() <= now,
            ~_held_back(),
        )
        .limit(1)
        .correlate(sink)
        .scalar_subquery()  # as a join the database may choose to read all that is pending
    )
    statement = select(sink.c.name).where(is_free, is_active, sink.c.rest_until <= now, first.is_not(None))
    return list(connection.execute(statement.order_by(sink.c.name)).scalars())


def next_due(connection: Connection, name: str) -> int | None:
    """When the first row of a sink is due by time or by its bucket; `None` when nothing is pending.

    What is held back is not due before the row that holds it, so it does not count.
    """
    at = case((_blocked_until() > delivery.c.not_before, _blocked_until()), else_=delivery.c.not_before)
    pending = delivery.outerjoin(bucket, bucket.c.name == delivery.c.bucket)
    statement = select(func.min(at)).select_from(pending).where(OF_SINK, ~_held_back())
    found = connection.execute(statement, {"sink": name}).scalar()
    return None if found is None else int(found)


def mark(connection: Connection, lease: Lease, claim: Claim, *, state_sink: bool) -> None:
    """Stores the batch id before the call. Raises `LeaseLost`, or `ClaimMoved` when a row is no longer to be had."""
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
        .values(batch=claim.batch, batch_started_at=claim.started_at, held=1, bucket=None)
    )
    if changed.rowcount != len(ids):
        raise ClaimMoved(f"a delivery of {lease.sink} was changed meanwhile")
