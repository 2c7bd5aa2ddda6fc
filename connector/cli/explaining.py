"""What an event does: to its interview, by which routes, in which sinks. Writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from connector.cli.opened import has_store, looking, now
from connector.cli.previews import preview
from connector.cli.send import read_body
from connector.config import Config
from connector.errors import UsageError
from connector.event import State, decode, event_of, interview_of, merge
from connector.hireflix.payload import Kind, Reading, read
from connector.interview import FIELDS, Interview, Value
from connector.sink import Delivery, Sink
from connector.store import notes
from connector.store.schema import event, interview
from connector.store.views import DeliveryRow, Wanted, deliveries


class Change(msgspec.Struct, frozen=True):
    """One field before and after the event; a field that was unknown before is null there."""

    field: str
    before: Value
    after: Value


class RouteWord(msgspec.Struct, frozen=True):
    """What one route says; `route` is its place among the routes, from 0."""

    route: int
    matched: bool
    reason: str


class Effect(msgspec.Struct, frozen=True):
    """What one sink gets. `preview` is what it would write now; `deliveries` are those of a stored event."""

    sink: str
    type: str
    why: str
    preview: str
    deliveries: list[DeliveryRow]


class Explanation(msgspec.Struct, frozen=True):
    """Everything about one event. `stored_as` is its id when the store has it; only what is routed has `routes`."""

    kind: str
    name: str
    interview_id: str
    occurred_at: int
    mark: str
    reason: str
    stored_as: int | None
    stage: str
    changes: list[Change]
    routes: list[RouteWord]
    effects: list[Effect]


@dataclass(frozen=True, slots=True)
class Case:
    """An event with what is known around it: the interview before it, and as it is now."""

    reading: Reading
    event_id: int | None = None
    before: State | None = None
    latest: State | None = None
    entered: tuple[str, ...] = ()

    @property
    def after(self) -> State:
        return merge(self.before, self.reading)

    @property
    def now(self) -> Interview:
        """The interview that a delivery would show now, this event included."""
        return interview_of(self.reading.interview_id, merge(self.latest, self.reading))


def explain_what(settings: Config, what: str) -> Explanation:
    """Explains a file, standard input (`-`), or a stored event. Raises `UsageError`, `StoreError`."""
    is_event = what.isascii() and what.isdigit() and not Path(what).exists()
    body = b"" if is_event else read_body(what)
    with looking(settings) if is_event or has_store(settings) else nullcontext() as connection:
        at = now()
        if is_event:
            assert connection is not None
            case = case_of_event(connection, int(what))
        else:
            case = case_of_body(connection, body, at)
        return explain_case(settings, case, connection, at)


def case_of_body(connection: Connection | None, body: bytes, at: int) -> Case:
    """The case of a body as if it came at `at` (epoch milliseconds)."""
    reading = read(body, at)
    if connection is None:
        return Case(reading)
    known = connection.execute(select(event.c.seq).where(event.c.identity == reading.identity)).scalar()
    latest, entered = _interview(connection, reading.interview_id)
    return Case(reading, known, latest, latest, entered)


def case_of_event(connection: Connection, event_id: int) -> Case:
    """The case of a stored event: before it is what had come before it. Raises `UsageError`."""
    row = connection.execute(select(event).where(event.c.seq == event_id)).first()
    if row is None:
        raise UsageError(f"no event {event_id}; `connector events` lists them")
    if row.body is None:
        raise UsageError(f"the body of event {event_id} is no longer kept")
    reading = read(row.body, row.received_at)
    latest, entered = _interview(connection, reading.interview_id)
    return Case(reading, event_id, _before(connection, reading.interview_id, event_id), latest, entered)


def _interview(connection: Connection, interview_id: str) -> tuple[State | None, tuple[str, ...]]:
    columns = (interview.c.state, interview.c.entered)
    row = connection.execute(select(*columns).where(interview.c.id == interview_id)).first()
    return (None, ()) if row is None else (decode(row.state), tuple(name for name in row.entered.split(",") if name))


def _before(connection: Connection, interview_id: str, event_id: int) -> State | None:
    earlier = (event.c.interview_id == interview_id, event.c.seq < event_id, event.c.kind == str(Kind.EVENT))
    rows = connection.execute(
        select(event.c.body, event.c.received_at).where(*earlier, event.c.body.is_not(None)).order_by(event.c.seq)
    )
    state: State | None = None
    for row in rows:
        state = merge(state, read(row.body, row.received_at))
    return state


def explain_case(settings: Config, case: Case, connection: Connection | None, at: int) -> Explanation:
    """Explains a case at `at` (epoch milliseconds)."""
    reading = case.reading
    is_routed = reading.kind is Kind.EVENT
    shown = interview_of(reading.interview_id, case.after)
    return Explanation(
        kind=str(reading.kind),
        name=reading.name,
        interview_id=reading.interview_id,
        occurred_at=reading.occurred_at,
        mark=reading.mark,
        reason=reading.reason,
        stored_as=case.event_id,
        stage=str(shown.stage) if is_routed else "",
        changes=_changes(case.before, case.after) if is_routed else [],
        routes=_routes(settings, reading.name, shown) if is_routed else [],
        effects=_effects(settings, case, shown, connection, at) if is_routed else [],
    )


def _routes(settings: Config, name: str, shown: Interview) -> list[RouteWord]:
    return [RouteWord(*verdict) for verdict in settings.routing().explain(name, *_about(shown))]


def _about(shown: Interview) -> tuple[Any, ...]:
    return shown.position_id, shown.position_name, shown.stage, shown.score


def _changes(before: State | None, after: State) -> list[Change]:
    old: Mapping[str, Value] = {} if before is None else before.values
    names = [name for name in FIELDS if old.get(name) != after.values.get(name, old.get(name))]
    return [Change(name, old.get(name), after.values[name]) for name in names]


def _effects(settings: Config, case: Case, shown: Interview, connection: Connection | None, at: int) -> list[Effect]:
    matched = settings.routing().match(case.reading.name, *_about(shown))
    done: list[DeliveryRow] = []
    if connection is not None and case.event_id is not None:
        done = deliveries(connection, Wanted(event=case.event_id), limit=1000)
    effects = []
    for name, entry in settings.sinks.items():
        if name not in matched and name not in case.entered:
            continue
        sink = entry.cls(entry.name, entry.config)
        why = "a route matches" if name in matched else "the interview entered it earlier"
        effects.append(
            Effect(
                name, entry.type, why, _preview(sink, case, connection, at), [row for row in done if row.sink == name]
            )
        )
    return effects


def _preview(sink: Sink[Any], case: Case, connection: Connection | None, at: int) -> str:
    delivery = Delivery(
        id="explain",
        key=case.reading.interview_id,
        event=None if sink.state else event_of(str(case.event_id or "new"), case.reading),
        interview=case.now,
    )
    keys = list(sink.keys(delivery))
    remembered = {} if connection is None else notes.read(connection, sink.name, sink.destination, keys)
    return asyncio.run(preview(sink, delivery, remembered, at))
