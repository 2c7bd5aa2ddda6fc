"""Converts the fields of an interview object from the names and types of Hireflix to those of the connector.

A value of another type is converted when only one value can be meant: a number where text is expected, and a number, a
time or a flag as text. Other values are not used, as if the key were absent, and their fields are listed in `unused`.

These nulls count as absent: `position`, `candidate` and `url` (so no name is lost), `thumbnail` (the picture is not
ready yet) and `deleted` (a deletion is final).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from msgspec import UNSET, UnsetType

from connector.interview import Value

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


_TEXT_SECONDS_FROM = 10**8
"""Smallest number in a text that counts as epoch seconds: the year 1973."""


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
