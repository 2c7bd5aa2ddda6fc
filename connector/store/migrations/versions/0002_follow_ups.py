"""Follow-ups name what they are about, deliveries may wait, and chats are subscribed to what they show."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

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
    op.add_column("delivery", sa.Column("purpose", _NAME, server_default=sa.text("''"), nullable=False))
    op.add_column("delivery", sa.Column("subject", _NAME, server_default=sa.text("''"), nullable=False))
    op.add_column("delivery", sa.Column("silent", sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("delivery", sa.Column("wait_group", _NAME, nullable=True))
    op.create_index(
        "ix_delivery_group",
        "delivery",
        ["sink", "wait_group", "state", "not_before"],
        sqlite_where=sa.text("wait_group IS NOT NULL"),
        postgresql_where=sa.text("wait_group IS NOT NULL"),
    )
    _convert_follow_ups()
    _subscribe()


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
    """Interviews with a message of a Slack sink get their later events there, also those that routes do not choose.

    The notes say which have one; deliveries say it too, where a sink's destination changed since.
    """
    connection = op.get_bind()
    shown = connection.execute(
        sa.text(
            "SELECT sink.name, substr(note.key, 8) FROM sink JOIN note ON note.sink = sink.name"
            " WHERE sink.type = 'slack' AND substr(note.key, 1, 7) = 'parent:'"
            " UNION SELECT sink.name, delivery.interview_id FROM sink JOIN delivery ON delivery.sink = sink.name"
            " WHERE sink.type = 'slack' AND delivery.event_seq IS NOT NULL"
        )
    ).all()
    sinks: dict[str, set[str]] = {}
    for name, interview_id in shown:
        sinks.setdefault(interview_id, set()).add(name)
    for interview_id, names in sinks.items():
        _enter(connection, interview_id, names)


def _enter(connection: sa.Connection, interview_id: str, names: set[str]) -> None:
    here = {"id": interview_id}
    entered = connection.execute(sa.text("SELECT entered FROM interview WHERE id = :id"), here).scalar()
    if entered is None:
        return
    after = ",".join(sorted({*names, *(name for name in entered.split(",") if name)}))
    if after != entered:
        put = sa.text("UPDATE interview SET entered = :entered, version = version + 1 WHERE id = :id")
        connection.execute(put, {**here, "entered": after})
