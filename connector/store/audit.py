"""The audit log: the changes that operators made, by the command line or the dashboard.

Functions on an open connection. An operation writes its row in the transaction of its change. The rows contain no
personal data: interviews by their id, and erased ones by the hash of it.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert

from connector.store.dialects import storable
from connector.store.schema import AuditAction, audit

TARGET_LENGTH = 500
"""Characters of a target that are kept: a selection may name many ids."""


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
