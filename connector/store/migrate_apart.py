"""Makes a SQLite store ready to be served. Migrations run in a child process: the service never loads Alembic."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sqlalchemy import URL

from connector.errors import StoreUnavailable
from connector.store import database
from connector.store.schema import REVISION

SCRIPTS = Path(__file__).parent / "migrations"


async def prepare(path: Path, newest: str = REVISION, scripts: Path = SCRIPTS) -> Path | None:
    """Makes the store at a path, or brings its schema up to date after copying it; the caller holds its lock.

    Returns the copy, if one was made. Raises `StoreUnavailable` and `SchemaMismatch`.
    """
    found = database.revision_of(path)
    if found == newest:
        return None
    copy = None
    if found is None:
        database.make_empty(path)
    else:
        database.require_older(found, newest)
        copy = await asyncio.to_thread(database.backup, path, found, newest)
    await migrate_apart(URL.create("sqlite", database=str(path)).render_as_string(hide_password=False), scripts)
    return copy


async def migrate_apart(url: str, scripts: Path = SCRIPTS) -> None:
    """Brings the store at a SQLAlchemy URL to the newest revision.

    Raises `StoreUnavailable` with the last line of what the child said.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "connector.store.migrate",
            str(scripts),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise StoreUnavailable(
            f"the store's schema could not be brought up to date: no process can be started for it ({error.strerror}); "
            f"see that {sys.executable} may be run, and whether memory or processes are limited"
        ) from error
    _, errors = await child.communicate(url.encode())
    if child.returncode != 0:
        lines = errors.decode(errors="replace").strip().splitlines() or ["no message"]
        raise StoreUnavailable(f"the store's schema could not be brought up to date: {lines[-1]}")
