"""`connector dismiss`."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import options as o
from connector.cli.output import is_agreed, progress_bar
from connector.config import load
from connector.formats import counted
from connector.operations import dismiss as operation
from connector.operations.store_access import changing
from connector.role import Secrets
from connector.store.queries import Wanted
from connector.store.replay import CHUNK, find_dead

IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="DELIVERY", help="Ids of dead letters, from `connector deliveries --state dead`."),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why they are dropped; stored with each of them.")
]


def dismiss(
    ids: IdsArgument = None,
    *,
    reason: ReasonOption,
    config: o.ConfigOption = None,
    sink: o.SinkOption = None,
    position: o.PositionOption = None,
    interview: o.InterviewOption = None,
    event: o.EventOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    yes: o.YesOption = False,
) -> None:
    """Drop dead letters that are not to be delivered.

    Prints the counts and asks for confirmation. Status, metrics and alerts then no longer count them. `connector replay
    --state dismissed` takes them back.
    """
    settings = load(config, needs=Secrets.NONE)
    from_ms, until_ms = o.period(settings, since, until)
    wanted = Wanted(
        ids=tuple(ids or ()),
        sink=sink,
        position=position,
        interview=interview,
        event=event,
        since=from_ms,
        until=until_ms,
    )
    text = operation.require_valid(settings, wanted, reason)
    with changing(settings) as store:
        found = store.read(lambda connection: find_dead(connection, wanted))
        for name, dead in sorted(found.items()):
            print(f"  {name}: {len(dead)} dead")
        chosen = [id_ for dead in found.values() for id_ in dead]
        if not is_agreed("dismiss", len(chosen), "dead letter", "dead letters", yes=yes):
            return
        with progress_bar("dismissing", transient=False, hidden=len(chosen) <= CHUNK) as progress:
            count = operation.dismiss(store, wanted, chosen, text, progress, actor=o.actor())
    print(f"{counted(count, 'dead letter', 'dead letters')} dismissed")
