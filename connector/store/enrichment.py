"""The list of interviews whose further fields are read from the API of Hireflix, with their due times. Functions on a
connection, in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, exists, func, select

from connector.hireflix import EnrichedField
from connector.hireflix.payload import UNCHANGED_MARKS
from connector.interview import Stage
from connector.merge import InterviewState, decode
from connector.store import source
from connector.store.dialects import among, upsert
from connector.store.schema import enrichment, event, interview
from connector.store.source import SETTLE_MS

KEY = "enrichment"
"""Key of `meta`."""
CHUNK = 500
"""Interviews or events per transaction."""
FINISHED = (Stage.TO_EVALUATE, Stage.SHORTLISTED, Stage.DISCARDED)
"""Stages of interviews with further fields."""
_UNCHANGED = tuple(UNCHANGED_MARKS)


class EnrichmentProgress(msgspec.Struct, frozen=True):
    """What was added to the list: interviews up to the id `filled_to` (`None`: all), and events up to number `seq`.

    With other `fields` all interviews are added again.
    """

    v: int = 1
    fields: list[EnrichedField] = []
    filled_to: str | None = ""
    seq: int = 0


class EnrichmentDue(NamedTuple):
    """An interview to read, and its stored state."""

    id: str
    state: InterviewState


def collect(connection: Connection, fields: Collection[EnrichedField], now: int) -> bool:
    """Adds the next interviews to the list: of all finished ones, and of new events. Returns whether more may follow.

    `now` is in epoch milliseconds.
    """
    before = source.read(connection, KEY, EnrichmentProgress)
    if before is None or before.fields != sorted(fields):
        before = EnrichmentProgress(fields=sorted(fields), seq=_last_settled(connection, now))
    after = _fill(connection, before, now) if before.filled_to is not None else before
    after = _follow(connection, after, now)
    if after != before or before.filled_to == "":
        source.write(connection, KEY, after)
    return after.filled_to is not None or after.seq >= before.seq + CHUNK


def _fill(connection: Connection, progress: EnrichmentProgress, now: int) -> EnrichmentProgress:
    following = select(interview.c.id).where(interview.c.id > progress.filled_to, interview.c.erased_at.is_(None))
    ids = connection.execute(following.order_by(interview.c.id).limit(CHUNK)).scalars().all()
    _add(connection, ids, now)
    return msgspec.structs.replace(progress, filled_to=ids[-1] if len(ids) == CHUNK else None)


def _last_settled(connection: Connection, now: int) -> int:
    """Returns the number of the newest settled event, 0 when there is none."""
    settled = select(event.c.seq).where(event.c.received_at <= now - SETTLE_MS)
    found: int | None = connection.execute(settled.order_by(event.c.seq.desc()).limit(1)).scalar()
    return found or 0


def _follow(connection: Connection, progress: EnrichmentProgress, now: int) -> EnrichmentProgress:
    rows = source.settled(connection, progress.seq, now, (event.c.interview_id, event.c.mark), CHUNK)
    _add(connection, {row.interview_id for row in rows if not row.mark.startswith(_UNCHANGED)}, now)
    return msgspec.structs.replace(progress, seq=rows[-1].seq) if rows else progress


def _add(connection: Connection, ids: Iterable[str], now: int) -> None:
    schedule(connection, dict.fromkeys(sorted(ids), now))


def _is_usable() -> tuple[ColumnElement[bool], ...]:
    return interview.c.stage.in_([stage.value for stage in FINISHED]), interview.c.erased_at.is_(None)


def due(connection: Connection, now: int, limit: int) -> list[EnrichmentDue]:
    """Returns at most `limit` interviews that are due, in the order of their due times."""
    joined = enrichment.join(interview, interview.c.id == enrichment.c.interview_id)
    rows = connection.execute(
        select(interview.c.id, interview.c.state)
        .select_from(joined)
        .where(enrichment.c.due_at <= now, *_is_usable())
        .order_by(enrichment.c.due_at, enrichment.c.interview_id)
        .limit(limit)
    )
    return [EnrichmentDue(row.id, decode(row.state)) for row in rows]


def schedule(connection: Connection, looks: Mapping[str, int | None]) -> None:
    """Stores when interviews are read again; `None` removes them from the list. Those that were erased meanwhile, or
    are not finished, are left out.
    """
    chosen = [id_ for id_, at in looks.items() if at is not None]
    usable = select(interview.c.id).where(among(connection, interview.c.id, chosen), *_is_usable())
    # an erase may delete interviews at the same time, so they are locked, in the same order as by an ingest
    locked = usable.order_by(interview.c.id).with_for_update(read=True, key_share=True)
    rows = [{"interview_id": id_, "due_at": looks[id_]} for id_ in connection.execute(locked).scalars()]
    upsert(connection, enrichment, rows, ["interview_id"])
    done = [id_ for id_, at in looks.items() if at is None]
    connection.execute(delete(enrichment).where(among(connection, enrichment.c.interview_id, done)))


def read_soon(connection: Connection, interview_id: str, now: int) -> None:
    """Adds an interview to the list, because a user added a comment or a link, for which Hireflix sends no webhook.

    Does nothing when no further fields were ever chosen.
    """
    if source.read(connection, KEY, EnrichmentProgress) is not None:
        schedule(connection, {interview_id: now})


def forget_gone(connection: Connection, now: int) -> None:
    """Removes due interviews that are deleted, erased or not finished any more."""
    usable = exists().where(interview.c.id == enrichment.c.interview_id, *_is_usable())
    connection.execute(delete(enrichment).where(enrichment.c.due_at <= now, ~usable))


def waiting(connection: Connection, now: int) -> int:
    """Returns the number of interviews that are due."""
    return int(connection.execute(select(func.count()).where(enrichment.c.due_at <= now)).scalar_one())
