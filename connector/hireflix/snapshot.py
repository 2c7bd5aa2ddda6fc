"""Interviews as the API returns them, compared with what is stored, and synthetic events for the differences.

A synthetic event has the form of a webhook and is stored, merged and routed like one. Its date is that of the change in
Hireflix. Its identity is a hash of its content, so the same difference is stored once. Pure functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

import msgspec

from connector.hireflix import CREATE, DELETE, FINISH, SCORE_UPDATED, STATUS_CHANGE
from connector.hireflix.payload import (
    BACKFILL,
    CORRECTION,
    DECISION,
    ENRICHMENT,
    RECONCILE,
    RENAMED,
    Reading,
    as_text,
    epoch_ms,
    fields_of,
    read,
)
from connector.interview import Stage, Value
from connector.merge import InterviewState, merge, stage_of

ApiInterview: TypeAlias = dict[str, Any]
"""An interview as the API returns it."""

IDENTITY = "api:"
"""Start of the identity of every synthetic event."""


class Position(NamedTuple):
    """A position (job). `is_archived` ones are listed as well."""

    id: str
    name: str
    is_archived: bool = False


class Origin(StrEnum):
    """Why a synthetic event was made; it is the mark of the event. A backfill sends no notification."""

    BACKFILL = BACKFILL
    RECONCILE = RECONCILE
    CORRECTION = CORRECTION
    """A reconcile of fields that no webhook reports. No notification: a position may have many interviews."""
    DECISION = DECISION
    """What Hireflix shows after a decision of a user."""
    ENRICHMENT = ENRICHMENT
    """Fields that only the API has."""
    RENAMED = RENAMED
    """The newest name of the position, from an event of another interview."""


class Synthetic(NamedTuple):
    """A synthetic event and its body, and the names of what differed."""

    reading: Reading
    body: bytes
    differs: tuple[str, ...]


MISSING = "interview"
"""Name of the difference when the interview is missing in the store."""
STAGE = "stage"
POSITION_NAME = "position_name"
DELETED = "deletion"

_COMPARED = ("position_id", "position_name", "external_id", "candidate_first_name", "candidate_last_name",
             "candidate_email", "candidate_phone", "score", "created_at", "completed")  # fmt: skip
_COMPARED_IF_MISSING = ("candidate_name", "hash", "short_url", "review_url", "candidate_url")
"""The API and the webhooks may write them in different ways, such as an address with a language in its path."""
_REPORTED = frozenset({STAGE, "score"})
"""Differences that a webhook reports."""
_COPIED = ("id", "status", "externalId", "hash", "createdAt", "score", "url")
_CANDIDATE = {"fullName": "name", "firstName": "firstName", "lastName": "lastName", "email": "email", "phone": "phone"}
_TIMES = (("completed", "completedAt"), ("archived", "discardedAt"), ("finalist", "shortlistedAt"))
"""The name in webhooks, and the newer name in the API."""
_PERSONAL = frozenset({"candidate", "externalId", "hash", "url", "enriched"})
_KNOWN_TIMES = ("updatedAt", "shortlistedAt", "discardedAt", "completedAt", "createdAt")


def id_of(row: ApiInterview) -> str:
    """Returns the id of an interview."""
    return str(as_text(row.get("id")) or "")


def interview_object(row: ApiInterview, position: Position, stage: Stage | None = None) -> dict[str, Any]:
    """Returns an interview of the API in the form that webhooks have.

    `stage` is given when the filter of a listing is the only source that says in which stage it is.
    """
    found: dict[str, Any] = {name: row[name] for name in _COPIED if name in row}
    found["position"] = {"id": position.id, "name": position.name}
    candidate = row.get("candidate")
    if isinstance(candidate, dict):
        found["candidate"] = {ours: candidate[name] for name, ours in _CANDIDATE.items() if name in candidate}
    for ours, newer in _TIMES:
        values = [row[name] for name in (newer, ours) if name in row]
        if values:
            found[ours] = next((value for value in values if value is not None), None)
    if stage is not None:
        found["status"] = str(stage)
        found["archived"] = True if stage is Stage.DISCARDED else None
        found["finalist"] = True if stage is Stage.SHORTLISTED else None
    return found


def changed_at(row: ApiInterview) -> int | None:
    """Returns when the interview changed last in Hireflix, in epoch milliseconds, `None` when no date is usable."""
    updated = epoch_ms(row.get("updatedAt"))
    if updated is not None:
        return updated
    return max((at for name in _KNOWN_TIMES if (at := epoch_ms(row.get(name))) is not None), default=None)


def differences(values: Mapping[str, Value], fields: Mapping[str, Value]) -> tuple[str, ...]:
    """Returns the names of what differs between stored values and the fields of the API.

    A deletion is final, so nothing of a deleted interview differs.
    """
    stage = stage_of(values)
    if stage is Stage.DELETED:
        return ()
    found = [name for name in _COMPARED if name in fields and not _is_equal(values.get(name), fields[name])]
    found += [name for name in _COMPARED_IF_MISSING if fields.get(name) and not values.get(name)]
    return (STAGE, *found) if stage_of({**values, **fields}) is not stage else tuple(found)


def _is_equal(stored: Value, found: Value) -> bool:
    if stored is True or found is True:  # a flag where the other has a time
        return bool(stored) is bool(found)
    return (stored if stored != "" else None) == (found if found != "" else None)


def event_for(
    state: InterviewState | None,
    row: ApiInterview,
    position: Position,
    *,
    at: int,
    received_at: int,
    origin: Origin,
    stage: Stage | None = None,
    is_new: bool = False,
) -> Synthetic | None:
    """Returns the event that makes the stored state equal to `row`, which was read at `at`; `None` when it is equal.

    Its date is that of the last change in Hireflix. With `is_new` the change was made just before the reading, so the
    date is not before `at`: no documentation says that a score changes the date of an interview. When the stored values
    are not older than that, although they differ, it is `at`. When they are newer than `at`, the row is outdated, and
    no event is made.
    """
    source = interview_object(row, position, stage)
    fields, _ = fields_of({}, source)
    date = changed_at(row) or at
    date = max(date, at) if is_new else date
    if state is None:
        name = _name_of_missing(stage_of(fields))
        return Synthetic(*_make(name, source, date, received_at, origin), (MISSING,))
    differs = differences(state.values, fields)
    if not differs:
        return None
    name = _name_of(differs, stage_of(state.values), stage_of({**state.values, **fields}))
    if origin is Origin.RECONCILE and not _REPORTED & {*differs}:
        origin = Origin.CORRECTION
    # an event with the date of an earlier one could have the same identity, and would count as its repeat
    is_used = date in {state.base[0], *(stamp[0] for stamp in state.exceptions.values())}
    for when in (at,) if is_used else (date, at):
        reading, body = _make(name, source, when, received_at, origin)
        if not differences(merge(state, reading).values, fields):
            return Synthetic(reading, body, differs)
    return None


def deletion_of(interview_id: str, position: Position, *, at: int, received_at: int, origin: Origin) -> Synthetic:
    """Returns the event for an interview that Hireflix no longer has. Its date is `at`: the real one is unknown."""
    source = {"id": interview_id, "position": {"id": position.id, "name": position.name}}
    return Synthetic(*_make(DELETE, source, at, received_at, origin), (DELETED,))


def enrichment_of(
    state: InterviewState, interview_id: str, enriched: Mapping[str, Value], *, at: int, received_at: int
) -> Synthetic | None:
    """Returns the event that stores fields which only the API has, `None` when the stored ones are equal.

    `enriched` is that group of the synthetic event (`connector.hireflix.enrichment.enriched`), read at `at`.
    """
    source = {"id": interview_id, "enriched": dict(enriched)}
    reading, body = _make(STATUS_CHANGE, source, at, received_at, Origin.ENRICHMENT)
    differs = [name for name, value in reading.fields.items() if not _is_equal(state.values.get(name), value)]
    return Synthetic(reading, body, tuple(differs)) if differs else None


def rename_of(state: InterviewState, interview_id: str, name: str, *, at: int, received_at: int) -> Synthetic:
    """Returns the event that gives an interview the name of its position that is the newest since `at`.

    It has no id of the position, because it does not say in which position the interview is.
    """
    source = {"id": interview_id, "position": {"name": name}}
    reading, body = _make(STATUS_CHANGE, source, at, received_at, Origin.RENAMED)
    if merge(state, reading).values.get(POSITION_NAME) != name:
        own = state.exceptions.get(POSITION_NAME, state.base)[0]
        reading, body = _make(STATUS_CHANGE, source, own + 1, received_at, Origin.RENAMED)
    return Synthetic(reading, body, (POSITION_NAME,))


def _name_of_missing(stage: Stage) -> str:
    if stage is Stage.PENDING:
        return CREATE
    return FINISH if stage is Stage.TO_EVALUATE else STATUS_CHANGE


def _name_of(differs: tuple[str, ...], before: Stage, after: Stage) -> str:
    """Returns the name of the webhook that reports such a difference, because routes select events by name."""
    if STAGE in differs and before is Stage.PENDING and after is Stage.TO_EVALUATE:
        return FINISH
    return SCORE_UPDATED if differs == ("score",) else STATUS_CHANGE


def _make(name: str, source: Mapping[str, Any], date: int, received_at: int, origin: Origin) -> tuple[Reading, bytes]:
    document = {"event": name, "data": source, "date": date, "origin": str(origin)}
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    # The same change is the same event, also when the other operation finds it. An identity outlives the erasure of a
    # person, so it is made without the fields about the person.
    about = {key: value for key, value in source.items() if key not in _PERSONAL}
    digest = sha256(json.dumps([name, about, date], sort_keys=True).encode()).hexdigest()
    reading = read(body, received_at)
    return msgspec.structs.replace(reading, identity=f"{IDENTITY}{digest}", mark=str(origin)), body
