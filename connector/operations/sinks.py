"""The configured sinks: find one by name, open one for one operation, check all of them, pause and resume one,
and leave an interview out of reminders.

A running service notices a pause within two seconds.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select, update

from connector.capabilities import SNOOZE, Reminds
from connector.config import Config, SinkEntry
from connector.errors import SinkBroken, UsageError
from connector.formats import format_time
from connector.logging import place_of
from connector.operations.store_access import now_in
from connector.sink import Finding, Note, Sink
from connector.store import audit, leases, notes, settle
from connector.store.ingest import RoutingTable
from connector.store.queries import ListingFilter, count_deliveries
from connector.store.retention import DAY_MS
from connector.store.schema import AuditAction, DeliveryState, PauseKind, delivery, in_state, interview

CLOSE_SECONDS = 10.0
"""Longest wait until a sink is closed; a sink of another package may block."""
PAUSED_BY_OPERATOR = "paused by an operator"
"""Reason of a pause that an operator set."""
_SPAN = re.compile(r"(\d{1,5})\s*([mhdw])")
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


def require_known(name: str, known: Iterable[str], what: str = "sink") -> str:
    """Returns the name if it is known. Raises `UsageError` with the closest name otherwise."""
    names = sorted(known)
    if name in names:
        return name
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names) or 'none'}"
    raise UsageError(f"unknown {what} {name!r}; {hint}")


def configured(settings: Config, name: str) -> SinkEntry:
    """Returns the configured sink of a name. Raises `UsageError` with the closest name."""
    return settings.sinks[require_known(name, settings.sinks)]


def make_routing_table(settings: Config) -> RoutingTable:
    """Returns the routes and sinks in the form that ingest uses."""
    sinks = {name: (entry.cls, entry.config) for name, entry in settings.sinks.items()}
    renamed = {entry.renamed_from: name for name, entry in settings.sinks.items() if entry.renamed_from}
    return RoutingTable.of(settings.routing(), sinks, renamed)


@asynccontextmanager
async def open_sink(sink: Sink[Any]) -> AsyncIterator[None]:
    """Opens a sink for the block, and closes it in any case, even when it fails to open."""
    try:
        await sink.open()
        yield
    finally:
        async with asyncio.timeout(CLOSE_SECONDS):
            await sink.close()


def offline_findings(sink: Sink[Any]) -> Sequence[Finding]:
    """Returns the findings of a sink without network access. Never raises."""
    try:
        return sink.validate()
    except Exception as error:  # noqa: BLE001 - a third-party sink may raise any exception; check the others
        return [_failed(error)]


async def online_findings(sinks: Sequence[Sink[Any]]) -> list[Sequence[Finding]]:
    """Returns the findings of every sink at its destination, in order. Checks all concurrently. Never raises."""
    return await asyncio.gather(*(_online_findings(sink) for sink in sinks))


async def _online_findings(sink: Sink[Any]) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(sink.timeout), open_sink(sink):
            return await sink.check_connection() or [Finding("ok", "this type of sink has no online check")]
    except SinkBroken as error:
        return [Finding("problem", error.reason, error.fix)]
    except TimeoutError:
        return [
            Finding(
                "problem",
                f"no answer within {sink.timeout:g} s",
                "check the network between this machine and the destination",
            )
        ]
    except Exception as error:  # noqa: BLE001 - a third-party sink may raise any exception; check the others
        return [_failed(error)]


def _failed(error: Exception) -> Finding:
    return Finding("problem", f"the check failed: {place_of(error)}", "report this to the author of the sink")


def pause(connection: Connection, entry: SinkEntry, until: int | None = None, *, actor: str) -> None:
    """Pauses a sink, even if it never ran, until the time `until` (epoch milliseconds) or until it is resumed.

    At that time a running service resumes it. `actor` is who asks, for the audit log. Raises `UsageError` for a time
    that is over.
    """
    now = now_in(connection)
    if until is not None and until <= now:
        raise UsageError("the end of the pause is in the past; choose a later time")
    leases.register(connection, {entry.name: entry.type})
    fix = f"connector resume {entry.name}"
    leases.pause(connection, entry.name, leases.Pause(PauseKind.OPERATOR, PAUSED_BY_OPERATOR, fix, until=until))
    detail = "" if until is None else f"until {format_time(until, ZoneInfo('UTC'))} UTC"
    audit.record(connection, actor, AuditAction.PAUSE, entry.name, detail, now=now)


def end_of_pause(text: str, now: int, zone: ZoneInfo) -> int:
    """Returns the epoch milliseconds of `2h` (from now), `18:00` (the next one) or an ISO 8601 time.

    `now` is epoch milliseconds. A time without a zone is in `zone`. Raises `UsageError`.
    """
    given = text.strip().lower()
    if span := _SPAN.fullmatch(given):
        return now + int(span[1]) * _UNITS_MS[span[2]]
    here = datetime.fromtimestamp(now / 1000, tz=zone)
    try:
        if clock := _CLOCK.fullmatch(given):
            at = here.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
            return _epoch(at if at > here else at + timedelta(days=1))
        when = datetime.fromisoformat(text.strip())
        return _epoch(when if when.tzinfo else when.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise UsageError("not a time; use 30m, 2h, 3d, 18:00 or 2026-08-01T12:30") from None


def _epoch(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def resume(connection: Connection, entry: SinkEntry, mode: str | None, *, actor: str) -> int:
    """Resumes a sink, with a resume mode of its type or `None`. Returns the number of pending deliveries.

    `actor` is who asks, for the audit log. Raises `UsageError` when sinks of this type do not support the mode.
    """
    modes: frozenset[str] = getattr(entry.cls, "resume_modes", frozenset())
    if mode is not None and mode not in modes:
        known = ", ".join(sorted(modes)) or "none"
        raise UsageError(f"{entry.name} ({entry.type}) cannot be resumed with {mode!r}; it supports: {known}")
    leases.register(connection, {entry.name: entry.type})
    leases.resume(connection, entry.name)
    if mode is not None:
        here = (delivery.c.sink == entry.name) & in_state(DeliveryState.PENDING)
        connection.execute(update(delivery).where(here).values(not_before=0))  # due at once
        settle.release_waiting(connection, entry.name)
        destination = entry.cls(entry.name, entry.config).destination
        notes.write(connection, entry.name, destination, {"resume": {"mode": mode}})
    audit.record(connection, actor, AuditAction.RESUME, entry.name, mode or "", now=now_in(connection))
    return count_deliveries(connection, ListingFilter(sink=entry.name, states=(DeliveryState.PENDING,)))


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The sinks concerned, and until when (epoch milliseconds)."""

    sinks: tuple[str, ...]
    until: int


def snooze(connection: Connection, settings: Config, interview_id: str, days: int, *, actor: str) -> Snoozed:
    """Leaves an interview out of all reminders for so many days from now; 0 lists it again.

    `actor` is who asks, for the audit log. Raises `UsageError` for an unknown interview, and when no sink posts
    reminders.
    """
    sinks = reminding(settings)
    if not sinks:
        raise UsageError("no sink posts reminders; set `reminders` in the section of a Slack channel")
    found = select(interview.c.id).where(interview.c.id == interview_id, interview.c.erased_at.is_(None))
    if connection.execute(found).first() is None:
        raise UsageError(f"no interview {interview_id!r}; `connector interviews` lists them")
    now = now_in(connection)
    until = now + days * DAY_MS
    value: Note | None = {"until": until} if days else None
    leases.register(connection, {name: settings.sinks[name].type for name in sinks})
    for name, destination in sinks.items():
        notes.write(connection, name, destination, {f"{SNOOZE}{interview_id}": value})
    audit.record(connection, actor, AuditAction.SNOOZE, interview_id, f"{days} days", now=now)
    return Snoozed(tuple(sinks), until)


def reminding(settings: Config) -> dict[str, str]:
    """Returns the destination of each sink that posts reminders, by the name of the sink."""
    able = {name: entry for name, entry in settings.sinks.items() if hasattr(entry.cls, "reminds")}
    made = [entry.cls(name, entry.config) for name, entry in able.items()]
    return {sink.name: sink.destination for sink in made if isinstance(sink, Reminds) and sink.reminds}
