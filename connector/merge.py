"""Merges the events of an interview into its state, in any order of arrival.

Each field keeps the value of the event with the greatest version among the events that contain the field. So merging is
commutative, associative and idempotent: any order and any repetition of the same events gives the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from connector.errors import NewerDocument
from connector.hireflix import DELETE, FINISH
from connector.hireflix.payload import UNCHANGED_MARKS, Reading
from connector.interview import Event, Interview, Stage, Value

FieldVersion: TypeAlias = tuple[int, int, str]
"""The version of an event: date (epoch milliseconds), number of keys, first 8 bytes of the SHA-256 of the body in hex.

The number of keys prefers the fuller of two events with one date; the hash makes the order total.
"""


VERSION = 1
"""Version of the stored document of an interview."""


class InterviewState(msgspec.Struct, frozen=True, gc=False):
    """The merged fields of an interview; immutable. Equal states encode to equal text.

    `base` is the greatest version of all events. It is the version of every field that is not in `exceptions`.
    """

    base: FieldVersion
    values: dict[str, Value]
    exceptions: dict[str, FieldVersion]
    v: int = VERSION
    """Version of the document. One without it has version 1."""


class _Head(msgspec.Struct):
    """What every version of the document has."""

    v: int = 1


def stamp_of(reading: Reading) -> FieldVersion:
    """Returns the version of an event and of all its fields."""
    return (reading.occurred_at, reading.keys, reading.sha256[:8].hex())


def merge(state: InterviewState | None, reading: Reading) -> InterviewState:
    """Returns the state with one more event merged in, or `state` itself when the event changes nothing."""
    stamp = stamp_of(reading)
    fields = _contribution(reading)
    if state is None:
        return InterviewState(stamp, fields, {})
    if stamp > state.base:
        return _newer(state, stamp, fields)
    if stamp == state.base:
        return state
    return _older(state, stamp, fields)


def _contribution(reading: Reading) -> dict[str, Value]:
    """Returns the fields that an event contributes: those of its payload, and those that its name implies."""
    fields = reading.fields.copy()
    if reading.mark not in UNCHANGED_MARKS:
        fields["last_event"] = reading.name
    if reading.name == FINISH:
        # the payload of a finish has the status from before the finish
        fields.pop("status", None)
        fields["finished_at"] = reading.occurred_at
    elif reading.name == DELETE and fields.get("deleted", True) is True:
        fields["deleted"] = reading.occurred_at
    return fields


def _newer(state: InterviewState, stamp: FieldVersion, fields: dict[str, Value]) -> InterviewState:
    base, earlier = state.base, state.exceptions
    exceptions = {name: earlier.get(name, base) for name in state.values.keys() - fields.keys()}
    return InterviewState(stamp, state.values | fields, exceptions)


def _older(state: InterviewState, stamp: FieldVersion, fields: dict[str, Value]) -> InterviewState:
    values, exceptions = state.values.copy(), state.exceptions.copy()
    changed = False
    for name, value in fields.items():
        if name not in values or stamp > exceptions.get(name, state.base):
            values[name], exceptions[name] = value, stamp
            changed = True
    return InterviewState(state.base, values, exceptions) if changed else state


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(InterviewState)
_head = msgspec.json.Decoder(_Head)


def encode(state: InterviewState) -> str:
    """Returns the state as canonical JSON."""
    return _encoder.encode(state).decode()


def decode(text: str | bytes) -> InterviewState:
    """Returns the state from the text of `encode`. Raises `NewerDocument`."""
    try:
        state = _decoder.decode(text)
    except msgspec.ValidationError:
        _require_readable(_head.decode(text).v)
        raise
    _require_readable(state.v)
    return state


def _require_readable(version: int) -> None:
    if version > VERSION:
        raise NewerDocument("an interview", version)


def stage_of(values: Mapping[str, Value]) -> Stage:
    """Returns the stage of an interview; the first matching rule counts."""
    if values.get("deleted"):
        return Stage.DELETED
    archived, finalist = values.get("archived"), values.get("finalist")
    if archived and finalist:
        return Stage.SHORTLISTED if _is_later(finalist, archived) else Stage.DISCARDED
    if archived:
        return Stage.DISCARDED
    if finalist:
        return Stage.SHORTLISTED
    return _stage_by_status(values)


def _is_later(one: Value, other: Value) -> bool:
    return type(one) is int and type(other) is int and one > other


_DECIDED = {stage.value: stage for stage in (Stage.TO_EVALUATE, Stage.SHORTLISTED, Stage.DISCARDED)}


def _stage_by_status(values: Mapping[str, Value]) -> Stage:
    status = str(values.get("status") or "pending").lower()
    if status in _DECIDED:
        return _DECIDED[status]
    if status == "completed" or values.get("completed") or values.get("answered") or values.get("finished_at"):
        return Stage.TO_EVALUATE
    return Stage.PENDING if status == "pending" else Stage.UNKNOWN


def changed_at(state: InterviewState) -> int:
    """Returns the date of the newest change of an interview, in epoch milliseconds. The events of
    `UNCHANGED_MARKS` do not count.
    """
    return state.exceptions.get("last_event", state.base)[0]


def interview_of(interview_id: str, state: InterviewState) -> Interview:
    """Returns the interview that sinks receive."""
    dates = dict.fromkeys(state.values, state.base[0])
    for name, stamp in state.exceptions.items():
        dates[name] = stamp[0]
    return Interview(
        id=interview_id,
        stage=stage_of(state.values),
        updated_at=changed_at(state),
        values=state.values,
        dates=dates,
    )


def event_of(event_id: str, reading: Reading) -> Event:
    """Returns the event that sinks receive."""
    return Event(
        id=event_id,
        name=reading.name,
        interview_id=reading.interview_id,
        occurred_at=reading.occurred_at,
        received_at=reading.received_at,
        fields=reading.fields,
    )
