"""`connector migrate`."""

from __future__ import annotations

from connector.cli import options as o
from connector.config import load
from connector.operations.migrate import migrate_store


def migrate(config: o.ConfigOption = None) -> None:
    """Make or update the tables of a PostgreSQL store.

    Run it before the first start and after an upgrade; it does nothing when there is nothing to do. A SQLite store is
    brought up to date by `connector serve` itself.
    """
    print(migrate_store(load(config)))
