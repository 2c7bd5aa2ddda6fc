"""One writer per sink: leases with fencing tokens. Also the pauses of a sink.

The lease of a sink is in its row. `schema.lease` holds the leases that do not belong to a sink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, case, or_, select, update

from connector.errors import LeaseLost
from connector.store import audit, schema
from connector.store.dialects import Now, insert_new, storable
from connector.store.schema import AuditAction, PauseKind, sink

AUDIT_ACTOR = "connector"
"""Who resumes a sink at the end of its pause, in the audit log."""
LEASE_SECONDS = 15.0
"""A crashed worker blocks its sinks for at most this time."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to one sink until `until` (epoch milliseconds of the database's clock), as long as `fence` is
    the current token.

    With `table` `schema.lease` it is a right by this name that does not belong to a sink.
    """

    sink: str
    owner: str
    fence: int
    until: int
    table: Table = schema.sink


def register(connection: Connection, sinks: Mapping[str, str]) -> None:
    """Adds rows for new sinks (name -> type) and stores changed types. An empty destination means: never filled."""
    rows = [{"name": name, "type": kind, "destination": "", "routes": ""} for name, kind in sorted(sinks.items())]
    insert_new(connection, sink, rows, ["name"])
    for name, kind in sinks.items():
        connection.execute(update(sink).where(sink.c.name == name, sink.c.type != kind).values(type=kind))


def register_lease(connection: Connection, name: str) -> None:
    """Adds the row of a lease that does not belong to a sink."""
    insert_new(connection, schema.lease, [{"name": name}], ["name"])


def acquire(
    connection: Connection,
    name: str,
    owner: str,
    now: Now,
    *,
    by_force: bool = False,
    seen_fence: int | None = None,
    seconds: float = LEASE_SECONDS,
    table: Table = sink,
) -> Lease | None:
    """Takes or renews the lease for `seconds`. Returns `None` when another owner holds it, or the sink was renamed.

    A new owner gets a higher fencing token. `by_force` takes the lease from any holder, also from one with the same
    name, which may be an earlier process. `seen_fence` is the token that an earlier query read: the result is `None`
    when it changed, because another worker held the lease since and the result of that query is outdated.
    """
    conditions = [table.c.name == name]
    if seen_fence is not None:
        conditions.append(table.c.fence == seen_fence)
    is_mine = table.c.lease_owner == owner
    next_fence: Any = table.c.fence + 1
    if not by_force:
        conditions.append(or_(table.c.lease_owner.is_(None), is_mine, table.c.lease_until < now))
        next_fence = case((is_mine, table.c.fence), else_=next_fence)
    taking = update(table).where(*conditions)
    taking = taking.values(lease_owner=owner, lease_until=now + int(seconds * 1000), fence=next_fence)
    row = connection.execute(taking.returning(table.c.fence, table.c.lease_until)).first()
    return None if row is None else Lease(name, owner, row.fence, row.lease_until, table)


def renew(connection: Connection, lease: Lease, now: Now, seconds: float = LEASE_SECONDS) -> Lease:
    """Returns the lease, extended to `seconds` from now. Raises `LeaseLost`."""
    table = lease.table
    renewing = update(table).where(_is_current(lease)).values(lease_until=now + int(seconds * 1000))
    until = connection.execute(renewing.returning(table.c.lease_until)).scalar()
    if until is None:
        raise _lost(lease)
    return replace(lease, until=until)


def lock(connection: Connection, name: str, *columns: Column[Any], table: Table = sink) -> Any:
    """The columns of a row of `table`, all of them when none is named, or `None`.

    Where the database has row locks, other transactions wait for the row until this one ends.
    """
    return connection.execute(select(*(columns or table.c)).where(table.c.name == name).with_for_update()).first()


def release(connection: Connection, lease: Lease) -> None:
    """Releases the lease, if it is still held by this owner."""
    table = lease.table
    connection.execute(update(table).where(_is_current(lease)).values(lease_owner=None, lease_until=0))


def require(connection: Connection, lease: Lease) -> None:
    """Raises `LeaseLost` unless the lease is current. Call it first in a transaction that writes for a sink."""
    table = lease.table
    row = lock(connection, lease.sink, table.c.lease_owner, table.c.fence, table=table)
    if row is None or row.lease_owner != lease.owner or row.fence != lease.fence:
        raise _lost(lease)


def _is_current(lease: Lease) -> ColumnElement[bool]:
    table = lease.table
    return and_(table.c.name == lease.sink, table.c.lease_owner == lease.owner, table.c.fence == lease.fence)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"the lease on {lease.sink} went to another worker")


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a sink is paused, and what to do. Times are epoch milliseconds.

    A broken one is probed at `probe_at`. A pause by an operator ends at `until`, or lasts until the sink is resumed.
    """

    kind: PauseKind
    reason: str
    fix: str = ""
    probe_at: int | None = None
    until: int | None = None


def pause(connection: Connection, name: str, why: Pause) -> None:
    """Pauses a sink. A pause by an operator is not replaced by one of the sink itself."""
    kept = sink.c.name == name
    if why.kind is not PauseKind.OPERATOR:
        kept &= or_(sink.c.paused.is_(None), sink.c.paused != PauseKind.OPERATOR)
    connection.execute(
        update(sink)
        .where(kept)
        .values(
            paused=why.kind,
            reason=storable(why.reason),
            fix=storable(why.fix),
            probe_at=why.probe_at,
            paused_until=why.until,
        )
    )


def resume(connection: Connection, name: str) -> None:
    """Ends the pause of a sink and its rest, so that it continues at once."""
    connection.execute(
        update(sink)
        .where(sink.c.name == name)
        .values(paused=None, reason=None, fix=None, probe_at=None, paused_until=None, rest_until=0)
    )


def ended_pauses(connection: Connection, now: int) -> list[str]:
    """Returns the sinks whose pause has ended at `now` (epoch milliseconds). They have to be resumed."""
    return list(connection.execute(select(sink.c.name).where(sink.c.paused_until <= now)).scalars())


def resume_after_pause(connection: Connection, now: int) -> list[str]:
    """Resumes the sinks whose pause has ended at `now` (epoch milliseconds), and returns their names."""
    ended = select(sink.c.name).where(sink.c.paused_until <= now).order_by(sink.c.name).with_for_update()
    names = list(connection.execute(ended).scalars())
    for name in names:
        resume(connection, name)
        audit.record(connection, AUDIT_ACTOR, AuditAction.RESUME, name, "the pause ended", now=now)
    return names


def end_broken_pause(connection: Connection, name: str) -> None:
    """Ends the pause of a broken sink after a successful probe. A pause by an operator stays."""
    connection.execute(
        update(sink)
        .where(sink.c.name == name, sink.c.paused == PauseKind.BROKEN)
        .values(paused=None, reason=None, fix=None, probe_at=None)
    )


def probe_all(connection: Connection, names: Sequence[str]) -> None:
    """Lets broken sinks probe at once, because their configuration may have been corrected."""
    connection.execute(update(sink).where(sink.c.name.in_(names), sink.c.paused == PauseKind.BROKEN).values(probe_at=0))


def rows(connection: Connection) -> Sequence[Any]:
    """Returns the rows of all sinks that were ever configured."""
    return connection.execute(select(sink).order_by(sink.c.name)).all()


def row(connection: Connection, name: str, *, table: Table = sink) -> Any:
    """Returns the row of one sink, or of another lease; `None` for a sink that a newer process renamed."""
    return connection.execute(select(table).where(table.c.name == name)).first()
