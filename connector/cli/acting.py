"""What `connector pause` and `connector resume` write. Functions on an open connection."""

from __future__ import annotations

from sqlalchemy import Connection

from connector.config import SinkEntry
from connector.store import leases, notes
from connector.store.schema import DeliveryState
from connector.store.views import Wanted, count_deliveries


def pause_sink(connection: Connection, entry: SinkEntry) -> None:
    """Stops a sink, whether or not it ever ran."""
    leases.register(connection, {entry.name: entry.type})
    pause = leases.Pause("person", "paused by a person", f"connector resume {entry.name}")
    leases.pause(connection, entry.name, pause)


def resume_sink(connection: Connection, entry: SinkEntry, word: str | None) -> int:
    """Lets a sink go on, with a word for it if there is one. Returns how many deliveries wait."""
    leases.register(connection, {entry.name: entry.type})
    leases.resume(connection, entry.name)
    if word is not None:
        destination = entry.cls(entry.name, entry.config).destination
        notes.write(connection, entry.name, destination, {"resume": {"word": word}})
    return count_deliveries(connection, Wanted(sink=entry.name, states=(DeliveryState.PENDING,)))
