"""How things stand: the source and every sink, as one look at the store shows it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, func, select

from connector.sink import REPORT
from connector.store import leases
from connector.store.plan import VERIFY_PRIORITY
from connector.store.portable import has_row_locks
from connector.store.presence import Process, processes
from connector.store.schema import DeliveryState, delivery, event, in_state, interview, not_understood, note, sink


class SinkStatus(msgspec.Struct, frozen=True):
    """One sink. Times are epoch milliseconds; `oldest_age_seconds` is the age of the oldest pending delivery.

    `waiting` deliveries are counted in something that is shown later, `waiting_reason` says when, and
    `waiting_until` when that is; they are neither in `pending` nor in the age.

    `verified_at`, `in_sync` and `differences` tell of the last verification; `None` when there was none yet. `worker`
    is the process that has the sink until `lease_until` unless it renews the lease; `None` when nobody has it now.
    """

    name: str
    type: str
    state: Literal["ok", "waiting", "paused", "orphaned"]
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
    worker: str | None = None
    lease_until: int | None = None
    waiting: int = 0
    waiting_reason: str = ""
    waiting_until: int | None = None


class _Report(msgspec.Struct):
    """What is read of the note that a verification leaves."""

    at: int
    in_sync: bool
    counts: dict[str, int]
    asks: list[str] = []


class SourceStatus(msgspec.Struct, frozen=True):
    """What came in. `unreadable` and `unknown` events are kept and wait for a version that understands them."""

    events: int
    interviews: int
    unreadable: int
    unknown: int
    last_received_at: int | None


class Status(msgspec.Struct, frozen=True):
    """Everything that `connector status` shows. `processes` are those that share the store; none on SQLite."""

    source: SourceStatus
    sinks: list[SinkStatus]
    processes: list[Process] = []


def status(connection: Connection, now: int, configured: Collection[str] | None) -> Status:
    """The status at `now` (epoch milliseconds). Sinks outside `configured` are orphaned; `None` = all are there."""
    return Status(_source(connection), sinks(connection, now, configured), processes(connection, now))


def _source(connection: Connection) -> SourceStatus:
    strange = select(event.c.kind, func.count()).where(not_understood()).group_by(event.c.kind)
    kinds: dict[str, int] = {kind: count for kind, count in connection.execute(strange)}  # noqa: C416 - rows are no pairs to the type checker
    newest = select(func.max(event.c.seq)).scalar_subquery()
    last = connection.execute(select(event.c.seq, event.c.received_at).where(event.c.seq == newest)).first()
    interviews = connection.execute(select(func.count()).select_from(interview)).scalar_one()
    return SourceStatus(
        events=0 if last is None else _count_events(connection, last.seq),
        interviews=interviews,
        unreadable=kinds.get("unreadable", 0),
        unknown=kinds.get("unknown", 0),
        last_received_at=None if last is None else last.received_at,
    )


def _count_events(connection: Connection, last: int) -> int:
    """Counting reads an index from end to end, so it is done only where numbers have gaps: of groups that were
    overtaken by those of another receiver.
    """
    if not has_row_locks(connection):
        return last
    return int(connection.execute(select(func.count()).select_from(event)).scalar_one())


def sinks(connection: Connection, now: int, configured: Collection[str] | None) -> list[SinkStatus]:
    """The status of every sink that was ever configured and has something to say."""
    pendings = _pending(connection)
    waiting = _waiting(connection)
    dead = _dead(connection)
    reports = _reports(connection)
    found = []
    for row in leases.rows(connection):
        pending, oldest = pendings.get(row.name, (0, now))
        waits = waiting.get(row.name, _Waiting())
        is_configured = configured is None or row.name in configured
        if not is_configured and not pending and not waits.count and row.name not in dead:
            continue
        found.append(
            SinkStatus(
                name=row.name,
                type=row.type,
                state=_state(row, pending + waits.count, is_configured=is_configured),
                reason=_reason(row, now, is_configured=is_configured) or waits.reason,
                fix=row.fix or "",
                pending=pending,
                oldest_age_seconds=max(0, now - oldest) / 1000,
                dead=dead.get(row.name, 0),
                delivered=row.delivered,
                last_delivered_at=row.last_delivered_at,
                filling=row.filled_to is not None,
                worker=row.lease_owner if row.lease_until >= now else None,
                lease_until=row.lease_until if row.lease_owner is not None and row.lease_until >= now else None,
                waiting=waits.count,
                waiting_reason=waits.reason,
                waiting_until=waits.until,
                **reports.get(row.name, {}),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Waiting:
    count: int = 0
    until: int | None = None
    reason: str = ""


def _waiting(connection: Connection) -> dict[str, _Waiting]:
    """Per sink: how many deliveries wait, and for how long and why the one that is shown first."""
    waits = (in_state(DeliveryState.WAITING), delivery.c.wait_group.is_not(None))
    rows = connection.execute(
        select(delivery.c.sink, func.count(), func.min(delivery.c.not_before)).where(*waits).group_by(delivery.c.sink)
    ).all()
    found = {}
    for name, count, until in rows:
        first = select(delivery.c.reason).where(*waits, delivery.c.sink == name, delivery.c.not_before == until)
        found[name] = _Waiting(count, until, connection.execute(first.limit(1)).scalar() or "")
    return found


def _pending(connection: Connection) -> dict[str, tuple[int, int]]:
    """Per sink: how many deliveries are pending, and since when the oldest; a verification that waits is none."""
    rows = connection.execute(
        select(delivery.c.sink, func.count(), func.min(delivery.c.since))
        .where(in_state(DeliveryState.PENDING), delivery.c.priority < VERIFY_PRIORITY)
        .group_by(delivery.c.sink)
    )
    return {name: (count, since) for name, count, since in rows}


def _reports(connection: Connection) -> dict[str, dict[str, Any]]:
    """Per sink: what the last verification of its present destination found."""
    here = (note.c.sink == sink.c.name) & (note.c.destination == sink.c.destination) & (note.c.key == REPORT)
    found = {}
    for name, text in connection.execute(select(sink.c.name, note.c.value).join(note, here)):
        try:
            report = msgspec.json.decode(text, type=_Report)
        except msgspec.DecodeError:  # of another version, or of a sink that means something else by this note
            continue
        found[name] = {
            "verified_at": report.at,
            "in_sync": report.in_sync,
            "differences": report.counts,
            "asks": report.asks,
        }
    return found


def _dead(connection: Connection) -> dict[str, int]:
    rows = connection.execute(
        select(delivery.c.sink, func.count()).where(in_state(DeliveryState.DEAD)).group_by(delivery.c.sink)
    )
    return {name: count for name, count in rows}  # noqa: C416 - rows are no pairs to the type checker


def _state(row: Any, pending: int, *, is_configured: bool) -> Literal["ok", "waiting", "paused", "orphaned"]:
    if not is_configured:
        return "orphaned"
    if row.paused is not None:
        return "paused"
    return "waiting" if pending else "ok"


def _reason(row: Any, now: int, *, is_configured: bool) -> str:
    if not is_configured:
        return "no longer configured; its deliveries are kept"
    if row.paused is not None:
        return row.reason or "paused"
    return "the destination fails, resting" if row.rest_until > now else ""
