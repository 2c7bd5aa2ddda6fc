"""Follow-ups name what they are about, deliveries may wait, and subscriptions have a table.

SQLite adds a constraint to a table only with a copy of it. Foreign keys are not enforced during a migration, so a copy
can replace a table that others refer to. Parents are copied first.
"""

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations
from sqlalchemy.dialects import postgresql

from connector.hireflix.payload import read
from connector.store import parsed, words

revision = "0002"
down_revision = "0001"

_NAME = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

_DELIVERY = sa.table(
    "delivery",
    sa.column("key", sa.Text()),
    sa.column("interview_id", sa.Text()),
    sa.column("event_seq", sa.BigInteger()),
    sa.column("state", sa.SmallInteger()),
    sa.column("purpose", sa.Text()),
    sa.column("subject", sa.Text()),
    sa.column("wait_group", sa.Text()),
)
_DELIVERY_INDEXES = (
    ("ix_delivery_batch", ["sink", "batch"], "state = 0 AND batch IS NOT NULL"),
    ("ix_delivery_dead", ["sink", "state"], "state = 3"),
    ("ix_delivery_due", ["sink", "priority", "id", "since", "state"], "state = 0"),
    ("ix_delivery_key", ["key", "sink", "blocks_key"], "state = 0"),
)
"""The indexes of the first schema, with the present names of columns."""
_ORDERED = {"event": ["kind"], "interview": ["position_id", "position_name", "stage"], "delivery": ["reason"]}
_KINDS = ("event", "unknown", "unreadable")
_STAGES = ("pending", "to_evaluate", "shortlisted", "discarded", "deleted", "unknown")
_PAUSES = ("person", "broken", "until_person")
_OUTCOMES = ("delivered", "superseded", "waiting", "rejected", "retry later", "unclear", "broken")
_ROLES = ("all", "receiver", "worker")
_REQUEST_STATES = ("held", "waiting", "done", "refused", "unclear", "dropped")
_ABOUT_INTERVIEWS = (
    ("edit:parent:", "edit"),
    ("late:parent:", "repeat-edit"),
    ("look:parent:", "find-doubles"),
)
_ABOUT_POSITIONS = (
    ("edit:digest:", "digest"),
    ("late:digest:", "repeat-edit"),
    ("look:digest:", "find-doubles"),
)
_ABOUT_NOTHING = (("#verify", "verify"), ("#repair", "repair"))


def upgrade() -> None:
    _clean()
    _order_by_bytes()
    _change_event()
    _change_interview()
    _change_sink()
    _change_delivery()
    _change_attempt()
    _change_note()
    _change_bucket()
    _add_tables_of_interviews()
    _add_tables_of_operation()
    _convert_follow_ups()
    _subscribe()
    words.write_all(op.get_bind())


def _clean() -> None:
    """Changes the rows that the new constraints do not allow. No version wrote such rows."""
    _allow("event", "kind", _KINDS, otherwise="unknown")
    _allow("interview", "stage", _STAGES, otherwise="unknown")
    _allow("sink", "paused", _PAUSES, otherwise="until_person")
    _allow("attempt", "outcome", _OUTCOMES, otherwise="retry later")
    for table, column in (
        ("interview", "version"),
        ("sink", "delivered"),
        ("sink", "fence"),
        ("attempt", "duration_ms"),
        ("attempt", "count"),
        ("delivery", "attempts"),
        ("delivery", "held"),
        ("bucket", "burst_ms"),
    ):
        here = sa.table(table, sa.column(column))
        op.execute(sa.update(here).where(here.c[column] < 0).values({column: 0}))
    op.execute("UPDATE delivery SET held = 1 WHERE held > 1")
    op.execute("DELETE FROM delivery WHERE state NOT BETWEEN 0 AND 3")
    op.execute(
        "DELETE FROM delivery WHERE event_seq IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM event WHERE event.seq = delivery.event_seq)"
    )
    op.execute(
        "INSERT INTO sink (name, type, destination, routes) SELECT sink, '', '', ''"
        " FROM (SELECT sink FROM attempt UNION SELECT sink FROM note) AS used"
        " WHERE NOT EXISTS (SELECT 1 FROM sink WHERE sink.name = used.sink)"
    )


def _allow(table: str, column: str, values: tuple[str, ...], otherwise: str) -> None:
    here = sa.table(table, sa.column(column))
    op.execute(sa.update(here).where(here.c[column].not_in(values)).values({column: otherwise}))


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _order_by_bytes() -> None:
    """PostgreSQL ordered these columns of indexes by a locale of the system."""
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in _ORDERED.items():
            for column in columns:
                op.alter_column(table, column, type_=_NAME)


def _change_event() -> None:
    _move_bodies()
    op.drop_index("ix_event_kind", "event")
    with op.batch_alter_table("event") as event:
        event.drop_column("body")
        event.create_check_constraint(op.f("ck_event_kind"), _one_of("kind", _KINDS))
    _index("ix_event_kind", "event", ["kind", "received_at", "seq"], "kind <> 'event'")
    _index("ix_event_interview", "event", ["interview_id", "seq"])
    _index("ix_event_name", "event", ["name", "received_at", "seq"])
    _index("ix_event_received", "event", ["received_at", "seq"])


def _move_bodies() -> None:
    """Moves the bodies of events to a table of their own, and parses each once."""
    big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    bodies = op.create_table(
        "event_body",
        sa.Column("event_seq", big_id, autoincrement=False, nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("parsed", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["event_seq"], ["event.seq"], name=op.f("fk_event_body_event_seq"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("event_seq", name=op.f("pk_event_body")),
    )
    connection = op.get_bind()
    following = sa.text(
        "SELECT seq, received_at, body FROM event WHERE seq > :after AND body IS NOT NULL ORDER BY seq LIMIT 500"
    )
    after = -1
    while rows := connection.execute(following, {"after": after}).all():
        after = rows[-1].seq
        moved = [
            {"event_seq": seq, "received_at": at, "body": body, "parsed": parsed.encode(read(bytes(body), at))}
            for seq, at, body in rows
        ]
        connection.execute(sa.insert(bodies), moved)
    _index("ix_event_body_received", "event_body", ["received_at", "event_seq"])


def _change_interview() -> None:
    with op.batch_alter_table("interview") as interview:
        interview.create_check_constraint(op.f("ck_interview_stage"), _one_of("stage", _STAGES))
        interview.create_check_constraint(op.f("ck_interview_not_negative"), "version >= 0")


def _change_sink() -> None:
    with op.batch_alter_table("sink") as sink:
        sink.add_column(sa.Column("paused_until", sa.BigInteger(), nullable=True))
        sink.create_check_constraint(op.f("ck_sink_paused"), _one_of("paused", _PAUSES))
        sink.create_check_constraint(op.f("ck_sink_not_negative"), "delivered >= 0 AND fence >= 0")


def _change_attempt() -> None:
    with op.batch_alter_table("attempt") as attempt:
        attempt.add_column(sa.Column("status", sa.Integer(), nullable=True))
        attempt.add_column(sa.Column("answer", sa.Text(), nullable=True))
        attempt.create_check_constraint(op.f("ck_attempt_outcome"), _one_of("outcome", _OUTCOMES))
        attempt.create_check_constraint(op.f("ck_attempt_not_negative"), "duration_ms >= 0 AND count >= 0")
        _belongs_to_sink(attempt, "attempt")
    _index("ix_attempt_started", "attempt", ["started_at", "id"])
    _index("ix_attempt_sink", "attempt", ["sink", "started_at", "id"])


def _change_note() -> None:
    with op.batch_alter_table("note") as note:
        note.add_column(sa.Column("version", sa.SmallInteger(), server_default=sa.text("1"), nullable=False))
        _belongs_to_sink(note, "note")


def _change_bucket() -> None:
    with op.batch_alter_table("bucket") as bucket:
        bucket.create_check_constraint(op.f("ck_bucket_not_negative"), "burst_ms >= 0")


def _belongs_to_sink(batch: BatchOperations, table: str) -> None:
    batch.create_foreign_key(
        op.f(f"fk_{table}_sink"), "sink", ["sink"], ["name"], onupdate="CASCADE", ondelete="CASCADE"
    )


def _change_delivery() -> None:
    """Adds columns, indexes and constraints."""
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        last = connection.execute(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'delivery'")).scalar()
        for name, *_ in _DELIVERY_INDEXES:
            op.drop_index(name, "delivery")
    with op.batch_alter_table("delivery", table_kwargs={"sqlite_autoincrement": True} if is_sqlite else {}) as delivery:
        delivery.alter_column("held", new_column_name="blocks_key")
        delivery.add_column(sa.Column("purpose", _NAME, server_default=sa.text("''"), nullable=False))
        delivery.add_column(sa.Column("subject", _NAME, server_default=sa.text("''"), nullable=False))
        delivery.add_column(sa.Column("silent", sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
        delivery.add_column(sa.Column("wait_group", _NAME, nullable=True))
        delivery.create_check_constraint(op.f("ck_delivery_state"), "state BETWEEN 0 AND 5")
        delivery.create_check_constraint(op.f("ck_delivery_not_negative"), "attempts >= 0")
        delivery.create_check_constraint(
            op.f("ck_delivery_flags"), "blocks_key BETWEEN 0 AND 1 AND silent BETWEEN 0 AND 1"
        )
        delivery.create_foreign_key(op.f("fk_delivery_event_seq"), "event", ["event_seq"], ["seq"], ondelete="RESTRICT")
    if is_sqlite:
        for name, columns, where in _DELIVERY_INDEXES:
            _index(name, "delivery", columns, where)
        if last is not None:  # an id of a deleted row is never used again
            connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'delivery'"))
            put = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('delivery', :last)")
            connection.execute(put, {"last": last})
    _add_delivery_indexes()


def _add_delivery_indexes() -> None:
    _index("ix_delivery_group", "delivery", ["sink", "wait_group", "state", "not_before"], "wait_group IS NOT NULL")
    _index("ix_delivery_delivered", "delivery", ["sink", "state"], "state = 1")
    _index("ix_delivery_superseded", "delivery", ["sink", "state"], "state = 2")
    _index("ix_delivery_dismissed", "delivery", ["sink", "state"], "state = 5")
    _index("ix_delivery_interview", "delivery", ["interview_id", "id"])
    _index("ix_delivery_event", "delivery", ["event_seq"])
    _index("ix_delivery_done", "delivery", ["done_at"], "done_at IS NOT NULL")
    _index("ix_delivery_since", "delivery", ["since"], "state <> 0")
    _index("ix_delivery_reason", "delivery", ["reason", "id"], "reason IS NOT NULL")


def _index(name: str, table: str, columns: list[str], where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def _add_tables_of_interviews() -> None:
    _index("ix_interview_updated", "interview", ["updated_at", "id"])
    _index("ix_interview_position", "interview", ["position_id", "position_name", "updated_at"])
    _index("ix_interview_stage", "interview", ["stage", "updated_at"])
    _index("ix_interview_erased", "interview", ["erased_at"], "erased_at IS NOT NULL")
    for table, first in (("subscription", "sink"), ("interview_word", "word")):
        op.create_table(
            table,
            sa.Column(first, _NAME, nullable=False),
            sa.Column("interview_id", _NAME, nullable=False),
            sa.ForeignKeyConstraint(
                ["interview_id"], ["interview.id"], name=op.f(f"fk_{table}_interview_id"), ondelete="CASCADE"
            ),
            sa.PrimaryKeyConstraint(first, "interview_id", name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
        _index(
            f"ix_{table}_interview", table, ["interview_id", "sink"] if table == "subscription" else ["interview_id"]
        )


def _add_tables_of_operation() -> None:
    _add_tables_of_processes()
    _add_tables_of_periodic_tasks()
    _add_tables_of_history()


def _add_tables_of_processes() -> None:
    op.create_table(
        "process",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("pid", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_process")),
        sa.CheckConstraint(_one_of("role", _ROLES), name=op.f("ck_process_role")),
    )
    op.create_table(
        "refusal",
        sa.Column("reason", _NAME, nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reason", "hour", name=op.f("pk_refusal")),
        sa.CheckConstraint("count >= 0", name=op.f("ck_refusal_not_negative")),
    )
    _index("ix_refusal_hour", "refusal", ["hour"])
    op.execute("DELETE FROM meta WHERE substr(key, 1, 8) = 'process:'")


def _add_tables_of_periodic_tasks() -> None:
    op.create_table(
        "lease",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
        sa.CheckConstraint("fence >= 0", name=op.f("ck_lease_not_negative")),
    )
    op.create_table(
        "periodic_task",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("succeeded_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_periodic_task")),
    )


def _add_tables_of_history() -> None:
    op.create_table(
        "tombstone",
        sa.Column("interview_hash", _NAME, nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("interview_hash", name=op.f("pk_tombstone")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    _index("ix_audit_at", "audit", ["at"])
    _add_decision_request()
    _add_enrichment()
    counts = ("received", "delivered", "superseded", "dead", "dismissed")
    op.create_table(
        "rollup",
        sa.Column("sink", _NAME, nullable=False),
        sa.Column("kind", _NAME, nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.SmallInteger(), server_default=sa.text("0"), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in counts),
        sa.PrimaryKeyConstraint("sink", "kind", "hour", "part", name=op.f("pk_rollup")),
        sa.CheckConstraint(" AND ".join(f"{name} >= 0" for name in counts), name=op.f("ck_rollup_not_negative")),
        sqlite_with_rowid=False,
    )
    _index("ix_rollup_hour", "rollup", ["hour"])


def _add_enrichment() -> None:
    op.create_table(
        "enrichment",
        sa.Column("interview_id", _NAME, nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["interview_id"], ["interview.id"], name=op.f("fk_enrichment_interview_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("interview_id", name=op.f("pk_enrichment")),
    )
    _index("ix_enrichment_due", "enrichment", ["due_at", "interview_id"])


def _add_decision_request() -> None:
    op.create_table(
        "decision_request",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", _NAME, nullable=False),
        sa.Column("interview_id", _NAME, nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("repeat", sa.SmallInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("sink", _NAME, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("state", _NAME, nullable=False),
        sa.Column("sent", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision_request")),
        sa.UniqueConstraint("key", name=op.f("uq_decision_request_key")),
        sa.CheckConstraint(_one_of("state", _REQUEST_STATES), name=op.f("ck_decision_request_state")),
        sa.CheckConstraint("sent BETWEEN 0 AND 2", name=op.f("ck_decision_request_sent")),
        sa.CheckConstraint("repeat BETWEEN 0 AND 1", name=op.f("ck_decision_request_flags")),
        sqlite_autoincrement=True,
    )
    _index("ix_decision_request_open", "decision_request", ["state", "id"], "done_at IS NULL")
    _index("ix_decision_request_interview", "decision_request", ["interview_id", "id"])
    _index("ix_decision_request_done", "decision_request", ["done_at", "id"], "done_at IS NOT NULL")


def _convert_follow_ups() -> None:
    """Their keys said what they were for, and the interview was that of another delivery of the same call."""
    for prefix, purpose in _ABOUT_INTERVIEWS:
        about = _after(prefix)
        _convert(_starts_with(prefix), purpose=purpose, key=about, interview_id=about)
    for prefix, purpose in _ABOUT_POSITIONS:
        about = _after(prefix)
        _convert(_starts_with(prefix), purpose=purpose, key=about, interview_id="", subject=about)
    for key, purpose in _ABOUT_NOTHING:
        _convert(_DELIVERY.c.key == key, purpose=purpose, key="", interview_id="")
    # what another sink asked for: the key was the name of the call
    named = sa.and_(_DELIVERY.c.key != "", _DELIVERY.c.key != _DELIVERY.c.interview_id)
    _convert(named, purpose=_DELIVERY.c.key, key="", interview_id="")
    # a digest shows what waits for it from now on, besides what was counted before
    shows = sa.and_(_DELIVERY.c.state == 0, _DELIVERY.c.purpose == "digest")
    op.execute(sa.update(_DELIVERY).where(shows).values(wait_group=sa.literal("digest:") + _DELIVERY.c.subject))


def _convert(which: sa.ColumnElement[bool], **values: object) -> None:
    untouched = (_DELIVERY.c.event_seq.is_(None), _DELIVERY.c.purpose == "")
    op.execute(sa.update(_DELIVERY).where(which, *untouched).values(**values))


def _starts_with(prefix: str) -> sa.ColumnElement[bool]:
    return sa.func.substr(_DELIVERY.c.key, 1, len(prefix)) == prefix


def _after(prefix: str) -> sa.ColumnElement[str]:
    return sa.func.substr(_DELIVERY.c.key, len(prefix) + 1)


def _subscribe() -> None:
    """Moves the subscriptions to a table of their own: until now the interview listed the names of its state sinks.

    Interviews with a message of a Slack sink get their later events there, also those that routes do not choose. The
    notes say which have one; deliveries say it too, where a sink's destination changed since.
    """
    connection = op.get_bind()
    shown = connection.execute(
        sa.text(
            "SELECT sink.name, interview.id FROM sink JOIN note ON note.sink = sink.name"
            " JOIN interview ON interview.id = substr(note.key, 8)"
            " WHERE sink.type = 'slack' AND substr(note.key, 1, 7) = 'parent:'"
            " UNION SELECT sink.name, interview.id FROM sink JOIN delivery ON delivery.sink = sink.name"
            " JOIN interview ON interview.id = delivery.interview_id"
            " WHERE sink.type = 'slack' AND delivery.event_seq IS NOT NULL"
        )
    ).all()
    pairs = {(name, id_) for name, id_ in shown}
    for row in connection.execute(sa.text("SELECT id, entered FROM interview WHERE entered <> ''")):
        pairs.update((name, row.id) for name in row.entered.split(",") if name)
    if pairs:
        put = sa.text("INSERT INTO subscription (sink, interview_id) VALUES (:sink, :id)")
        connection.execute(put, [{"sink": name, "id": id_} for name, id_ in sorted(pairs)])
    op.drop_column("interview", "entered")
