"""Reads the body of a webhook: tolerant of shapes and types, strict about what makes an event an event.

The documented shape is `{"event": name, "data": {interview}, "date": epoch milliseconds}` (Hireflix, Webhooks,
Getting started). Older shapes seen in the wild keep the interview under `data.interview` or a top-level `interview`,
with `external_id` and an ISO `completed_at`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from connector.hireflix import EVENT_NAMES
from connector.interview import Value

LENGTH_MAX = 200
"""Characters of an interview id and of an event name."""
AHEAD_MAX = 24 * 3600 * 1000
"""Milliseconds that an event's date may lie ahead of its receipt and still be believed."""

_SECONDS_BELOW = 10**11
_DATE_END = 2**63
_TIME_END = 253_402_300_800_000  # the year 10000: no library behind us tells such a time
_SCORE_MAX = 1000


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
    name, parted by tabs, which none but the name could hold; without a usable date it is `sha256:` and the hash of
    the body. `sha256` is the raw hash. `occurred_at` is the date as it counts and `received_at` ours, both epoch
    milliseconds; `mark` is `"undated"` or `"future"` when receipt stands in for the date. `fields` has the names of
    `connector.interview.FIELDS` that the payload carried: absent means unknown, `None` an explicit null. `keys` is
    the number of keys of the interview object and of the objects in it. `reason` says, without personal data, why
    a body is unreadable; then `interview_id` and `name` are empty.
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


def read(body: bytes, received_at: int) -> Reading:
    """Reads the raw body of a webhook received at `received_at` (epoch milliseconds). Never raises."""
    digest = sha256(body).digest()
    try:
        envelope = _decode(body)
        source = _interview(envelope)
        interview_id = _short(_as_text(source.get("id")), "interview id")
        name = _short(envelope.get("event"), "event name")
    except _UnreadableError as error:
        return _unreadable(digest, received_at, str(error))
    folded = name.lower()
    known = folded in EVENT_NAMES
    name = folded if known else name
    sent = _epoch_ms(envelope.get("date"))
    mark = "undated" if sent is None else "future" if sent > received_at + AHEAD_MAX else ""
    return Reading(
        Kind.EVENT if known else Kind.UNKNOWN,
        f"sha256:{digest.hex()}" if sent is None else f"{sent}\t{interview_id}\t{name}",
        digest,
        name,
        interview_id,
        received_at if mark or sent is None else sent,
        received_at,
        mark,
        _fields(envelope, source),
        _count(source),
        "",
    )


class _UnreadableError(Exception):
    """The body is kept, but nothing can be made of it."""


def _unreadable(digest: bytes, received_at: int, reason: str) -> Reading:
    identity = f"sha256:{digest.hex()}"
    return Reading(Kind.UNREADABLE, identity, digest, "", "", received_at, received_at, "", {}, 0, reason)


_json = msgspec.json.Decoder()
_SURROGATE = re.compile("[\ud800-\udfff]")


def _decode(body: bytes) -> dict[str, Any]:
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


_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ufffd]")


def _short(value: Any, what: str) -> str:
    if type(value) is not str or not value:
        raise _UnreadableError(f"the {what} is missing or not text")
    if len(value) > LENGTH_MAX:
        raise _UnreadableError(f"the {what} is longer than {LENGTH_MAX} characters")
    if _UNFIT.search(value):
        raise _UnreadableError(f"the {what} holds control characters")
    return value


def _count(source: dict[str, Any]) -> int:
    return len(source) + sum([len(value) for value in source.values() if type(value) is dict])


def _fields(envelope: dict[str, Any], source: dict[str, Any]) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    _collect(source, _PLAIN, fields)
    for key, readers in _GROUPS:
        group = source.get(key)
        if type(group) is dict:
            _collect(group, readers, fields)
    if "external_id" not in fields and ("external_id" in source or "external_id" in envelope):
        _collect({**envelope, **source}, _OLD_EXTERNAL_ID, fields)
    if "completed_at" in source and "completed" not in fields:
        _collect(source, _OLD_COMPLETED, fields)
    return fields


def _collect(source: Mapping[str, Any], readers: _Readers, fields: dict[str, Value]) -> None:
    for key, value in source.items():
        found = readers.get(key)
        if found is not None:
            name, reader = found
            read_value = reader(value)
            if read_value is not UNSET:
                fields[name] = read_value


_Reader: TypeAlias = Callable[[Any], Value | UnsetType]
"""One value as we keep it; `UNSET` when it is no news: of a wrong type, or a null that says nothing."""
_Readers: TypeAlias = Mapping[str, tuple[str, _Reader]]


def _text(value: Any) -> Value | UnsetType:
    if type(value) is str:
        # PostgreSQL keeps no NUL in text
        return value.replace("\0", "") if "\0" in value else value
    return None if value is None else UNSET


def _as_text(value: Any) -> Any:
    """An id that came as a number, as text."""
    return str(value) if type(value) is int else value


def _identifier(value: Any) -> Value | UnsetType:
    return _text(_as_text(value))


def _text_only(value: Any) -> Value | UnsetType:
    return UNSET if value is None else _text(value)


def _flag(value: Any) -> Value | UnsetType:
    return value if value is None or type(value) is bool else UNSET


def _score(value: Any) -> Value | UnsetType:
    if type(value) is dict:
        value = value.get("value", UNSET)
    if value is None:
        return None
    return value if type(value) in _NUMBERS and 0 <= value <= _SCORE_MAX else UNSET


def _time(value: Any) -> Value | UnsetType:
    if value is None:
        return None
    at = _epoch_ms(value)
    return UNSET if at is None or at >= _TIME_END else at


def _time_or_true(value: Any) -> Value | UnsetType:
    if value is True:
        return True
    return None if not value else _time(value)


def _deleted(value: Any) -> Value | UnsetType:
    found = _time_or_true(value)
    return UNSET if found is None else found


_NUMBERS = frozenset({int, float})


def _epoch_ms(value: Any) -> int | None:
    """A time as epoch milliseconds; a number too small for them is seconds, text is ISO 8601 (UTC without a zone)."""
    if type(value) is str:
        return _from_iso(value)
    if type(value) not in _NUMBERS or not 0 < value < _DATE_END:
        return None
    return round(value * 1000) if value < _SECONDS_BELOW else int(value)


def _from_iso(text: str) -> int | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return round(seconds * 1000) if seconds > 0 else None


_PLAIN: _Readers = {
    "externalId": ("external_id", _identifier),
    "status": ("status", _text),
    "hash": ("hash", _text),
    "createdAt": ("created_at", _time),
    "score": ("score", _score),
    "completed": ("completed", _time_or_true),
    "deleted": ("deleted", _deleted),
    "archived": ("archived", _time_or_true),
    "finalist": ("finalist", _time_or_true),
    "answered": ("answered", _flag),
    "thumbnail": ("thumbnail_url", _text_only),
}
_GROUPS: tuple[tuple[str, _Readers], ...] = (
    ("position", {"id": ("position_id", _identifier), "name": ("position_name", _text)}),
    (
        "candidate",
        {
            "name": ("candidate_name", _text),
            "firstName": ("candidate_first_name", _text),
            "lastName": ("candidate_last_name", _text),
            "email": ("candidate_email", _text),
            "phone": ("candidate_phone", _text),
        },
    ),
    (
        "url",
        {"short": ("short_url", _text), "private": ("review_url", _text), "public": ("candidate_url", _text)},
    ),
)
_OLD_EXTERNAL_ID: _Readers = {"external_id": ("external_id", _identifier)}
_OLD_COMPLETED: _Readers = {"completed_at": ("completed", _time_or_true)}
