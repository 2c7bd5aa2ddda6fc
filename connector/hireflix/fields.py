"""The fields of an interview object: Hireflix's names and types on one side, ours on the other.

A value of another type is converted where only one value can be meant: a number where text is expected, and a number, a
time or a flag as text. Any other value is not used, as if its key were absent, and its field is named in `unused`.

`position: null`, `candidate: null`, `url: null` (no name is lost that way), `thumbnail: null` (a picture that is not
ready yet) and `deleted: null` (a deletion is final) count as absent as well.
"""

from __future__ import annotations

import re
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
_EXACT_BELOW = 2**53  # from here on a JSON number with a fraction part has lost digits (RFC 8259, section 6)
_DIGITS_MAX = 30
"""Characters of a number as text; a longer one is not meant as a score or a time."""


def fields_of(envelope: Mapping[str, Any], source: Mapping[str, Any]) -> tuple[dict[str, Value], list[str]]:
    """The fields that the interview object `source` carries, by our names, and the unused ones, by Hireflix's names.

    `envelope` is the object around it.
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
            elif found is not None or name not in _NULL_IS_NO_NEWS:
                fields[name] = found


_NULL_IS_NO_NEWS = frozenset({"deleted", "thumbnail_url"})

_Reader: TypeAlias = Callable[[Any], Value | UnsetType]
"""A value other than null as we keep it; `UNSET` when it cannot be used."""
_Readers: TypeAlias = tuple[tuple[str, str, _Reader], ...]
"""Their key, our name, and how to read it."""
_NUMBERS = frozenset({int, float})


def as_text(value: Any) -> Any:
    """A whole number as text; any other value unchanged.

    A number with a fraction is not converted: its text may have had more digits. (Some senders write whole numbers as
    `12345.0`.)
    """
    if type(value) is float and value.is_integer() and abs(value) < _EXACT_BELOW:
        value = int(value)
    return str(value) if type(value) is int else value


def as_number(value: Any) -> Any:
    """Text in the form of a JSON number as that number; any other value unchanged."""
    if type(value) is not str or len(value) > _DIGITS_MAX or not _NUMBER.fullmatch(value):
        return value
    return int(value) if _WHOLE.fullmatch(value.strip()) else float(value)


_NUMBER = re.compile(r"\s*-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?\s*")
_WHOLE = re.compile(r"-?[0-9]+")


def as_flag(value: Any) -> Any:
    """`true` and `false` as text, and 1 and 0, as a flag; any other value unchanged."""
    if type(value) is str:
        return _FLAGS.get(value.strip().lower(), value)
    return bool(value) if type(value) in _NUMBERS and value in {0, 1} else value


_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def _text(value: Any) -> Value | UnsetType:
    value = as_text(value)
    if type(value) is not str:
        return UNSET
    # PostgreSQL keeps no NUL in text
    return value.replace("\0", "") if "\0" in value else value


def _address(value: Any) -> Value | UnsetType:
    return _text(value) if type(value) is str else UNSET


def _position(value: Any) -> Value | UnsetType:
    """An id that notes are found by, and so must fit an index."""
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
    return UNSET if at is None or at >= _TIME_END else at


def _time_or_flag(value: Any) -> Value | UnsetType:
    """A mark that is set (a time or true) or not (null): `completed`, `deleted`, `archived`, `finalist`."""
    flag = as_flag(value)
    if type(flag) is bool:
        return flag or None
    return _time(value)


def _flag(value: Any) -> Value | UnsetType:
    """A flag; the time at which it was set is true as well (the GraphQL API has such a time for an answer)."""
    flag = as_flag(value)
    if type(flag) is bool:
        return flag
    return UNSET if _time(value) is UNSET else True


def epoch_ms(value: Any) -> int | None:
    """A time after 1970 as epoch milliseconds, `None` when it is none that can be used.

    A number too small for milliseconds is seconds. Text is such a number with at least nine digits (shorter ones are
    dates of ISO 8601, such as 20251027), or ISO 8601, in UTC when it names no zone.
    """
    if type(value) is str:
        number = as_number(value)
        if type(number) is str or number < _TEXT_SECONDS_FROM:
            return _from_iso(value.strip())
        value = number
    if type(value) not in _NUMBERS or not 0 < value < _DATE_END:
        return None
    milliseconds = value * 1000 if value < _SECONDS_BELOW else value
    return round(milliseconds) or None


_TEXT_SECONDS_FROM = 10**8
"""Epoch seconds from 1973 on."""


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
)
_OLD_EXTERNAL_ID: _Readers = (("external_id", "external_id", _text),)
_OLD_COMPLETED: _Readers = (("completed_at", "completed", _time_or_flag),)
