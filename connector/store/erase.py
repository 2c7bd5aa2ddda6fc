"""Erases a person from the store, and keeps a tombstone, so that later events of the interview store no data.

Functions on an open connection. The destinations are erased by follow-ups with the purpose `ERASE`, which the lanes of
the sinks run. Until they are done a row of the interview stays that holds its id and position and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, or_, select, update

from connector.capabilities import ERASE
from connector.interview import Stage, Value, text_of
from connector.merge import InterviewState, decode, encode
from connector.store import decisions, settle, words
from connector.store.dialects import among, has_row_locks, insert_new
from connector.store.ingest import hashes_of
from connector.store.schema import (
    DeliveryState,
    attempt,
    delivery,
    event,
    event_body,
    in_state,
    interview,
    interview_word,
    not_understood,
    note,
    subscription,
    tombstone,
)
from connector.text import unescaped

ERASE_PRIORITY = 0
"""Priority of an erase: before all events, so that no further data of the person is shown."""
CHUNK = 200
"""Rows that are loaded at once, of events that could not be read, whose bodies may be large."""
_KEPT = ("position_id", "position_name")
"""The fields that destinations need to find what they show; they are not about the person."""
_IDENTIFYING = ("candidate_email", "candidate_phone")
"""The fields whose values identify the person in a body that could not be read."""
_PERSONAL = (*_IDENTIFYING, "candidate_name")
"""The fields whose values must not stay in the reason of an attempt."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An interview to erase, and what the store has of it, for the preview. `is_repeated`: it was erased before."""

    interview_id: str
    candidate_name: str = ""
    position_name: str = ""
    events: int = 0
    deliveries: int = 0
    dead: int = 0
    is_repeated: bool = False


@dataclass(slots=True)
class Erased:
    """Numbers of rows that were deleted or stripped."""

    events: int = 0
    deliveries: int = 0
    dead: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class DestinationErase:
    """The erase at one destination: the state of its delivery, and the reason or what was done."""

    sink: str
    interview_id: str
    state: DeliveryState
    detail: str = ""


def exclude_receivers(connection: Connection) -> None:
    """Waits for the groups of events that receivers are writing; new groups wait until this transaction ends.

    Call it first in a transaction that erases: it must come before the snapshot. Without it a receiver that read before
    the erase could store the interview again. A SQLite transaction of a writer excludes other writers anyway.
    """
    if has_row_locks(connection):
        connection.exec_driver_sql("LOCK TABLE tombstone IN EXCLUSIVE MODE")


def is_erased(connection: Connection, interview_id: str) -> bool:
    """Whether the interview has a tombstone."""
    return interview_id in erased_among(connection, [interview_id])


def erased_among(connection: Connection, ids: Collection[str]) -> set[str]:
    """Returns those of the interviews that have a tombstone."""
    hashes = hashes_of(ids)
    mine = among(connection, tombstone.c.interview_hash, list(hashes))
    return {hashes[row] for row in connection.execute(select(tombstone.c.interview_hash).where(mine)).scalars()}


def ids_by_email(connection: Connection, address: str) -> list[str]:
    """Returns the interviews of candidates with this e-mail address, in any case, in the order of their ids."""
    found = (
        select(interview.c.id, interview.c.state)
        .join(interview_word, interview_word.c.interview_id == interview.c.id)
        .where(interview_word.c.word == words.word_of_email(address), interview.c.erased_at.is_(None))
        .order_by(interview.c.id)
    )
    wanted = address.strip().casefold()  # the word is shorter and has no accents
    return [
        row.id
        for row in connection.execute(found)
        if text_of(decode(row.state).values, "candidate_email").casefold() == wanted
    ]


def subject(connection: Connection, interview_id: str) -> Subject | None:
    """Returns what the store has of an interview, `None` when it knows nothing about it."""
    row = connection.execute(select(interview.c.state).where(interview.c.id == interview_id)).first()
    values = {} if row is None else decode(row.state).values
    events = _count(connection, event.c.interview_id == interview_id)
    deliveries = _count(connection, and_(_of(interview_id), delivery.c.purpose != ERASE))
    dead = _count(connection, and_(_of(interview_id), delivery.c.state == int(DeliveryState.DEAD)))
    repeated = is_erased(connection, interview_id)
    if row is None and not events and not deliveries and not repeated:
        return None
    return Subject(
        interview_id,
        text_of(values, "candidate_name"),
        text_of(values, "position_name"),
        events,
        deliveries,
        dead,
        repeated,
    )


def strip_unreadable(connection: Connection, interview_id: str) -> int:
    """Deletes the bodies of events that could not be read and that name the interview or its candidate.

    A body names the candidate when it contains the address, the telephone number, or all words of the name, if it has
    more than one. Call it before `erase`, which deletes these values. Returns the number of events.
    """
    _overwrite_deleted(connection)
    values = _values(connection, interview_id)
    needles = [text.casefold() for text in (interview_id, *_texts(values, _IDENTIFYING))]
    name = frozenset(words.split(" ".join(_texts(values, words.NAME_FIELDS))))
    bodies = select(event.c.seq, event_body.c.body).join(event_body, event_body.c.event_seq == event.c.seq)
    bodies = bodies.where(not_understood())
    after, count = 0, 0
    while rows := connection.execute(bodies.where(event.c.seq > after).order_by(event.c.seq).limit(CHUNK)).all():
        after = rows[-1].seq
        found = [row.seq for row in rows if _contains(bytes(row.body), needles, name)]
        _strip(connection, among(connection, event.c.seq, found))
        count += len(found)
    return count


def _contains(body: bytes, needles: Sequence[str], name: frozenset[str]) -> bool:
    """Whether a body contains one of the texts, which are case-folded, or all words of a name; also with JSON escapes.

    A single word is not enough: another person may have it, and it may be a common word.
    """
    text = unescaped(body.decode(errors="replace"))
    folded = text.casefold()
    return any(needle in folded for needle in needles) or (len(name) > 1 and name.issubset(words.split(text)))


def erase(connection: Connection, interview_id: str, sinks: Sequence[str], now: int) -> Erased:
    """Erases an interview in this transaction and asks the `sinks` to erase it.

    It can be repeated: what is done stays done, and what failed, waits or was added since is asked for again.
    """
    _overwrite_deleted(connection)
    (hash_,) = hashes_of([interview_id])
    row = connection.execute(select(interview).where(interview.c.id == interview_id).with_for_update()).first()
    insert_new(connection, tombstone, [{"interview_hash": hash_, "erased_at": now}], ["interview_hash"])
    values = {} if row is None else decode(row.state).values
    done = Erased(attempts=_strip_attempts(connection, interview_id, values))
    done.events = _strip_events(connection, interview_id)
    dead = and_(_of(interview_id), delivery.c.purpose != ERASE, delivery.c.state == int(DeliveryState.DEAD))
    done.dead = _count(connection, dead)
    done.deliveries = _delete_deliveries(connection, interview_id, now)
    decisions.forget(connection, interview_id)
    if row is not None:
        _strip_interview(connection, row, values, now)
    _ask(connection, interview_id, sinks, now)
    return done


def _overwrite_deleted(connection: Connection) -> None:
    """Lets SQLite overwrite deleted values with zeros (SQLite, PRAGMA secure_delete)."""
    if not has_row_locks(connection):
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def _strip_events(connection: Connection, interview_id: str) -> int:
    """Keeps the identity, so that a repeat is recognised, with the name of the event, the interview and the dates."""
    return _strip(connection, event.c.interview_id == interview_id)


def _strip(connection: Connection, which: ColumnElement[bool]) -> int:
    """Deletes bodies, hashes and reasons of events; returns the number of events."""
    connection.execute(delete(event_body).where(event_body.c.event_seq.in_(select(event.c.seq).where(which))))
    return connection.execute(update(event).where(which).values(sha256=b"", reason="")).rowcount


def _strip_attempts(connection: Connection, interview_id: str, values: Mapping[str, Value]) -> int:
    """Deletes what destinations answered to calls that may have been about the interview, and the reasons of those that
    were about it or that contain its values.
    """
    first = select(func.min(delivery.c.since)).where(_of(interview_id)).scalar_subquery()
    theirs = select(delivery.c.sink).where(_of(interview_id))
    calls = and_(attempt.c.sink.in_(theirs), attempt.c.started_at >= first)
    answered = connection.execute(update(attempt).where(calls, attempt.c.answer.is_not(None)).values(answer=None))
    batches = select(delivery.c.batch).where(_of(interview_id), delivery.c.batch.is_not(None))
    texts = (interview_id, *_texts(values, _PERSONAL))
    contains = [attempt.c.reason.contains(text, autoescape=True) for text in texts]
    about = or_(attempt.c.batch.in_(batches), *contains)
    connection.execute(update(attempt).where(calls, about, attempt.c.reason != "").values(reason=""))
    return answered.rowcount


def _delete_deliveries(connection: Connection, interview_id: str, now: int = 0) -> int:
    """Deletes all deliveries but those of the erase; returns their number.

    Deliveries of other interviews that waited for one of them are due `UNSHOWN_MS` after `now`.
    """
    others = and_(_of(interview_id), delivery.c.purpose != ERASE)
    shows = and_(others, in_state(DeliveryState.PENDING), delivery.c.wait_group.is_not(None))
    groups = connection.execute(select(delivery.c.sink, delivery.c.wait_group).where(shows)).all()
    deleted = connection.execute(delete(delivery).where(others)).rowcount
    for sink, group in groups:
        settle.release_unshown(connection, sink, [group], now)
    return deleted


def _strip_interview(connection: Connection, row: Any, values: Mapping[str, Value], now: int) -> None:
    """Keeps the id and the position until the destinations are done."""
    kept: dict[str, Value] = {name: values[name] for name in _KEPT if name in values}
    state = InterviewState((row.updated_at, 0, ""), {**kept, "deleted": now}, {})
    connection.execute(delete(interview_word).where(interview_word.c.interview_id == row.id))
    connection.execute(
        update(interview)
        .where(interview.c.id == row.id)
        .values(state=encode(state), stage=Stage.DELETED.value, version=interview.c.version + 1, erased_at=now)
    )


def _ask(connection: Connection, interview_id: str, sinks: Sequence[str], now: int) -> None:
    """Adds a delivery for each sink that has none. One that failed or waits is made due at once, and one of a sink that
    is not among the `sinks` any more is deleted.
    """
    mine = and_(_of(interview_id), delivery.c.purpose == ERASE)
    connection.execute(delete(delivery).where(mine, delivery.c.sink.not_in(sinks), _is_open()))
    pending = {"state": int(DeliveryState.PENDING), "not_before": 0, "bucket": None, "wait_group": None}
    dead = and_(mine, delivery.c.state == int(DeliveryState.DEAD))
    fresh = {"attempts": 0, "since": now, "blocks_key": 0, "reason": None, "done_at": None, "batch": None}
    connection.execute(update(delivery).where(dead).values(**pending, **fresh))
    connection.execute(update(delivery).where(mine, _is_open()).values(pending))
    there = set(connection.execute(select(delivery.c.sink).where(mine)).scalars())
    rows = [
        {
            "sink": name,
            "key": interview_id,
            "interview_id": interview_id,
            "purpose": ERASE,
            "priority": ERASE_PRIORITY,
            "since": now,
        }
        for name in sinks
        if name not in there
    ]
    if rows:
        connection.execute(insert(delivery), rows)


def steps(connection: Connection, interview_ids: Collection[str]) -> list[DestinationErase]:
    """Returns the erase at each destination, by interview and sink."""
    mine = and_(among(connection, delivery.c.interview_id, sorted(interview_ids)), delivery.c.purpose == ERASE)
    rows = connection.execute(select(delivery).where(mine).order_by(delivery.c.interview_id, delivery.c.sink))
    return [
        DestinationErase(row.sink, row.interview_id, DeliveryState(row.state), row.reference or row.reason or "")
        for row in rows
    ]


def finish(connection: Connection, interview_id: str) -> bool:
    """Deletes the rest of an erased interview, with the notes about it, once no destination is left to erase.

    Returns whether nothing is left.
    """
    waits = and_(_of(interview_id), delivery.c.purpose == ERASE, _is_open())
    if connection.execute(select(exists().where(waits))).scalar():
        return False
    _overwrite_deleted(connection)
    _delete_notes(connection, interview_id)
    connection.execute(delete(subscription).where(subscription.c.interview_id == interview_id))
    connection.execute(delete(interview).where(interview.c.id == interview_id, interview.c.erased_at.is_not(None)))
    _delete_deliveries(connection, interview_id)
    return True


def finish_all(connection: Connection) -> int:
    """Finishes at most `CHUNK` erased interviews whose destinations are done. Returns their number."""
    waits = exists().where(delivery.c.interview_id == interview.c.id, delivery.c.purpose == ERASE, _is_open())
    erased = select(interview.c.id).where(interview.c.erased_at.is_not(None), ~waits).limit(CHUNK)
    return sum(finish(connection, id_) for id_ in connection.execute(erased).scalars().all())


def _is_open() -> ColumnElement[bool]:
    """The condition that the person may still be at the destination of a delivery with the purpose `ERASE`."""
    states = (DeliveryState.PENDING, DeliveryState.WAITING, DeliveryState.DEAD)
    return delivery.c.state.in_([int(state) for state in states])


def _delete_notes(connection: Connection, interview_id: str) -> None:
    """Deletes the notes whose name is the id, with or without a prefix such as `row:`; also of sinks of the past."""
    ends = or_(note.c.key == interview_id, note.c.key.endswith(f":{interview_id}", autoescape=True))
    keys = set(connection.execute(select(note.c.key).where(ends)).scalars())
    mine = [key for key in keys if interview_id in {key, key.partition(":")[2]}]
    connection.execute(delete(note).where(among(connection, note.c.key, mine)))


def apply_tombstones(connection: Connection, hashes: Mapping[str, int]) -> int:
    """Erases what a restored store has of persons who were erased since. `hashes` maps them to the time of the erase.

    Returns the number of interviews that were erased again.
    """
    known = set(connection.execute(select(tombstone.c.interview_hash)).scalars())
    missing = hashes.keys() - known
    if not missing:
        return 0
    ids = connection.execute(
        select(interview.c.id).union(select(event.c.interview_id).where(event.c.interview_id != ""))
    ).scalars()
    back = {hash_: id_ for hash_, id_ in hashes_of(ids).items() if hash_ in missing}
    for hash_, id_ in back.items():
        strip_unreadable(connection, id_)
        erase(connection, id_, [], hashes[hash_])
        finish(connection, id_)
    rest = [{"interview_hash": hash_, "erased_at": hashes[hash_]} for hash_ in sorted(missing - back.keys())]
    insert_new(connection, tombstone, rest, ["interview_hash"])
    return len(back)


def _of(interview_id: str) -> ColumnElement[bool]:
    return delivery.c.interview_id == interview_id


def _count(connection: Connection, condition: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).where(condition)).scalar_one())


def _values(connection: Connection, interview_id: str) -> Mapping[str, Value]:
    state = connection.execute(select(interview.c.state).where(interview.c.id == interview_id)).scalar()
    return {} if state is None else decode(state).values


def _texts(values: Mapping[str, Value], names: Sequence[str]) -> list[str]:
    return [text for name in names if (text := text_of(values, name))]
