"""`connector migrate`."""

from __future__ import annotations

from connector.cli import options as o
from connector.config import load
from connector.operations.migrate import migrate_store
from connector.role import Secrets


def migrate(config: o.ConfigOption = None) -> None:
    """Create or update the tables of a PostgreSQL store.

    Run it before the first start and after an upgrade. It does nothing when the tables are current. `connector serve`
    updates a SQLite store itself.
    """
    print(migrate_store(load(config, needs=Secrets.NONE)))
