"""The statements of one group of events, in one transaction on the receiver's connection.

It reads known events and interviews, plans the group, writes it and commits: three round trips. Interviews that exist
are locked until the commit, so that two receivers merge into one interview one after the other. What did not exist
cannot be locked: when another receiver stores the same event or a new interview meanwhile, `ON CONFLICT` writes fewer
rows than planned, and the transaction is rolled back. The server assigns the ids of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection

from connector.store.base import IngestResult
from connector.store.ingest import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    INTERVIEW_COLUMNS,
    SUBSCRIPTION_COLUMNS,
    Incoming,
    IngestPlan,
    RoutingTable,
    StoredInterview,
    hashes_of,
    plan_group,
    stored_interviews,
)
from connector.store.postgres.database import SETTINGS
from connector.store.postgres.errors import GroupConflict
from connector.store.rollup import RECEIVED_COLUMNS
from connector.store.words import WORD_COLUMNS

KNOWN = """
SELECT identity, seq FROM event WHERE identity = ANY (ARRAY(SELECT json_array_elements_text(%s::json)))
"""
STATES = """
SELECT id, state, version FROM interview WHERE id = ANY (ARRAY(SELECT json_array_elements_text(%s::json)))
ORDER BY id FOR NO KEY UPDATE
"""
"""Locks are taken in the order of ids, so that two receivers cannot deadlock."""
EXCLUDE_ERASE = "LOCK TABLE tombstone IN ROW SHARE MODE"
"""Taken before the tombstones are read and held until the commit. An erase takes a lock that conflicts with it
(`connector.store.erase.exclude_receivers`), and receivers do not conflict with each other. So an erase either waits for
this group and finds its events, or the group reads the tombstone.
"""
ERASED = """
SELECT interview_hash FROM tombstone
WHERE interview_hash = ANY (ARRAY(SELECT json_array_elements_text(%s::json)))
"""
SUBSCRIPTIONS = """
SELECT sink, interview_id FROM subscription
WHERE interview_id = ANY (ARRAY(SELECT json_array_elements_text(%s::json)))
"""
"""A statement of its own after the locks: one that waits for a row lock sees other tables as they were before."""

ADD_EVENTS = """
WITH given AS MATERIALIZED (
  SELECT nextval('event_seq_seq') AS seq, t.*
  FROM ROWS FROM (
    json_to_recordset(%s::json) AS (place int, identity text, kind text, name text, interview_id text,
      occurred_at bigint, received_at bigint, mark text, reason text, parsed text),
    unnest(%b::bytea[])
  ) AS t (place, identity, kind, name, interview_id, occurred_at, received_at, mark, reason, parsed, body)
), added AS (
  INSERT INTO event
    (seq, identity, sha256, kind, name, interview_id, occurred_at, received_at, mark, reason, body, parsed)
  SELECT seq, identity, coalesce(sha256(body), ''), kind, name, interview_id, occurred_at, received_at, mark, reason,
    body, parsed
  FROM given ORDER BY identity
  ON CONFLICT (identity) DO NOTHING RETURNING seq
), sent AS (
  INSERT INTO delivery (sink, key, interview_id, event_seq, priority, since, silent)
  SELECT d.sink, d.key, d.interview_id, given.seq, d.priority, d.since, d.silent
  FROM ROWS FROM (
    json_to_recordset(%s::json) AS (sink text, key text, interview_id text, event_seq int, priority smallint,
      since bigint, silent smallint)
  ) WITH ORDINALITY AS d (sink, key, interview_id, event_seq, priority, since, silent, line)
  JOIN given ON given.place = d.event_seq JOIN added ON added.seq = given.seq ORDER BY d.line
)
SELECT seq FROM added ORDER BY seq
"""
"""Returns the ids of the events that did not exist. Locks are taken in the order of identities, not of arrival, so that
two receivers with the same repeats cannot deadlock.
"""

_INTERVIEWS = """
INSERT INTO interview (id, state, version, position_id, position_name, stage, updated_at)
SELECT * FROM json_to_recordset(%s::json) AS (id text, state text, version int, position_id text,
  position_name text, stage text, updated_at bigint)
ON CONFLICT (id)
"""
ADD_INTERVIEWS = f"{_INTERVIEWS} DO NOTHING RETURNING id"
"""Returns the interviews that did not exist. It waits for inserts of other receivers, which come after their events,
and not for the locks of their reads, so that two receivers cannot deadlock.
"""
PUT_INTERVIEWS = f"""{_INTERVIEWS}
DO UPDATE SET state = excluded.state, version = excluded.version, position_id = excluded.position_id,
  position_name = excluded.position_name, stage = excluded.stage, updated_at = excluded.updated_at
"""
"""Of interviews that the transaction has locked."""
ADD_SUBSCRIPTIONS = """
INSERT INTO subscription (sink, interview_id)
SELECT sink, interview_id FROM json_to_recordset(%s::json) AS (sink text, interview_id text)
ON CONFLICT DO NOTHING
"""

DELETE_WORDS = """
DELETE FROM interview_word USING json_to_recordset(%s::json) AS old (word text, interview_id text)
WHERE interview_word.word = old.word AND interview_word.interview_id = old.interview_id
"""
ADD_WORDS = """
INSERT INTO interview_word (word, interview_id)
SELECT word, interview_id FROM json_to_recordset(%s::json) AS (word text, interview_id text)
ON CONFLICT DO NOTHING
"""
ADD_COUNTS = """
INSERT INTO rollup (sink, kind, hour, part, received)
SELECT * FROM json_to_recordset(%s::json) AS (sink text, kind text, hour bigint, part smallint, received bigint)
ON CONFLICT (sink, kind, hour, part) DO UPDATE SET received = rollup.received + excluded.received
"""
"""The last of the locks, so that a receiver that waits here keeps no other one waiting."""

CHANNEL = "connector_due"
"""The channel on which processes listen for sinks with new deliveries."""
SEPARATOR = ","
NOTIFY = f"SELECT pg_notify('{CHANNEL}', %s)"
"""Delivered at the commit of the transaction (PostgreSQL, NOTIFY). The parameter holds the names of the sinks."""
TOUCH = "UPDATE meta SET value = (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text WHERE key = 'written'"
"""The write of an empty group, which fails on a read-only server."""

_encode = msgspec.json.Encoder().encode


class Ingest:
    """Reads what a group needs, plans it and commits it."""

    def __init__(self, routing: RoutingTable) -> None:
        self._routing = routing

    async def write(self, connection: AsyncConnection[Any], incoming: Sequence[Incoming]) -> IngestPlan:
        """Commits one group and returns its plan, with the ids that the server assigned.

        An empty group runs the same statements without rows, for the readiness check.

        Raises `GroupConflict`, or the driver's error; nothing is written then.
        """
        try:
            known, stored, erased = await self.read(connection, incoming)
            plan = plan_group(incoming, known, stored, self._routing, -len(incoming), erased=erased)
            if plan.events or not incoming:
                numbers = await _put(connection, plan, len(incoming))
                plan.answers = [
                    IngestResult(numbers[answer.seq + len(incoming)], answer.duplicate) if answer.seq < 0 else answer
                    for answer in plan.answers
                ]
            await connection.execute("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):  # a lost connection took its transaction with it
                await connection.rollback()
            raise
        return plan

    async def read(
        self, connection: AsyncConnection[Any], incoming: Sequence[Incoming]
    ) -> tuple[dict[str, int], dict[str, StoredInterview], set[str]]:
        """Begins the transaction. Returns the ids of known identities, the stored interviews, which are locked, and
        the ids of erased interviews.
        """
        identities = [each.reading.identity for each in incoming]
        interviews = sorted({each.reading.interview_id for each in incoming if each.reading.interview_id})
        hashes = hashes_of(interviews)
        async with connection.pipeline():
            await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            await connection.execute(SETTINGS)
            await connection.execute(EXCLUDE_ERASE)
            states = await connection.execute(STATES, (_text(interviews),))
            subscriptions = await connection.execute(SUBSCRIPTIONS, (_text(interviews),))
            known = await connection.execute(KNOWN, (_text(identities),))
            tombstones = await connection.execute(ERASED, (_text(list(hashes)),))
        found = stored_interviews(await states.fetchall(), await subscriptions.fetchall())
        erased = {hashes[row[0]] for row in await tombstones.fetchall()}
        return dict(await known.fetchall()), found, erased


async def _put(connection: AsyncConnection[Any], plan: IngestPlan, offset: int) -> list[int]:
    """Writes a plan whose events are numbered from `-offset`. Returns their ids, in the order of the plan.

    Raises `GroupConflict` when fewer rows were written than planned.
    """
    events = [
        dict(zip(EVENT_COLUMNS[3:-2], row[3:-2], strict=True), place=place, identity=row[1], parsed=row[-1])
        for place, row in enumerate(plan.events)
    ]
    deliveries = [
        {**dict(zip(DELIVERY_COLUMNS, row, strict=True)), "event_seq": row[3] + offset}  # type: ignore[operator]
        for row in plan.deliveries
    ]
    interviews = [dict(zip(INTERVIEW_COLUMNS, row, strict=True)) for row in sorted(plan.interviews)]
    new = [row for row in interviews if row["version"] == 1]
    locked = [row for row in interviews if row["version"] != 1]
    subscriptions = [dict(zip(SUBSCRIPTION_COLUMNS, row, strict=True)) for row in sorted(plan.subscriptions)]
    bodies = [row[-2] for row in plan.events]
    async with connection.pipeline():
        added = await connection.execute(ADD_EVENTS, (_text(events), bodies, _text(deliveries)))
        made = await connection.execute(ADD_INTERVIEWS, (_text(new),))
        await connection.execute(PUT_INTERVIEWS, (_text(locked),))
        for statement, columns, rows in (
            (DELETE_WORDS, WORD_COLUMNS, plan.old_words),
            (ADD_WORDS, WORD_COLUMNS, plan.words),
        ):
            if rows:
                await connection.execute(statement, (_text([dict(zip(columns, row, strict=True)) for row in rows]),))
        if subscriptions or not events:
            await connection.execute(ADD_SUBSCRIPTIONS, (_text(subscriptions),))
        if not events:
            await connection.execute(TOUCH)
        counts = [dict(zip(RECEIVED_COLUMNS, row, strict=True)) for row in plan.rollup]
        await connection.execute(ADD_COUNTS, (_text(counts),))
        if plan.woken:
            await connection.execute(NOTIFY, (SEPARATOR.join(sorted(plan.woken)),))
    numbers = [row[0] for row in await added.fetchall()]
    if len(numbers) < len(events) or made.rowcount < len(new):
        raise GroupConflict("other receivers stored the same events or interviews at the same time")
    return numbers


def _text(rows: Sequence[Any]) -> str:
    return _encode(rows).decode()
