"""`connector migrate`."""

from __future__ import annotations

import asyncio

from connector.cli import options as o
from connector.config import Config, load
from connector.operations.store_access import require_driver, store_address
from connector.role import Secrets
from connector.store.migrate import migrate_postgres
from connector.store.schema import REVISION


def migrate(config: o.ConfigOption = None) -> None:
    """Create or update the tables of a PostgreSQL store.

    Run it before the first start and after an upgrade. It does nothing when the tables are current. `connector serve`
    updates a SQLite store itself.
    """
    print(_migrate(load(config, needs=Secrets.NONE)))


def _migrate(settings: Config) -> str:
    """Creates or updates the tables. Returns a sentence with the result. Raises `StoreError`, `UsageError`."""
    place = store_address(settings)
    if settings.store.file is not None:
        return f"{place} is a SQLite store: `connector serve` creates and updates it"
    require_driver()
    url = settings.store.url.get_secret_value()
    found = asyncio.run(migrate_postgres(url))
    if found is None:
        return f"{place}: created the tables, schema {REVISION}"
    if found != REVISION:
        return f"{place}: updated the schema from {found} to {REVISION}"
    return f"{place}: the schema {REVISION} is current; nothing to do"
