"""`connector pause` and `connector resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import options as o
from connector.cli.output import counted
from connector.config import load
from connector.errors import UsageError
from connector.operations import pause as operation
from connector.operations.sinks import configured
from connector.operations.store_access import changing

FLAGS = {
    "refill": "The destination was emptied on purpose: write everything again.",
    "accept": "What people removed there stays removed.",
    "adopt": "A tab was replaced by another with the same title: go on in that one.",
}


def pause(sink: o.SinkArgument, config: o.ConfigOption = None) -> None:
    """Stop a sink; it keeps queueing until it is resumed.

    The call under way ends first.
    """
    settings = load(config)
    entry = configured(settings, sink)
    with changing(settings) as store:
        store.change(lambda connection: operation.pause(connection, entry))
    print(f"{sink} is paused and keeps queueing; connector resume {sink} lets it go on")


def resume(
    sink: o.SinkArgument,
    config: o.ConfigOption = None,
    refill: Annotated[bool, typer.Option("--refill", help=FLAGS["refill"])] = False,
    accept: Annotated[bool, typer.Option("--accept", help=FLAGS["accept"])] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help=FLAGS["adopt"])] = False,
) -> None:
    """Let a paused sink go on at once.

    It does not matter whether a person paused it or it paused itself. A sheet that paused because many rows vanished
    asks for a word: --refill or --accept. A sink that knows no such word refuses it.
    """
    mode = _mode(refill=refill, accept=accept, adopt=adopt)
    settings = load(config)
    entry = configured(settings, sink)
    if mode is not None:
        operation.require_resume_mode(entry, mode)
    with changing(settings) as store:
        pending = store.change(lambda connection: operation.resume(connection, entry, mode))
    print(f"{sink} goes on; waiting for it: {counted(pending, 'delivery', 'deliveries')}")


def _mode(**flags: bool) -> str | None:
    given = [name for name, is_set in flags.items() if is_set]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(f'--{name}' for name in given)} exclude each other; give one of them")
    return given[0] if given else None
