"""A running service with something to see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli import options as o

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Where store and workbook go; else a new temporary folder."),
]
EventsOption = Annotated[int, typer.Option("--events", min=1, max=o.MANY, help="How many webhooks are sent.")]
RateOption = Annotated[float, typer.Option("--rate", min=0.1, max=1000, help="Webhooks per second.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Stop when everything is delivered.")]


def demo(
    folder: FolderOption = None,
    events: EventsOption = 200,
    rate: RateOption = 5.0,
    once: OnceOption = False,
) -> None:
    """Run a service and feed it a lifelike signed stream.

    It runs on the embedded default, on any free port, and gets its webhooks over HTTP: several positions, invitations,
    answers, scores, decisions, deletions; some webhooks come twice, some late.
    """
    from connector.cli.demonstration import Demonstration

    Demonstration(events, rate, once=once).run(folder)
