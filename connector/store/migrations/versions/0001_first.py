"""The first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_NAME = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    _intake()
    _outbox()
    _sinks()


def _intake() -> None:
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("identity", _NAME, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("interview_id", _NAME, nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sa.UniqueConstraint("identity", name=op.f("uq_event_identity")),
    )
    op.create_table(
        "interview",
        sa.Column("id", _NAME, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position_id", sa.Text(), nullable=False),
        sa.Column("position_name", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("entered", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interview")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "meta",
        sa.Column("key", _NAME, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_index(
        "ix_event_kind",
        "event",
        ["kind"],
        unique=False,
        sqlite_where=sa.text("kind <> 'event'"),
        postgresql_where=sa.text("kind <> 'event'"),
    )


def _outbox() -> None:
    op.create_table(
        "attempt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sink", _NAME, nullable=False),
        sa.Column("batch", _NAME, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sink", _NAME, nullable=False),
        sa.Column("key", _NAME, nullable=False),
        sa.Column("interview_id", _NAME, nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("batch", _NAME, nullable=True),
        sa.Column("batch_started_at", sa.BigInteger(), nullable=True),
        sa.Column("bucket", _NAME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sqlite_autoincrement=True,
        postgresql_with={"autovacuum_vacuum_scale_factor": 0.01},
    )
    _delivery_index("ix_delivery_batch", ["sink", "batch"], "state = 0 AND batch IS NOT NULL")
    _delivery_index("ix_delivery_dead", ["sink", "state"], "state = 3")
    _delivery_index("ix_delivery_due", ["sink", "priority", "id", "since", "state"], "state = 0")
    _delivery_index("ix_delivery_key", ["key", "sink", "held"], "state = 0")


def _delivery_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "delivery", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _sinks() -> None:
    op.create_table(
        "bucket",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("full_at", sa.BigInteger(), nullable=False),
        sa.Column("burst_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_bucket")),
    )
    op.create_table(
        "note",
        sa.Column("sink", _NAME, nullable=False),
        sa.Column("destination", _NAME, nullable=False),
        sa.Column("key", _NAME, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sink", "destination", "key", name=op.f("pk_note")),
    )
    op.create_table(
        "sink",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("destination", _NAME, nullable=False),
        sa.Column("routes", sa.Text(), nullable=False),
        sa.Column("filled_to", _NAME, nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("paused", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fix", sa.Text(), nullable=True),
        sa.Column("probe_at", sa.BigInteger(), nullable=True),
        sa.Column("rest_until", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("batch", _NAME, nullable=True),
        sa.Column("batch_started_at", sa.BigInteger(), nullable=True),
        sa.Column("delivered", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_delivered_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sink")),
    )
