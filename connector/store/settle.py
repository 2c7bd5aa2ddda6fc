"""What one call to a sink came to, written in one transaction. Functions on an open connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, and_, bindparam, case, insert, select, update

from connector.sink import VERIFY, Note
from connector.store import leases, notes
from connector.store.claim import OF_SINK, PENDING
from connector.store.leases import Lease, Pause
from connector.store.plan import AGAIN_PRIORITY, VERIFY_PRIORITY
from connector.store.portable import among, storable
from connector.store.schema import DeliveryState, attempt, delivery, in_state, interview, sink

SOON_MS = 60_000


@dataclass(frozen=True, slots=True)
class Retry:
    """A row that stays pending."""

    id: int
    counted: int
    not_before: int
    reason: str
    keeps_batch: bool


@dataclass(frozen=True, slots=True)
class Again:
    """A call that the sink asked for."""

    key: str
    asked_by: str
    not_before: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of the record of attempts."""

    outcome: str
    reason: str
    count: int


@dataclass(slots=True)
class Settlement:
    """What one call comes to, ready to be written in one transaction."""

    batch: str
    started_at: int
    ended_at: int
    delivered: list[tuple[int, str | None]] = field(default_factory=list)
    superseded: list[int] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    cured: list[str] = field(default_factory=list)
    """Keys of a state sink that show the newest state now: their older dead letters say nothing any more."""
    bucket: str | None = None
    notes: Mapping[str, Note | None] = field(default_factory=dict)
    again: list[Again] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    maybe_sent: bool = False
    rest_until: int = 0
    resumed: bool = False
    pause: Pause | None = None


def settle(connection: Connection, lease: Lease, destination: str, settlement: Settlement) -> None:
    """Writes what one call came to: outcomes, notes, follow-up calls, the record. Raises `LeaseLost`."""
    leases.require(connection, lease)
    _settle_done(connection, settlement)
    _cure(connection, lease.sink, settlement)
    _settle_open(connection, settlement)
    notes.write(connection, lease.sink, destination, settlement.notes)
    if settlement.again:
        _ask_again(connection, lease.sink, settlement.again, settlement.ended_at)
    _record(connection, lease.sink, settlement)
    _settle_sink(connection, lease.sink, settlement)


def _settle_done(connection: Connection, settlement: Settlement) -> None:
    plain = [id_ for id_, reference in settlement.delivered if reference is None]
    referred = [(id_, reference) for id_, reference in settlement.delivered if reference is not None]
    _finish(connection, plain, DeliveryState.DELIVERED, settlement.ended_at)
    _finish(connection, settlement.superseded, DeliveryState.SUPERSEDED, settlement.ended_at)
    _finish_each(connection, referred, DeliveryState.DELIVERED, settlement.ended_at, delivery.c.reference)
    _finish_each(connection, settlement.dead, DeliveryState.DEAD, settlement.ended_at, delivery.c.reason)


def _cure(connection: Connection, name: str, settlement: Settlement) -> None:
    dead = and_(delivery.c.sink == name, in_state(DeliveryState.DEAD))
    if settlement.cured and connection.execute(select(delivery.c.id).where(dead).limit(1)).first() is not None:
        mine = among(connection, delivery.c.key, settlement.cured)
        connection.execute(update(delivery).where(dead, mine).values(state=int(DeliveryState.SUPERSEDED)))


def _ending(state: DeliveryState, at: int) -> dict[str, Any]:
    return {"state": int(state), "done_at": at, "held": 0, "bucket": None}


def _finish(connection: Connection, ids: Sequence[int], state: DeliveryState, at: int) -> None:
    if ids:
        mine = among(connection, delivery.c.id, ids)
        connection.execute(update(delivery).where(mine, PENDING).values(_ending(state, at)))


def _finish_each(
    connection: Connection, rows: Sequence[tuple[int, str]], state: DeliveryState, at: int, column: Column[Any]
) -> None:
    """As `_finish`, with a text of its own for each row."""
    if rows:
        mine = delivery.c.id == bindparam("row")
        statement = update(delivery).where(mine, PENDING).values({**_ending(state, at), column.name: bindparam("text")})
        connection.execute(statement, [{"row": id_, "text": storable(text)} for id_, text in rows])


def _settle_open(connection: Connection, settlement: Settlement) -> None:
    if settlement.retries:
        _put_off(connection, settlement.retries)
    if settlement.waiting:
        mine = among(connection, delivery.c.id, settlement.waiting)
        values: dict[str, Any] = {"bucket": settlement.bucket}
        if not settlement.maybe_sent:
            # what has not failed holds nothing back while it waits for a token
            values |= {"batch": None, "held": case((delivery.c.attempts > 0, delivery.c.held), else_=0)}
        connection.execute(update(delivery).where(mine, PENDING).values(values))


def _put_off(connection: Connection, retries: Sequence[Retry]) -> None:
    values = {
        "attempts": delivery.c.attempts + bindparam("counted"),
        "not_before": bindparam("at"),
        "held": 1,
        "bucket": None,
        "reason": bindparam("why"),
        "batch": case((bindparam("keeps") == 1, delivery.c.batch), else_=None),
    }
    connection.execute(
        update(delivery).where(delivery.c.id == bindparam("row"), PENDING).values(values),
        [
            {
                "row": retry.id,
                "counted": retry.counted,
                "at": retry.not_before,
                "why": storable(retry.reason),
                "keeps": int(retry.keeps_batch),
            }
            for retry in retries
        ],
    )


def _ask_again(connection: Connection, name: str, asked: Sequence[Again], now: int) -> None:
    """One pending call per sink and key: an untried one moves to the earlier time, a tried one keeps its own."""
    keys = [again.key for again in asked]
    mine = and_(OF_SINK, among(connection, delivery.c.key, keys), delivery.c.event_seq.is_(None))
    columns = (delivery.c.key, delivery.c.id, delivery.c.attempts, delivery.c.held, delivery.c.not_before)
    waiting = {row.key: row for row in connection.execute(select(*columns).where(mine), {"sink": name})}
    _bring_forward(connection, [(waiting[again.key], again) for again in asked if again.key in waiting])
    _add_again(connection, name, [again for again in asked if again.key not in waiting], now)


def _bring_forward(connection: Connection, pairs: Sequence[tuple[Any, Again]]) -> None:
    sooner = [
        {"row": row.id, "at": again.not_before}
        for row, again in pairs
        if not row.attempts and not row.held and again.not_before < row.not_before
    ]
    if sooner:
        statement = update(delivery).where(delivery.c.id == bindparam("row")).values(not_before=bindparam("at"))
        connection.execute(statement, sooner)


def _add_again(connection: Connection, name: str, asked: Sequence[Again], now: int) -> None:
    if not asked:
        return
    chosen = among(connection, interview.c.id, [again.key for again in asked])
    known = set(connection.execute(select(interview.c.id).where(chosen)).scalars())
    rows = [
        {
            "sink": name,
            "key": again.key,
            "interview_id": again.key if again.key in known else again.asked_by,
            "priority": VERIFY_PRIORITY if again.key == VERIFY else AGAIN_PRIORITY,
            "since": now,
            "not_before": again.not_before,
        }
        for again in asked
    ]
    connection.execute(insert(delivery), rows)


def ask_to_verify(connection: Connection, name: str, now: int) -> None:
    """Has a sink's lane verify at once, for a person."""
    leases.lock(connection, name, sink.c.name)  # as a settle does that asks for the same
    _ask_again(connection, name, [Again(VERIFY, "", now)], now)


def verifies_soon(connection: Connection, name: str, now: int) -> bool:
    """Whether a verification is due, or will be within moments."""
    mine = and_(OF_SINK, delivery.c.key == VERIFY, delivery.c.not_before <= now + SOON_MS)
    return connection.execute(select(delivery.c.id).where(mine), {"sink": name}).first() is not None


def _record(connection: Connection, name: str, settlement: Settlement) -> None:
    duration = max(0, settlement.ended_at - settlement.started_at)
    rows = [
        {
            "sink": name,
            "batch": settlement.batch,
            "started_at": settlement.started_at,
            "duration_ms": duration,
            "outcome": entry.outcome,
            "reason": storable(entry.reason),
            "count": entry.count,
        }
        for entry in settlement.attempts
    ]
    if rows:
        connection.execute(insert(attempt), rows)


def _settle_sink(connection: Connection, name: str, settlement: Settlement) -> None:
    values: dict[str, Any] = {"rest_until": settlement.rest_until}
    if settlement.delivered:
        count = len(settlement.delivered)
        values |= {"delivered": sink.c.delivered + count, "last_delivered_at": settlement.ended_at}
    if not settlement.maybe_sent:
        values |= {"batch": None, "batch_started_at": None}
    connection.execute(update(sink).where(sink.c.name == name).values(values))
    if settlement.resumed:
        leases.mend(connection, name)
    if settlement.pause is not None:
        leases.pause(connection, name, settlement.pause)
