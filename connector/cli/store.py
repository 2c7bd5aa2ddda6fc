"""Commands about the store as a whole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options as o
from connector.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from connector.cli.copying import TableReport
    from connector.config import Config

ToOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="URL",
        help="The PostgreSQL store, empty and migrated: postgresql://…; - reads the URL from standard input, where no "
        "other user of the machine sees it.",
    ),
]


def copy(to: ToOption, config: o.ConfigOption = None, as_json: o.JsonOption = False) -> None:
    """Copy a SQLite store into an empty PostgreSQL store, once.

    The service must be stopped. Everything comes along: events, interviews, deliveries with their ids, notes, pauses.
    It is counted and compared on both sides, and when anything differs nothing is kept. The SQLite store stays as it
    is.
    """
    from connector.cli.opened import require_driver
    from connector.cli.terminal import show_json
    from connector.config import load

    settings = load(config)
    source = _source_of(settings)
    require_driver()
    target = _target_of(to)
    reports = _copied(source, target)
    equal = all(report.equal for report in reports)
    if as_json:
        show_json(_document(source, target, reports))
    else:
        _show(reports)
        _say_what_now(target, equal=equal)
    if not equal:
        raise typer.Exit(1)


def _source_of(settings: Config) -> Path:
    from connector.cli.opened import place_of
    from connector.errors import StoreUnavailable

    path = settings.store.file
    if path is None:
        raise UsageError("the store of this configuration is PostgreSQL already; give the --config of the SQLite store")
    if not place_of(settings).is_there():
        raise StoreUnavailable(f"no store at {path}: there is nothing to copy")
    return path


def _target_of(to: str) -> str:
    """The URL, from standard input if so wanted; it holds a password, so no message repeats it."""
    url = sys.stdin.readline().strip() if to == "-" else to
    if not url.startswith("postgresql://"):
        raise UsageError("--to must be postgresql://user:password@host/name, or - to read it from standard input")
    return url


def _copied(source: Path, target: str) -> list[TableReport]:
    from rich.progress import Progress as Bar

    from connector.cli.copying import copy_store
    from connector.cli.terminal import console
    from connector.store.sqlite.lock import StoreLock

    with StoreLock(source), Bar(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying", total=None)

        def told(table: str, done: int, total: int) -> None:
            bar.update(task, description=f"copying {table}", completed=done, total=total)

        return copy_store(source, target, told)


def _document(source: Path, target: str, reports: Sequence[TableReport]) -> dict[str, object]:
    from connector.cli.opened_postgres import shown

    return {
        "from": str(source),
        "to": shown(target),
        "equal": all(report.equal for report in reports),
        "tables": list(reports),
    }


def _show(reports: Sequence[TableReport]) -> None:
    from connector.cli.terminal import show_table

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


def _say_what_now(target: str, *, equal: bool) -> None:
    from connector.cli.opened_postgres import shown
    from connector.cli.terminal import safe

    if not equal:
        print("\nThe copy differs, so nothing of it was kept.")
        return
    print(
        f"\nAll is copied. Now set the store's address wherever the connector runs: [store] url, or the variable\n"
        f"CONNECTOR_STORE__URL, to {safe(shown(target))} with user and password. Then start it.\n"
        "The SQLite store stays as it is; do not serve it again, or both would tell the same news."
    )
