"""Reads and writes the notes that sinks store about their destinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, delete, select

from connector.sink import Note
from connector.store.dialects import among, upsert
from connector.store.schema import note


def read(connection: Connection, sink: str, destination: str, keys: Sequence[str]) -> dict[str, Note]:
    """Returns the existing notes of these keys."""
    if not keys:
        return {}
    here = (note.c.sink == sink) & (note.c.destination == destination)
    rows = connection.execute(select(note.c.key, note.c.value).where(here, among(connection, note.c.key, keys)))
    return {row.key: msgspec.json.decode(row.value) for row in rows}


def write(connection: Connection, sink: str, destination: str, notes: Mapping[str, Note | None]) -> None:
    """Stores the notes; `None` deletes one."""
    gone = [key for key, value in notes.items() if value is None]
    if gone:
        here = (note.c.sink == sink) & (note.c.destination == destination)
        connection.execute(delete(note).where(here, among(connection, note.c.key, gone)))
    rows = [
        {"sink": sink, "destination": destination, "key": key, "value": msgspec.json.encode(value).decode()}
        for key, value in notes.items()
        if value is not None
    ]
    upsert(connection, note, rows, ["sink", "destination", "key"])
