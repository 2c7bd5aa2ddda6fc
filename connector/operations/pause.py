"""Pauses and resumes sinks. A running service notices within two seconds."""

from __future__ import annotations

from sqlalchemy import Connection, update

from connector.config import SinkEntry
from connector.errors import UsageError
from connector.store import leases, notes, settle
from connector.store.queries import Wanted, count_deliveries
from connector.store.schema import DeliveryState, delivery, in_state

PAUSED_BY_OPERATOR = "paused by an operator"


def pause(connection: Connection, entry: SinkEntry) -> None:
    """Pauses a sink, even if it never ran."""
    leases.register(connection, {entry.name: entry.type})
    reason = leases.Pause("person", PAUSED_BY_OPERATOR, f"connector resume {entry.name}")
    leases.pause(connection, entry.name, reason)


def resume(connection: Connection, entry: SinkEntry, mode: str | None) -> int:
    """Resumes a sink, with a resume mode of its type or `None`. Returns the number of pending deliveries.

    Raises `UsageError` when sinks of this type do not support the mode.
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
        notes.write(connection, entry.name, destination, {"resume": {"word": mode}})
    return count_deliveries(connection, Wanted(sink=entry.name, states=(DeliveryState.PENDING,)))
