"""Listings for operators: events, interviews, deliveries, attempts and changes, newest first and filtered.

Every row is one JSON object; times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select, tuple_

from connector.hireflix.payload import EventKind
from connector.interview import Stage
from connector.merge import decode, interview_of
from connector.routing import Route, Routes
from connector.store import claim, subscriptions, words
from connector.store.dialects import among
from connector.store.schema import (
    DeliveryState,
    attempt,
    audit,
    delivery,
    event,
    event_body,
    in_state,
    interview,
    is_not_pending,
    not_understood,
    sink,
    subscription,
)

TOTAL_MAX = 10_000
"""Totals are counted up to this number: counting a million rows would take longer than showing a page of them."""
LATE_MS = 3_600_000
"""Deliveries are added in the order of receipt, except for those of receivers that wait for each other."""
FEW = 1000
"""Up to this number of interviews or deliveries a listing reads them by their ids. More of them are so frequent that a
page is found soon in the order of the listing.
"""

ListingName: TypeAlias = Literal["events", "interviews", "deliveries", "attempts"]
Place: TypeAlias = tuple[int, int | str]
"""The place of a row in a listing: time and id for events, interviews and attempts, 0 and id for deliveries."""

ID_MAX = 2**63 - 1
"""Greatest number of a column with ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFilter:
    """The filter of a listing; `None` and empty mean any.

    `after` is the `place` of the last row of the page before; the listing continues behind it.

    `position` is an id or a pattern of names, as in a route. `name` and `kind` are an event's, `reason` is that of a
    delivery. `since` (inclusive) and `until` (exclusive) are epoch milliseconds: of receipt for events, of receipt or
    replay for deliveries, of the newest event for interviews, of the start for attempts. `search` is the start of
    words of the candidate's name or of the e-mail address.
    """

    ids: tuple[int, ...] = ()
    sink: str | None = None
    states: tuple[DeliveryState, ...] = ()
    position: str | None = None
    interview: str | None = None
    event: int | None = None
    name: str | None = None
    kind: str | None = None
    reason: str | None = None
    stage: Stage | None = None
    search: str | None = None
    since: int | None = None
    until: int | None = None
    after: Place | None = None


class EventRow(msgspec.Struct, frozen=True):
    """One event. `reason` says why it is unreadable. `mark` says whether the date is that of the sender, and which
    fields could not be used, by their names in Hireflix.
    """

    id: int
    name: str
    kind: str
    interview_id: str
    candidate_name: str
    position_id: str
    position_name: str
    occurred_at: int
    received_at: int
    mark: str
    reason: str


class InterviewRow(msgspec.Struct, frozen=True):
    """The current state of one interview. `sinks` are the subscribed sinks."""

    id: str
    candidate_name: str
    position_id: str
    position_name: str
    stage: str
    stage_word: str
    score: float | None
    completed_at: int | None
    updated_at: int
    last_event: str
    sinks: list[str]


class DeliveryRow(msgspec.Struct, frozen=True):
    """One delivery. `event_id` and `event_name` are null and empty for a follow-up, which has a `purpose`, and for a
    fill. `silent`: no route chose the event, so it only updates what the sink shows. Of a waiting delivery `not_before`
    says when it is expected to be shown.
    """

    id: int
    sink: str
    state: str
    key: str
    interview_id: str
    candidate_name: str
    position_id: str
    position_name: str
    event_id: int | None
    event_name: str
    attempts: int
    since: int
    not_before: int
    done_at: int | None
    reason: str
    reference: str
    purpose: str = ""
    silent: bool = False


class AuditRow(msgspec.Struct, frozen=True):
    """One change by an operator at `at` (epoch milliseconds).

    `actor` is the channel and the user, such as `cli:ada`. `target` is a sink, a selection of deliveries or events, or
    the hash of an erased interview. `detail` is the choice of the operator or the extent of the change.
    """

    id: int
    at: int
    actor: str
    action: str
    target: str
    detail: str


class AttemptRow(msgspec.Struct, frozen=True):
    """One attempt of a batch: `count` deliveries had this outcome and reason.

    `status` is the HTTP status and `answer` the start of the destination's reply, where there was one.
    """

    id: int
    sink: str
    batch: str
    started_at: int
    duration_ms: int
    outcome: str
    reason: str
    count: int
    status: int | None = None
    answer: str | None = None


def events(connection: Connection, wanted: ListingFilter, limit: int) -> list[EventRow]:
    """Returns the matching events, the last received first."""
    about = interview.alias()
    statement = (
        select(event, about.c.state, about.c.position_id, about.c.position_name)
        .outerjoin(about, about.c.id == event.c.interview_id)
        .where(*_all_event_conditions(connection, wanted), *_after(event.c.received_at, event.c.seq, wanted))
        .order_by(event.c.received_at.desc(), event.c.seq.desc())
        .limit(limit)
    )
    return [
        EventRow(
            id=row.seq,
            name=row.name,
            kind=row.kind,
            interview_id=row.interview_id,
            candidate_name=_candidate(row.interview_id, row.state),
            position_id=row.position_id or "",
            position_name=row.position_name or "",
            occurred_at=row.occurred_at,
            received_at=row.received_at,
            mark=row.mark,
            reason=row.reason,
        )
        for row in connection.execute(statement)
    ]


def body_of(connection: Connection, event_id: int) -> bytes | None:
    """Returns the raw body of an event, `None` when retention deleted it."""
    mine = select(event_body.c.body).where(event_body.c.event_seq == event_id)
    found: bytes | None = connection.execute(mine).scalar()
    return None if found is None else bytes(found)


def interviews(connection: Connection, wanted: ListingFilter, limit: int) -> list[InterviewRow]:
    """Returns the matching interviews, those with the newest event first."""
    statement = (
        select(interview)
        .where(*_interview_conditions(connection, wanted), *_after(interview.c.updated_at, interview.c.id, wanted))
        .order_by(interview.c.updated_at.desc(), interview.c.id.desc())
        .limit(limit)
    )
    rows = connection.execute(statement).all()
    sinks = subscriptions.sinks_of(connection, [row.id for row in rows])
    return [_interview_row(row, sinks.get(row.id, ())) for row in rows]


def deliveries(connection: Connection, wanted: ListingFilter, limit: int) -> list[DeliveryRow]:
    """Returns the newest matching deliveries."""
    about = interview.alias()
    statement: Select[Any] = (
        select(
            delivery,
            event.c.name.label("event_name"),
            about.c.state.label("document"),
            about.c.position_id,
            about.c.position_name,
            claim.shown_at().label("shown_at"),
        )
        .outerjoin(event, event.c.seq == delivery.c.event_seq)
        .outerjoin(about, about.c.id == delivery.c.interview_id)
        .where(*_listed_deliveries(connection, wanted))
        .order_by(delivery.c.id.desc())
        .limit(limit)
    )
    return [_delivery_row(row) for row in connection.execute(statement)]


def attempts(connection: Connection, wanted: ListingFilter, limit: int) -> list[AttemptRow]:
    """Returns the matching attempts, the last started first."""
    conditions = [*_between(attempt.c.started_at, wanted), *_after(attempt.c.started_at, attempt.c.id, wanted)]
    if wanted.sink is not None:
        conditions.append(attempt.c.sink == wanted.sink)
    order = (attempt.c.started_at.desc(), attempt.c.id.desc())
    statement = select(attempt).where(*conditions).order_by(*order).limit(limit)
    return [AttemptRow(**row) for row in connection.execute(statement).mappings()]


def audit_entries(connection: Connection, wanted: ListingFilter, limit: int) -> list[AuditRow]:
    """Returns the newest rows of the audit log in the period of `wanted`."""
    statement = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if wanted.since is not None:
        statement = statement.where(audit.c.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(audit.c.at < wanted.until)
    if wanted.after is not None:
        statement = statement.where(audit.c.id < wanted.after[1])
    return [AuditRow(**row) for row in connection.execute(statement).mappings()]


def count_deliveries(connection: Connection, wanted: ListingFilter) -> int:
    """Counts the matching deliveries."""
    statement = select(func.count()).select_from(delivery).where(*delivery_conditions(connection, wanted))
    return int(connection.execute(statement).scalar_one())


def total(connection: Connection, listing: ListingName, wanted: ListingFilter) -> int:
    """Counts the rows of a listing, up to `TOTAL_MAX` + 1, which means more than `TOTAL_MAX`."""
    wanted = replace(wanted, after=None)
    chosen: Select[Any]
    if listing == "events":
        chosen = select(event.c.seq).where(*_all_event_conditions(connection, wanted))
    elif listing == "interviews":
        chosen = select(interview.c.id).where(*_interview_conditions(connection, wanted))
    elif listing == "deliveries":
        chosen = select(delivery.c.id).where(*_listed_deliveries(connection, wanted))
    else:
        mine = [attempt.c.sink == wanted.sink] if wanted.sink is not None else []
        chosen = select(attempt.c.id).where(*mine, *_between(attempt.c.started_at, wanted))
    rows = chosen.limit(TOTAL_MAX + 1).subquery()
    return int(connection.execute(select(func.count()).select_from(rows)).scalar_one())


def place_of(row: EventRow | InterviewRow | DeliveryRow | AttemptRow | AuditRow) -> Place:
    """Returns the place of a row in its listing, for `ListingFilter.after`."""
    if isinstance(row, EventRow):
        return row.received_at, row.id
    if isinstance(row, InterviewRow):
        return row.updated_at, row.id
    if isinstance(row, AuditRow):
        return row.at, row.id
    return (row.started_at, row.id) if isinstance(row, AttemptRow) else (0, row.id)


def sink_names(connection: Connection) -> list[str]:
    """Returns the names of all sinks that were ever configured."""
    return list(connection.execute(select(sink.c.name).order_by(sink.c.name)).scalars())


def positions(connection: Connection) -> list[tuple[str, str]]:
    """Returns ids and names of all positions, each pair once: one short search in an index for each."""
    pair = (interview.c.position_id, interview.c.position_name)
    following = select(*pair).order_by(*pair).limit(1)
    found = []
    row = connection.execute(following).first()
    while row is not None:
        found.append((row.position_id, row.position_name))
        row = connection.execute(following.where(tuple_(*pair) > found[-1])).first()
    return sorted(found)


def _within_column(id_: int) -> int:
    """Returns an id as its column can hold it, because databases refuse other numbers. No row has id 0 or `ID_MAX`."""
    return min(max(id_, 0), ID_MAX)


def event_conditions(wanted: ListingFilter) -> list[ColumnElement[bool]]:
    """Returns the conditions on the event table."""
    conditions = _between(event.c.received_at, wanted)
    for column, value in (
        (event.c.seq, None if wanted.event is None else _within_column(wanted.event)),
        (event.c.name, wanted.name),
        (event.c.kind, wanted.kind),
        (event.c.interview_id, wanted.interview),
    ):
        if value is not None:
            conditions.append(column == value)
    if wanted.kind is not None and wanted.kind != EventKind.EVENT:
        conditions.append(not_understood())  # as the index
    return conditions


def delivery_conditions(connection: Connection, wanted: ListingFilter) -> list[ColumnElement[bool]]:
    """Returns the conditions on a delivery, for a statement on the delivery table alone."""
    conditions = _between(delivery.c.since, wanted)
    if wanted.ids:
        conditions.append(among(connection, delivery.c.id, [_within_column(id_) for id_ in wanted.ids]))
    if wanted.states:
        conditions.append(or_(*(in_state(state) for state in wanted.states)))
    for column, value in (
        (delivery.c.sink, wanted.sink),
        (delivery.c.interview_id, wanted.interview),
        (delivery.c.event_seq, None if wanted.event is None else _within_column(wanted.event)),
        (delivery.c.reason, wanted.reason),
    ):
        if value is not None:
            conditions.append(column == value)
    about, are_few = _about(connection, delivery.c.interview_id, of_interview(connection, wanted))
    conditions += about
    if wanted.name is not None:
        conditions.append(_named(connection, wanted.name, each=are_few))
    return conditions


def _named(connection: Connection, name: str, *, each: bool) -> ColumnElement[bool]:
    """Returns the condition that a delivery is about an event of a name: by its number when few events have it.

    `each`: the event of each delivery is looked up, where PostgreSQL might join with all events of the name.
    """
    few = _few(connection, select(event.c.seq).where(event.c.name == name))
    if few is not None:
        return among(connection, delivery.c.event_seq, few)
    named = event.alias()
    if each:
        return select(named.c.name).where(named.c.seq == delivery.c.event_seq).scalar_subquery() == name
    return exists().where(named.c.seq == delivery.c.event_seq, named.c.name == name)


def _all_event_conditions(connection: Connection, wanted: ListingFilter) -> list[ColumnElement[bool]]:
    about, _ = _about(connection, event.c.interview_id, of_interview(connection, wanted))
    return [*event_conditions(wanted), *about]


def _interview_conditions(connection: Connection, wanted: ListingFilter) -> list[ColumnElement[bool]]:
    conditions = _between(interview.c.updated_at, wanted)
    if wanted.interview is not None:
        conditions.append(interview.c.id == wanted.interview)
    about = of_interview(connection, wanted)
    if wanted.sink is not None:
        about.append(_subscribed(connection, wanted.sink))
    few = _few(connection, select(interview.c.id).where(*about)) if about else None
    return [*conditions, *(about if few is None else [among(connection, interview.c.id, few)])]


def _subscribed(connection: Connection, name: str) -> ColumnElement[bool]:
    """Returns the condition that a sink shows an interview: by the id of the interview when the sink shows few."""
    theirs = subscription.c.sink == name
    few = _few(connection, select(subscription.c.interview_id).where(theirs))
    if few is not None:
        return among(connection, interview.c.id, few)
    return exists().where(theirs, subscription.c.interview_id == interview.c.id).correlate(interview)


def _about(
    connection: Connection, column: ColumnElement[str], conditions: Sequence[ColumnElement[bool]]
) -> tuple[list[ColumnElement[bool]], bool]:
    """Returns the condition that an interview meets the conditions, and whether few do, so that it has their ids."""
    if not conditions:
        return [], False
    few = _few(connection, select(interview.c.id).where(*conditions))
    if few is not None:
        return [among(connection, column, few)], True
    return [exists().where(interview.c.id == column, *conditions)], False


def _few(connection: Connection, ids: Select[Any]) -> Sequence[Any] | None:
    """Returns the ids, or `None` when there are more than `FEW`."""
    found = connection.execute(ids.limit(FEW + 1)).scalars().all()
    return None if len(found) > FEW else found


def _listed_deliveries(connection: Connection, wanted: ListingFilter) -> list[ColumnElement[bool]]:
    """Returns the conditions of the listing. Deliveries that have a rare value are found by their ids."""
    conditions = delivery_conditions(connection, wanted)
    if wanted.after is not None:
        conditions.append(delivery.c.id < wanted.after[1])
    for parts in _indexed(wanted):
        found: list[int] = []
        for part in parts:
            few = _few(connection, select(delivery.c.id).where(*part))
            if few is None:
                break
            found += few
        else:
            return [*conditions, among(connection, delivery.c.id, found)]
    if wanted.until is not None and (end := _first_since(connection, wanted.until + LATE_MS)) is not None:
        conditions.append(delivery.c.id < end)
    return conditions


def _indexed(wanted: ListingFilter) -> Iterator[list[list[ColumnElement[bool]]]]:
    """Yields filters of deliveries that have an index: the conditions of their parts, which together are the filter."""
    if wanted.states or wanted.sink is not None:
        mine = [] if wanted.sink is None else [delivery.c.sink == wanted.sink]
        yield [[_in_index(state), *mine] for state in wanted.states or tuple(DeliveryState)]
    if wanted.reason is not None:
        yield [[delivery.c.reason == wanted.reason]]
    if period := _between(delivery.c.since, wanted):
        yield [[in_state(DeliveryState.PENDING), *period], [is_not_pending(), *period]]


def _in_index(state: DeliveryState) -> ColumnElement[bool]:
    """The condition of the index of a state."""
    is_there = in_state(state)
    return and_(is_there, delivery.c.wait_group.is_not(None)) if state is DeliveryState.WAITING else is_there


def _first_since(connection: Connection, at: int) -> int | None:
    """Returns the first delivery of the events received since a time. Nothing that was due before is after it."""
    events = select(event.c.seq).where(event.c.received_at >= at).order_by(event.c.received_at, event.c.seq)
    seq = connection.execute(events.limit(1)).scalar()
    if seq is None:
        return None
    first = select(delivery.c.id).where(delivery.c.event_seq >= seq).order_by(delivery.c.event_seq, delivery.c.id)
    found: int | None = connection.execute(first.limit(1)).scalar()
    return found


def _after(time: ColumnElement[int], id_: ColumnElement[Any], wanted: ListingFilter) -> list[ColumnElement[bool]]:
    return [] if wanted.after is None else [tuple_(time, id_) < wanted.after]


def of_interview(connection: Connection, wanted: ListingFilter) -> list[ColumnElement[bool]]:
    """Returns the conditions on position, stage and candidate of an interview."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.stage is not None:
        conditions.append(interview.c.stage == wanted.stage.value)
    if wanted.position is not None:
        conditions.append(_at(connection, wanted.position, positions(connection)))
    if wanted.search is not None:
        conditions.append(among(connection, interview.c.id, words.find_interviews(connection, wanted.search)))
    return conditions


def _at(connection: Connection, wanted: str, known: Collection[tuple[str, str]]) -> ColumnElement[bool]:
    """Matches the stored positions in Python, because routes match names by rules that SQL does not have."""
    rule = Routes([Route(sinks=("found",), positions=(wanted,))], {"found": False})
    met = {pair for pair in known if rule.match("", *pair, Stage.PENDING, None)}
    others = {id_ for id_, name in known if (id_, name) not in met}
    whole = {id_ for id_, _ in met} - others | {wanted}
    return or_(
        among(connection, interview.c.position_id, sorted(whole)),
        *(
            and_(interview.c.position_id == id_, interview.c.position_name == name)
            for id_, name in sorted(met)
            if id_ not in whole
        ),
    )


def _between(column: ColumnElement[Any], wanted: ListingFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(column >= wanted.since)
    if wanted.until is not None:
        conditions.append(column < wanted.until)
    return conditions


def _candidate(interview_id: str, document: str | None) -> str:
    return "" if document is None else interview_of(interview_id, decode(document)).candidate_name


def _interview_row(row: Any, sinks: Sequence[str]) -> InterviewRow:
    found = interview_of(row.id, decode(row.state))
    return InterviewRow(
        id=row.id,
        candidate_name=found.candidate_name,
        position_id=row.position_id,
        position_name=row.position_name,
        stage=str(found.stage),
        stage_word=found.stage_word,
        score=found.score,
        completed_at=found.completed_at,
        updated_at=row.updated_at,
        last_event=found.text("last_event"),
        sinks=list(sinks),
    )


def _delivery_row(row: Any) -> DeliveryRow:
    return DeliveryRow(
        id=row.id,
        sink=row.sink,
        state=DeliveryState(row.state).name.lower(),
        key=row.key,
        interview_id=row.interview_id,
        candidate_name=_candidate(row.interview_id, row.document),
        position_id=row.position_id or "",
        position_name=row.position_name or "",
        event_id=row.event_seq,
        event_name=row.event_name or "",
        attempts=row.attempts,
        since=row.since,
        not_before=row.not_before if row.shown_at is None else row.shown_at,
        done_at=row.done_at,
        reason=row.reason or "",
        reference=row.reference or "",
        purpose=row.purpose,
        silent=bool(row.silent),
    )
