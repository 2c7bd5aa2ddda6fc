"""Says what an event does and why, without doing it."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import options as o

WhatArgument = Annotated[
    str,
    typer.Argument(metavar="FILE|EVENT_ID", help="File with the body of a webhook (- = standard input), or an event."),
]


def explain(what: WhatArgument, config: o.ConfigOption = None, as_json: o.JsonOption = False) -> None:
    """Show what an event does and why; send nothing.

    Tells which routes take it and why others do not, which fields change, and what each sink would write. Writes
    nothing; a file needs no store.
    """
    from connector.cli.explained import show
    from connector.cli.explaining import explain_what
    from connector.cli.terminal import show_json
    from connector.config import load

    settings = load(config)
    found = explain_what(settings, what)
    if as_json:
        show_json(found)
    else:
        show(found, settings)
