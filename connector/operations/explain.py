"""Explains an event: which fields it changes, which routes match, and what each sink would write. Writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from connector.capabilities import Preview, Previews
from connector.config import Config
from connector.errors import SinkBroken, UsageError
from connector.hireflix.payload import SILENT_MARKS, EventKind, Reading, read
from connector.interview import FIELDS, Interview, Value
from connector.languages import gettext_noop
from connector.logging import place_of
from connector.merge import InterviewState, decode, event_of, interview_of, merge
from connector.operations.sinks import open_sink
from connector.operations.store_access import reading, store_exists
from connector.sink import Batch, Delivery, Note, Sink, Subscription, Token
from connector.store import notes, subscriptions
from connector.store.parsed import EVENTS, reading_of
from connector.store.queries import DeliveryRow, ListingFilter, deliveries
from connector.store.schema import event, interview

PREVIEW_SECONDS = 30.0
"""Longest wait for the preview of a sink, which may read from its destination."""


class FieldChange(msgspec.Struct, frozen=True):
    """A field before and after the event; `before` is null when it was unknown."""

    field: str
    before: Value
    after: Value


class RouteVerdict(msgspec.Struct, frozen=True):
    """Whether a route matches, and why. `route` is its index in the configuration, from 0."""

    route: int
    matched: bool
    reason: str


class Effect(msgspec.Struct, frozen=True):
    """What a sink receives, and why. `preview` is what it would write now; `deliveries` are those of a stored event."""

    sink: str
    type: str
    why: str
    preview: Preview
    deliveries: list[DeliveryRow]


class Explanation(msgspec.Struct, frozen=True):
    """The effect of an event. `stored_as` is its id in the store; only known events have `routes` and `effects`."""

    kind: str
    name: str
    interview_id: str
    occurred_at: int
    mark: str
    unused: list[str]
    reason: str
    stored_as: int | None
    stage: str
    changes: list[FieldChange]
    routes: list[RouteVerdict]
    effects: list[Effect]


@dataclass(frozen=True, slots=True)
class Case:
    """An event, with its interview before the event and now. `sinks` are those that show the interview."""

    reading: Reading
    event_id: int | None = None
    before: InterviewState | None = None
    latest: InterviewState | None = None
    sinks: tuple[str, ...] = ()

    @property
    def after(self) -> InterviewState:
        """The interview after the event."""
        return merge(self.before, self.reading)

    @property
    def now(self) -> Interview:
        """The interview that a delivery would show now, this event included."""
        return interview_of(self.reading.interview_id, merge(self.latest, self.reading))


@dataclass(frozen=True, slots=True)
class _Recipient:
    """A sink that receives the event: the reason, the delivery, its notes, and the stored deliveries."""

    type: str
    sink: Sink[Any]
    why: str
    delivery: Delivery
    notes: Mapping[str, Note]
    stored: list[DeliveryRow]


async def explain_event(settings: Config, event_id: int, at: int) -> Explanation:
    """Explains a stored event at `at` (epoch milliseconds).

    The store is closed before sinks are asked for previews, because they may call their destinations. Raises
    `UsageError` when the event is not stored with its body, and the exceptions of `reading`.
    """
    with reading(settings) as connection:
        case = _case_of_event(connection, event_id)
        recipients = _recipients(settings, case, connection)
    return await _explain(settings, case, recipients, at)


async def explain_body(settings: Config, body: bytes, at: int) -> Explanation:
    """Explains the body of a webhook as if it was received at `at` (epoch milliseconds).

    Without a store the event is explained as the first of its interview. Raises the exceptions of `reading`.
    """
    with reading(settings) if store_exists(settings) else nullcontext() as connection:
        case = _case_of_body(connection, body, at)
        recipients = _recipients(settings, case, connection)
    return await _explain(settings, case, recipients, at)


def _case_of_body(connection: Connection | None, body: bytes, at: int) -> Case:
    reading = read(body, at)
    if connection is None:
        return Case(reading)
    known = connection.execute(select(event.c.seq).where(event.c.identity == reading.identity)).scalar()
    latest, sinks = _interview(connection, reading.interview_id)
    return Case(reading, known, latest, latest, sinks)


def _case_of_event(connection: Connection, event_id: int) -> Case:
    row = connection.execute(EVENTS.where(event.c.seq == event_id)).first()
    if row is None:
        raise UsageError(f"the event {event_id} is missing; `connector events` lists them")
    reading = reading_of(row)
    if reading is None:
        raise UsageError(f"the data of event {event_id} is no longer stored")
    latest, sinks = _interview(connection, reading.interview_id)
    return Case(reading, event_id, _before(connection, reading.interview_id, event_id), latest, sinks)


def _interview(connection: Connection, interview_id: str) -> tuple[InterviewState | None, tuple[str, ...]]:
    state = connection.execute(select(interview.c.state).where(interview.c.id == interview_id)).scalar()
    sinks = subscriptions.sinks_of(connection, [interview_id])
    return None if state is None else decode(state), sinks.get(interview_id, ())


def _before(connection: Connection, interview_id: str, event_id: int) -> InterviewState | None:
    earlier = (event.c.interview_id == interview_id, event.c.seq < event_id, event.c.kind == str(EventKind.EVENT))
    state: InterviewState | None = None
    for row in connection.execute(EVENTS.where(*earlier).order_by(event.c.seq)):
        if (reading := reading_of(row)) is not None:
            state = merge(state, reading)
    return state


async def _explain(settings: Config, case: Case, recipients: Sequence[_Recipient], at: int) -> Explanation:
    reading = case.reading
    is_routed = reading.kind is EventKind.EVENT
    shown = interview_of(reading.interview_id, case.after)
    return Explanation(
        kind=str(reading.kind),
        name=reading.name,
        interview_id=reading.interview_id,
        occurred_at=reading.occurred_at,
        mark=reading.mark,
        unused=list(reading.unused),
        reason=reading.reason,
        stored_as=case.event_id,
        stage=str(shown.stage) if is_routed else "",
        changes=_changes(case.before, case.after) if is_routed else [],
        routes=_routes(settings, reading.name, shown) if is_routed else [],
        effects=[await _effect(recipient, at) for recipient in recipients],
    )


def _routes(settings: Config, name: str, shown: Interview) -> list[RouteVerdict]:
    return [RouteVerdict(*verdict) for verdict in settings.routing().explain(name, *_about(shown))]


def _about(shown: Interview) -> tuple[Any, ...]:
    return shown.position_id, shown.position_name, shown.stage, shown.score


def _changes(before: InterviewState | None, after: InterviewState) -> list[FieldChange]:
    old: Mapping[str, Value] = {} if before is None else before.values
    names = [name for name in FIELDS if old.get(name) != after.values.get(name, old.get(name))]
    return [FieldChange(name, old.get(name), after.values[name]) for name in names]


def _recipients(settings: Config, case: Case, connection: Connection | None) -> list[_Recipient]:
    """The sinks that receive the event. Only a known event is routed."""
    if case.reading.kind is not EventKind.EVENT:
        return []
    shown = interview_of(case.reading.interview_id, case.after)
    matched = _matched(settings, case.reading, shown)
    stored: list[DeliveryRow] = []
    if connection is not None and case.event_id is not None:
        stored = deliveries(connection, ListingFilter(event=case.event_id), limit=1000)
    recipients = []
    for name, entry in settings.sinks.items():
        sink = entry.cls(entry.name, entry.config)
        silent = name not in matched and sink.edits and not sink.state
        if name not in matched and not (name in case.sinks and (sink.state or silent)):
            continue
        why = (
            gettext_noop("a route matches") if name in matched else gettext_noop("the sink shows the interview already")
        )
        if silent:
            why = gettext_noop("no route matches; the sink shows the interview and updates its message silently")
        delivery = _delivery(sink, case, silent=silent)
        remembered = _notes(connection, sink, delivery)
        mine = [row for row in stored if row.sink == name]
        recipients.append(_Recipient(entry.type, sink, why, delivery, remembered, mine))
    return recipients


def _matched(settings: Config, reading: Reading, shown: Interview) -> tuple[str, ...]:
    """Returns the sinks whose routes match. A silent event of any name goes to state sinks only."""
    routes = settings.routing()
    if reading.mark not in SILENT_MARKS:
        return routes.match(reading.name, *_about(shown))
    states = [name for name, entry in settings.sinks.items() if entry.cls.state]
    return tuple(name for name in states if routes.entry(name, *_about(shown)))


def _delivery(sink: Sink[Any], case: Case, *, silent: bool) -> Delivery:
    return Delivery(
        id="explain",
        key=case.reading.interview_id,
        event=None if sink.state else event_of(str(case.event_id or "new"), case.reading),
        interview=case.now,
        silent=silent,
    )


def _notes(connection: Connection | None, sink: Sink[Any], delivery: Delivery) -> Mapping[str, Note]:
    if connection is None or not isinstance(sink, Previews):
        return {}
    return notes.read(connection, sink.name, sink.destination, list(sink.note_keys(delivery)))


async def _effect(recipient: _Recipient, at: int) -> Effect:
    preview = await _preview(recipient, at)
    return Effect(recipient.sink.name, recipient.type, recipient.why, preview, recipient.stored)


async def _preview(recipient: _Recipient, at: int) -> Preview:
    """Returns the preview of a call at the time `at` (epoch milliseconds), or a text that says why there is none."""
    sink = recipient.sink
    if not isinstance(sink, Previews):
        return Preview("No preview: this type of sink has none.")
    batch = Batch("explain", at, [recipient.delivery], recipient.notes)
    try:
        async with asyncio.timeout(PREVIEW_SECONDS), open_sink(sink):
            return _single(await sink.preview(batch, _PreviewContext(at, recipient.notes)))
    except SinkBroken as error:
        return Preview(f"No preview: {error.reason}; {error.fix}")
    except Exception as error:  # noqa: BLE001 - a third-party sink may raise anything; the others are still explained
        return Preview(f"No preview: {place_of(error)}")


def _single(previews: Sequence[Preview]) -> Preview:
    """Returns the preview of the one delivery. Raises `TypeError` when a sink returned anything else."""
    if len(previews) != 1 or not isinstance(previews[0], Preview):
        raise TypeError("preview() must return one Preview per delivery")
    return previews[0]


class _PreviewContext:
    """The context of a preview: nothing is sent or written."""

    def __init__(self, at: int, notes: Mapping[str, Note]) -> None:
        self._at = at
        self._notes = notes

    def now(self) -> int:
        return self._at

    async def take(self, *tokens: Token) -> None:
        """Always succeeds: nothing is sent."""

    async def block(self, bucket: str, seconds: float) -> None:
        """Changes nothing."""

    async def save_notes(self, remembered: Mapping[str, Note | None]) -> None:
        """Writes nothing."""

    async def get_notes(self, names: Sequence[str]) -> Mapping[str, Note]:
        """The notes that the sink asked for in `note_keys`, and no others."""
        return {name: self._notes[name] for name in names if name in self._notes}

    async def interviews(self, after: str, limit: int) -> Sequence[Subscription]:  # noqa: ARG002 - as the protocol names them
        """Empty: a preview is about one interview."""
        return []

    async def waiting(self, group: str) -> int:  # noqa: ARG002 - as the protocol names it
        """Returns 1, because a preview shows the counts of the notes."""
        return 1

    async def queued(self, events: Collection[str], limit: int) -> int:  # noqa: ARG002 - as the protocol names them
        """Nothing is queued."""
        return 0

    def count_call(self, kind: str) -> None:
        """Counts nothing."""

    def record_reply(self, status: int | None, text: str) -> None:
        """Ignores the reply: the error says what is wrong."""
