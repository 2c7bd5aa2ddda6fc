"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

import os
import pwd
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo

import typer

from connector.config import Config
from connector.errors import UsageError
from connector.hireflix.payload import EventKind
from connector.interview import Stage

MANY = 100_000
"""Largest number of rows or webhooks; a table or a demo of this size still takes only seconds or minutes."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])(?:\s+ago)?")


class DeliveryStateName(StrEnum):
    """The values of the option --state for deliveries."""

    PENDING = "pending"
    WAITING = "waiting"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"
    DISMISSED = "dismissed"


SinkArgument: TypeAlias = Annotated[str, typer.Argument(metavar="SINK", help="Name of the sink in the configuration.")]
ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="F",
        help="Config file; default: CONNECTOR_CONFIG, then ./config.toml, then the embedded default.",
    ),
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; times are epoch milliseconds.")
]
LimitOption: TypeAlias = Annotated[int, typer.Option("--limit", min=1, max=MANY, help="Show at most this many rows.")]
AfterOption: TypeAlias = Annotated[
    str | None, typer.Option("--after", metavar="PLACE", help="Continue after the last row of the previous page.")
]
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
SearchOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--search",
        metavar="WORDS",
        help="Only candidates with these words, or their beginnings, in the name or e-mail address.",
    ),
]
StageOption: TypeAlias = Annotated[Stage | None, typer.Option("--stage", help="Only interviews in this stage.")]
StateOption: TypeAlias = Annotated[
    DeliveryStateName | None, typer.Option("--state", help="Only deliveries in this state.")
]
KindOption: TypeAlias = Annotated[EventKind | None, typer.Option("--kind", help="Only events of this kind.")]
SinceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="T", help="At or after this time: 30m, 2h, 3d, today, 2026-08-01 or 2026-08-01T12:30."
    ),
]
UntilOption: TypeAlias = Annotated[str | None, typer.Option("--until", metavar="T", help="Before this time.")]

YesOption: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def actor() -> str:
    """Returns who runs the command, for the audit log: `cli:` and the user name of the operating system."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container whose user has no entry
        name = str(os.getuid())
    return f"cli:{name}"


def period(settings: Config, since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """Returns the values of --since and --until in epoch milliseconds. Raises `UsageError`."""
    zone, now = ZoneInfo(settings.timezone), time.time_ns() // 1_000_000
    return (
        None if since is None else parse_time(since, now, zone),
        None if until is None else parse_time(until, now, zone),
    )


def parse_time(text: str, now: int, zone: ZoneInfo) -> int:
    """Returns the epoch milliseconds of `2h` (ago), `today`, `yesterday` or an ISO 8601 time.

    `now` is epoch milliseconds. A time without a zone is in `zone`. Raises `UsageError`.
    """
    found = _AGO.fullmatch(text.strip().lower())
    if found:
        return max(0, now - _ms(timedelta(**{_UNITS[found[2]]: int(found[1])})))
    today = datetime.fromtimestamp(now / 1000, tz=zone).replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"now": None, "today": 0, "yesterday": 1}
    name = text.strip().lower()
    if name in days:
        back = days[name]
        return now if back is None else _epoch(today - timedelta(days=back))
    return _from_iso(text.strip(), zone)


def _from_iso(text: str, zone: ZoneInfo) -> int:
    try:
        when = datetime.fromisoformat(text)
        return max(0, _epoch(when if when.tzinfo else when.replace(tzinfo=zone)))
    except (ValueError, OverflowError):
        raise UsageError("not a time; use 30m, 2h, 3d, 1w, today, yesterday, 2026-08-01 or 2026-08-01T12:30") from None


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _epoch(when: datetime) -> int:
    return _ms(when - datetime(1970, 1, 1, tzinfo=UTC))


def read_body(file: str) -> bytes:
    """Returns the bytes of a file, or of standard input for `-`. Raises `UsageError`."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
