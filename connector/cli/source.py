"""`connector backfill` and `connector reconcile`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
import typer
from sqlalchemy import Connection

from connector import logging
from connector.app import open_event_store
from connector.capabilities import DELETED_BY_USERS, Report, Verifies
from connector.cli import FAILED
from connector.cli import options as o
from connector.cli.output import print_hint, progress_bar, safe, show_json
from connector.config import Config, load
from connector.formats import counted
from connector.operations import verify as verification
from connector.operations.backfill import Selection
from connector.operations.reconcile import Options
from connector.operations.source_tasks import backfill_for_command, reconcile_for_command
from connector.operations.status import HELD_FIX, SILENT_FIX
from connector.operations.store_access import reading
from connector.role import Secrets
from connector.store import source
from connector.store.source import Reconcile
from connector.store.status import sinks

PositionsOption = Annotated[
    list[str] | None,
    typer.Option("--position", metavar="P", help="Only this position: its id, or its name with * and ?; repeatable."),
]
QuickOption = Annotated[bool, typer.Option("--quick", help="Read pages only where the counters of a position differ.")]
AcceptOption = Annotated[
    bool, typer.Option("--accept", help="Accept many deletions at once; without it they are only counted.")
]


def backfill(
    config: o.ConfigOption = None,
    position: PositionsOption = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="T", help="Only interviews invited at or after this time.")
    ] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Read existing interviews from Hireflix, so that sheets show them.

    Chats report nothing. A killed run continues where it was, and a second run changes nothing. With a SQLite store, a
    running service does the work and this command waits for it.
    """
    settings = load(config, needs=Secrets.NONE)
    logging.set_up(settings.logs.format, "warning")
    from_ms, _ = o.period(settings, since, None)
    selection = Selection(positions=position or None, since=from_ms)
    with progress_bar("reading", hidden=as_json) as progress:
        done = asyncio.run(backfill_for_command(settings, open_event_store, selection, progress, actor=o.actor()))
    if as_json:
        show_json({"read": done.read, "added": done.added})
        return
    print(f"{counted(done.read, 'interview', 'interviews')} read, {counted(done.added, 'event', 'events')} added")
    if done.added:
        print_hint("a running service writes them to the sheets; `connector status` shows what is pending")


def reconcile(
    config: o.ConfigOption = None,
    quick: QuickOption = False,
    accept: AcceptOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Compare the store with Hireflix, and add missed changes.

    Then every sheet is read and compared. Exits with 1 when deletions wait for --accept, or when a sheet does not show
    what Hireflix has.
    """
    settings = load(config, needs=Secrets.SINKS)
    logging.set_up(settings.logs.format, "warning")
    options = Options(complete=not quick, accept=accept)
    with progress_bar("comparing positions", hidden=as_json) as progress:
        result = asyncio.run(reconcile_for_command(settings, open_event_store, options, progress, actor=o.actor()))
    proofs = list(_proofs(settings, result))
    if as_json:
        show_json(_document(result, proofs))
    else:
        _show(result, proofs)
    if result.held or not all(proof.is_right for proof in proofs):
        raise typer.Exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Proof:
    """Compares the number of interviews in Hireflix with the rows of a sheet: `rows`, and the rows that users deleted.
    `pending` deliveries are not in the sheet yet.
    """

    sink: str
    interviews: int
    expected: int
    pending: int
    deleted: int = 0
    problem: str = ""

    @property
    def rows(self) -> int:
        return self.expected - self.deleted

    @property
    def is_right(self) -> bool:
        return not self.problem

    def __str__(self) -> str:
        if self.problem:
            return f"{self.sink}: not proved: {self.problem}"
        those = f"{self.interviews} interviews in Hireflix"
        if self.expected != self.interviews:
            those = f"{self.expected} of {those} (by routes, without erased ones)"
        later = f", {counted(self.pending, 'delivery', 'deliveries')} pending" if self.pending else ""
        deleted = f" and {self.deleted} that users deleted" if self.deleted else ""
        return f"{those} = {counted(self.rows, 'row', 'rows')} in {self.sink}{deleted}{later}"


def _proofs(settings: Config, result: Reconcile) -> Iterator[_Proof]:
    """Compares each sheet with the store, which was just compared with Hireflix."""
    for name, entry in settings.sinks.items():
        if not issubclass(entry.cls, Verifies):
            continue
        problem, report = "", None
        try:
            report = asyncio.run(verification.verify(settings, verification.verifiable(settings, name), _quiet))
            if not report.in_sync:
                fix = "; ".join(report.asks) or f"run `connector verify {name} --repair`"
                problem = f"the sheet differs from the store: {fix}"
        except verification.NotVerified as error:
            problem = str(error)
        with reading(settings) as connection:
            shown = source.shown_in(connection, name)
            deleted = 0 if report is None else _deleted(connection, name, report)
            pending = next((each.pending for each in sinks(connection, 0, None) if each.name == name), 0)
        yield _Proof(name, result.interviews, shown, pending, deleted, problem)


def _deleted(connection: Connection, sink: str, report: Report) -> int:
    """Returns how many of the interviews in Hireflix have no row because users deleted it."""
    listed = [each.key for each in report.differences if each.kind == DELETED_BY_USERS]
    return source.shown_in(connection, sink, listed) + report.counts.get(DELETED_BY_USERS, 0) - len(listed)


def _quiet(_done: int, _total: int) -> None:
    """Ignores the progress: the reads of a sheet are short."""


def _show(result: Reconcile, proofs: list[_Proof]) -> None:
    for difference, count in sorted(result.added.items()):
        print(f"  {count:>7}  {difference} differed; an event was added")
    if not result.added:
        print("no difference between Hireflix and the store")
    if result.held:
        print(f"  {result.held:>7}  deletions not applied, because they are many at once: {HELD_FIX}")
    if result.silent_since is not None:
        print(f"warning: {SILENT_FIX}")
    for proof in proofs:
        print(safe(str(proof)))


def _document(result: Reconcile, proofs: list[_Proof]) -> dict[str, object]:
    wanted = ("ended_at", "interviews", "pages", "added", "held", "missed", "silent_since")
    document = {name: value for name, value in msgspec.structs.asdict(result).items() if name in wanted}
    rows = [
        {
            "sink": p.sink,
            "expected": p.expected,
            "rows": p.rows,
            "deleted_by_users": p.deleted,
            "pending": p.pending,
            "problem": p.problem,
        }
        for p in proofs
    ]
    return document | {"sheets": rows}
