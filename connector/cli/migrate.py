"""Makes the tables of a PostgreSQL store, or brings them up to date."""

from __future__ import annotations

from connector.cli import options as o


def migrate(config: o.ConfigOption = None) -> None:
    """Make or update the tables of a PostgreSQL store.

    Run it before the first start and after an upgrade; it does nothing when there is nothing to do. A SQLite store is
    brought up to date by `connector serve` itself.
    """
    from connector.cli.migrating import migrate_store
    from connector.config import load

    print(migrate_store(load(config)))
