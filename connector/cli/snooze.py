"""`connector snooze`."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from connector.cli import options as o
from connector.config import load
from connector.formats import format_time
from connector.operations import snooze as operation
from connector.operations.store_access import changing
from connector.role import Secrets

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
