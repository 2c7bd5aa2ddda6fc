"""`connector replay` and `connector dismiss`: send dead letters and earlier deliveries again, or drop dead letters."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import options as o
from connector.cli.output import is_agreed, progress_bar
from connector.config import Config, load
from connector.formats import counted
from connector.operations import replay as operation
from connector.operations.replay import Replayable, ReplayRequest
from connector.operations.store_access import OpenStore, changing
from connector.role import Secrets
from connector.store.queries import ListingFilter
from connector.store.replay import CHUNK

EXPIRED_SHOWN = 20
"""Most ids of events without a body that are printed."""

IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="DELIVERY", help="Ids of deliveries, from `connector deliveries`."),
]
DeadIdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="DELIVERY", help="Ids of dead letters, from `connector deliveries --state dead`."),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why they are dropped; stored with each of them.")
]
StateOption = Annotated[
    Replayable | None,
    typer.Option(
        "--state",
        help="Deliveries that are dead (the default), dismissed or delivered; events that are unreadable or unknown.",
    ),
]


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
    yes: o.YesOption = False,
) -> None:
    """Send dead letters or earlier deliveries again.

    Prints per sink how many rows or messages follow, and asks for confirmation. A dead letter keeps its id, so that the
    destination recognises it; a delivered one gets a new id. Without --state dead letters are replayed, with ids or
    --event also dismissed and delivered ones.
    --since and --until are about the time of receipt or of the last replay.
    """
    settings = load(config, needs=Secrets.NONE)
    from_ms, until_ms = o.period(settings, since, until)
    request = ReplayRequest(
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


def dismiss(
    ids: DeadIdsArgument = None,
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
    --state dismissed` sends them after all. With --sink and the name of a sink that was removed from the configuration,
    all its deliveries are dropped, also pending ones.
    """
    settings = load(config, needs=Secrets.NONE)
    from_ms, until_ms = o.period(settings, since, until)
    wanted = ListingFilter(
        ids=tuple(ids or ()),
        sink=sink,
        position=position,
        interview=interview,
        event=event,
        since=from_ms,
        until=until_ms,
    )
    text = operation.valid_reason(wanted, reason)
    is_removed = bool(operation.removed(settings, wanted))
    one, many = operation.DISMISSED[is_removed]
    with changing(settings) as store:
        found = store.read(lambda connection: operation.find_dismissible(connection, settings, wanted))
        for name, ids_of_sink in sorted(found.items()):
            print(f"  {name}: {len(ids_of_sink)} {'dead, pending and waiting' if is_removed else 'dead'}")
        chosen = [id_ for ids_of_sink in found.values() for id_ in ids_of_sink]
        if not is_agreed("dismiss", len(chosen), one, many, yes=yes):
            return
        with progress_bar("dismissing", transient=False, hidden=len(chosen) <= CHUNK) as progress:
            count = operation.dismiss(store, settings, wanted, chosen, progress, reason=text, actor=o.actor())
    print(f"{counted(count, one, many)} dismissed")


def _replay_deliveries(store: OpenStore, settings: Config, request: ReplayRequest, *, yes: bool) -> None:
    found = store.read(lambda connection: operation.find_deliveries(connection, settings, request))
    total = len(found.dead) + len(found.repeat)
    for effect in operation.effects(settings, found):
        print(f"  {effect.text}")
    for name, count in sorted(found.expired.items()):
        print(f"  {name}: {count} cannot be replayed: the data of the events was deleted ([retention] bodies_days)")
    for name, count in sorted(found.pending.items()):
        print(f"  {name}: {count} not replayed: an equal delivery is already pending")
    if not is_agreed("replay", total, "delivery", "deliveries", yes=yes):
        return
    with progress_bar("replaying", transient=False, hidden=total <= CHUNK) as progress:
        count = operation.replay_deliveries(store, request, found, progress, actor=o.actor())
    print(f"{counted(count, 'delivery waits', 'deliveries wait')} again; `connector status` shows the progress")


def _replay_events(store: OpenStore, settings: Config, request: ReplayRequest, *, yes: bool) -> None:
    found = store.read(lambda connection: operation.find_events(connection, request))
    ids = found.ids
    if found.expired:
        named = ", ".join(map(str, found.expired[:EXPIRED_SHOWN])) + (
            ", …" if len(found.expired) > EXPIRED_SHOWN else ""
        )
        print(
            f"  {counted(len(found.expired), 'event', 'events')} cannot be replayed: the body was deleted "
            f"([retention] bodies_days): {named}"
        )
    if not is_agreed("replay", len(ids), "event", "events", yes=yes):
        return
    with progress_bar("replaying", transient=False, hidden=len(ids) <= CHUNK) as progress:
        result = operation.replay_events(store, settings, request, ids, progress, actor=o.actor())
    print(
        f"{counted(result.applied, 'event', 'events')} applied, {result.repeats} duplicates of other events, "
        f"{result.still} still not understood by this version"
    )
