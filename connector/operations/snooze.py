"""Snooze: leaves an interview out of the reminders of chats for some days."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from connector.capabilities import SNOOZE, Reminds
from connector.config import Config
from connector.errors import UsageError
from connector.operations.store_access import now_in
from connector.sink import Note
from connector.store import audit, leases, notes
from connector.store.retention import DAY_MS
from connector.store.schema import AuditAction, interview


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
