"""Brings the tables of a store to this version."""

from __future__ import annotations

import asyncio

from connector.config import Config
from connector.operations.store_access import require_driver, store_address
from connector.store.schema import REVISION


def migrate_store(settings: Config) -> str:
    """Brings the tables up to date; says from what to what. Raises `StoreError`, `UsageError`."""
    place = store_address(settings)
    if settings.store.file is not None:
        return f"{place} is a SQLite store: `connector serve` makes it and brings it up to date by itself"
    require_driver()
    from connector.operations.store_access_postgres import PostgresAccess
    from connector.store.postgres.prepare import migrate_postgres

    url = settings.store.url.get_secret_value()
    had_hints = PostgresAccess(url).has_hints()
    found = asyncio.run(migrate_postgres(url))
    if found is None:
        return f"{place}: the tables are made, schema {REVISION}"
    if found != REVISION:
        return f"{place}: the schema was {found}, now it is {REVISION}"
    if not had_hints:
        return f"{place}: the schema is {REVISION}, as it should be; the tables of its hints were brought up to date"
    return f"{place}: the schema is {REVISION}, as it should be; nothing to do"
