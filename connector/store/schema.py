"""The tables, the same on SQLite and PostgreSQL. Times are epoch milliseconds."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql

REVISION = "0002"
"""The Alembic revision this version works with; a test holds it against the newest migration."""

Name = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""What rows are found and ordered by: by its bytes, so that no update of the system's locales breaks an index."""
BigId = BigInteger().with_variant(Integer, "sqlite")


class DeliveryState(IntEnum):
    """What became of a delivery; as stored in `delivery.state`."""

    PENDING = 0
    DELIVERED = 1
    SUPERSEDED = 2
    DEAD = 3
    WAITING = 4
    """Pending, and counted in something that a later call shows: not called by itself."""


def _where(condition: str) -> dict[str, Any]:
    """What makes an index partial, in both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

meta = Table(
    "meta",
    metadata,
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False),
)
"""`instance`: random name of this store, so that delivery ids are unique in the world; `written`: for readiness."""

event = Table(
    "event",
    metadata,
    Column("seq", BigId, primary_key=True),
    Column("identity", Name, nullable=False, unique=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Name, nullable=False),
    Column("interview_id", Name, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary),
    Index("ix_event_kind", "kind", **_where("kind <> 'event'")),
)
"""Append only. `kind` is event, unknown or unreadable; `mark` says when the date was not the sender's
and which fields could not be used; the raw body
may be dropped by retention, the identity never.
"""

interview = Table(
    "interview",
    metadata,
    Column("id", Name, primary_key=True),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("position_id", Text, nullable=False),
    Column("position_name", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("entered", Text, nullable=False),
    Column("erased_at", BigInteger),
    postgresql_with={"fillfactor": 80},
)
"""The merged state as one JSON document; `entered` lists the sinks that show this interview, by comma: the state sinks
it entered, and the message sinks that edit their messages and got an event of it. Its pages keep room, so that an
update stays on its page and touches no index.
"""

delivery = Table(
    "delivery",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("sink", Name, nullable=False),
    Column("key", Name, nullable=False),
    Column("interview_id", Name, nullable=False),
    Column("event_seq", BigInteger),
    Column("priority", SmallInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("not_before", BigInteger, nullable=False, server_default=text("0")),
    Column("held", SmallInteger, nullable=False, server_default=text("0")),
    Column("batch", Name),
    Column("batch_started_at", BigInteger),
    Column("bucket", Name),
    Column("reason", Text),
    Column("reference", Text),
    Column("done_at", BigInteger),
    Column("purpose", Name, nullable=False, server_default=text("''")),
    Column("subject", Name, nullable=False, server_default=text("''")),
    Column("silent", SmallInteger, nullable=False, server_default=text("0")),
    Column("wait_group", Name),
    Index("ix_delivery_due", "sink", "priority", "id", "since", "state", **_where("state = 0")),
    Index("ix_delivery_key", "key", "sink", "held", **_where("state = 0")),
    Index("ix_delivery_batch", "sink", "batch", **_where("state = 0 AND batch IS NOT NULL")),
    Index("ix_delivery_dead", "sink", "state", **_where("state = 3")),
    Index("ix_delivery_group", "sink", "wait_group", "state", "not_before", **_where("wait_group IS NOT NULL")),
    sqlite_autoincrement=True,
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.01},
)
"""The outbox. `since` starts the retry window (receipt, a replay, or when a follow-up is due). `held`: in flight,
failed or unclear, so it holds back the others of its purpose and key. `batch`: in flight or unclear, so it may have
been sent. `bucket`: it waits for a token there.

A follow-up has a `purpose`, an `interview_id` (`''` for none) and a `subject`; its `key` is the interview's id, else
the subject. Without a purpose, `event_seq` is null for the filling of a state sink. `wait_group`: of a waiting delivery
the group that it waits in, of a pending follow-up the group that it shows; a waiting delivery has in `not_before` when
that is expected. `silent`: the event was not chosen by a route.

`since` and `state` are in indexes so that counting what is pending or dead reads no rows, `held` so that asking what
holds a key back does not read all rows of that key. It is vacuumed early: a claim walks past what was settled since.
"""


def in_state(state: DeliveryState, rows: FromClause = delivery) -> ColumnElement[bool]:
    """That a delivery is in a state, as a literal: a planner uses no partial index for a parameter."""
    return rows.c.state == literal_column(str(int(state)))


def not_understood() -> ColumnElement[bool]:
    """That an event is unknown or unreadable, as a literal."""
    return event.c.kind != literal_column("'event'")


attempt = Table(
    "attempt",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("sink", Name, nullable=False),
    Column("batch", Name, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("count", Integer, nullable=False),
)
"""One per batch and kind of outcome; first-try successes are only counted, in `sink.delivered`."""

sink = Table(
    "sink",
    metadata,
    Column("name", Name, primary_key=True),
    Column("type", Text, nullable=False),
    Column("destination", Name, nullable=False),
    Column("routes", Text, nullable=False),
    Column("filled_to", Name),
    Column("lease_owner", Text),
    Column("lease_until", BigInteger, nullable=False, server_default=text("0")),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("paused", Text),
    Column("reason", Text),
    Column("fix", Text),
    Column("probe_at", BigInteger),
    Column("rest_until", BigInteger, nullable=False, server_default=text("0")),
    Column("batch", Name),
    Column("batch_started_at", BigInteger),
    Column("delivered", BigInteger, nullable=False, server_default=text("0")),
    Column("last_delivered_at", BigInteger),
)
"""One per configured sink, ever. `paused` is null, `person`, `broken` (probed) or `until_person`. `filled_to` is null
but for a fill that is under way: what it is done for, and the last interview's id. `batch`: a state sink's call in
flight.
"""

note = Table(
    "note",
    metadata,
    Column("sink", Name, primary_key=True),
    Column("destination", Name, primary_key=True),
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False),
)

bucket = Table(
    "bucket",
    metadata,
    Column("name", Name, primary_key=True),
    Column("full_at", BigInteger, nullable=False),
    Column("burst_ms", BigInteger, nullable=False),
)
"""Rate tokens by GCRA: a token is there when `full_at - burst_ms <= now`; taking one moves `full_at` on."""
