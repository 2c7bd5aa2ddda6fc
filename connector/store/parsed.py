"""The parsed fields of an event, stored once beside the raw body, so that no later step parses it again."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select

from connector.hireflix.payload import EventKind, Reading, read
from connector.interview import Value
from connector.store.schema import event, event_body

VERSION = 1
"""Version of the stored document. A document of another version is parsed again from the raw body."""


class _Document(msgspec.Struct, frozen=True, gc=False):
    """The values of a `Reading` that are not columns of `event`. `v` is the version of the document."""

    v: int
    mark: str
    keys: int
    fields: dict[str, Value]
    unused: tuple[str, ...]


EVENTS = select(event, event_body.c.body, event_body.c.parsed).outerjoin(
    event_body, event_body.c.event_seq == event.c.seq
)
"""The rows of `event` with what `reading_of` needs; body and parsed fields are null when they were deleted."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Document)


def encode(reading: Reading) -> str | None:
    """Returns the document for `event_body.parsed`, `None` for an unreadable event."""
    if reading.kind is EventKind.UNREADABLE:
        return None
    document = _Document(VERSION, reading.mark, reading.keys, reading.fields, reading.unused)
    return _encoder.encode(document).decode()


def reading_of(row: Any) -> Reading | None:
    """Returns the parsed event of a row of `EVENTS`, `None` when its data was deleted.

    Parses the raw body only for a row without a document that this version can use, such as one of an earlier version.
    """
    document = None if row.parsed is None else _usable(row.parsed)
    if document is None:
        return None if row.body is None else read(row.body, row.received_at)
    return Reading(
        EventKind(row.kind),
        row.identity,
        row.sha256,
        row.name,
        row.interview_id,
        row.occurred_at,
        row.received_at,
        document.mark,
        document.fields,
        document.keys,
        row.reason,
        document.unused,
    )


def fields_in(text: str) -> dict[str, Value]:
    """Returns the fields of a document, none from one that this version cannot use."""
    document = _usable(text)
    return {} if document is None else document.fields


def _usable(text: str) -> _Document | None:
    try:
        document = _decoder.decode(text)
    except msgspec.ValidationError:
        return None
    return document if document.v == VERSION else None
