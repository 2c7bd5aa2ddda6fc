"""`connector replay`."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import options as o
from connector.cli.output import counted, is_interactive, progress_bar
from connector.config import Config, load
from connector.errors import UsageError
from connector.operations import replay as operation
from connector.operations.replay import Replayable, Request
from connector.operations.store_access import OpenStore, changing
from connector.store.replay import CHUNK

IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="DELIVERY", help="Ids of deliveries, as `connector deliveries` lists them."),
]
StateOption = Annotated[
    Replayable | None,
    typer.Option(
        "--state",
        help="dead (the default) and delivered are deliveries; unreadable and unknown are events of an older version.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def replay(
    ids: IdsArgument = None,
    *,
    config: o.ConfigOption = None,
    sink: o.SinkOption = None,
    position: o.PositionOption = None,
    interview: o.InterviewOption = None,
    event: o.EventOption = None,
    state: StateOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    yes: YesOption = False,
) -> None:
    """Send again what failed or was delivered.

    Counts first, then asks. A dead letter keeps its id, so that the destination still knows it; what was delivered
    gets a new one. Without --state it takes dead letters, and with ids or --event also what was delivered. --since and
    --until mean the receipt, or the last replay.
    """
    settings = load(config)
    from_ms, until_ms = o.period(settings, since, until)
    request = Request(
        ids=tuple(ids or ()),
        sink=sink,
        position=position,
        interview=interview,
        event=event,
        state=state,
        since=from_ms,
        until=until_ms,
    )
    operation.require_valid(settings, request)
    with changing(settings) as store:
        if request.is_of_events:
            _replay_events(store, settings, request, yes=yes)
        else:
            _replay_deliveries(store, settings, request, yes=yes)


def _replay_deliveries(store: OpenStore, settings: Config, request: Request, *, yes: bool) -> None:
    found = store.read(lambda connection: operation.find_deliveries(connection, settings, request))
    total = len(found.dead) + len(found.repeat)
    for (sink, state), count in sorted(found.counts.items()):
        print(f"  {sink}: {count} {state}")
    if not _agreed(total, "delivery", "deliveries", yes=yes):
        return
    with progress_bar("replaying", transient=False, hidden=total <= CHUNK) as progress:
        count = operation.replay_deliveries(store, found, progress)
    print(f"{counted(count, 'delivery waits', 'deliveries wait')} again; `connector status` shows how it goes")


def _replay_events(store: OpenStore, settings: Config, request: Request, *, yes: bool) -> None:
    ids = store.read(lambda connection: operation.find_events(connection, request))
    if not _agreed(len(ids), "event", "events", yes=yes):
        return
    with progress_bar("replaying", transient=False, hidden=len(ids) <= CHUNK) as progress:
        result = operation.replay_events(store, settings, ids, progress)
    print(
        f"{counted(result.applied, 'event', 'events')} applied, {result.repeats} repeated one that was known, "
        f"{result.still} still not understood by this version"
    )


def _agreed(total: int, one: str, many: str, *, yes: bool) -> bool:
    """Whether to go on. Raises `UsageError` when there is no terminal to ask on."""
    if total == 0:
        print(f"no such {many}; nothing to do")
        return False
    if yes:
        return True
    if not is_interactive():
        raise UsageError(f"this would replay {counted(total, one, many)}; add --yes to do it")
    if not typer.confirm(f"Replay {counted(total, one, many)}?"):
        print("nothing was changed")
        return False
    return True
