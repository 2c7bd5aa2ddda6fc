"""Polls the outbox: finds the due rows for one call, and makes deliveries with events and interviews of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import uuid4

from sqlalchemy import Connection, select

from connector.capabilities import ERASE, BatchesBursts
from connector.delivery.lease import LeaseKeeper, SeenLease
from connector.interview import Event, Interview, Stage, is_late
from connector.merge import decode, event_of, interview_of
from connector.sink import Delivery, FollowUp, Sink, Subscription
from connector.store import claim, leases, rate_limit, subscriptions
from connector.store.claim import Claim, ClaimedDelivery
from connector.store.dialects import Now, among
from connector.store.parsed import EVENTS, reading_of
from connector.store.schema import PauseKind, event, interview

IsRouted: TypeAlias = Callable[[Interview], bool]
"""Whether an interview, as it is now, meets a route to a state sink."""


def claim_messages(
    connection: Connection, sink: str, now: int, limit: int, batchable_events: Mapping[str, int] = MappingProxyType({})
) -> Claim | None:
    """Returns the next batch of a message sink: an unclear one alone, else the best rows, one per purpose and key.

    At most `limit` of them, or as many of one event as `batchable_events` allows, when that event comes first.
    """
    rows = claim.due(connection, sink, now, max(limit, *batchable_events.values()) if batchable_events else limit)
    if not rows:
        return None
    if rows[0].batch is not None:
        returning = claim.rows_of_batch(connection, sink, rows[0].batch)
        part = _shareable(connection, returning, limit, batchable_events)
        if len(part) < len(returning):
            # the settings have changed: the sink gets no more than it takes in one call now, of what is due
            due = {row.id for row in rows}
            part = _shareable(connection, [row for row in returning if row.id in due], limit, batchable_events)
        return _unclear(part, now)
    fresh = {(row.purpose, row.key): row for row in reversed(rows) if row.batch is None}
    picked = [row for row in rows if row.batch is None and fresh[row.purpose, row.key] is row]
    shared = _shareable(connection, picked, limit, batchable_events)
    return Claim(uuid4().hex, now, tuple(ClaimedDelivery.of(row) for row in shared), maybe_sent=False)


def _shareable(
    connection: Connection, rows: Sequence[Any], limit: int, batchable_events: Mapping[str, int]
) -> Sequence[Any]:
    """Returns the first rows that may share a call."""
    first = _names(connection, rows[:1]) if batchable_events else {}
    name = first.get(rows[0].event_seq, "")
    if name not in batchable_events:
        return rows[:limit]
    names = _names(connection, rows)
    alike = takewhile(lambda row: names.get(row.event_seq) == name, rows)
    return list(alike)[: max(limit, batchable_events[name])]


def _names(connection: Connection, rows: Sequence[Any]) -> dict[int, str]:
    seqs = [row.event_seq for row in rows if row.event_seq is not None]
    found = connection.execute(select(event.c.seq, event.c.name).where(among(connection, event.c.seq, seqs)))
    return {row.seq: row.name for row in found}


def _unclear(rows: Sequence[Any], now: int) -> Claim:
    return Claim(
        rows[0].batch, rows[0].batch_started_at or now, tuple(ClaimedDelivery.of(row) for row in rows), maybe_sent=True
    )


def claim_states(connection: Connection, sink: Any, now: int, limit: int) -> Claim | None:
    """The next batch of a state sink: the newest row of every topic that is due. `sink` is its row."""
    works = claim.newest(connection, sink.name, claim.due_topics(connection, sink.name, now, limit), now)
    if not works:
        return None
    maybe_sent = sink.batch is not None
    return Claim(uuid4().hex, sink.batch_started_at if maybe_sent else now, works, maybe_sent=maybe_sent)


def row_count(claimed: Claim) -> int:
    """The number of rows that a claim takes, including superseded ones."""
    return sum(1 + len(work.older) for work in claimed.works)


def deliveries_of(
    connection: Connection,
    works: Sequence[ClaimedDelivery],
    instance: str,
    *,
    events: bool,
    now: int,
    max_age: float | None = None,
    is_routed: IsRouted = lambda _: True,
) -> tuple[Delivery, ...]:
    """The deliveries of claimed rows. `max_age` is the sink's, in seconds."""
    seqs = [work.event_seq for work in works if work.event_seq is not None] if events else []
    happened = _events(connection, seqs)
    known = _interviews(connection, works)
    return tuple(
        Delivery(
            id=f"{instance}-{work.id}",
            key=work.key,
            event=None if work.event_seq is None else happened.get(work.event_seq),
            interview=known.get(work.id),
            attempt=work.attempts + 1,
            late=work.event_seq is not None and is_late(work.since, happened.get(work.event_seq), now, max_age),
            unrouted=not events and work.id in known and not is_routed(known[work.id]),
            silent=events and work.silent,
            follow_up=_follow_up(work) if work.purpose else None,
        )
        for work in works
    )


def _follow_up(work: ClaimedDelivery) -> FollowUp:
    return FollowUp(work.purpose, interview=work.interview_id or None, subject=work.subject, group=work.group or "")


def _events(connection: Connection, seqs: Sequence[int]) -> dict[int, Event]:
    if not seqs:
        return {}
    rows = connection.execute(EVENTS.where(among(connection, event.c.seq, seqs)))
    return {row.seq: _event(row) for row in rows}


def _event(row: Any) -> Event:
    event_id = str(row.seq)
    reading = reading_of(row)
    if reading is None:
        return Event(event_id, row.name, row.interview_id, row.occurred_at, row.received_at)
    return event_of(event_id, reading)


def _interviews(connection: Connection, works: Sequence[ClaimedDelivery]) -> dict[int, Interview]:
    """Returns the interviews by the id of the claimed row. Only the call that erases an interview gets an erased one,
    so that no other call shows it again.
    """
    ids = sorted({work.interview_id for work in works if work.interview_id})
    columns = (interview.c.id, interview.c.state, interview.c.erased_at)
    rows = connection.execute(select(*columns).where(among(connection, interview.c.id, ids)))
    known: dict[str, Interview] = {}
    erased: dict[str, Interview] = {}
    for row in rows:
        (known if row.erased_at is None else erased)[row.id] = interview_of(row.id, decode(row.state))
    found = {}
    for work in works:
        about = known.get(work.interview_id)
        if work.purpose == ERASE:
            about = erased.get(work.interview_id) or _erased_interview(work)
        if about is not None:
            found[work.id] = about
    return found


def _erased_interview(work: ClaimedDelivery) -> Interview:
    """Returns an erased interview. The store has its id and none of its data."""
    return Interview(work.interview_id, Stage.DELETED, work.since, {"deleted": work.since})


def shown_interviews(
    connection: Connection, sink: str, after: str, limit: int, is_routed: IsRouted
) -> list[Subscription]:
    """Returns the interviews that a sink shows, by id from the one after `after`, without those erased."""
    rows = subscriptions.interviews_of(connection, sink, after, limit)
    waiting = claim.pending_keys(connection, sink, [row.id for row in rows])
    interviews = [interview_of(row.id, decode(row.state)) for row in rows]
    return [Subscription(each, each.id in waiting, not is_routed(each)) for each in interviews]


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll of the outbox found: rows to call with, or when to poll again (epoch milliseconds).

    `failing`: the last call, of any process, failed. `is_taken`: another process owns the sink, or renamed it.
    `is_burst`: more than `above` deliveries are due, so the lane waits for more.
    """

    seen: SeenLease
    claim: Claim | None = None
    deliveries: tuple[Delivery, ...] = ()
    poll_at: int | None = None
    paused: str | None = None
    failing: bool = False
    is_taken: bool = False
    is_burst: bool = False


class Poller:
    """Reads what is due for one lane; writes nothing. `instance` returns the name of the store."""

    def __init__(self, sink: Sink[Any], lease: LeaseKeeper, instance: Callable[[], str], is_routed: IsRouted) -> None:
        self._sink = sink
        self._lease = lease
        self._instance = instance
        self._is_routed = is_routed

    def was_resumed(self, connection: Connection) -> bool:
        """Whether a user ended the rest of the sink."""
        row = leases.row(connection, self._sink.name)
        return row is None or bool(row.rest_until == 0)

    def count_due(self, connection: Connection, now: Now, limit: int) -> int:
        """Returns how many deliveries are due, counted up to `limit`."""
        return claim.count_due(connection, self._sink.name, now, limit)

    def poll(self, connection: Connection, now: int, bucket: str | None, above: int | None) -> Poll:
        """Polls the outbox. With a `bucket` it finds nothing until that bucket has a token. With `above` it finds no
        rows when more than so many are due, only that this is a burst.
        """
        row = leases.row(connection, self._sink.name)
        seen = SeenLease.of(row)
        if row is None or self._lease.is_taken(seen, now):
            return Poll(seen, is_taken=True)
        if above is not None and row.paused is None and self.count_due(connection, now, above + 1) > above:
            return Poll(seen, is_burst=True)
        if row.paused is not None and (row.paused != PauseKind.BROKEN or row.probe_at > now):
            return Poll(seen, poll_at=row.probe_at, paused=row.paused)
        if not self._lease.is_owner and self._lease.is_resting(row.rest_until, now):
            return Poll(seen, poll_at=row.rest_until)
        if bucket is not None and (blocked_until := rate_limit.blocked_until(connection, bucket)) > now:
            return Poll(seen, poll_at=blocked_until)
        claimed = self._claim(connection, row, now)
        if claimed is None:
            due = claim.next_due(connection, self._sink.name)
            return Poll(seen, poll_at=None if due is None else due.at)
        deliveries = self._deliveries(connection, claimed, now)
        return Poll(seen, claimed, deliveries, paused=row.paused, failing=row.rest_until > 0)

    def _claim(self, connection: Connection, row: Any, now: int) -> Claim | None:
        sink = self._sink
        if sink.state:
            return claim_states(connection, row, now, sink.max_batch)
        events = sink.batchable_events if isinstance(sink, BatchesBursts) else {}
        return claim_messages(connection, sink.name, now, sink.max_batch, events)

    def _deliveries(self, connection: Connection, claimed: Claim, now: int) -> tuple[Delivery, ...]:
        return deliveries_of(
            connection,
            claimed.works,
            self._instance(),
            events=not self._sink.state,
            now=now,
            max_age=self._sink.max_age,
            is_routed=self._is_routed,
        )
