"""`connector store backup`, `restore` and `copy`, and `connector migrate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import FAILED
from connector.cli import options as o
from connector.cli.output import progress_bar, safe, show_json, show_table
from connector.config import Config, load
from connector.errors import StoreUnavailable, UsageError
from connector.formats import counted
from connector.operations.store_access import require_driver, store_exists
from connector.role import Secrets
from connector.store.sqlite.backup import back_up
from connector.store.sqlite.backup import restore as restore_backup
from connector.store.sqlite.database import exists

if TYPE_CHECKING:
    from connector.operations.copy_store import TableReport
import asyncio

from connector.operations.store_access import store_address
from connector.store.migrate import migrate_postgres
from connector.store.schema import REVISION

ToOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="URL",
        help="URL of an empty, migrated PostgreSQL store: postgresql://…; - reads it from standard input, so that "
        "other users of the machine do not see it.",
    ),
]
BackupArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file of the backup.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


store = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@store.callback()
def _store() -> None:
    """Back up, restore or copy the store."""


@store.command()
def backup(file: BackupArgument, config: o.ConfigOption = None, force: ForceOption = False) -> None:
    """Copy a SQLite store to a file, also while the service runs.

    The file holds one consistent state and can be read by its owner only. It contains personal data.
    """
    size = back_up(_file_of(load(config, needs=Secrets.NONE)), file, replace=force)
    print(f"{file}: {size:,} bytes")


@store.command()
def restore(file: BackupArgument, config: o.ConfigOption = None) -> None:
    """Replace a stopped SQLite store with a backup.

    The backup is checked first. The previous store is kept beside the new one.
    """
    path = _file_of(load(config, needs=Secrets.NONE), required=False)
    restored = restore_backup(path, file, datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"), actor=o.actor())
    print(f"{path} is restored from {file}")
    if restored.erased:
        print(f"{counted(restored.erased, 'interview', 'interviews')} erased since the backup: erased again")
    if restored.previous is not None:
        kept = restored.previous
        print(f"the previous store is {kept}; it contains personal data: delete it when you no longer need it")


def _file_of(settings: Config, *, required: bool = True) -> Path:
    path = settings.store.file
    if path is None:
        raise UsageError("the store is PostgreSQL: use pg_dump and pg_restore (docs/scaling.md, Backup)")
    if required and not exists(path):
        raise StoreUnavailable(f"the store {path} is missing: start the service once, or correct [store] url")
    return path


@store.command()
def copy(to: ToOption, config: o.ConfigOption = None, as_json: o.JsonOption = False) -> None:
    """Copy a SQLite store into an empty PostgreSQL store, once.

    The service must be stopped. Everything is copied: events, interviews, deliveries with their ids, notes, pauses. All
    rows are counted and compared; if anything differs, nothing is kept. The SQLite store does not change.
    """
    settings = load(config, needs=Secrets.NONE)
    source = _source_of(settings)
    require_driver()
    target = _target_of(to)
    from connector.operations.copy_store import copy_store  # an optional dependency
    from connector.operations.store_access_postgres import public_url

    with progress_bar("copying") as progress:
        reports = copy_store(source, target, lambda table, done, total: progress(done, total, f"copying {table}"))
    place = public_url(target)
    equal = all(report.equal for report in reports)
    if as_json:
        show_json(_document(source, place, reports))
    else:
        _show(reports)
        _show_next_step(place, equal=equal)
    if not equal:
        raise typer.Exit(FAILED)


def _source_of(settings: Config) -> Path:
    path = settings.store.file
    if path is None:
        raise UsageError("the store of this configuration is PostgreSQL already; use the --config of the SQLite store")
    if not store_exists(settings):
        raise StoreUnavailable(f"the store {path} is missing, so nothing is copied")
    return path


def _target_of(to: str) -> str:
    """The URL, from standard input for `-`. It contains a password, so no message repeats it."""
    url = sys.stdin.readline().strip() if to == "-" else to
    if not url.startswith("postgresql://"):
        raise UsageError("--to must be postgresql://user:password@host/name, or - to read it from standard input")
    return url


def _document(source: Path, place: str, reports: Sequence[TableReport]) -> dict[str, object]:
    return {
        "from": str(source),
        "to": place,
        "equal": all(report.equal for report in reports),
        "tables": list(reports),
    }


def _show(reports: Sequence[TableReport]) -> None:
    rows = [
        {
            "TABLE": report.table,
            "ROWS": report.rows,
            "CHECKSUM": report.checksum,
            "COPY": "equal" if report.equal else f"DIFFERS: {report.copied_rows} rows, {report.copied_checksum}",
        }
        for report in reports
    ]
    show_table(rows, empty="")


def _show_next_step(place: str, *, equal: bool) -> None:
    if not equal:
        print("\nThe copy differs, so nothing was kept.")
        return
    print(
        f"\nEverything is copied. Wherever the connector runs, set [store] url, or the variable CONNECTOR_STORE__URL,\n"
        f"to {safe(place)} with user and password. Then start it.\n"
        "The SQLite store did not change. Do not run a service on it again: both would send the same messages."
    )


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
