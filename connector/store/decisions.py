"""The requests for decisions, their states and results.

Functions on an open connection, in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, case, delete, exists, func, literal, select, update

from connector.capabilities import CHOICES, DECIDED, decided_key
from connector.decision import Decision, DecisionRequest
from connector.store import audit, leases, notes, schema
from connector.store.dialects import Now, insert_new, storable
from connector.store.schema import AuditAction, RequestState, Sent, decision_request, note, sink
from connector.store.settle import PlannedFollowUp, plan_follow_ups

REASON_LENGTH = 500
"""Most characters of a reason that are kept."""
RESTORED = "the store was restored from a backup, and this may have been done since"
WAITING_MAX = 20
"""Most waiting requests for one interview that are read at once."""
LEASE = "decide:"
"""Prefix of the name of the lease for the decisions on an interview."""


class Decided(msgspec.Struct, frozen=True):
    """The result of a decision: whether it was sent, and what Hireflix shows. `link` is that of a share."""

    changed: bool
    stage: str | None = None
    score: float | None = None
    link: str | None = None
    v: int = 1


class StoredRequest(msgspec.Struct, frozen=True):
    """A row of `decision_request`. Times are epoch milliseconds."""

    id: int
    key: str
    interview_id: str
    decision: Decision
    value: str | None
    repeat: bool
    actor: str
    via: str
    sink: str
    place: str
    requested_at: int
    due_at: int
    state: RequestState
    sent: Sent
    reason: str
    result: Decided | None
    done_at: int | None

    @property
    def shown(self) -> str:
        """The decision with its score, and without the text of a comment, which may contain personal data."""
        return f"{self.decision} {self.value}" if self.decision is Decision.SCORE else str(self.decision)


def ask(connection: Connection, request: DecisionRequest, now: int, *, sink_name: str = "") -> StoredRequest:
    """Stores a request, unless one with its key is stored, and returns the stored one.

    `sink_name` is the sink that shows the result.
    """
    values = {
        "key": storable(request.key),
        "interview_id": storable(request.interview_id),
        "decision": str(request.decision),
        "value": None if request.value is None else storable(request.value),
        "repeat": int(request.repeat),
        "actor": storable(request.actor),
        "via": str(request.via),
        "sink": sink_name,
        "place": storable(request.place),
        "requested_at": now,
        "due_at": now,
        "state": str(RequestState.HELD if request.hold else RequestState.WAITING),
        "reason": storable(request.hold)[:REASON_LENGTH],
    }
    is_new = insert_new(connection, decision_request, [values], ["key"])
    [stored] = _rows(connection, decision_request.c.key == values["key"], limit=1)
    if is_new and request.hold:
        _notify_sink(connection, stored, now)
    return stored


def due(connection: Connection, now: Now, limit: int, without: Collection[int] = ()) -> list[StoredRequest]:
    """Returns waiting requests that are due and that no process carries out, at most one per interview.

    Those that were not tried yet come first, the newest of them before the others: its user looks at the result.
    """
    request, lease, earlier = decision_request.c, schema.lease.c, decision_request.alias("earlier")
    blocked = exists().where(
        earlier.c.interview_id == request.interview_id,
        earlier.c.state == str(RequestState.WAITING),
        earlier.c.id < request.id,
    )
    taken = exists().where(lease.name == literal(LEASE) + request.interview_id, lease.lease_until >= now)
    mine = (*_in(RequestState.WAITING), request.due_at <= now, ~blocked, ~taken, request.id.not_in(without))
    tried = request.reason != ""
    order = (tried, case((tried, request.due_at), else_=-request.id))
    return _rows(connection, *mine, limit=limit, order=order)


def get(connection: Connection, id_: int) -> StoredRequest | None:
    """Returns a request, `None` when it was deleted."""
    found = _rows(connection, decision_request.c.id == id_, limit=1)
    return found[0] if found else None


def waiting_for(connection: Connection, interview_id: str) -> list[StoredRequest]:
    """Returns the waiting requests for an interview, the oldest first."""
    mine = (decision_request.c.interview_id == interview_id, *_in(RequestState.WAITING))
    return _rows(connection, *mine, limit=WAITING_MAX)


class WaitsFor(StrEnum):
    """What a waiting request waits for."""

    EARLIER = "an earlier decision on the interview"
    REPLY = "the reply of Hireflix"
    NEXT_TRY = "the next try"
    TURN = "its turn"


def waits_for(connection: Connection, stored: StoredRequest, now: Now) -> WaitsFor:
    """Returns what a waiting request waits for. The next try is at its `due_at`, and its `reason` says why."""
    if any(each.id < stored.id for each in waiting_for(connection, stored.interview_id)):
        return WaitsFor.EARLIER
    name, until = schema.lease.c.name, schema.lease.c.lease_until
    taken = select(name).where(name == f"{LEASE}{stored.interview_id}", until >= now)
    if connection.execute(taken).first() is not None:
        return WaitsFor.REPLY
    return WaitsFor.NEXT_TRY if stored.reason else WaitsFor.TURN


def forget(connection: Connection, interview_id: str) -> None:
    """Deletes the requests for an interview, with their texts."""
    connection.execute(delete(decision_request).where(decision_request.c.interview_id == interview_id))


def mark_sent(connection: Connection, id_: int) -> bool:
    """Stores that the decision may reach Hireflix from now on. Returns `False` when the request is not waiting."""
    return _change(connection, id_, [RequestState.WAITING], sent=int(Sent.MAYBE)) is not None


def put_off(connection: Connection, id_: int, reason: str, due_at: int, *, now: int) -> None:
    """Postpones a waiting request to `due_at`. The first delay is shown where the request came from."""
    before = get(connection, id_)
    values = {"reason": storable(reason)[:REASON_LENGTH], "due_at": due_at}
    stored = _change(connection, id_, [RequestState.WAITING], **values)
    if stored is not None and before is not None and not before.reason:
        _notify_sink(connection, stored, now)


def conclude(
    connection: Connection,
    id_: int,
    state: RequestState,
    *,
    now: int,
    reason: str = "",
    result: Decided | None = None,
    applied: Decision | None = None,
) -> None:
    """Stores the result of a waiting request with its row in the audit log, and asks the sink that it came from to show
    the result. Does nothing for a request that no longer waits, because its interview was erased. `applied` is the part
    of a refused decision that reached Hireflix.
    """
    values: dict[str, Any] = {"state": str(state), "reason": storable(reason)[:REASON_LENGTH]}
    if result is not None:
        values["result"] = msgspec.json.encode(result).decode()
    if state is not RequestState.UNCLEAR:
        values["done_at"] = now
    stored = _change(connection, id_, [RequestState.WAITING], **values)
    if stored is None:
        return
    if result is not None and result.changed:
        audit.record(connection, stored.actor, AuditAction.DECIDE, stored.interview_id, stored.shown, now=now)
    elif applied is not None:
        audit.record(connection, stored.actor, AuditAction.DECIDE, stored.interview_id, str(applied), now=now)
    _notify_sink(connection, stored, now)


def answer(connection: Connection, id_: int, *, do: bool, actor: str, now: int) -> StoredRequest | None:
    """Lets the service carry out a request that waits for an operator, or drops it. An unclear request is sent again,
    unless Hireflix shows its result. Returns `None` when the request does not wait for an operator any more.
    """
    before = get(connection, id_)
    values: dict[str, Any] = {"state": str(RequestState.DROPPED), "done_at": now}
    if do:
        again = before is not None and before.state is RequestState.UNCLEAR
        # it is tried for a day from now
        values = {"state": str(RequestState.WAITING), "requested_at": now, "due_at": now, "reason": ""}
        values |= {"sent": int(Sent.AGAIN)} if again else {}
    stored = _change(connection, id_, [RequestState.HELD, RequestState.UNCLEAR], **values)
    if stored is None:
        return None
    detail = f"{'confirm' if do else 'drop'} {stored.shown}"
    audit.record(connection, actor, AuditAction.DECIDE, stored.interview_id, detail, now=now)
    if not do:
        _notify_sink(connection, stored, now)
    return stored


def of_interview(connection: Connection, interview_id: str, limit: int = 20) -> list[StoredRequest]:
    """Returns the newest requests for an interview."""
    newest = decision_request.c.id.desc()
    return _rows(connection, decision_request.c.interview_id == interview_id, limit=limit, order=[newest])


def for_operators(connection: Connection, limit: int = 200) -> list[StoredRequest]:
    """Returns the requests that an operator must confirm or check, the oldest first."""
    return _rows(connection, *_in(RequestState.HELD, RequestState.UNCLEAR), limit=limit)


def counts(connection: Connection) -> dict[RequestState, int]:
    """Returns the numbers of open requests, by state."""
    state = decision_request.c.state
    rows = connection.execute(select(state, func.count()).where(decision_request.c.done_at.is_(None)).group_by(state))
    return {RequestState(name): count for name, count in rows}


def count_for_operators(found: Mapping[RequestState, int]) -> int:
    """Returns how many of the requests that `counts` found an operator must do or drop."""
    return found.get(RequestState.HELD, 0) + found.get(RequestState.UNCLEAR, 0)


def mark(connection: Connection) -> tuple[Any, ...]:
    """Returns values that change whenever a request is added or its state changes."""
    newest = connection.execute(select(func.max(decision_request.c.id))).scalar()
    done = select(func.max(decision_request.c.done_at)).where(decision_request.c.done_at.is_not(None))
    return newest, connection.execute(done).scalar(), sorted(counts(connection).items())


def waiting_since(connection: Connection) -> int | None:
    """Returns when the oldest waiting request was made, in epoch milliseconds; `None` when none waits."""
    oldest = select(func.min(decision_request.c.requested_at)).where(*_in(RequestState.WAITING))
    found: int | None = connection.execute(oldest).scalar()
    return found


def delayed(connection: Connection) -> str:
    """Returns why the oldest waiting request was put off, `""` when none was."""
    waiting = select(decision_request.c.reason).where(*_in(RequestState.WAITING), decision_request.c.reason != "")
    return connection.execute(waiting.order_by(decision_request.c.id).limit(1)).scalar() or ""


def after_restore(connection: Connection) -> None:
    """Prepares a restored backup: waiting requests may have been carried out since, and the values that sinks read are
    outdated.
    """
    held = {"state": str(RequestState.HELD), "reason": RESTORED}
    connection.execute(update(decision_request).where(*_in(RequestState.WAITING)).values(held))
    connection.execute(delete(note).where(note.c.key == CHOICES))


def _change(connection: Connection, id_: int, states: Sequence[RequestState], **values: Any) -> StoredRequest | None:
    """Changes a request that is in one of the states, and returns it; `None` when it is not."""
    mine = (decision_request.c.id == id_, decision_request.c.state.in_([str(each) for each in states]))
    changed = connection.execute(update(decision_request).where(*mine).values(values)).rowcount
    return get(connection, id_) if changed else None


def _notify_sink(connection: Connection, stored: StoredRequest, now: int) -> None:
    """Asks the sink that the request came from to show its state. A sink that was never configured shows nothing."""
    row = None if not stored.sink else leases.lock(connection, stored.sink, sink.c.destination)
    if row is None:
        return
    # the states of one request are shown one after the other: a call that shows one may still be running
    number = f"{stored.id}-{stored.state}"
    result = {decided_key(number, stored.interview_id): _note(stored, now)}
    notes.write(connection, stored.sink, row.destination, result)
    call = PlannedFollowUp(DECIDED, stored.interview_id, number, None, now)
    plan_follow_ups(connection, stored.sink, [call])


def _note(stored: StoredRequest, now: int) -> Mapping[str, Any]:
    result = stored.result or Decided(changed=False)
    return {
        "request": stored.id,
        "decision": str(stored.decision),
        "value": stored.value if stored.decision is Decision.SCORE else None,
        "actor": stored.actor,
        "place": stored.place,
        "state": str(stored.state),
        "reason": stored.reason,
        "changed": result.changed,
        "stage": result.stage,
        "score": result.score,
        "link": result.link,
        "at": now,
    }


def _in(*states: RequestState) -> tuple[ColumnElement[bool], ...]:
    """The condition for open requests in one of the states, by the partial index."""
    return decision_request.c.done_at.is_(None), decision_request.c.state.in_([str(each) for each in states])


def _rows(
    connection: Connection,
    *conditions: ColumnElement[bool],
    limit: int,
    order: Sequence[ColumnElement[Any]] = (decision_request.c.id,),
) -> list[StoredRequest]:
    statement = select(decision_request).where(*conditions).order_by(*order).limit(limit)
    return [_stored(row) for row in connection.execute(statement).mappings()]


def _stored(row: RowMapping) -> StoredRequest:
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    values["decision"] = Decision(row["decision"])
    values["repeat"] = bool(row["repeat"])
    values["state"] = RequestState(row["state"])
    values["sent"] = Sent(row["sent"])
    values["result"] = None if row["result"] is None else _result(row["result"])
    return StoredRequest(**values)


def _result(text: str) -> Decided | None:
    """Returns a stored result, `None` when a newer version stored it."""
    try:
        return msgspec.json.decode(text, type=Decided)
    except msgspec.DecodeError:
        return None
