"""The fields of an interview object: Hireflix's names and types on one side, ours on the other.

A value of a type that cannot be meant is ignored as if its key were absent, and so are `position: null`,
`candidate: null`, `url: null` (nobody loses a name that way), `thumbnail: null` (a picture that is not ready yet) and
`deleted: null` (a deletion is never undone).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from msgspec import UNSET, UnsetType

from connector.interview import Value

LENGTH_MAX = 200
"""Characters of an interview's or a position's id and of an event's name."""
_SECONDS_BELOW = 10**11
_DATE_END = 2**63  # what a database keeps as an integer
_TIME_END = 253_402_300_800_000  # the year 10000: nothing behind us can show such a time
_SCORE_MAX = 1000


def fields_of(envelope: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Value]:
    """The fields that the interview object `source` carries, by our names; `envelope` is the object around it."""
    fields: dict[str, Value] = {}
    _collect(source, _PLAIN, fields)
    for key, readers in _GROUPS:
        group = source.get(key)
        if type(group) is dict:
            _collect(group, readers, fields)
    if "completed_at" in source and fields.get("completed") is None:
        _collect(source, _OLD_COMPLETED, fields)
    old = source if "external_id" in source else envelope
    if "external_id" in old and fields.get("external_id") is None:
        _collect(old, _OLD_EXTERNAL_ID, fields)
    return fields


def _collect(source: Mapping[str, Any], readers: _Readers, fields: dict[str, Value]) -> None:
    for key, name, reader in readers:
        value = source.get(key, UNSET)
        if value is not UNSET:
            found = None if value is None else reader(value)
            if found is not UNSET and (found is not None or name not in _NULL_IS_NO_NEWS):
                fields[name] = found


_NULL_IS_NO_NEWS = frozenset({"deleted", "thumbnail_url"})

_Reader: TypeAlias = Callable[[Any], Value | UnsetType]
"""A value other than null as we keep it; `UNSET` when it is of a wrong type and so says nothing."""
_Readers: TypeAlias = tuple[tuple[str, str, _Reader], ...]
"""Their key, our name, and how to read it."""


def _text(value: Any) -> Value | UnsetType:
    if type(value) is not str:
        return UNSET
    # PostgreSQL keeps no NUL in text
    return value.replace("\0", "") if "\0" in value else value


def as_text(value: Any) -> Any:
    """An id that came as a number, as text."""
    return str(value) if type(value) is int else value


def _identifier(value: Any) -> Value | UnsetType:
    return _text(as_text(value))


def _position(value: Any) -> Value | UnsetType:
    """An id that notes are found by, and so must fit an index."""
    found = _identifier(value)
    return UNSET if type(found) is str and len(found) > LENGTH_MAX else found


def _flag(value: Any) -> Value | UnsetType:
    return value if type(value) is bool else UNSET


def _score(value: Any) -> Value | UnsetType:
    if type(value) is dict:
        value = value.get("value", UNSET)
    if value is None:
        return None
    return value if type(value) in _NUMBERS and 0 <= value <= _SCORE_MAX else UNSET


def _time(value: Any) -> Value | UnsetType:
    at = epoch_ms(value)
    return UNSET if at is None or at >= _TIME_END else at


def _time_or_true(value: Any) -> Value | UnsetType:
    if value is True:
        return True
    return None if value == 0 else _time(value)


_NUMBERS = frozenset({int, float})


def epoch_ms(value: Any) -> int | None:
    """A time after 1970 as epoch milliseconds, `None` when it is none that can be used.

    A number too small for milliseconds is seconds; text is ISO 8601, in UTC when it names no zone.
    """
    if type(value) is str:
        return _from_iso(value)
    if type(value) not in _NUMBERS or not 0 < value < _DATE_END:
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
    ("externalId", "external_id", _identifier),
    ("status", "status", _text),
    ("hash", "hash", _text),
    ("createdAt", "created_at", _time),
    ("score", "score", _score),
    ("completed", "completed", _time_or_true),
    ("deleted", "deleted", _time_or_true),
    ("archived", "archived", _time_or_true),
    ("finalist", "finalist", _time_or_true),
    ("answered", "answered", _flag),
    ("thumbnail", "thumbnail_url", _text),
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
    ("url", (("short", "short_url", _text), ("private", "review_url", _text), ("public", "candidate_url", _text))),
)
_OLD_EXTERNAL_ID: _Readers = (("external_id", "external_id", _identifier),)
_OLD_COMPLETED: _Readers = (("completed_at", "completed", _time_or_true),)
