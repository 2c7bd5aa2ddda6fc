"""Reads the body of a webhook: tolerant of shapes and types, strict about what makes an event an event.

The documented shape is `{"event": name, "data": {interview}, "date": epoch milliseconds}` (Hireflix, Webhooks,
Getting started). Older shapes seen in the wild keep the interview under `data.interview` or a top-level `interview`,
with `external_id` and an ISO `completed_at`.
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

AHEAD_MAX = 24 * 3600 * 1000
"""Milliseconds that an event's date may lie ahead of its receipt and still be believed."""


class Kind(StrEnum):
    """What a body turned out to be."""

    EVENT = "event"
    """One of the five known events."""
    UNKNOWN = "unknown"
    """A well-formed event whose name this version does not know."""
    UNREADABLE = "unreadable"


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a body says.

    `identity` is the same for every repeat of one event: its date as sent (epoch milliseconds), interview id and
    name in lower case, parted by tabs, which none of them holds; without a usable date it is `sha256:` and the hash
    of the body. `sha256` is the raw hash. `occurred_at` is the date as it counts and `received_at` ours, both epoch
    milliseconds; `mark` is `"undated"` or `"future"` when receipt stands in for the date. `fields` has the names of
    `connector.interview.FIELDS` that the payload carried: absent means unknown, `None` an explicit null. `unused` has
    Hireflix's names of the fields whose values could not be used. `keys` is the number of keys of the interview object
    and of the objects in it. `reason` says, without personal data, why a body is unreadable; then `interview_id` and
    `name` are empty.
    """

    kind: Kind
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
    def remark(self) -> str:
        """What was not taken over as it was sent: `mark`, and the fields that could not be used. No personal data."""
        unused = f"unused: {' '.join(self.unused)}" if self.unused else ""
        return ", ".join(part for part in (self.mark, unused) if part)


def read(body: bytes, received_at: int) -> Reading:
    """Reads the raw body of a webhook received at `received_at` (epoch milliseconds). Never raises."""
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
    mark = "undated" if sent is None else "future" if sent > received_at + AHEAD_MAX else ""
    return Reading(
        Kind.EVENT if known else Kind.UNKNOWN,
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
    """The body is kept, but nothing can be made of it."""


def _unreadable(digest: bytes, received_at: int, reason: str) -> Reading:
    identity = f"sha256:{digest.hex()}"
    return Reading(Kind.UNREADABLE, identity, digest, "", "", received_at, received_at, "", {}, 0, reason)


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
    """Half a character (a name cut inside an emoji) is legal in JSON and in JavaScript, but is no Unicode text."""
    text = json.dumps(json.loads(body.decode()), ensure_ascii=False)
    return _SURROGATE.sub("\ufffd", text).encode()


def _interview(envelope: dict[str, Any]) -> dict[str, Any]:
    data = envelope.get("data")
    inner = data.get("interview") if type(data) is dict else None
    for candidate in (inner, data, envelope.get("interview")):
        if type(candidate) is dict and "id" in candidate:
            return candidate
    raise _UnreadableError("there is no interview id")


def _interview_id(source: dict[str, Any]) -> str:
    found = _short(as_text(source.get("id")), "interview id")
    if found.startswith("#"):
        # such names are those of calls that are about no interview
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
