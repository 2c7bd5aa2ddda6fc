"""Reads the body of a webhook. Optional fields may be wrong or missing; the event name and the interview id may not.

The documented shape is `{"event": name, "data": {interview}, "date": epoch milliseconds}` (Hireflix, Webhooks,
Getting started). Older payloads have the interview under `data.interview` or `interview`, with `external_id` and an
ISO 8601 `completed_at`.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec

from connector.hireflix import EVENT_NAMES
from connector.hireflix.fields import LENGTH_MAX, as_text, epoch_ms, fields_of
from connector.interview import Value
from connector.text import clean

AHEAD_MAX_MS = 24 * 3600 * 1000
"""An event with a date further ahead of its receipt counts as received now: the clock of the sender is wrong."""

BACKFILL = "backfill"
"""Mark of an event that a backfill made from the API of Hireflix. It sends no notification."""
RECONCILE = "reconcile"
"""Mark of an event that a reconcile made from the API of Hireflix, for a webhook that did not arrive."""
CORRECTION = "correction"
"""Mark of an event that a reconcile made for fields that no webhook reports, such as a new name of the position."""
ENRICHMENT = "enrichment"
"""Mark of an event with fields that only the API of Hireflix has, such as the comments of reviewers."""
SYNTHETIC_MARKS = frozenset({BACKFILL, RECONCILE, CORRECTION, ENRICHMENT})
"""Marks of events that the connector made from the API of Hireflix. They are not counted as received."""
SILENT_MARKS = frozenset({BACKFILL, CORRECTION, ENRICHMENT})
"""Marks of events without notification. State sinks show them; chats only update messages that exist."""


class EventKind(StrEnum):
    """Whether a body could be read, and whether its event is known."""

    EVENT = "event"
    """One of the five known events."""
    UNKNOWN = "unknown"
    """A well-formed event with a name that this version does not know."""
    UNREADABLE = "unreadable"
    """The body has no event name or no interview id that can be used."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """The parsed body of a webhook.

    `identity` is equal for all repeats of an event: its date as sent (epoch milliseconds), interview id and name in
    lower case, separated by tabs; without a usable date it is `sha256:` and the hash of the body. `sha256` is the hash
    as bytes. `occurred_at` is the date of the event and `received_at` the time of receipt, both in epoch milliseconds.
    `mark` is `"undated"` or `"future"` when `occurred_at` is the time of receipt instead of the date, and `BACKFILL`,
    `RECONCILE`, `CORRECTION` or `ENRICHMENT` for an event that the connector made. `fields` has the
    names of `connector.interview.FIELDS` that are in the payload: absent means unknown, `None` an explicit null.
    `unused` has the Hireflix names of the fields whose values could not be used. `keys` is the number of keys of the
    interview object and of the objects in it. `reason` says why a body is unreadable, without personal data;
    `interview_id` and `name` are then empty.
    """

    kind: EventKind
    identity: str
    sha256: bytes
    name: str
    interview_id: str
    occurred_at: int
    received_at: int
    mark: str
    fields: dict[str, Value]
    keys: int
    reason: str
    unused: tuple[str, ...] = ()

    @property
    def marks(self) -> str:
        """`mark` and the names of the fields that could not be used, as text without personal data."""
        unused = f"unused: {' '.join(self.unused)}" if self.unused else ""
        return ", ".join(part for part in (self.mark, unused) if part)


def read(body: bytes, received_at: int) -> Reading:
    """Parses the raw body of a webhook. `received_at` is the time of receipt in epoch milliseconds. Never raises."""
    digest = sha256(body).digest()
    try:
        envelope = _decode(body)
        source = _interview(envelope)
        interview_id = _interview_id(source)
        name = _short(envelope.get("event"), "event name")
    except _UnreadableError as error:
        return _unreadable(digest, received_at, str(error))
    folded = name.lower()
    known = folded in EVENT_NAMES
    name = folded if known else name
    sent = epoch_ms(envelope.get("date"))
    fields, unused = fields_of(envelope, source)
    mark = "undated" if sent is None else "future" if sent > received_at + AHEAD_MAX_MS else ""
    return Reading(
        EventKind.EVENT if known else EventKind.UNKNOWN,
        f"sha256:{digest.hex()}" if sent is None else f"{sent}\t{interview_id}\t{folded}",
        digest,
        name,
        interview_id,
        received_at if mark or sent is None else sent,
        received_at,
        mark,
        fields,
        _count(source),
        "",
        tuple(unused),
    )


class _UnreadableError(Exception):
    """The body cannot be used as an event. The message is the reason."""


def _unreadable(digest: bytes, received_at: int, reason: str) -> Reading:
    identity = f"sha256:{digest.hex()}"
    return Reading(EventKind.UNREADABLE, identity, digest, "", "", received_at, received_at, "", {}, 0, reason)


_json = msgspec.json.Decoder()
_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")


def _decode(body: bytes) -> dict[str, Any]:
    body = body.removeprefix(_BOM)  # a parser may ignore it (RFC 8259, section 8.1)
    try:
        try:
            envelope = _json.decode(body)
        except msgspec.DecodeError:
            envelope = _json.decode(_without_surrogates(body))
    except ValueError:
        raise _UnreadableError("the body is not JSON in UTF-8") from None
    except RecursionError:
        raise _UnreadableError("the body is nested too deeply") from None
    if type(envelope) is not dict:
        raise _UnreadableError("the body is not a JSON object")
    return envelope


def _without_surrogates(body: bytes) -> bytes:
    """Replaces lone surrogates, which JSON allows and UTF-8 does not, as in a name that was cut inside an emoji."""
    text = json.dumps(json.loads(body.decode()), ensure_ascii=False)
    return _SURROGATE.sub("\ufffd", text).encode()


def _interview(envelope: dict[str, Any]) -> dict[str, Any]:
    data = envelope.get("data")
    inner = data.get("interview") if type(data) is dict else None
    for candidate in (inner, data, envelope.get("interview")):
        if type(candidate) is dict and "id" in candidate:
            return candidate
    raise _UnreadableError("the interview id is missing")


def _interview_id(source: dict[str, Any]) -> str:
    found = _short(as_text(source.get("id")), "interview id")
    if found.startswith("#"):
        # the connector uses such keys for deliveries that are not about an interview
        raise _UnreadableError("the interview id starts with #")
    return found


def _short(value: Any, what: str) -> str:
    if type(value) is not str or not value.strip():
        raise _UnreadableError(f"the {what} is missing or not text")
    if len(value) > LENGTH_MAX:
        raise _UnreadableError(f"the {what} is longer than {LENGTH_MAX} characters")
    if "\ufffd" in value or clean(value) != value:
        raise _UnreadableError(f"the {what} holds control characters")
    return value


def _count(source: dict[str, Any]) -> int:
    keys = len(source)
    for value in source.values():
        if type(value) is dict:
            keys += len(value)
    return keys
