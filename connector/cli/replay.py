"""Puts dead letters and old events back on purpose."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import options as o

IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="DELIVERY", help="Ids of deliveries, as `connector deliveries` lists them."),
]
StateOption = Annotated[
    o.Replayable | None,
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
    from connector.cli import replaying

    request = replaying.Request(
        ids=tuple(ids or ()),
        sink=sink,
        position=position,
        interview=interview,
        event=event,
        state=state,
        since=since,
        until=until,
    )
    replaying.run(config, request, yes=yes)
