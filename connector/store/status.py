"""Reads for operators and metrics: the state of the source and of every sink. Functions on an open connection.

`connector.operations.status` adds the processes and what an operator should do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, and_, case, func, select

from connector.capabilities import LISTENING, REPORT
from connector.sink import Note
from connector.store import claim, leases, settle
from connector.store.dialects import has_row_locks
from connector.store.ingest import FOLLOW_UP_PRIORITY, VERIFY_PRIORITY
from connector.store.queries import TOTAL_MAX
from connector.store.rollup import HOUR_MS
from connector.store.schema import (
    AttemptOutcome,
    DeliveryState,
    PauseKind,
    attempt,
    delivery,
    event,
    in_state,
    interview,
    not_understood,
    note,
    refusal,
    sink,
)
from connector.store.settle import FAILED
from connector.store.source import last_webhook_at

REFUSALS_MS = 86_400_000
"""Refused requests of this last period are reported: a day is enough to notice a wrong secret."""

A_RATE_LIMIT = "a rate limit"

SinkState = Literal["ok", "delivering", "paused", "orphaned", "stopped"]
"""`stopped`: no running process delivers; only `connector.operations.status` knows it."""


class SinkStatus(msgspec.Struct, frozen=True):
    """One sink. Times are epoch milliseconds; `oldest_age_seconds` is the age of the oldest pending delivery.

    Deliveries that wait on purpose are neither in `pending` nor in the age: `waiting` deliveries are counted in
    something that is shown later, `waiting_reason` says in what and `waiting_until` when; `planned` follow-ups are not
    due yet.

    `reason` is the real reason why the sink does not deliver and `fix` what to do. When the last call failed, `failure`
    is its reason, `outcome` its outcome, and `status` and `answer` are the HTTP status and the reply of the
    destination. `waits_for` is what the sink waits for now, and `next_try_at` the time of its next call, if it is
    known. A pause by an operator ends automatically at `paused_until`, if that is set.

    `verified_at`, `in_sync` and `differences` describe the last verification; `None` before the first one.
    `is_repairing`: its differences are being repaired, and the next verification is due at once. `worker` is the
    process that has the sink until `lease_until` unless it renews the lease; `None` without a valid lease.
    """

    name: str
    type: str
    state: SinkState
    reason: str
    fix: str
    pending: int
    oldest_age_seconds: float
    dead: int
    delivered: int
    last_delivered_at: int | None
    filling: bool
    verified_at: int | None = None
    in_sync: bool | None = None
    differences: dict[str, int] = {}
    asks: list[str] = []
    is_repairing: bool = False
    worker: str | None = None
    lease_until: int | None = None
    waiting: int = 0
    waiting_reason: str = ""
    waiting_until: int | None = None
    planned: int = 0
    paused_by: PauseKind | None = None
    paused_until: int | None = None
    failure: str = ""
    outcome: AttemptOutcome | None = None
    status: int | None = None
    answer: str = ""
    failed_at: int | None = None
    waits_for: str = ""
    next_try_at: int | None = None

    @property
    def in_sync_as_of(self) -> int | None:
        """When the destination was last found to match the store, if the last verification found that."""
        return self.verified_at if self.in_sync else None


class _Report(msgspec.Struct):
    """The fields that are read of a verification's note."""

    at: int
    in_sync: bool
    counts: dict[str, int]
    asks: list[str] = []


class Refusals(msgspec.Struct, frozen=True):
    """Requests that receivers refused in the last day, by reason; `last_at` is in epoch milliseconds."""

    reason: str
    count: int
    last_at: int


class SourceStatus(msgspec.Struct, frozen=True):
    """Received events. `last_received_at` is when the last webhook arrived, in epoch milliseconds; events that were
    made from the API of Hireflix do not count.

    `interviews` is at most `TOTAL_MAX` + 1, which means more; above `TOTAL_MAX` `events` is the number of the last one.
    `unreadable` and `unknown` ones are stored and can be replayed after an upgrade.
    """

    events: int
    interviews: int
    unreadable: int
    unknown: int
    last_received_at: int | None
    refused: list[Refusals] = []


def source(connection: Connection, now: int) -> SourceStatus:
    """Returns the status of the source at `now` (epoch milliseconds)."""
    strange = select(event.c.kind, func.count()).where(not_understood()).group_by(event.c.kind)
    kinds: dict[str, int] = {kind: count for kind, count in connection.execute(strange)}  # noqa: C416 - the type checker does not know that a row is a pair
    last = connection.execute(select(func.max(event.c.seq))).scalar()
    some = select(interview.c.id).limit(TOTAL_MAX + 1).subquery()
    interviews = connection.execute(select(func.count()).select_from(some)).scalar_one()
    return SourceStatus(
        events=0 if last is None else _count_events(connection, last),
        interviews=interviews,
        unreadable=kinds.get("unreadable", 0),
        unknown=kinds.get("unknown", 0),
        last_received_at=last_webhook_at(connection),
        refused=_refused(connection, now - REFUSALS_MS),
    )


def last_received_at(connection: Connection) -> int | None:
    """Returns when the last event was received (epoch milliseconds), `None` before the first one."""
    newest = select(event.c.received_at).order_by(event.c.received_at.desc()).limit(1)
    return connection.execute(newest).scalar()


def _refused(connection: Connection, since: int) -> list[Refusals]:
    """Returns the refusals of the hours after `since`, the most frequent reason first."""
    count, last_at = func.sum(refusal.c.count), func.max(refusal.c.last_at)
    rows = connection.execute(
        select(refusal.c.reason, count, last_at)
        .where(refusal.c.hour > since - HOUR_MS)
        .group_by(refusal.c.reason)
        .having(last_at > since)
    )
    found = [Refusals(reason, int(total), last) for reason, total, last in rows]
    return sorted(found, key=lambda each: (-each.count, each.reason))


def _count_events(connection: Connection, last: int) -> int:
    """Returns the number of events. On SQLite it is the last id.

    On PostgreSQL ids have gaps, from groups that were rolled back, so up to `TOTAL_MAX` events are counted.
    """
    if not has_row_locks(connection) or last > TOTAL_MAX:
        return last
    return int(connection.execute(select(func.count()).select_from(event)).scalar_one())


def sinks(connection: Connection, now: int, configured: Collection[str] | None) -> list[SinkStatus]:
    """Returns the status of every configured sink, and of others that still have deliveries."""
    queues = _queues(connection, now)
    waiting = _waiting(connection)
    dead = _dead(connection)
    reports = _reports(connection)
    found = []
    for row in leases.rows(connection):
        queue = queues.get(row.name, _Queue())
        waits = waiting.get(row.name, _Waiting())
        is_configured = configured is None or row.name in configured
        if not is_configured and not queue.pending and not waits.count and row.name not in dead:
            continue
        failure = _failure(connection, row)
        report = reports.get(row.name, {})
        waits_for, next_try_at = _next(connection, row, now, queue, waits)
        found.append(
            SinkStatus(
                name=row.name,
                type=row.type,
                state=_state(row, queue.pending + waits.count, is_configured=is_configured),
                reason=_reason(row, now, failure, is_configured=is_configured) or waits.reason,
                fix=row.fix or "",
                pending=queue.pending,
                oldest_age_seconds=0.0 if queue.since is None else max(0, now - queue.since) / 1000,
                dead=dead.get(row.name, 0),
                delivered=row.delivered,
                last_delivered_at=row.last_delivered_at,
                filling=row.filled_to is not None,
                worker=row.lease_owner if row.lease_until >= now else None,
                lease_until=row.lease_until if row.lease_owner is not None and row.lease_until >= now else None,
                waiting=waits.count,
                waiting_reason=waits.reason,
                waiting_until=None if waits.due is None else waits.due.at,
                planned=queue.planned,
                paused_by=PauseKind(row.paused) if row.paused else None,
                paused_until=row.paused_until,
                failure="" if failure is None else failure.reason,
                outcome=None if failure is None else AttemptOutcome(failure.outcome),
                status=None if failure is None else failure.status,
                answer="" if failure is None else failure.answer or "",
                failed_at=None if failure is None else failure.started_at,
                waits_for=waits_for,
                next_try_at=next_try_at,
                is_repairing=_is_repairing(connection, row, report, now),
                **report,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Queue:
    """The pending deliveries of a sink: those that are due or failed, the start of the oldest, and planned ones."""

    pending: int = 0
    since: int | None = None
    planned: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    count: int = 0
    reason: str = ""
    due: claim.Due | None = None


def _waiting(connection: Connection) -> dict[str, _Waiting]:
    """Returns per sink the number of waiting deliveries, the reason of those that are shown first, and when."""
    waits = (in_state(DeliveryState.WAITING), delivery.c.wait_group.is_not(None))
    counts = connection.execute(select(delivery.c.sink, func.count()).where(*waits).group_by(delivery.c.sink)).all()
    found = {}
    for name, count in counts:
        reason, due = claim.first_shown(connection, name) or ("", None)
        if due is None:
            any_of_them = select(delivery.c.reason).where(*waits, delivery.c.sink == name).limit(1)
            reason = connection.execute(any_of_them).scalar() or ""
        found[name] = _Waiting(count, reason, due)
    return found


def _queues(connection: Connection, now: int) -> dict[str, _Queue]:
    """Returns the queue of each sink, without verifications.

    The age of a follow-up starts when it is due, so one that starts after `now` is planned.
    """
    is_planned = and_(delivery.c.priority >= FOLLOW_UP_PRIORITY, delivery.c.since > now)
    rows = connection.execute(
        select(
            delivery.c.sink,
            func.sum(case((is_planned, 0), else_=1)),
            func.min(case((is_planned, None), else_=delivery.c.since)),
            func.sum(case((is_planned, 1), else_=0)),
        )
        .where(in_state(DeliveryState.PENDING), delivery.c.priority < VERIFY_PRIORITY)
        .group_by(delivery.c.sink)
    )
    return {name: _Queue(int(pending), since, int(planned)) for name, pending, since, planned in rows}


def _failure(connection: Connection, row: Any) -> Any:
    """Returns the last recorded attempt of a sink if it failed and nothing was delivered since, else `None`."""
    newest = (
        select(attempt)
        .where(attempt.c.sink == row.name)
        .order_by(attempt.c.started_at.desc(), attempt.c.id.desc())
        .limit(1)
    )
    found = connection.execute(newest).first()
    if found is None or found.outcome not in FAILED:
        return None
    return found if row.last_delivered_at is None or found.started_at >= row.last_delivered_at else None


def _next(connection: Connection, row: Any, now: int, queue: _Queue, waits: _Waiting) -> tuple[str, int | None]:
    """Returns what a sink waits for, and when it is called next."""
    due = claim.next_due(connection, row.name) if queue.pending else None
    pause = None if row.paused is None else PauseKind(row.paused)
    times = Times(pause, row.paused_until, row.probe_at, row.rest_until, due, waits.reason, waits.due)
    return next_call(times, now)


class Times(NamedTuple):
    """What the next call of a sink depends on. `due` is that of the first pending delivery, `shown` that of the call
    that shows what waits for `reason`.
    """

    pause: PauseKind | None = None
    paused_until: int | None = None
    probe_at: int = 0
    rest_until: int = 0
    due: claim.Due | None = None
    reason: str = ""
    shown: claim.Due | None = None


def next_call(times: Times, now: int) -> tuple[str, int | None]:
    """Returns what a sink waits for, `""` for nothing, and when it is called next. A time that has passed is `None`."""
    what, at = _next_call(times, now)
    return what, at if at is not None and at > now else None


def _next_call(times: Times, now: int) -> tuple[str, int | None]:
    if times.paused_until is not None and times.pause is not None:
        return "the end of the pause", times.paused_until
    if times.pause is not None:
        return ("the next probe", times.probe_at) if times.pause is PauseKind.BROKEN else ("", None)
    if times.rest_until > now:
        return "the end of a rest after failures", times.rest_until
    for due, what in ((times.due, "the next try"), (times.shown, times.reason)):
        if due is not None and due.at > now:
            return (A_RATE_LIMIT if due.is_limited else what), due.at
    return times.reason, None


def listening(connection: Connection) -> dict[str, Note]:
    """Returns per sink why it cannot listen at its current destination."""
    here = (note.c.sink == sink.c.name) & (note.c.destination == sink.c.destination) & (note.c.key == LISTENING)
    rows = connection.execute(select(sink.c.name, note.c.value).join(note, here))
    return {name: msgspec.json.decode(text) for name, text in rows}


def _reports(connection: Connection) -> dict[str, dict[str, Any]]:
    """Returns per sink the result of the last verification of its current destination."""
    here = (note.c.sink == sink.c.name) & (note.c.destination == sink.c.destination) & (note.c.key == REPORT)
    found = {}
    for name, text in connection.execute(select(sink.c.name, note.c.value).join(note, here)):
        try:
            report = msgspec.json.decode(text, type=_Report)
        except msgspec.DecodeError:  # written by another version, or by a sink that uses this key for another purpose
            continue
        found[name] = {
            "verified_at": report.at,
            "in_sync": report.in_sync,
            "differences": report.counts,
            "asks": report.asks,
        }
    return found


def _is_repairing(connection: Connection, row: Any, report: Mapping[str, Any], now: int) -> bool:
    """A sink that finds differences repairs them and verifies again at once, unless an operator must act first."""
    can_repair = report.get("in_sync") is False and not report["asks"] and row.paused is None
    return can_repair and settle.verifies_soon(connection, row.name, now)


def _dead(connection: Connection) -> dict[str, int]:
    rows = connection.execute(
        select(delivery.c.sink, func.count()).where(in_state(DeliveryState.DEAD)).group_by(delivery.c.sink)
    )
    return {name: count for name, count in rows}  # noqa: C416 - the type checker does not know that a row is a pair


def _state(row: Any, pending: int, *, is_configured: bool) -> SinkState:
    if not is_configured:
        return "orphaned"
    if row.paused is not None:
        return "paused"
    return "delivering" if pending else "ok"


def _reason(row: Any, now: int, failure: Any, *, is_configured: bool) -> str:
    if not is_configured:
        return "no longer configured, or no route names it; its deliveries are kept"
    if row.paused is not None:
        return row.reason or "paused"
    if failure is not None:
        return str(failure.reason)
    return "the destination fails, resting" if row.rest_until > now else ""
