"""The state of backfill and reconcile, and the stored interviews that they compare with the API. Functions on a
connection, in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, select

from connector.hireflix.snapshot import IDENTITY, Position
from connector.interview import Stage
from connector.merge import InterviewState, decode
from connector.store.dialects import among, upsert
from connector.store.erase import erased_among
from connector.store.schema import event, event_body, interview, meta, subscription

BACKFILL_KEY = "backfill"
"""Key of the backfill of all interviews, which the service runs once."""
SELECTED_KEY = "backfill_selected"
"""Key of the last backfill of some positions or a period."""
RECONCILE_KEY = "reconcile"
LOOK_BACK_EVENTS = 10_000
"""Numbers of the newest events among which the last webhook is looked for."""
ASKED_KEY = "source_asked"
"""Of a command to the service that holds the store. All four are keys of `meta`."""
SETTLE_MS = 60_000
"""A task reads an event this time after its receipt: transactions may end in another order than the numbers of their
events, and comments in Hireflix often follow a score.
"""

T = TypeVar("T", bound="msgspec.Struct")


class Backfill(msgspec.Struct, frozen=True):
    """The progress of a backfill; times are epoch milliseconds.

    `finished` are the ids of the positions that were read completely, `position` and `cursor` the place in the one that
    is read. `error` says why the last try ended. `asked_at` identifies the request that this run is for.
    """

    v: int = 1
    started_at: int = 0
    asked_at: int | None = None
    finished_at: int | None = None
    finished: list[str] = []
    position: str | None = None
    cursor: str | None = None
    positions: list[str] | None = None
    since: int | None = None
    read: int = 0
    total: int = 0
    added: int = 0
    error: str | None = None


class Compared(msgspec.Struct, frozen=True):
    """The counters of a position when it was compared: in Hireflix and in the store, as `stage=number` texts."""

    theirs: str
    ours: str


class Reconcile(msgspec.Struct, frozen=True):
    """The last reconcile; times are epoch milliseconds.

    `complete_at` is the end of the last one that read every page. `interviews` is their number in Hireflix. `added`
    counts the synthetic events by difference, and `held` the deletions that an operator must confirm. `missed` are the
    events that the last scheduled run added, `silent_since` is set while changes are missed and no webhook arrives.
    `positions` holds the counters by position.
    """

    v: int = 1
    ended_at: int | None = None
    complete_at: int | None = None
    asked_at: int | None = None
    interviews: int = 0
    pages: int = 0
    added: dict[str, int] = {}
    held: int = 0
    missed: int = 0
    silent_since: int | None = None
    positions: dict[str, Compared] = {}
    error: str | None = None


class Asked(msgspec.Struct, frozen=True):
    """A request of a command to the service that holds the store. `what` is `BACKFILL_KEY` or `RECONCILE_KEY`.

    `at` (epoch milliseconds) identifies it. The service marks it `taken`, and `ended` when the result is stored. The
    command then reads the result and deletes the request, so that no later request replaces the result before. A
    request that the end of the service interrupts is carried out by the next one.
    """

    what: str
    at: int
    positions: list[str] | None = None
    since: int | None = None
    accept: bool = False
    complete: bool = True
    taken: bool = False
    ended: bool = False
    v: int = 1


def read(connection: Connection, key: str, kind: type[T], *, for_update: bool = False) -> T | None:
    """Returns a document, `None` when there is none that this version can read.

    With `for_update` no other process changes it before this transaction ends.
    """
    stored = select(meta.c.value).where(meta.c.key == key)
    text = connection.execute(stored.with_for_update() if for_update else stored).scalar()
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None


def write(connection: Connection, key: str, document: msgspec.Struct) -> None:
    """Stores a document."""
    upsert(connection, meta, [{"key": key, "value": msgspec.json.encode(document).decode()}], ["key"])


def add_request(connection: Connection, asked: Asked) -> bool:
    """Stores a request. Returns `False` while there is another one."""
    if read(connection, ASKED_KEY, Asked) is not None:
        return False
    write(connection, ASKED_KEY, asked)
    return True


def take_request(connection: Connection) -> Asked | None:
    """Marks the request of a command as taken, and returns it; `None` without one."""
    found = read(connection, ASKED_KEY, Asked)
    if found is not None and not found.taken:
        write(connection, ASKED_KEY, msgspec.structs.replace(found, taken=True))
    return found


def end_request(connection: Connection, asked_at: int) -> None:
    """Marks a request as ended: its result is stored, or it is too old."""
    found = read(connection, ASKED_KEY, Asked)
    if found is not None and found.at == asked_at:
        write(connection, ASKED_KEY, msgspec.structs.replace(found, ended=True))


def delete_request(connection: Connection, asked_at: int) -> None:
    """Deletes a request whose result its command has read, or that its command gives up."""
    found = read(connection, ASKED_KEY, Asked)
    if found is not None and found.at == asked_at:
        connection.execute(delete(meta).where(meta.c.key == ASKED_KEY))


def settled(connection: Connection, after: int, now: int, columns: Sequence[Any], limit: int) -> list[Any]:
    """Returns the next events after the number `after` that are settled at `now`: number, time of receipt and `columns`
    of `event` or `event_body`.
    """
    joined = event.outerjoin(event_body, event_body.c.event_seq == event.c.seq)
    new = select(event.c.seq, event.c.received_at, *columns).select_from(joined).where(event.c.seq > after)
    rows = connection.execute(new.order_by(event.c.seq).limit(limit))
    # ends at the first event that is not settled: one with a greater number may have been received before it
    return list(takewhile(lambda row: row.received_at <= now - SETTLE_MS, rows))


def states(connection: Connection, ids: Sequence[str]) -> tuple[dict[str, InterviewState], set[str]]:
    """Returns the stored states of interviews, and those of the ids that were erased."""
    mine = select(interview.c.id, interview.c.state).where(among(connection, interview.c.id, ids))
    found = {row.id: decode(row.state) for row in connection.execute(mine)}
    return found, erased_among(connection, ids)


def counts(connection: Connection) -> dict[str, dict[Stage, int]]:
    """Returns the numbers of interviews that are not deleted or erased, by position and stage."""
    rows = connection.execute(
        select(interview.c.position_id, interview.c.stage, func.count())
        .where(*_present())
        .group_by(interview.c.position_id, interview.c.stage)
    )
    found: dict[str, dict[Stage, int]] = {}
    for position_id, stage, count in rows:
        found.setdefault(position_id, {})[Stage(stage)] = count
    return found


def renamed(connection: Connection, names: Mapping[str, str]) -> set[str]:
    """Returns the positions that have interviews with another name than in `names` (id -> name)."""
    rows = connection.execute(select(interview.c.position_id, interview.c.position_name).where(*_present()).distinct())
    return {id_ for id_, name in rows if id_ in names and name != names[id_]}


def present_at(connection: Connection, position_id: str) -> set[str]:
    """Returns the interviews of a position that are not deleted or erased."""
    mine = select(interview.c.id).where(interview.c.position_id == position_id, *_present())
    return set(connection.execute(mine).scalars())


def positions(connection: Connection, known: Collection[str]) -> list[Position]:
    """Returns the stored positions that have interviews and are not `known`."""
    rows = connection.execute(
        select(interview.c.position_id, func.max(interview.c.position_name))
        .where(interview.c.position_id != "", *_present())
        .group_by(interview.c.position_id)
    )
    return [Position(id_, name) for id_, name in rows if id_ not in known]


def shown_in(connection: Connection, sink: str, among_ids: Sequence[str] | None = None) -> int:
    """Returns how many interviews a sink shows that are not deleted or erased; with `among_ids` how many of those."""
    joined = subscription.join(interview, interview.c.id == subscription.c.interview_id)
    mine = select(func.count()).select_from(joined).where(subscription.c.sink == sink, *_present())
    if among_ids is not None:
        mine = mine.where(among(connection, interview.c.id, among_ids))
    return int(connection.execute(mine).scalar_one())


def _present() -> tuple[Any, ...]:
    return interview.c.stage != Stage.DELETED.value, interview.c.erased_at.is_(None)


def last_webhook_at(connection: Connection) -> int | None:
    """Returns when the last webhook arrived, in epoch milliseconds; `None` without one among the newest events.

    Synthetic events do not count. The search is bounded, because a backfill adds many of them at once.
    """
    first = select(func.max(event.c.seq) - LOOK_BACK_EVENTS).scalar_subquery()
    webhooks = select(event.c.received_at).where(event.c.seq > first, is_webhook())
    found: int | None = connection.execute(webhooks.order_by(event.c.seq.desc()).limit(1)).scalar()
    return found


def is_webhook() -> ColumnElement[bool]:
    """The condition for events that Hireflix sent."""
    return ~event.c.identity.startswith(IDENTITY, autoescape=True)
