"""Replay: puts dead letters, delivered deliveries and old events back into the queue, for an operator; and dismissal.

Functions on an open connection, inside a transaction of the caller. A dead letter keeps its id, so that the destination
recognizes it, also after it was dismissed; a delivered one is repeated under a new id. Only the receiver adds events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from connector.hireflix.payload import EventKind, Reading, read
from connector.store import erase, parsed, rollup, subscriptions, words
from connector.store.dialects import among, insert_new
from connector.store.ingest import (
    DELIVERY_COLUMNS,
    INTERVIEW_COLUMNS,
    IngestPlan,
    RoutingTable,
    StoredInterview,
    plan_one,
)
from connector.store.queries import ListingFilter, delivery_conditions, event_conditions, of_interview
from connector.store.schema import DeliveryState, delivery, event, event_body, in_state, interview, not_understood, sink

CHUNK = 200
"""Rows per transaction. A longer transaction would delay the receiver."""

_REPLAYABLE = frozenset({DeliveryState.DEAD, DeliveryState.DISMISSED, DeliveryState.DELIVERED})


@dataclass(slots=True)
class ReplaySelection:
    """What a replay sends: ids of dead or dismissed letters, ids to repeat, and counts by sink and state."""

    dead: list[int] = field(default_factory=list)
    repeat: list[int] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    expired: Counter[str] = field(default_factory=Counter)
    """Deliveries of message sinks, by sink, that cannot be replayed: retention deleted the data of their events."""
    pending: Counter[str] = field(default_factory=Counter)
    """Deliveries, by sink, that are not replayed: an equal one is pending already."""
    rows: Counter[str] = field(default_factory=Counter)
    """Interviews, by state sink. Each is written once, however many deliveries it has."""
    notifying: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Deliveries of message sinks that are not silent, by sink and name of the event; `""` for a follow-up."""
    message_sinks: frozenset[str] = frozenset()
    """The configured sinks whose deliveries need the data of their events."""


def find_deliveries(connection: Connection, wanted: ListingFilter, sinks: Mapping[str, bool]) -> ReplaySelection:
    """Returns the deliveries to send again. `sinks` maps each configured sink to whether it is a state sink.

    For a state sink one delivery per interview is repeated, because each shows the newest state. A delivered follow-up
    is not repeated.
    """
    found = ReplaySelection(message_sinks=frozenset(name for name, is_state in sinks.items() if not is_state))
    selection = _Selection(found)
    for row in _candidates(connection, wanted):
        is_state = sinks.get(row.sink)
        if is_state is not None:
            selection.add(row, is_state=is_state)
    return found


def _candidates(connection: Connection, wanted: ListingFilter) -> Iterable[Row[Any]]:
    """Returns the wanted deliveries, with what decides whether each is replayed."""
    named = event.alias()
    columns = (
        delivery.c.id,
        delivery.c.sink,
        delivery.c.key,
        delivery.c.state,
        delivery.c.event_seq,
        delivery.c.purpose,
        delivery.c.subject,
        delivery.c.interview_id,
        delivery.c.silent,
        named.c.name.label("event_name"),
        (~_has_data()).label("is_expired"),
        _has_equal_follow_up().label("has_follow_up"),
        _has_same_event().label("has_event"),
    )
    # dead letters first: their content is not repeated
    order = (delivery.c.state.desc(), delivery.c.id)
    found = select(*columns).select_from(delivery).outerjoin(named, named.c.seq == delivery.c.event_seq)
    return connection.execute(found.where(*delivery_conditions(connection, wanted)).order_by(*order))


class _Selection:
    """Sorts deliveries into those that are replayed, those that cannot be, and those with an equal pending one."""

    def __init__(self, found: ReplaySelection) -> None:
        self._found = found
        self._seen: set[tuple[object, ...]] = set()
        self._planned: set[tuple[object, ...]] = set()
        self._rows: set[tuple[str, str]] = set()

    def add(self, row: Row[Any], *, is_state: bool) -> None:
        """Counts a delivery where it belongs. Deliveries must come in the order of `_candidates`."""
        found = self._found
        about = (row.sink, row.key, row.purpose, row.subject)
        content = about if is_state else (row.sink, row.key, row.event_seq)
        is_open = row.state in {DeliveryState.DEAD, DeliveryState.DISMISSED}
        is_repeatable = row.state == DeliveryState.DELIVERED and not row.purpose and content not in self._seen
        if row.is_expired and not is_state and row.state in _REPLAYABLE:
            found.expired[row.sink] += 1
            return
        if (is_open and row.event_seq is None and (row.has_follow_up or about in self._planned)) or (
            is_repeatable and row.has_event
        ):
            found.pending[row.sink] += 1
            self._seen.add(content)
            return
        if is_open:
            found.dead.append(row.id)
            self._planned.add(about)
        elif is_repeatable and (is_state or row.event_seq is not None):
            found.repeat.append(row.id)
        else:
            return
        self._seen.add(content)
        found.counts[row.sink, DeliveryState(row.state).name.lower()] += 1
        self._count_effect(row, is_state=is_state)

    def _count_effect(self, row: Row[Any], *, is_state: bool) -> None:
        if not is_state:
            if not row.silent:
                self._found.notifying[row.sink, row.event_name or ""] += 1
        elif row.interview_id and (row.sink, row.key) not in self._rows:
            self._rows.add((row.sink, row.key))
            self._found.rows[row.sink] += 1


def _has_data() -> ColumnElement[bool]:
    """The condition that the data of the event of a delivery is stored; true without an event."""
    return or_(delivery.c.event_seq.is_(None), exists().where(event_body.c.event_seq == delivery.c.event_seq))


def _has_equal_follow_up() -> ColumnElement[bool]:
    """The condition that an equal delivery without an event is pending."""
    other = delivery.alias()
    return exists().where(
        other.c.sink == delivery.c.sink,
        other.c.key == delivery.c.key,
        other.c.purpose == delivery.c.purpose,
        other.c.subject == delivery.c.subject,
        or_(in_state(DeliveryState.PENDING, other), in_state(DeliveryState.WAITING, other)),
        other.c.event_seq.is_(None),
    )


def _has_same_event() -> ColumnElement[bool]:
    """The condition that a delivery of the same event is pending for the sink."""
    other = delivery.alias()
    return exists().where(
        other.c.sink == delivery.c.sink,
        other.c.key == delivery.c.key,
        other.c.purpose == delivery.c.purpose,
        in_state(DeliveryState.PENDING, other),
        other.c.event_seq.is_not_distinct_from(delivery.c.event_seq),
    )


def revive(connection: Connection, ids: Sequence[int], now: int, message_sinks: Collection[str] = ()) -> int:
    """Makes dead and dismissed letters pending again under their ids, as if received at `now`. Returns their number.

    A follow-up keeps its state while an equal one is pending. A delivery of `message_sinks` keeps its state when
    retention deleted the data of its event meanwhile.
    """
    _lock(connection, ids)
    changed = connection.execute(
        update(delivery)
        .where(
            among(connection, delivery.c.id, ids),
            or_(in_state(DeliveryState.DEAD), in_state(DeliveryState.DISMISSED)),
            or_(delivery.c.event_seq.is_not(None), ~_has_equal_follow_up()),
            or_(delivery.c.sink.not_in(message_sinks), _has_data()),
        )
        .values(
            state=int(DeliveryState.PENDING),
            attempts=0,
            since=now,
            not_before=0,
            blocks_key=0,
            batch=None,
            batch_started_at=None,
            bucket=None,
            reason=None,
            done_at=None,
        )
    )
    return changed.rowcount


def repeat(connection: Connection, ids: Sequence[int], now: int, message_sinks: Collection[str] = ()) -> int:
    """Adds new deliveries for the delivered ones with these ids, in the same order. Returns their number.

    No delivery is added where one of the same event is already pending for that sink, nor for a delivery of
    `message_sinks` when retention deleted the data of its event meanwhile.
    """
    _lock(connection, ids)
    columns = [delivery.c[name] for name in DELIVERY_COLUMNS if name != "since"]
    chosen = (
        select(*columns, literal(now))
        .where(among(connection, delivery.c.id, ids), in_state(DeliveryState.DELIVERED), ~_has_same_event())
        .where(or_(delivery.c.sink.not_in(message_sinks), _has_data()))
        .order_by(delivery.c.id)
    )
    adding = insert(delivery).from_select([*(c.name for c in columns), "since"], chosen)
    return connection.execute(adding.execution_options(preserve_rowcount=True)).rowcount


def find_dead(connection: Connection, wanted: ListingFilter, removed: Collection[str] = ()) -> dict[str, list[int]]:
    """Returns the ids of the dead letters that `wanted` selects, by sink, also of sinks without configuration.

    Of the sinks in `removed`, which no lane delivers to, also those of pending and waiting deliveries.
    """
    found: dict[str, list[int]] = {}
    conditions = (_can_be_dismissed(removed), *delivery_conditions(connection, wanted))
    for row in connection.execute(select(delivery.c.id, delivery.c.sink).where(*conditions).order_by(delivery.c.id)):
        found.setdefault(row.sink, []).append(row.id)
    return found


def _can_be_dismissed(removed: Collection[str]) -> ColumnElement[bool]:
    is_open = or_(in_state(DeliveryState.PENDING), in_state(DeliveryState.WAITING))
    dead = in_state(DeliveryState.DEAD)
    return or_(dead, and_(delivery.c.sink.in_(sorted(removed)), is_open)) if removed else dead


def dismiss(connection: Connection, ids: Sequence[int], reason: str, now: int, removed: Collection[str] = ()) -> int:
    """Settles deliveries that `find_dead` found as dismissed at `now`. Returns their number; others are skipped.

    The stored reason is that of the operator, followed by that of the failure.
    """
    why = literal(f"{reason} (failed with: ") + func.coalesce(delivery.c.reason, "") + literal(")")
    changed = connection.execute(
        update(delivery)
        .where(among(connection, delivery.c.id, ids), _can_be_dismissed(removed))
        .values(
            state=int(DeliveryState.DISMISSED),
            reason=case((in_state(DeliveryState.DEAD), why), else_=literal(reason)),
            done_at=now,
        )
        .returning(delivery.c.id)
    )
    dismissed = changed.scalars().all()
    rollup.count_settled(connection, dismissed, now)
    return len(dismissed)


def _lock(connection: Connection, ids: Sequence[int]) -> None:
    """Locks the sinks and events of these deliveries, where the database has row locks.

    Before this transaction ends, lanes cannot settle, other replays cannot add deliveries, and retention cannot delete
    the data of the events.
    """
    mine = among(connection, delivery.c.id, ids)
    sinks, events = select(delivery.c.sink).where(mine), select(delivery.c.event_seq).where(mine)
    connection.execute(select(sink.c.name).where(sink.c.name.in_(sinks)).order_by(sink.c.name).with_for_update())
    locked = select(event.c.seq).where(event.c.seq.in_(events)).order_by(event.c.seq)
    connection.execute(locked.with_for_update(read=True)).all()


@dataclass(slots=True)
class ReadAgain:
    """Counts of events that an earlier version could not use: applied now, repeats of another event, still unusable."""

    applied: int = 0
    repeats: int = 0
    still: int = 0


@dataclass(slots=True)
class EventSelection:
    """Ids of unknown and unreadable events, in order of arrival. `expired` ones have no body any more."""

    ids: list[int] = field(default_factory=list)
    expired: list[int] = field(default_factory=list)


def find_events(connection: Connection, wanted: ListingFilter) -> EventSelection:
    """Returns the unknown and unreadable events that are wanted."""
    statement = (
        select(event.c.seq, event_body.c.event_seq.is_not(None).label("has_body"))
        .outerjoin(event_body, event_body.c.event_seq == event.c.seq)
        .outerjoin(interview, interview.c.id == event.c.interview_id)
        .where(not_understood(), *event_conditions(wanted), *of_interview(connection, wanted))
        .order_by(event.c.seq)
    )
    found = EventSelection()
    for row in connection.execute(statement):
        (found.ids if row.has_body else found.expired).append(row.seq)
    return found


def read_again(connection: Connection, seqs: Sequence[int], routing: RoutingTable, now: int, result: ReadAgain) -> None:
    """Parses stored events with this version. A known event is merged and routed as if received at `now`.

    Adds the counts to `result` at the end, so that a job that fails and is repeated counts once.
    """
    counts = ReadAgain()
    rows = connection.execute(
        select(event, event_body.c.body)
        .join(event_body, event_body.c.event_seq == event.c.seq)
        .where(among(connection, event.c.seq, seqs), not_understood())
        .order_by(event.c.seq)
        .with_for_update()
    ).all()
    for row in rows:
        reading = read(row.body, row.received_at)
        if reading.kind is not EventKind.EVENT:
            counts.still += 1
        elif erase.is_erased(connection, reading.interview_id):
            counts.still += 1
            _update_event(connection, row.seq, sha256=b"")
            connection.execute(delete(event_body).where(event_body.c.event_seq == row.seq))
        elif (twin := _twin(connection, reading, row.seq)) is not None:
            counts.repeats += 1
            _update_event(connection, row.seq, kind=str(EventKind.EVENT), reason=f"repeats event {twin}")
        else:
            counts.applied += 1
            _apply(connection, reading, row.seq, routing, now)
    result.applied += counts.applied
    result.repeats += counts.repeats
    result.still += counts.still


def _twin(connection: Connection, reading: Reading, seq: int) -> int | None:
    """Returns the id of another event with the same identity, if there is one."""
    same = and_(event.c.identity == reading.identity, event.c.seq != seq)
    found: int | None = connection.execute(select(event.c.seq).where(same)).scalar()
    return found


def _apply(connection: Connection, reading: Reading, seq: int, routing: RoutingTable, now: int) -> None:
    _update_event(
        connection,
        seq,
        kind=str(reading.kind),
        identity=reading.identity,
        name=reading.name,
        interview_id=reading.interview_id,
        occurred_at=reading.occurred_at,
        mark=reading.marks,
        reason="",
    )
    mine = event_body.c.event_seq == seq
    connection.execute(update(event_body).where(mine).values(parsed=parsed.encode(reading)))
    plan = _merge(connection, reading, seq, routing)
    deliveries = [dict(zip(DELIVERY_COLUMNS, row, strict=True)) | {"since": now} for row in plan.deliveries]
    if deliveries:
        connection.execute(insert(delivery), deliveries)


def _merge(connection: Connection, reading: Reading, seq: int, routing: RoutingTable) -> IngestPlan:
    """Merges an event into its interview. The row is locked, or created when there is none.

    When a receiver creates it at the same time, the event is merged into that row.
    """
    columns = (interview.c.state, interview.c.version)
    mine = select(*columns).where(interview.c.id == reading.interview_id).with_for_update()
    while True:
        row = connection.execute(mine).first()
        sinks = subscriptions.sinks_of(connection, [reading.interview_id]).get(reading.interview_id, ())
        stored = None if row is None else StoredInterview(row.state, row.version, sinks)
        plan = plan_one(reading, seq, stored, routing)
        ((id_, *values),) = plan.interviews
        rest = dict(zip(INTERVIEW_COLUMNS[1:], values, strict=True))
        if row is not None:
            connection.execute(update(interview).where(interview.c.id == id_).values(rest))
        elif not insert_new(connection, interview, [{"id": id_, **rest}], ["id"]):
            continue
        subscriptions.subscribe(connection, plan.subscriptions)
        words.change(connection, plan.old_words, plan.words)
        return plan


def _update_event(connection: Connection, seq: int, **values: Any) -> None:
    connection.execute(update(event).where(event.c.seq == seq).values(**values))
