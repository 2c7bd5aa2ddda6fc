"""The tables of Procrastinate, which carries hints between processes: made and brought up to date from its own SQL.

It ships a schema for a new database and, for older ones, migrations whose names sort in the order to apply them
(Procrastinate documentation, "Migrate the database"). Which one was the last stands in the comment of its jobs table,
so that this knowledge lives and dies with the tables. Its rule to apply the `post` ones only when all processes run
the new version can be left: a hint that is lost is made up for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, text

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.store.postgres.database import connect_async
from connector.store.postgres.faults import is_trouble, words_of

MARK = "connector, up to "
"""What the comment says before the name of the last migration."""
LOCK = 7_226_318_400
"""The advisory lock under which one process at a time changes these tables."""
PATIENCE = "SET LOCAL lock_timeout = '60s'"
FOUND = (
    "SELECT to_regclass('procrastinate_jobs') IS NOT NULL,"
    " obj_description(to_regclass('procrastinate_jobs'), 'pg_class')"
)


@cache
def migrations() -> tuple[str, ...]:
    """The names of all migrations that the installed version ships, in order."""
    folder = files("procrastinate.sql") / "migrations"
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql")))


async def apply(url: str, shipped: Sequence[str] | None = None) -> None:
    """Makes the tables at a `postgresql://` URL, or applies what is missing; harmless when nothing is.

    Raises `StoreUnavailable`, and `SchemaMismatch` for tables that somebody else or a newer version made.
    """
    names = migrations() if shipped is None else tuple(shipped)
    try:
        async with await connect_async(url) as connection:
            while await _next(connection, names):
                """One file after the other: some use what an earlier one has committed."""
    except psycopg.Error as error:
        if not is_trouble(error):
            raise
        raise StoreUnavailable(f"the tables of the hints could not be made: {words_of(error)}") from None


def require_current(connection: Connection) -> None:
    """Raises `SchemaMismatch` unless the tables are those of the installed version; says what to do."""
    exists, comment = connection.execute(text(FOUND)).one()
    newest = migrations()[-1]
    if not exists or _last_of(comment, migrations()) != newest:
        raise SchemaMismatch("the store lacks the newest tables of its hints: run `connector migrate`")


def _last_of(comment: str | None, names: Sequence[str]) -> str:
    """The last migration that was applied, from the comment."""
    if comment is None or not comment.startswith(MARK):
        raise SchemaMismatch(
            "the database holds tables of Procrastinate that are not ours: give the connector a database of its own"
        )
    last = comment.removeprefix(MARK)
    if last not in names:
        raise SchemaMismatch("a newer version made the tables of the hints: run the newest connector")
    return last


async def _next(connection: AsyncConnection[Any], names: Sequence[str]) -> bool:
    """Runs one file whole or not at all, and remembers it; `False` when there is none to run."""
    async with connection.transaction():
        await connection.execute(PATIENCE)
        await connection.execute(SQL("SELECT pg_advisory_xact_lock({})").format(LOCK))
        row = await (await connection.execute(FOUND)).fetchone()
        assert row is not None
        exists, comment = row
        missing = names[names.index(_last_of(comment, names)) + 1 :] if exists else names[-1:]
        if not missing:
            return False
        await connection.execute(_sql(f"migrations/{missing[0]}" if exists else "schema.sql").encode())
        remember = SQL("COMMENT ON TABLE procrastinate_jobs IS {}").format(Literal(MARK + missing[0]))
        await connection.execute(remember)
        return True


def _sql(name: str) -> str:
    return (files("procrastinate.sql") / name).read_text(encoding="utf-8")
