"""Makes a SQLite store ready to be served."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import URL

from connector.store.faults import require_older
from connector.store.migrate_apart import SCRIPTS, migrate_apart
from connector.store.schema import REVISION
from connector.store.sqlite import database


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
        require_older(found, newest)
        copy = await asyncio.to_thread(database.backup, path, found, newest)
    await migrate_apart(URL.create("sqlite", database=str(path)).render_as_string(hide_password=False), scripts)
    return copy
