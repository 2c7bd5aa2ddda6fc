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
from connector.config import Config, SinkEntry, load
from connector.operations import verify as operation
from connector.role import Secrets

REPAIR = "Write everything again that is wrong, and compare once more."


def verify(
    sink: Annotated[
        str | None, typer.Argument(metavar="[SINK]", help="Name of the sink; default: every sink that can be verified.")
    ] = None,
    config: o.ConfigOption = None,
    repair: Annotated[bool, typer.Option("--repair", help=REPAIR)] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Compare sheets with the store, and repair them on request.

    Pending deliveries, and differences that a second read does not confirm, do not count. Cells that users corrected
    and rows that they deleted are listed and left alone. Exits with 1 when a sheet is not in sync.
    """
    settings = load(config, needs=Secrets.SINKS)
    logging.set_up(settings.logs.format, "warning")
    if sink is not None:
        document = _verified(settings, operation.verifiable(settings, sink), repair=repair, as_json=as_json)
        documents = [document]
    else:
        documents = [
            _verified_or_why(settings, entry, repair=repair, as_json=as_json)
            for entry in operation.all_verifiable(settings)
        ]
    if as_json:
        show_json(documents[0] if sink is not None else documents)
    if not all(document["in_sync"] for document in documents):
        raise typer.Exit(FAILED)


def _verified_or_why(settings: Config, entry: SinkEntry, *, repair: bool, as_json: bool) -> dict[str, Any]:
    """Verifies one of several sinks. Prints why it cannot be verified, so that the other sinks are still verified."""
    try:
        return _verified(settings, entry, repair=repair, as_json=as_json)
    except operation.NotVerified as error:
        if not as_json:
            print(safe(f"{entry.name}: not verified: {error}"))
        return {"sink": entry.name, "in_sync": False, "error": str(error)}


def _verified(settings: Config, entry: SinkEntry, *, repair: bool, as_json: bool) -> dict[str, Any]:
    """Verifies a sink. Prints the result, unless the output is JSON."""
    if repair:
        asyncio.run(operation.repair(settings, entry, running_lane, actor=o.actor()))
    with progress_bar("reading") as progress:
        report = asyncio.run(operation.verify(settings, entry, progress))
    if not as_json:
        _show(entry.name, report)
    return {"sink": entry.name, "in_sync": report.in_sync, **_document(report)}


def _show(name: str, report: Report) -> None:
    print(safe(f"{name}: {'in sync' if report.in_sync else 'NOT in sync'}"))
    for kind, count in report.counts.items():
        print(f"  {count:>7}  {kind}")
    for each in report.differences:
        print(safe(f"  {each.kind}: {each.key}{f' ({each.detail})' if each.detail else ''}"))
    for kind, fix in report.fixes.items():
        print(safe(f"  {kind}: {fix}"))
    for remark in [*report.remarks, *report.asks]:
        print(safe(f"  {remark}"))


def _document(report: Report) -> dict[str, Any]:
    differences = [{"kind": each.kind, "key": each.key, "detail": each.detail} for each in report.differences]
    return {
        "at": report.at,
        "counts": dict(report.counts),
        "differences": differences,
        "fixes": dict(report.fixes),
        "remarks": list(report.remarks),
        "asks": list(report.asks),
    }
