"""Options that several commands share, so that they are spelt and explained once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from connector.interview import Stage

MANY = 100_000


class State(StrEnum):
    """States of a delivery, as people type them."""

    PENDING = "pending"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"


class Kind(StrEnum):
    """Kinds of events, as people type them."""

    EVENT = "event"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"


class Replayable(StrEnum):
    """What can be replayed, as people type it: states of deliveries, kinds of events."""

    DEAD = "dead"
    DELIVERED = "delivered"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"


ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="F",
        help="Config file; else CONNECTOR_CONFIG, else ./config.toml, else the embedded default.",
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document; times in epoch ms.")]
LimitOption: TypeAlias = Annotated[int, typer.Option("--limit", min=1, max=MANY, help="Show at most so many.")]
SinkOption: TypeAlias = Annotated[str | None, typer.Option("--sink", metavar="NAME", help="Only of this sink.")]
PositionOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--position", metavar="P", help="Only of this position: its id, or its name with * and ?."),
]
InterviewOption: TypeAlias = Annotated[
    str | None, typer.Option("--interview", metavar="ID", help="Only of this interview.")
]
EventOption: TypeAlias = Annotated[int | None, typer.Option("--event", metavar="ID", help="Only of this event.")]
NameOption: TypeAlias = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Only events of this name, such as interview.finish.")
]
StageOption: TypeAlias = Annotated[Stage | None, typer.Option("--stage", help="Only interviews in this stage.")]
StateOption: TypeAlias = Annotated[State | None, typer.Option("--state", help="Only deliveries in this state.")]
KindOption: TypeAlias = Annotated[Kind | None, typer.Option("--kind", help="Only events of this kind.")]
SinceOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--since", metavar="T", help="Not before: 30m, 2h, 3d, today, 2026-08-01 or 2026-08-01T12:30."),
]
UntilOption: TypeAlias = Annotated[str | None, typer.Option("--until", metavar="T", help="Before this time.")]
