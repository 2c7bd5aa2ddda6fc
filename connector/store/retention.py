"""Retention: deletes old rows in short slices. Functions on a connection, in the caller's transaction.

Bodies, their hashes and parsed fields of events are cleared; identity, name, interview and dates of the event stay.
Settled deliveries, attempts and finished decision requests are deleted. Pending, waiting and dead deliveries stay with
the content of their events, and so do requests that wait for an operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, literal, or_, select, tuple_, update

from connector.store.dialects import among
from connector.store.schema import DeliveryState, attempt, decision_request, delivery, event, event_body, in_state

DAY_MS = 86_400_000
SLICE_MS = 50.0
"""Longest time that a slice should hold the writer, because ingest waits for it."""
ROWS_FIRST = 100
"""Rows of the first slice of a kind, before the time of a row is known."""
ROWS_MAX = 2000
"""Most rows of a slice. More do not make it faster, and one slow page could then hold the writer for long."""


BYTES_MAX = 16 * 1024 * 1024
"""Most bytes of bodies of a slice. A page of a large body costs time of its own, and small bodies before it say nothing
about that.
"""


class RetentionKind(StrEnum):
    """What is deleted; also the label of the metric."""

    BODIES = "bodies"
    DELIVERIES = "deliveries"
    ATTEMPTS = "attempts"
    DECISIONS = "decisions"


@dataclass(frozen=True, slots=True)
class RetentionPlace:
    """A position in the order of deletion: time (epoch milliseconds) and id."""

    at: int
    id: int


START = RetentionPlace(-1, -1)


@dataclass(frozen=True, slots=True)
class DeletedSlice:
    """The result of one slice: rows deleted or cleared, and where the next one starts; `None` at the end."""

    deleted: int
    next: RetentionPlace | None


def cutoffs(days: Mapping[RetentionKind, int], now: int) -> dict[RetentionKind, int]:
    """Returns per kind the time before which it is deleted, without the kinds that are kept (0 days)."""
    return {kind: now - count * DAY_MS for kind, count in days.items() if count > 0}


def next_rows(rows: int, elapsed_ms: float) -> int:
    """Returns the size of the next slice from the time that one of `rows` rows took."""
    if elapsed_ms > SLICE_MS / 2:
        return max(1, int(rows * SLICE_MS / 2 / elapsed_ms))
    return min(ROWS_MAX, rows * 2) if elapsed_ms < SLICE_MS / 4 else rows


def delete_slice(
    connection: Connection, kind: RetentionKind, cutoff: int, after: RetentionPlace, rows: int
) -> DeletedSlice:
    """Deletes at most `rows` rows of a kind that are older than `cutoff`, in order of age."""
    found = connection.execute(_QUERIES[kind](cutoff, after).limit(rows)).all()
    sizes = accumulate(size for _, _, size in found)
    places = [RetentionPlace(at, id_) for (at, id_, _), total in zip(found, sizes, strict=True) if total <= BYTES_MAX]
    places = places or [RetentionPlace(at, id_) for at, id_, _ in found[:1]]
    if not places:
        return DeletedSlice(0, None)
    deleted = _DELETIONS[kind](connection, [place.id for place in places])
    is_last = len(found) < rows and len(places) == len(found)
    return DeletedSlice(deleted, None if is_last else places[-1])


def _bodies(cutoff: int, after: RetentionPlace) -> Select[Any]:
    return (
        select(event_body.c.received_at, event_body.c.event_seq, func.length(event_body.c.body))
        .where(
            event_body.c.received_at < cutoff,
            tuple_(event_body.c.received_at, event_body.c.event_seq) > (after.at, after.id),
        )
        .order_by(event_body.c.received_at, event_body.c.event_seq)
    )


def _clear_bodies(connection: Connection, seqs: Sequence[int]) -> int:
    # a replay locks the events too: it is finished now, and the next statement reads what it made pending
    connection.execute(select(event.c.seq).where(among(connection, event.c.seq, seqs)).with_for_update()).all()
    open_states = [in_state(state) for state in (DeliveryState.PENDING, DeliveryState.WAITING, DeliveryState.DEAD)]
    is_needed = exists().where(delivery.c.event_seq == event_body.c.event_seq, or_(*open_states))
    removing = delete(event_body).where(among(connection, event_body.c.event_seq, seqs), ~is_needed)
    deleted = connection.execute(removing.returning(event_body.c.event_seq)).scalars().all()
    connection.execute(update(event).where(among(connection, event.c.seq, deleted)).values(sha256=b""))
    return len(deleted)


def _deliveries(cutoff: int, after: RetentionPlace) -> Select[Any]:
    return (
        select(delivery.c.done_at, delivery.c.id, literal(0))
        .where(
            delivery.c.done_at.is_not(None),
            delivery.c.done_at < cutoff,
            tuple_(delivery.c.done_at, delivery.c.id) > (after.at, after.id),
        )
        .order_by(delivery.c.done_at, delivery.c.id)
    )


def _delete_deliveries(connection: Connection, ids: Sequence[int]) -> int:
    settled = (DeliveryState.DELIVERED, DeliveryState.SUPERSEDED, DeliveryState.DISMISSED)
    removing = delete(delivery).where(among(connection, delivery.c.id, ids), or_(*map(in_state, settled)))
    return connection.execute(removing).rowcount


def _attempts(cutoff: int, after: RetentionPlace) -> Select[Any]:
    return (
        select(attempt.c.started_at, attempt.c.id, literal(0))
        .where(attempt.c.started_at < cutoff, tuple_(attempt.c.started_at, attempt.c.id) > (after.at, after.id))
        .order_by(attempt.c.started_at, attempt.c.id)
    )


def _delete_attempts(connection: Connection, ids: Sequence[int]) -> int:
    return connection.execute(delete(attempt).where(among(connection, attempt.c.id, ids))).rowcount


def _decisions(cutoff: int, after: RetentionPlace) -> Select[Any]:
    place = (decision_request.c.done_at, decision_request.c.id)
    is_old = (place[0].is_not(None), place[0] < cutoff, tuple_(*place) > (after.at, after.id))
    return select(*place, literal(0)).where(*is_old).order_by(*place)


def _delete_decisions(connection: Connection, ids: Sequence[int]) -> int:
    return connection.execute(delete(decision_request).where(among(connection, decision_request.c.id, ids))).rowcount


# each query returns time, id, and the bytes of the body
_QUERIES = {
    RetentionKind.BODIES: _bodies,
    RetentionKind.DELIVERIES: _deliveries,
    RetentionKind.ATTEMPTS: _attempts,
    RetentionKind.DECISIONS: _decisions,
}
_DELETIONS = {
    RetentionKind.BODIES: _clear_bodies,
    RetentionKind.DELIVERIES: _delete_deliveries,
    RetentionKind.ATTEMPTS: _delete_attempts,
    RetentionKind.DECISIONS: _delete_decisions,
}
