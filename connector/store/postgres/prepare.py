"""Makes a PostgreSQL store, or brings its schema up to date: what `connector migrate` does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from connector.store.faults import require_older
from connector.store.migrate_apart import SCRIPTS, migrate_apart
from connector.store.postgres.database import make_engine, revision_at
from connector.store.schema import REVISION


async def migrate_postgres(url: str, newest: str = REVISION, scripts: Path = SCRIPTS) -> str | None:
    """Brings the store at a `postgresql://` URL to this version's schema; returns the revision it had before.

    Harmless when nothing is to be done. Two that run at once follow each other. Raises `StoreUnavailable`,
    `SchemaMismatch` for a newer schema or somebody else's tables, `UsageError` for a URL that is none.
    """
    found = await asyncio.to_thread(_revision, url)
    if found is not None:
        require_older(found, newest)
    if found != newest:
        await migrate_apart(url, scripts)
    return found


def _revision(url: str) -> str | None:
    engine = make_engine(url, 1, mode="read")
    try:
        return revision_at(engine)
    finally:
        engine.dispose()
