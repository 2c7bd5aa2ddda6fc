"""Reads the body of a webhook. Optional fields may be wrong or missing; the event name and the interview id may not.

The documented shape is `{"event": name, "data": {interview}, "date": epoch milliseconds}` (Hireflix, Webhooks,
Getting started). Older payloads have the interview under `data.interview` or `interview`, with `external_id` and an
ISO 8601 `completed_at`.

A value of another type is converted when only one value can be meant: a number where text is expected, and a number, a
time or a flag as text. Other values are not used, as if the key were absent, and their fields are listed in `unused`.

These nulls count as absent: `position`, `candidate` and `url` (so no name is lost), `thumbnail` (the picture is not
ready yet) and `deleted` (a deletion is final).
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
from connector.text import clean

LENGTH_MAX = 200
"""Most characters of the id of an interview or a position, and of the name of an event. All are parts of an index."""
_SECONDS_BELOW = 10**11
"""A smaller time is in seconds: as milliseconds it would be before March 1973."""
_DATE_END_MS = 2**63
"""The databases store integers below this."""
_TIME_END_MS = 253_402_300_800_000
"""The year 10000. Python and the destinations cannot show later times."""
_SCORE_MAX = 1000
"""Hireflix scores are at most 5; the limit only excludes values that are not scores."""
_EXACT_BELOW = 2**53
"""A JSON number with a fraction part is exact below this (RFC 8259, section 6)."""
_DIGITS_MAX = 30
"""Characters of a number as text. Longer text is not a score or a time."""
_TEXT_SECONDS_FROM = 10**8
"""Smallest number in a text that counts as epoch seconds: the year 1973."""
AHEAD_MAX_MS = 24 * 3600 * 1000
"""An event with a date further ahead of its receipt counts as received now: the clock of the sender is wrong."""
BACKFILL = "backfill"
"""Mark of an event that a backfill made from the API of Hireflix. It sends no notification."""
RECONCILE = "reconcile"
"""Mark of an event that a reconcile made from the API of Hireflix, for a webhook that did not arrive."""
CORRECTION = "correction"
"""Mark of an event that a reconcile made for fields that no webhook reports, such as a new name of the position."""
DECISION = "decision"
"""Mark of an event with what Hireflix shows after a decision. The webhook that follows then changes nothing."""
ENRICHMENT = "enrichment"
"""Mark of an event with fields that only the API of Hireflix has, such as the comments of reviewers."""
RENAMED = "renamed"
"""Mark of an event with the newest name of a position, which was found at another interview of the position."""
_BOM = b"\xef\xbb\xbf"


def fields_of(envelope: Mapping[str, Any], source: Mapping[str, Any]) -> tuple[dict[str, Value], list[str]]:
    """Returns the fields of the interview object `source` by our names, and the unused fields by their Hireflix names.

    `envelope` is the object around `source`; older payloads have the external id there.
    """
    fields: dict[str, Value] = {}
    unused: list[str] = []
    _collect(source, _PLAIN, fields, unused)
    for key, readers in _GROUPS:
        group = source.get(key)
        if type(group) is dict:
            _collect(group, readers, fields, unused, f"{key}.")
        elif group is not None:
            unused.append(key)
    if "completed_at" in source and fields.get("completed") is None:
        _collect(source, _OLD_COMPLETED, fields, unused)
    old = source if "external_id" in source else envelope
    if "external_id" in old and fields.get("external_id") is None:
        _collect(old, _OLD_EXTERNAL_ID, fields, unused)
    return fields, unused


def _collect(
    source: Mapping[str, Any], readers: _Readers, fields: dict[str, Value], unused: list[str], path: str = ""
) -> None:
    for key, name, reader in readers:
        value = source.get(key, UNSET)
        if value is not UNSET:
            found = None if value is None else reader(value)
            if found is UNSET:
                unused.append(path + key)
            elif found is not None or name not in _NULL_IS_ABSENT:
                fields[name] = found


_NULL_IS_ABSENT = frozenset({"deleted", "thumbnail_url"})
"""Fields whose null counts as absent; the docstring of the module has the reasons."""

_Reader: TypeAlias = Callable[[Any], Value | UnsetType]
"""Converts a value other than null; returns `UNSET` when it cannot be used."""
_Readers: TypeAlias = tuple[tuple[str, str, _Reader], ...]
"""The key of Hireflix, the name of the connector, and the conversion."""
_NUMBERS = frozenset({int, float})


def as_text(value: Any) -> Any:
    """Returns a whole number as text, and any other value unchanged.

    Whole numbers may be written as `12345.0`. A number with a fraction is not converted, because its text may have had
    more digits.
    """
    if type(value) is float and value.is_integer() and abs(value) < _EXACT_BELOW:
        value = int(value)
    return str(value) if type(value) is int else value


def as_number(value: Any) -> Any:
    """Returns the number that a text in the form of a JSON number contains, and any other value unchanged."""
    if type(value) is not str or len(value) > _DIGITS_MAX or not _NUMBER.fullmatch(value):
        return value
    return int(value) if _WHOLE.fullmatch(value.strip()) else float(value)


_NUMBER = re.compile(r"\s*-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?\s*")
_WHOLE = re.compile(r"-?[0-9]+")


def as_flag(value: Any) -> Any:
    """Returns the flag of 1, 0 and of "true", "false", "1", "0" as text, and any other value unchanged."""
    if type(value) is str:
        return _FLAGS.get(value.strip().lower(), value)
    return bool(value) if type(value) in _NUMBERS and value in {0, 1} else value


_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def _text(value: Any) -> Value | UnsetType:
    value = as_text(value)
    if type(value) is not str:
        return UNSET
    # PostgreSQL cannot store NUL in text
    return value.replace("\0", "") if "\0" in value else value


def _address(value: Any) -> Value | UnsetType:
    return _text(value) if type(value) is str else UNSET


def _position(value: Any) -> Value | UnsetType:
    """Converts the id of a position, which must fit into an index."""
    found = _text(value)
    return UNSET if type(found) is str and len(found) > LENGTH_MAX else found


def _score(value: Any) -> Value | UnsetType:
    if type(value) is dict:
        value = value.get("value", UNSET)
    if value is None:
        return None
    value = as_number(value)
    return value if type(value) in _NUMBERS and 0 <= value <= _SCORE_MAX else UNSET


def _time(value: Any) -> Value | UnsetType:
    at = epoch_ms(value)
    return UNSET if at is None or at >= _TIME_END_MS else at


def _time_or_flag(value: Any) -> Value | UnsetType:
    """Converts `completed`, `deleted`, `archived` or `finalist`: a time or true when it is set, else null."""
    flag = as_flag(value)
    if type(flag) is bool:
        return flag or None
    return _time(value)


def _flag(value: Any) -> Value | UnsetType:
    """Converts a flag. A time counts as true: the GraphQL API has the time of the answer here."""
    flag = as_flag(value)
    if type(flag) is bool:
        return flag
    return UNSET if _time(value) is UNSET else True


def epoch_ms(value: Any) -> int | None:
    """Returns a time after 1970 as epoch milliseconds, `None` when it is not usable.

    Numbers below 10^11 are seconds. Text is a number with at least nine digits, because shorter ones are ISO 8601 dates
    such as 20251027, or an ISO 8601 time, which is in UTC when it has no zone.
    """
    if type(value) is str:
        number = as_number(value)
        if type(number) is str or number < _TEXT_SECONDS_FROM:
            return _from_iso(value.strip())
        value = number
    if type(value) not in _NUMBERS or not 0 < value < _DATE_END_MS:
        return None
    milliseconds = value * 1000 if value < _SECONDS_BELOW else value
    return round(milliseconds) or None


def _from_iso(text: str) -> int | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return round(seconds * 1000) if seconds > 0 else None


_PLAIN: _Readers = (
    ("externalId", "external_id", _text),
    ("status", "status", _text),
    ("hash", "hash", _text),
    ("createdAt", "created_at", _time),
    ("score", "score", _score),
    ("completed", "completed", _time_or_flag),
    ("deleted", "deleted", _time_or_flag),
    ("archived", "archived", _time_or_flag),
    ("finalist", "finalist", _time_or_flag),
    ("answered", "answered", _flag),
    ("thumbnail", "thumbnail_url", _address),
)
_GROUPS: tuple[tuple[str, _Readers], ...] = (
    ("position", (("id", "position_id", _position), ("name", "position_name", _text))),
    (
        "candidate",
        (
            ("name", "candidate_name", _text),
            ("firstName", "candidate_first_name", _text),
            ("lastName", "candidate_last_name", _text),
            ("email", "candidate_email", _text),
            ("phone", "candidate_phone", _text),
        ),
    ),
    (
        "url",
        (("short", "short_url", _address), ("private", "review_url", _address), ("public", "candidate_url", _address)),
    ),
    (  # in no webhook: `connector.hireflix.enrichment` makes it
        "enriched",
        (
            ("shareUrl", "share_url", _address),
            ("shareExpires", "share_expires_at", _time),
            ("comments", "comments", _text),
            ("reviewerScores", "reviewer_scores", _text),
            ("transcript", "transcript", _text),
            ("transcriptLanguage", "transcript_language", _text),
        ),
    ),
)
_OLD_EXTERNAL_ID: _Readers = (("external_id", "external_id", _text),)
_OLD_COMPLETED: _Readers = (("completed_at", "completed", _time_or_flag),)


SYNTHETIC_MARKS = frozenset({BACKFILL, RECONCILE, CORRECTION, DECISION, ENRICHMENT, RENAMED})
"""Marks of events that the connector made. They are not counted as received."""
SILENT_MARKS = frozenset({BACKFILL, CORRECTION, ENRICHMENT, RENAMED})
"""Marks of events without notification. State sinks show them; chats only update messages that exist."""
UNCHANGED_MARKS = frozenset({ENRICHMENT, RENAMED})
"""Marks of events that are not a change of the interview: it keeps the name and the date of its last event."""


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
    `RECONCILE`, `CORRECTION`, `DECISION`, `ENRICHMENT` or `RENAMED` for an event that the connector made. `fields` has
    the names of `connector.interview.FIELDS` that are in the payload: absent means unknown, `None` an explicit null.
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
