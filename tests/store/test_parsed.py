"""An event is parsed once: the fields stored beside the raw body are enough for every later step."""

from __future__ import annotations

import json

import msgspec
import pytest

from connector.hireflix.payload import EventKind, read
from connector.store.parsed import VERSION, encode, reading_of
from connector.testing import START


class Row(msgspec.Struct):
    """The columns of a row of `event` that matter here."""

    kind: str
    identity: str
    sha256: bytes
    name: str
    interview_id: str
    occurred_at: int
    received_at: int
    reason: str
    body: bytes | None
    parsed: str | None


def body_of(**data):
    return json.dumps({"event": "interview.finish", "date": START, "data": {"id": "i1", **data}}).encode()


def stored(body):
    reading = read(body, START)
    row = Row(
        str(reading.kind),
        reading.identity,
        reading.sha256,
        reading.name,
        reading.interview_id,
        reading.occurred_at,
        reading.received_at,
        reading.reason,
        body,
        encode(reading),
    )
    return reading, row


@pytest.mark.parametrize(
    "body",
    [
        body_of(name="Zoë", score={"value": 3}, completed=None, answered="yes"),
        body_of(candidate={"name": "Ann \0", "email": "ann@example.com"}, position={"id": 5, "name": "Cook"}),
        json.dumps({"event": "interview.paused", "data": {"id": "i1", "archived": START}}).encode(),
        json.dumps({"event": "interview.finish", "date": START * 9, "data": {"id": "i1"}}).encode(),
    ],
    ids=["nulls and unused fields", "nested fields", "an unknown event without a date", "a date in the future"],
)
def test_an_event_is_the_same_without_its_raw_body(body):
    reading, row = stored(body)
    row.body = None
    assert reading_of(row) == reading


def test_an_unreadable_event_has_no_parsed_fields():
    """It is parsed again from its raw body."""
    reading, row = stored(b"{")
    assert row.parsed is None
    assert reading.kind is EventKind.UNREADABLE
    assert reading_of(row) == reading


@pytest.mark.parametrize("parsed", [None, json.dumps({"v": VERSION + 1}), '{"v": 1}'])
def test_a_row_without_a_usable_document_is_parsed_from_its_raw_body(parsed):
    """Such as a row of an earlier version."""
    reading, row = stored(body_of(name="Ann"))
    row.parsed = parsed
    assert reading_of(row) == reading


def test_an_event_whose_data_was_deleted_has_no_reading():
    _, row = stored(body_of(name="Ann"))
    row.body = row.parsed = None
    assert reading_of(row) is None
