"""The outbox: writes the outcome of one call to a sink in one transaction. Functions on an open connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from connector.capabilities import VERIFY
from connector.decision import DecisionRequest
from connector.sink import Note
from connector.store import leases, notes, rollup
from connector.store.claim import OF_SINK, PENDING
from connector.store.dialects import among, storable
from connector.store.ingest import FOLLOW_UP_PRIORITY, VERIFY_PRIORITY
from connector.store.leases import Lease, Pause
from connector.store.schema import AttemptOutcome, DeliveryState, attempt, delivery, in_state, sink

SOON_MS = 60_000
"""A verification that is due within this time counts as requested."""
UNSHOWN_MS = 60_000
"""The delay before a delivery is claimed again whose follow-up is not pending. It prevents a busy loop."""
WAITS = in_state(DeliveryState.WAITING)
FAILED = frozenset({AttemptOutcome.RETRY_LATER, AttemptOutcome.UNCLEAR, AttemptOutcome.REJECTED, AttemptOutcome.BROKEN})
"""Outcomes of an attempt that failed."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A row that stays pending."""

    id: int
    counted: int
    not_before: int
    reason: str
    keeps_batch: bool


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A row that waits in a group until a call shows it, which is expected at `until` (epoch milliseconds)."""

    id: int
    group: str
    reason: str
    until: int


@dataclass(frozen=True, slots=True)
class PlannedFollowUp:
    """A follow-up that a sink requested. `interview_id` and `subject` may be empty. It shows the `group`, if any."""

    purpose: str
    interview_id: str
    subject: str
    group: str | None
    not_before: int

    @property
    def identity(self) -> tuple[str, str, str]:
        """At most one follow-up with this identity is pending per sink."""
        return self.purpose, self.interview_id, self.subject

    @property
    def key(self) -> str:
        """The key within which the order of deliveries is kept."""
        return self.interview_id or self.subject


@dataclass(frozen=True, slots=True)
class DestinationReply:
    """What a destination replied to a call that failed: the HTTP status, `None` without one, and the text."""

    status: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One row of the table of attempts. `reply` is that of a call that failed."""

    outcome: AttemptOutcome
    reason: str
    count: int
    reply: DestinationReply | None = None


@dataclass(slots=True)
class Settlement:
    """The outcome of one call, to be written in one transaction."""

    batch: str
    started_at: int
    ended_at: int
    delivered: list[tuple[int, str | None]] = field(default_factory=list)
    superseded: list[int] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)
    unneeded: list[tuple[int, str]] = field(default_factory=list)
    """Rows with nothing to show, with the reason."""
    idle: list[int] = field(default_factory=list)
    """Regular calls of a state sink that found nothing to do. They are deleted: some are made every minute."""
    retries: list[Retry] = field(default_factory=list)
    waiting: list[WaitingRow] = field(default_factory=list)
    groups: dict[str, tuple[DeliveryState, str | None]] = field(default_factory=dict)
    """The new state of all rows that wait in a group, with its reference or reason."""
    touched: set[str] = field(default_factory=set)
    """Groups whose follow-up was called, or shows another group now."""
    shown_since: list[int] = field(default_factory=list)
    """Set by `settle`: `since` of the waiting rows that were delivered."""
    unsent: list[int] = field(default_factory=list)
    """Rows that were not sent: they wait for a rate limit or for the repair of the destination."""
    cured: list[tuple[str, str]] = field(default_factory=list)
    """Purposes and keys that a state sink shows now in the newest state: older dead letters are superseded."""
    bucket: str | None = None
    notes: Mapping[str, Note | None] = field(default_factory=dict)
    follow_ups: list[PlannedFollowUp] = field(default_factory=list)
    decisions: Sequence[DecisionRequest] = ()
    """What users decided at the destination."""
    attempts: list[Attempt] = field(default_factory=list)
    maybe_sent: bool = False
    """An earlier call with rows that stay pending may have been applied."""
    is_state_repeat: bool = False
    """The call of a state sink followed one that may have been applied. Rows of that one may not be due yet."""
    rest_until: int = 0
    resumed: bool = False
    pause: Pause | None = None


def settle(connection: Connection, lease: Lease, destination: str, settlement: Settlement) -> None:
    """Writes outcomes, notes, follow-ups and attempts of one call. Raises `LeaseLost`."""
    leases.require(connection, lease)
    ended = _settle_done(connection, settlement)
    ended += _cure(connection, lease.sink, settlement)
    _settle_open(connection, settlement)
    notes.write(connection, lease.sink, destination, settlement.notes)
    if settlement.follow_ups:
        settlement.touched |= plan_follow_ups(connection, lease.sink, settlement.follow_ups)
    ended += _settle_groups(connection, lease.sink, settlement)
    rollup.count_settled(connection, ended, settlement.ended_at)
    _record(connection, lease.sink, settlement)
    _settle_sink(connection, lease.sink, settlement)


def _settle_done(connection: Connection, settlement: Settlement) -> list[int]:
    """Returns the ids of the settled rows."""
    plain = [id_ for id_, reference in settlement.delivered if reference is None]
    referred = [(id_, reference) for id_, reference in settlement.delivered if reference is not None]
    _finish(connection, plain, DeliveryState.DELIVERED, settlement.ended_at)
    _finish(connection, settlement.superseded, DeliveryState.SUPERSEDED, settlement.ended_at)
    _finish_each(connection, referred, DeliveryState.DELIVERED, settlement.ended_at, delivery.c.reference)
    _finish_each(connection, settlement.dead, DeliveryState.DEAD, settlement.ended_at, delivery.c.reason)
    _finish_each(connection, settlement.unneeded, DeliveryState.SUPERSEDED, settlement.ended_at, delivery.c.reason)
    if settlement.idle:
        connection.execute(delete(delivery).where(among(connection, delivery.c.id, settlement.idle), PENDING))
    with_text = (*referred, *settlement.dead, *settlement.unneeded)
    return [*plain, *settlement.superseded, *(id_ for id_, _ in with_text)]


def _cure(connection: Connection, name: str, settlement: Settlement) -> Sequence[int]:
    """Returns the ids of the dead letters that are superseded now."""
    dead = and_(delivery.c.sink == name, in_state(DeliveryState.DEAD))
    if not settlement.cured or connection.execute(select(delivery.c.id).where(dead).limit(1)).first() is None:
        return []
    keys: dict[str, list[str]] = {}
    for purpose, key in settlement.cured:
        keys.setdefault(purpose, []).append(key)
    # a dead letter with another purpose, such as the result of a decision or an erase, is not shown by this delivery
    same = (and_(delivery.c.purpose == purpose, among(connection, delivery.c.key, keys[purpose])) for purpose in keys)
    superseding = update(delivery).where(dead, or_(*same)).values(state=int(DeliveryState.SUPERSEDED))
    return connection.execute(superseding.returning(delivery.c.id)).scalars().all()


def _ending(state: DeliveryState, at: int) -> dict[str, Any]:
    return {"state": int(state), "done_at": at, "blocks_key": 0, "bucket": None, "wait_group": None}


def _finish(connection: Connection, ids: Sequence[int], state: DeliveryState, at: int) -> None:
    if ids:
        mine = among(connection, delivery.c.id, ids)
        connection.execute(update(delivery).where(mine, PENDING).values(_ending(state, at)))


def _finish_each(
    connection: Connection, rows: Sequence[tuple[int, str]], state: DeliveryState, at: int, column: Column[Any]
) -> None:
    """Like `_finish`, with a text for each row."""
    if rows:
        mine = delivery.c.id == bindparam("row")
        statement = update(delivery).where(mine, PENDING).values({**_ending(state, at), column.name: bindparam("text")})
        connection.execute(statement, [{"row": id_, "text": storable(text)} for id_, text in rows])


def _settle_open(connection: Connection, settlement: Settlement) -> None:
    if settlement.retries:
        _put_off(connection, settlement.retries)
    if settlement.waiting:
        _make_wait(connection, settlement.waiting)
    if settlement.unsent:
        mine = among(connection, delivery.c.id, settlement.unsent)
        values: dict[str, Any] = {"bucket": settlement.bucket}
        if not settlement.maybe_sent:
            # a row that has not failed does not block its key while it waits for a rate limit
            values |= {"batch": None, "blocks_key": case((delivery.c.attempts > 0, delivery.c.blocks_key), else_=0)}
        connection.execute(update(delivery).where(mine, PENDING).values(values))


def _put_off(connection: Connection, retries: Sequence[Retry]) -> None:
    values = {
        "attempts": delivery.c.attempts + bindparam("counted"),
        "not_before": bindparam("at"),
        "blocks_key": 1,
        "bucket": None,
        "reason": bindparam("why"),
        "batch": case((bindparam("keeps") == 1, delivery.c.batch), else_=None),
    }
    connection.execute(
        update(delivery).where(delivery.c.id == bindparam("row"), PENDING).values(values),
        [
            {
                "row": retry.id,
                "counted": retry.counted,
                "at": retry.not_before,
                "why": storable(retry.reason),
                "keeps": int(retry.keeps_batch),
            }
            for retry in retries
        ],
    )


def _make_wait(connection: Connection, rows: Sequence[WaitingRow]) -> None:
    """Sets the rows to waiting in their groups. They block nothing."""
    values = {
        "state": int(DeliveryState.WAITING),
        "wait_group": bindparam("group"),
        "reason": bindparam("why"),
        "not_before": bindparam("until"),
        "blocks_key": 0,
        "bucket": None,
        "batch": None,
    }
    connection.execute(
        update(delivery).where(delivery.c.id == bindparam("row"), PENDING).values(values),
        [{"row": row.id, "group": row.group, "why": storable(row.reason), "until": row.until} for row in rows],
    )


def _settle_groups(connection: Connection, name: str, settlement: Settlement) -> list[int]:
    """Settles the waiting rows of the groups that the call showed or gave up. Returns their ids.

    Rows whose follow-up is no longer pending become pending again, so that no row waits for a call that never happens.
    """
    settlement.shown_since = []
    ids: list[int] = []
    for group, (state, text) in settlement.groups.items():
        column = delivery.c.reference if state is DeliveryState.DELIVERED else delivery.c.reason
        values = _ending(state, settlement.ended_at) | {"reason": None}
        values[column.name] = None if text is None else storable(text)
        ending = update(delivery).where(_in_group(name, group)).values(values)
        ended = connection.execute(ending.returning(delivery.c.id, delivery.c.since)).all()
        ids += [row.id for row in ended]
        if state is DeliveryState.DELIVERED:
            settlement.shown_since += [row.since for row in ended]
    groups = {*settlement.touched, *(row.group for row in settlement.waiting)} - settlement.groups.keys()
    release_unshown(connection, name, groups, settlement.ended_at)
    return ids


def release_unshown(connection: Connection, name: str, groups: Collection[str], now: int) -> None:
    """Makes the deliveries of a sink that wait in one of the groups pending, where no pending follow-up shows it."""
    for group in groups:
        shows = and_(OF_SINK, delivery.c.wait_group == group)
        if connection.execute(select(delivery.c.id).where(shows).limit(1), {"sink": name}).first() is None:
            _make_pending(connection, _in_group(name, group), now + UNSHOWN_MS)


def _in_group(name: str, group: str) -> ColumnElement[bool]:
    return and_(delivery.c.sink == name, delivery.c.wait_group == group, WAITS)


def _make_pending(connection: Connection, which: ColumnElement[bool], not_before: int) -> None:
    values = {"state": int(DeliveryState.PENDING), "wait_group": None, "reason": None, "not_before": not_before}
    connection.execute(update(delivery).where(which).values(values))


def count_waiting(connection: Connection, name: str, group: str) -> int:
    """Counts the deliveries of a sink that wait in a group."""
    return int(connection.execute(select(func.count()).where(_in_group(name, group))).scalar_one())


def release_waiting(connection: Connection, name: str) -> None:
    """Makes every waiting delivery of a sink due at once, because an operator answered what it waited for."""
    which = and_(delivery.c.sink == name, delivery.c.wait_group.is_not(None), WAITS)
    _make_pending(connection, which, 0)


def move(connection: Connection, name: str, destination: str) -> None:
    """Stores the destination of a message sink.

    When it changed, the deliveries that wait to be shown at the old destination become pending, for the new one.
    """
    row = leases.lock(connection, name, sink.c.destination)
    if row is None or row.destination == destination:
        return
    connection.execute(update(sink).where(sink.c.name == name).values(destination=destination))
    if row.destination:
        release_waiting(connection, name)


def plan_follow_ups(connection: Connection, name: str, asked: Sequence[PlannedFollowUp]) -> set[str]:
    """Adds follow-ups: one pending row per sink, purpose, interview and subject.

    A pending one that was not tried yet moves to the earlier time; one that was tried keeps its time. It shows the
    newly named group. Returns the groups that it showed before.
    """
    wanted: dict[tuple[str, str, str], PlannedFollowUp] = {}
    for each in asked:
        before = wanted.get(each.identity)
        if before is None or each.not_before < before.not_before:
            wanted[each.identity] = each
    mine = and_(OF_SINK, among(connection, delivery.c.key, sorted({each.key for each in asked})))
    found = connection.execute(select(delivery).where(mine, delivery.c.purpose != ""), {"sink": name})
    pending = {(row.purpose, row.interview_id, row.subject): row for row in found}
    known = [(pending[key], each) for key, each in wanted.items() if key in pending]
    _bring_forward(connection, known)
    _add_follow_ups(connection, name, [each for key, each in wanted.items() if key not in pending])
    return {row.wait_group for row, each in known if row.wait_group not in {None, each.group}}


def _bring_forward(connection: Connection, pairs: Sequence[tuple[Any, PlannedFollowUp]]) -> None:
    sooner = [
        {"row": row.id, "at": each.not_before}
        for row, each in pairs
        if not row.attempts and not row.blocks_key and each.not_before < row.not_before
    ]
    if sooner:
        at: BindParameter[int] = bindparam("at")
        statement = update(delivery).where(delivery.c.id == bindparam("row")).values(not_before=at, since=at)
        connection.execute(statement, sooner)
    grouped = [{"row": row.id, "group": each.group} for row, each in pairs if row.wait_group != each.group]
    if grouped:
        statement = update(delivery).where(delivery.c.id == bindparam("row")).values(wait_group=bindparam("group"))
        connection.execute(statement, grouped)


def _add_follow_ups(connection: Connection, name: str, asked: Sequence[PlannedFollowUp]) -> None:
    """Their age starts at their due time, so that they are not late before."""
    rows = [
        {
            "sink": name,
            "key": each.key,
            "interview_id": each.interview_id,
            "priority": VERIFY_PRIORITY if each.purpose == VERIFY else FOLLOW_UP_PRIORITY,
            "since": each.not_before,
            "not_before": each.not_before,
            "purpose": each.purpose,
            "subject": each.subject,
            "wait_group": each.group,
        }
        for each in asked
    ]
    if rows:
        connection.execute(insert(delivery), rows)


def ask_to_verify(connection: Connection, name: str, now: int) -> None:
    """Requests a verification by the lane of a sink, for an operator."""
    plan_calls(connection, name, [VERIFY], now)


def plan_calls(connection: Connection, name: str, purposes: Sequence[str], now: int) -> None:
    """Adds follow-ups without an interview that are due at `now` (epoch milliseconds)."""
    leases.lock(connection, name, sink.c.name)  # as `settle` does, which may request the same
    plan_follow_ups(connection, name, [PlannedFollowUp(purpose, "", "", None, now) for purpose in purposes])


def verifies_soon(connection: Connection, name: str, now: int) -> bool:
    """Whether a verification is due within `SOON_MS`."""
    mine = and_(OF_SINK, delivery.c.key == "", delivery.c.purpose == VERIFY, delivery.c.not_before <= now + SOON_MS)
    return connection.execute(select(delivery.c.id).where(mine), {"sink": name}).first() is not None


def _record(connection: Connection, name: str, settlement: Settlement) -> None:
    duration = max(0, settlement.ended_at - settlement.started_at)
    rows = [
        {
            "sink": name,
            "batch": settlement.batch,
            "started_at": settlement.started_at,
            "duration_ms": duration,
            "outcome": entry.outcome,
            "reason": storable(entry.reason),
            "count": entry.count,
            "status": None if entry.reply is None else entry.reply.status,
            "answer": None if entry.reply is None else storable(entry.reply.text),
        }
        for entry in settlement.attempts
    ]
    if rows:
        connection.execute(insert(attempt), rows)


def _has_older(connection: Connection, name: str, settlement: Settlement) -> bool:
    """Whether rows that an earlier call may have had are pending: they failed, or were due when this call began."""
    tried = or_(delivery.c.blocks_key == 1, delivery.c.not_before <= settlement.started_at)
    older = select(delivery.c.id).where(OF_SINK, PENDING, delivery.c.since <= settlement.started_at, tried)
    return connection.execute(older.limit(1), {"sink": name}).first() is not None


def _settle_sink(connection: Connection, name: str, settlement: Settlement) -> None:
    values: dict[str, Any] = {"rest_until": settlement.rest_until}
    if settlement.delivered or settlement.shown_since:
        count = len(settlement.delivered) + len(settlement.shown_since)
        values |= {"delivered": sink.c.delivered + count, "last_delivered_at": settlement.ended_at}
    if not settlement.maybe_sent and not (settlement.is_state_repeat and _has_older(connection, name, settlement)):
        values |= {"batch": None, "batch_started_at": None}
    connection.execute(update(sink).where(sink.c.name == name).values(values))
    if settlement.resumed:
        leases.end_broken_pause(connection, name)
    if settlement.pause is not None:
        leases.pause(connection, name, settlement.pause)
