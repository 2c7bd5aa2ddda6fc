"""The tables, the same on SQLite and PostgreSQL. Times are epoch milliseconds."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
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

from connector.hireflix.payload import EventKind
from connector.interview import Stage
from connector.role import Role

REVISION = "0002"
"""The Alembic revision this version works with; a test holds it against the newest migration."""

Name = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that indexes order by its bytes, so that an update of the system's locales cannot corrupt an index. Every text
column of an index has this type.
"""
BigId = BigInteger().with_variant(Integer, "sqlite")


class DeliveryState(IntEnum):
    """The state of a delivery, as stored in `delivery.state`."""

    PENDING = 0
    DELIVERED = 1
    SUPERSEDED = 2
    DEAD = 3
    WAITING = 4
    """Pending, and part of a digest: a later call of the sink shows it, so it is not claimed alone."""
    DISMISSED = 5
    """A dead letter that an operator decided to drop."""


class PauseKind(StrEnum):
    """Why a sink is paused, as stored in `sink.paused`."""

    OPERATOR = "person"
    """By an operator."""
    BROKEN = "broken"
    """The destination does not work; it is probed."""
    UNTIL_RESUMED = "until_person"  # stored by earlier releases
    """The destination does not work, and an operator must act."""


class AttemptOutcome(StrEnum):
    """The outcome of an attempt, as stored in `attempt.outcome`."""

    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    WAITING = "waiting"
    REJECTED = "rejected"
    RETRY_LATER = "retry later"
    UNCLEAR = "unclear"
    """The call failed, and the destination may have applied it."""
    BROKEN = "broken"
    """The destination does not work; the sink is paused."""


class RequestState(StrEnum):
    """The state of a decision request, as stored in `decision_request.state`."""

    HELD = "held"
    """An operator must confirm it before it is carried out."""
    WAITING = "waiting"
    """The service carries it out."""
    DONE = "done"
    """Hireflix shows it."""
    REFUSED = "refused"
    """It cannot be carried out, and the stage is unchanged. The reason of a discard may be added as a comment."""
    UNCLEAR = "unclear"
    """It is not known whether it reached Hireflix: an operator must look there."""
    DROPPED = "dropped"
    """An operator decided that it is not carried out."""


class Sent(IntEnum):
    """Whether a decision may have been sent to Hireflix, as stored in `decision_request.sent`."""

    NO = 0
    MAYBE = 1
    AGAIN = 2
    """An operator asked to send it once more, unless Hireflix shows it."""


class AuditAction(StrEnum):
    """What an operator did, as stored in `audit.action`."""

    PAUSE = "pause"
    RESUME = "resume"
    REPLAY = "replay"
    DISMISS = "dismiss"
    REPAIR = "repair"
    ERASE = "erase"
    WEBHOOK = "webhook"
    DECIDE = "decide"
    BACKFILL = "backfill"
    RECONCILE = "reconcile"
    SNOOZE = "snooze"
    SHOW = "show"
    RESTORE = "restore"


def _where(condition: str) -> dict[str, Any]:
    """Returns the arguments of a partial index for both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """The column holds a value of the enumeration, or null if it may be null."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _not_negative(*columns: str) -> CheckConstraint:
    return CheckConstraint(" AND ".join(f"{column} >= 0" for column in columns), name="not_negative")


def _flags(*columns: str) -> CheckConstraint:
    """The columns hold 0 or 1."""
    return CheckConstraint(" AND ".join(f"{column} BETWEEN 0 AND 1" for column in columns), name="flags")


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

meta = Table(
    "meta",
    metadata,
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False),
)
"""`instance`: the random name of this store, a part of every delivery id. `written`: time of the last readiness write.
`compatible_from`: written by a migration that only adds, see `connector.store.base.effective_revision`.
"""

event = Table(
    "event",
    metadata,
    Column("seq", BigId, primary_key=True),
    Column("identity", Name, nullable=False, unique=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("kind", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("interview_id", Name, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_event_kind", "kind", "received_at", "seq", **_where("kind <> 'event'")),
    Index("ix_event_interview", "interview_id", "seq"),
    Index("ix_event_name", "name", "received_at", "seq"),
    Index("ix_event_received", "received_at", "seq"),
    _one_of("kind", EventKind),
)
"""Append only. `kind` is event, unknown or unreadable. `mark` says whether the date is the sender's and which fields
could not be used.
"""

event_body = Table(
    "event_body",
    metadata,
    Column("event_seq", BigId, ForeignKey("event.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("received_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("parsed", Text),
    Index("ix_event_body_received", "received_at", "event_seq"),
)
"""The personal data of events: the raw body, and the fields of the payload as a JSON document with a version, which is
null for unreadable events. Retention deletes the rows. They have a table of their own, so that SQLite uses their pages
again. `received_at` is that of the event.
"""

interview = Table(
    "interview",
    metadata,
    Column("id", Name, primary_key=True),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("position_id", Name, nullable=False),
    Column("position_name", Name, nullable=False),
    Column("stage", Name, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("erased_at", BigInteger),
    Index("ix_interview_updated", "updated_at", "id"),
    Index("ix_interview_position", "position_id", "position_name", "updated_at"),
    Index("ix_interview_stage", "stage", "updated_at"),
    Index("ix_interview_erased", "erased_at", **_where("erased_at IS NOT NULL")),
    _one_of("stage", Stage),
    _not_negative("version"),
    postgresql_with={"fillfactor": 80},
)
"""The merged state as one JSON document. The fill factor leaves free space in each page, so that PostgreSQL can update
a row without changing an index (heap-only tuples).
"""

subscription = Table(
    "subscription",
    metadata,
    Column("sink", Name, primary_key=True),
    Column("interview_id", Name, ForeignKey("interview.id", ondelete="CASCADE"), primary_key=True),
    Index("ix_subscription_interview", "interview_id", "sink"),
    sqlite_with_rowid=False,
)
"""The interviews that a sink shows: a row of a state sink, or a message that a message sink keeps up to date. The sink
receives all later events of the interview.
"""

interview_word = Table(
    "interview_word",
    metadata,
    Column("word", Name, primary_key=True),
    Column("interview_id", Name, ForeignKey("interview.id", ondelete="CASCADE"), primary_key=True),
    Index("ix_interview_word_interview", "interview_id"),
    sqlite_with_rowid=False,
)
"""The words of name and e-mail address of a candidate, in lower case and without accents, for the search by prefix: see
`connector.store.words`."""

enrichment = Table(
    "enrichment",
    metadata,
    Column("interview_id", Name, ForeignKey("interview.id", ondelete="CASCADE"), primary_key=True),
    Column("due_at", BigInteger, nullable=False),
    Index("ix_enrichment_due", "due_at", "interview_id"),
)
"""The interviews that are read from the API of Hireflix at `due_at`, see `connector.store.enrichment`."""

delivery = Table(
    "delivery",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("sink", Name, nullable=False),
    Column("key", Name, nullable=False),
    Column("interview_id", Name, nullable=False),
    Column("event_seq", BigInteger, ForeignKey("event.seq", ondelete="RESTRICT")),
    Column("priority", SmallInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("not_before", BigInteger, nullable=False, server_default=text("0")),
    Column("blocks_key", SmallInteger, nullable=False, server_default=text("0")),
    Column("batch", Name),
    Column("batch_started_at", BigInteger),
    Column("bucket", Name),
    Column("reason", Name),
    Column("reference", Text),
    Column("done_at", BigInteger),
    Column("purpose", Name, nullable=False, server_default=text("''")),
    Column("subject", Name, nullable=False, server_default=text("''")),
    Column("silent", SmallInteger, nullable=False, server_default=text("0")),
    Column("wait_group", Name),
    Index("ix_delivery_due", "sink", "priority", "id", "since", "state", **_where("state = 0")),
    Index("ix_delivery_key", "key", "sink", "blocks_key", **_where("state = 0")),
    Index("ix_delivery_batch", "sink", "batch", **_where("state = 0 AND batch IS NOT NULL")),
    Index("ix_delivery_dead", "sink", "state", **_where("state = 3")),
    Index("ix_delivery_delivered", "sink", "state", **_where("state = 1")),
    Index("ix_delivery_superseded", "sink", "state", **_where("state = 2")),
    Index("ix_delivery_dismissed", "sink", "state", **_where("state = 5")),
    Index("ix_delivery_group", "sink", "wait_group", "state", "not_before", **_where("wait_group IS NOT NULL")),
    Index("ix_delivery_interview", "interview_id", "id"),
    Index("ix_delivery_event", "event_seq"),
    Index("ix_delivery_done", "done_at", **_where("done_at IS NOT NULL")),
    Index("ix_delivery_since", "since", **_where("state <> 0")),
    Index("ix_delivery_reason", "reason", "id", **_where("reason IS NOT NULL")),
    CheckConstraint("state BETWEEN 0 AND 5", name="state"),
    _not_negative("attempts"),
    _flags("blocks_key", "silent"),
    sqlite_autoincrement=True,
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.01},
)
"""The outbox. `since` is the start of the retry window: the receipt, a replay, or the due time of a follow-up.
`blocks_key`: the delivery is in flight, failed or unclear, and blocks the others of its purpose and key. `batch`: the
id of the call that may have sent it. `bucket`: the rate limit that it waits for.

A follow-up has a `purpose`, an `interview_id` (`''` for none) and a `subject`; its `key` is the interview's id, else
the subject. Without a purpose, a null `event_seq` means a delivery of a backfill. `wait_group`: for a waiting delivery
the group that it waits in, for a pending follow-up the group that it shows. `not_before` of a waiting delivery is the
time at which it is expected to be shown. `silent`: no route matched the event.

The indexes contain `since` and `state`, so that pending and dead deliveries are counted without reading rows, and
`blocks_key`, so that the search for a blocking delivery does not read every row of its key. The table is vacuumed
early, because a claim has to skip the index entries of rows that were settled since the last vacuum.
"""


def in_state(state: DeliveryState, rows: FromClause = delivery) -> ColumnElement[bool]:
    """The condition `state = N` with a literal: planners do not use a partial index for a parameter."""
    return rows.c.state == literal_column(str(int(state)))


def is_not_pending() -> ColumnElement[bool]:
    """The condition of the index of settled and waiting deliveries by time: pending ones are added without its cost."""
    return delivery.c.state != literal_column(str(int(DeliveryState.PENDING)))


def not_understood() -> ColumnElement[bool]:
    """The condition for unknown and unreadable events, with a literal for the partial index."""
    return event.c.kind != literal_column("'event'")


attempt = Table(
    "attempt",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("sink", Name, ForeignKey("sink.name", onupdate="CASCADE", ondelete="CASCADE"), nullable=False),
    Column("batch", Name, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("status", Integer),
    Column("answer", Text),
    Index("ix_attempt_started", "started_at", "id"),
    Index("ix_attempt_sink", "sink", "started_at", "id"),
    _one_of("outcome", AttemptOutcome),
    _not_negative("duration_ms", "count"),
)
"""One row per batch and kind of outcome. A success at the first attempt is only counted, in `sink.delivered`.

`status` is the HTTP status of the destination and `answer` the start of its reply, masked, at most 2 KiB; both are null
when there was no reply.
"""

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
    Column("paused_until", BigInteger),
    _one_of("paused", PauseKind),
    _not_negative("delivered", "fence"),
)
"""One row for every sink that was ever configured. `paused` is null, `person` (by an operator), `broken` (probed) or
`until_person` (an operator must act). A pause by an operator ends automatically at `paused_until`. `filled_to` is set
while a backfill runs: its goal and the id of the last interview. `batch`: the id of a state sink's call in flight.
"""

note = Table(
    "note",
    metadata,
    Column("sink", Name, ForeignKey("sink.name", onupdate="CASCADE", ondelete="CASCADE"), primary_key=True),
    Column("destination", Name, primary_key=True),
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False),
    Column("version", SmallInteger, nullable=False, server_default=text("1")),
)
"""What sinks store about their destinations. `version` is that of the JSON document `value`."""

bucket = Table(
    "bucket",
    metadata,
    Column("name", Name, primary_key=True),
    Column("full_at", BigInteger, nullable=False),
    Column("burst_ms", BigInteger, nullable=False),
    _not_negative("burst_ms"),
)
"""Rate limits by GCRA: a token is available when `full_at - burst_ms <= now`. Taking one increases `full_at`."""

process = Table(
    "process",
    metadata,
    Column("name", Name, primary_key=True),
    Column("role", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("host", Text, nullable=False, server_default=text("''")),
    Column("pid", Integer, nullable=False, server_default=text("0")),
    Column("version", Text, nullable=False, server_default=text("''")),
    _one_of("role", Role),
)
"""The heartbeats of the processes that use the store."""

refusal = Table(
    "refusal",
    metadata,
    Column("reason", Name, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Index("ix_refusal_hour", "hour"),
    _not_negative("count"),
)
"""Requests that receivers refused, by reason and hour (its start in epoch milliseconds), written by heartbeats."""

lease = Table(
    "lease",
    metadata,
    Column("name", Name, primary_key=True),
    Column("lease_owner", Text),
    Column("lease_until", BigInteger, nullable=False, server_default=text("0")),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    _not_negative("fence"),
)
"""Leases that do not belong to a sink, with the columns that `sink` has for its own."""

periodic_task = Table(
    "periodic_task",
    metadata,
    Column("name", Name, primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("succeeded_at", BigInteger),
    Column("error", Text, nullable=False),
    Column("result", Text, nullable=False),
)
"""The last run of each periodic task, and when it runs next. `succeeded_at` is the start of the last run without an
error. `error` is empty after a success. `result` holds counts as a JSON document with a version.
"""

tombstone = Table(
    "tombstone",
    metadata,
    Column("interview_hash", Name, primary_key=True),
    Column("erased_at", BigInteger, nullable=False),
)
"""Erased interviews, by the SHA-256 of their id in hex, so that repeats and replays of their events store no data."""

audit = Table(
    "audit",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_audit_at", "at"),
)
"""What operators changed: who, when, which action, on what. Without personal data, see `connector.store.audit`. No
CHECK lists the actions, because a release that adds one must run with this schema.
"""

decision_request = Table(
    "decision_request",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("key", Name, nullable=False, unique=True),
    Column("interview_id", Name, nullable=False),
    Column("decision", Text, nullable=False),
    Column("value", Text),
    Column("repeat", SmallInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("sink", Name, nullable=False),
    Column("place", Text, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("state", Name, nullable=False),
    Column("sent", SmallInteger, nullable=False, server_default=text("0")),
    Column("reason", Text, nullable=False),
    Column("result", Text),
    Column("done_at", BigInteger),
    Index("ix_decision_request_open", "state", "id", **_where("done_at IS NULL")),
    Index("ix_decision_request_interview", "interview_id", "id"),
    Index("ix_decision_request_done", "done_at", "id", **_where("done_at IS NOT NULL")),
    _one_of("state", RequestState),
    CheckConstraint("sent BETWEEN 0 AND 2", name="sent"),
    _flags("repeat"),
    sqlite_autoincrement=True,
)
"""Decisions that users made, see `connector.store.decisions`. `value` may be the text of a comment, which is personal
data. `sink` and `place` say where the result is shown; both may be empty. `due_at` is when it is carried out or tried
again. `reason` says why it is held, put off, refused or unclear. `result` is a JSON document with a version.
"""

rollup = Table(
    "rollup",
    metadata,
    Column("sink", Name, primary_key=True),
    Column("kind", Name, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("part", SmallInteger, primary_key=True, autoincrement=False, server_default=text("0")),
    *(
        Column(name, BigInteger, nullable=False, server_default=text("0"))
        for name in ("received", "delivered", "superseded", "dead", "dismissed")
    ),
    Index("ix_rollup_hour", "hour"),
    _not_negative("received", "delivered", "superseded", "dead", "dismissed"),
    sqlite_with_rowid=False,
)
"""Counts per hour for charts. `hour` is its start in epoch milliseconds, `kind` the name of the event, or `unknown` and
`unreadable`; of a delivery without an event it is empty. `sink` is empty for received events. Receivers write to
different parts, so that they do not wait for each other.
"""
