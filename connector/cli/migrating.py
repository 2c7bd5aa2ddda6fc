"""How `connector migrate` brings a store's tables to this version."""

from __future__ import annotations

import asyncio

from connector.cli.opened import require_driver, shown_place
from connector.config import Config
from connector.store.schema import REVISION


def migrate_store(settings: Config) -> str:
    """Brings the tables up to date; says from what to what. Raises `StoreError`, `UsageError`."""
    place = shown_place(settings)
    if settings.store.file is not None:
        return f"{place} is a SQLite store: `connector serve` makes it and brings it up to date by itself"
    require_driver()
    from connector.store.postgres.prepare import migrate_postgres

    found = asyncio.run(migrate_postgres(settings.store.url.get_secret_value()))
    if found is None:
        return f"{place}: the tables are made, schema {REVISION}"
    if found != REVISION:
        return f"{place}: the schema was {found}, now it is {REVISION}"
    return f"{place}: the schema is {REVISION}, as it should be; nothing to do"
