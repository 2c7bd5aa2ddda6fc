"""`connector pause`, `resume` and `snooze`."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from connector.cli import options as o
from connector.config import load
from connector.errors import UsageError
from connector.formats import counted, format_time
from connector.operations import sinks as operation
from connector.operations.sinks import configured
from connector.operations.store_access import changing, now_in
from connector.role import Secrets

FLAGS = {
    "refill": "Write the missing rows again.",
    "accept": "Leave the removed rows deleted.",
    "adopt": "Use the new tab: a tab was replaced by another one with the same title.",
}


def pause(
    sink: o.SinkArgument,
    config: o.ConfigOption = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="T", help="Resume it automatically at this time: 30m, 2h, 3d, 18:00 or 2026-08-01T12:30."
        ),
    ] = None,
) -> None:
    """Pause a sink; its deliveries stay queued until it is resumed.

    A running call to the destination ends first.
    """
    settings = load(config, needs=Secrets.NONE)
    entry = configured(settings, sink)
    zone = ZoneInfo(settings.timezone)
    with changing(settings) as store:
        end = None if until is None else operation.end_of_pause(until, store.read(now_in), zone)
        store.change(lambda connection: operation.pause(connection, entry, end, actor=o.actor()))
    if end is None:
        print(f"{sink} is paused; its deliveries stay queued until `connector resume {sink}`")
    else:
        print(f"{sink} is paused until {format_time(end, zone)} {zone}; its deliveries stay queued")


def resume(
    sink: o.SinkArgument,
    config: o.ConfigOption = None,
    refill: Annotated[bool, typer.Option("--refill", help=FLAGS["refill"])] = False,
    accept: Annotated[bool, typer.Option("--accept", help=FLAGS["accept"])] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help=FLAGS["adopt"])] = False,
) -> None:
    """Resume a paused sink at once.

    It does not matter whether an operator paused the sink or it paused itself. If a sheet paused because many rows
    disappeared, choose --refill (write them again) or --accept (leave them deleted). If it paused because a tab was
    replaced by another one with the same title, --adopt uses the new tab. Other sink types reject these options.
    """
    mode = _mode(refill=refill, accept=accept, adopt=adopt)
    # the choice is stored as a note of the destination, which may depend on a secret
    settings = load(config, needs=Secrets.SINKS if mode else Secrets.NONE)
    entry = configured(settings, sink)
    with changing(settings) as store:
        pending = store.change(lambda connection: operation.resume(connection, entry, mode, actor=o.actor()))
    print(f"{sink} is resumed; pending: {counted(pending, 'delivery', 'deliveries')}")


def _mode(**flags: bool) -> str | None:
    given = [name for name, is_set in flags.items() if is_set]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(f'--{name}' for name in given)} exclude each other; use one of them")
    return given[0] if given else None


InterviewArgument = Annotated[
    str, typer.Argument(metavar="INTERVIEW", help="Id of an interview, from `connector interviews`.")
]
DaysOption = Annotated[int, typer.Option("--days", min=0, max=365, help="Days from now; 0 lists it again.")]


def snooze(interview: InterviewArgument, config: o.ConfigOption = None, days: DaysOption = 7) -> None:
    """Leave an interview out of the reminders for some days.

    It concerns the reminders of all chats, from the next one on.
    """
    settings = load(config, needs=Secrets.NONE)
    with changing(settings) as store:
        done = store.change(lambda connection: operation.snooze(connection, settings, interview, days, actor=o.actor()))
    where = ", ".join(done.sinks)
    if days:
        until = format_time(done.until, ZoneInfo(settings.timezone))
        print(f"{interview} is not in the reminders of {where} until {until} {settings.timezone}")
    else:
        print(f"{interview} is in the reminders of {where} again")
