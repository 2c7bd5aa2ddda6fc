"""`connector verify`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from connector import logging
from connector.app import running_lane
from connector.capabilities import Report
from connector.cli import FAILED
from connector.cli import options as o
from connector.cli.output import progress_bar, safe, show_json
from connector.config import load
from connector.operations import verify as operation
from connector.role import Secrets

REPAIR = "Write everything again that is wrong, and compare once more."


def verify(
    sink: o.SinkArgument,
    config: o.ConfigOption = None,
    repair: Annotated[bool, typer.Option("--repair", help=REPAIR)] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Compare a sheet with the store, and repair it on request.

    Pending deliveries, and differences that a second read does not confirm, do not count. Cells that users corrected
    and rows that they deleted are listed and left alone. Exits with 1 when the sheet is not in sync.
    """
    settings = load(config, needs=Secrets.SINKS)
    logging.set_up(settings.logs.format, "warning")
    entry = operation.verifiable(settings, sink)
    if repair:
        asyncio.run(operation.repair(settings, entry, running_lane, actor=o.actor()))
    with progress_bar("reading") as progress:
        report = asyncio.run(operation.verify(settings, entry, progress))
    if as_json:
        show_json({"sink": sink, "in_sync": report.in_sync, **_document(report)})
    else:
        _show(sink, report)
    if not report.in_sync:
        raise typer.Exit(FAILED)


def _show(name: str, report: Report) -> None:
    print(safe(f"{name}: {'in sync' if report.in_sync else 'NOT in sync'}"))
    for kind, count in report.counts.items():
        print(f"  {count:>7}  {kind}")
    for each in report.differences:
        print(safe(f"  {each.kind}: {each.key}{f' ({each.detail})' if each.detail else ''}"))
    for remark in [*report.remarks, *report.asks]:
        print(safe(f"  {remark}"))


def _document(report: Report) -> dict[str, Any]:
    differences = [{"kind": each.kind, "key": each.key, "detail": each.detail} for each in report.differences]
    return {
        "at": report.at,
        "counts": dict(report.counts),
        "differences": differences,
        "remarks": list(report.remarks),
        "asks": list(report.asks),
    }
