"""The command that proves that a sheet is in step."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import options as o
from connector.cli.act import SinkArgument

REPAIR = "Have everything that is wrong written again, and look once more."


def verify(
    sink: SinkArgument,
    config: o.ConfigOption = None,
    repair: Annotated[bool, typer.Option("--repair", help=REPAIR)] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Read a sheet back and compare it with the truth.

    What still waits to be delivered, and what a second look does not show again, is no difference. What people
    corrected or deleted is told and left alone. Exits with 1 when the sheet is not in step.
    """
    from connector.cli.verifying import show_report, verified
    from connector.config import load

    settings = load(config)
    report = verified(settings, sink, repair=repair)
    show_report(sink, report, as_json=as_json)
    if not report.in_step:
        raise typer.Exit(1)
