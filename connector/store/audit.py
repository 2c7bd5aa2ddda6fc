"""The audit log: the changes that operators made, by the command line or the dashboard.

Functions on an open connection. An operation writes its row in the transaction of its change. The rows contain no
personal data: interviews by their id, and erased ones by the hash of it.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select

from connector.store.dialects import storable
from connector.store.queries import ListingFilter
from connector.store.schema import AuditAction, audit

TARGET_LENGTH = 500
"""Characters of a target that are kept: a selection may name many ids."""


class AuditRow(msgspec.Struct, frozen=True):
    """One change at `at` (epoch milliseconds).

    `actor` is the channel and the user, such as `cli:ada`. `target` is a sink, a selection of deliveries or events, or
    the hash of an erased interview. `detail` is the choice of the operator or the extent of the change.
    """

    id: int
    at: int
    actor: str
    action: str
    target: str
    detail: str


def record(connection: Connection, actor: str, action: AuditAction, target: str, detail: str = "", *, now: int) -> None:
    """Writes a row, in the transaction of the change. `now` is epoch milliseconds."""
    row = {
        "at": now,
        "actor": storable(actor),
        "action": str(action),
        "target": storable(target)[:TARGET_LENGTH],
        "detail": storable(detail),
    }
    connection.execute(insert(audit).values(row))


def entries(connection: Connection, wanted: ListingFilter, limit: int) -> list[AuditRow]:
    """Returns the newest rows in the period of `wanted`, behind the row whose time and id are `wanted.after`."""
    statement = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if wanted.since is not None:
        statement = statement.where(audit.c.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(audit.c.at < wanted.until)
    if wanted.after is not None:
        statement = statement.where(audit.c.id < wanted.after[1])
    return [AuditRow(**row) for row in connection.execute(statement).mappings()]
