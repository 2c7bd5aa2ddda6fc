"""Reads and writes the notes that sinks store about their destinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, delete, select

from connector.errors import NewerDocument
from connector.sink import Note
from connector.store.dialects import among, upsert
from connector.store.schema import note

VERSION = 1
"""Version of the stored documents. What a note contains is a matter of its sink."""


def read(connection: Connection, sink: str, destination: str, keys: Sequence[str]) -> dict[str, Note]:
    """Returns the existing notes of these keys. Raises `NewerDocument`."""
    if not keys:
        return {}
    here = (note.c.sink == sink) & (note.c.destination == destination)
    columns = (note.c.key, note.c.value, note.c.version)
    rows = connection.execute(select(*columns).where(here, among(connection, note.c.key, keys))).all()
    for row in rows:
        if row.version > VERSION:
            raise NewerDocument(f"a note of {sink}", row.version)
    return {row.key: msgspec.json.decode(row.value) for row in rows}


def write(connection: Connection, sink: str, destination: str, notes: Mapping[str, Note | None]) -> None:
    """Stores the notes; `None` deletes one."""
    gone = [key for key, value in notes.items() if value is None]
    if gone:
        here = (note.c.sink == sink) & (note.c.destination == destination)
        connection.execute(delete(note).where(here, among(connection, note.c.key, gone)))
    rows = [
        {
            "sink": sink,
            "destination": destination,
            "key": key,
            "value": msgspec.json.encode(value).decode(),
            "version": VERSION,
        }
        for key, value in notes.items()
        if value is not None
    ]
    upsert(connection, note, rows, ["sink", "destination", "key"])
