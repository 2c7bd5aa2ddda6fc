"""What is known of an interview, merged from its events in whatever order they come.

Each field keeps the value of the event with the greatest stamp among those that carried it. So the merge is
commutative, associative and idempotent: any order and any repetition of the same events gives the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from connector.hireflix import DELETE, FINISH
from connector.hireflix.payload import Reading
from connector.interview import Event, Interview, Stage, Value

Stamp: TypeAlias = tuple[int, int, str]
"""What orders events: date (epoch milliseconds), number of keys, first 8 bytes of the body's sha256 in hex."""


class State(msgspec.Struct, frozen=True, gc=False):
    """The merged fields of one interview.

    `base` is the greatest stamp of all events and holds for every field that `exceptions` does not name. Never
    changed in place; equal states encode to equal text.
    """

    base: Stamp
    values: dict[str, Value]
    exceptions: dict[str, Stamp]


def stamp_of(reading: Reading) -> Stamp:
    """The stamp of everything that this event says."""
    return (reading.occurred_at, reading.keys, reading.sha256[:8].hex())


def merge(state: State | None, reading: Reading) -> State:
    """The state with one more event in it: a new one, or `state` itself when the event says nothing new."""
    stamp = stamp_of(reading)
    told = _told(reading)
    if state is None:
        return State(stamp, told, {})
    if stamp > state.base:
        return _newer(state, stamp, told)
    if stamp == state.base:
        return state
    return _older(state, stamp, told)


def _told(reading: Reading) -> dict[str, Value]:
    """What the event says about the interview, beyond the payload's own fields."""
    told = reading.fields.copy()
    told["last_event"] = reading.name
    if reading.name == FINISH:
        # its `status` lags behind later stages; that it finished is the news
        told.pop("status", None)
        told["finished_at"] = reading.occurred_at
    elif reading.name == DELETE and told.get("deleted", True) is True:
        told["deleted"] = reading.occurred_at
    return told


def _newer(state: State, stamp: Stamp, told: dict[str, Value]) -> State:
    base, earlier = state.base, state.exceptions
    exceptions = {name: earlier.get(name, base) for name in state.values.keys() - told.keys()}
    return State(stamp, state.values | told, exceptions)


def _older(state: State, stamp: Stamp, told: dict[str, Value]) -> State:
    values, exceptions = state.values.copy(), state.exceptions.copy()
    changed = False
    for name, value in told.items():
        if name not in values or stamp > exceptions.get(name, state.base):
            values[name], exceptions[name] = value, stamp
            changed = True
    return State(state.base, values, exceptions) if changed else state


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(State)


def encode(state: State) -> str:
    """The state as one canonical JSON document."""
    return _encoder.encode(state).decode()


def decode(text: str | bytes) -> State:
    """The state that `encode` wrote."""
    return _decoder.decode(text)


def stage_of(values: Mapping[str, Value]) -> Stage:
    """Where the interview stands: the first of these that holds."""
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


def interview_of(interview_id: str, state: State) -> Interview:
    """The interview as sinks see it."""
    dates = dict.fromkeys(state.values, state.base[0])
    for name, stamp in state.exceptions.items():
        dates[name] = stamp[0]
    return Interview(
        id=interview_id,
        stage=stage_of(state.values),
        updated_at=state.base[0],
        values=state.values,
        dates=dates,
    )


def event_of(event_id: str, reading: Reading) -> Event:
    """The event as sinks see it."""
    return Event(
        id=event_id,
        name=reading.name,
        interview_id=reading.interview_id,
        occurred_at=reading.occurred_at,
        received_at=reading.received_at,
        fields=reading.fields,
    )
