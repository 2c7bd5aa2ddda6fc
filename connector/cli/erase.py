"""`connector erase`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from connector import logging
from connector.app import running_lane
from connector.cli import FAILED
from connector.cli import options as o
from connector.cli.output import is_interactive, print_hint, safe, show_json, show_table
from connector.config import Config, load
from connector.errors import UsageError
from connector.formats import counted, format_time
from connector.operations import erase as operation
from connector.operations.erase import Receipt
from connector.role import Secrets
from connector.store.erase import Subject

InterviewArgument = Annotated[
    list[str] | None, typer.Argument(metavar="INTERVIEW", help="Ids of interviews, from `connector interviews`.")
]
EmailOption = Annotated[
    str | None, typer.Option("--email", metavar="ADDRESS", help="All interviews of the person with this address.")
]
WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="Longest wait for the destinations.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def erase(
    interviews: InterviewArgument = None,
    *,
    email: EmailOption = None,
    wait: WaitOption = operation.WAIT_SECONDS,
    yes: YesOption = False,
    config: o.ConfigOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Remove a person from the store and from the destinations.

    Prints what the store has of the person and asks for confirmation; prints a receipt at the end. Later repeats,
    replays and backfills do not bring the person back. Exits with 1 when a destination is not done yet: it stays
    queued, and `connector erase` with the ids continues. The service answers 503 while a SQLite store is compacted.
    """
    settings = load(config, needs=Secrets.SINKS)
    logging.set_up(settings.logs.format, "warning")
    subjects = operation.find_interviews(settings, interviews or [], email)
    if not subjects:
        raise UsageError("this interview is not in the store; `connector interviews` lists all")
    if not as_json:
        _show_preview(subjects)
    if not yes and not _agreed(len(subjects)):
        return
    if settings.store.file is not None:
        print_hint("the store is compacted at the end; a running service answers 503 meanwhile")
    ids = [each.interview_id for each in subjects]
    receipt = asyncio.run(operation.erase(settings, ids, running_lane, actor=o.actor(), wait_seconds=wait))
    if as_json:
        show_json(receipt)
    else:
        _show_receipt(receipt, settings)
    if not receipt.complete:
        raise typer.Exit(FAILED)


def _show_preview(subjects: Sequence[Subject]) -> None:
    rows = [
        {
            "INTERVIEW": each.interview_id,
            "CANDIDATE": "(erased before)" if each.is_repeated else each.candidate_name,
            "POSITION": each.position_name,
            "EVENTS": each.events,
            "DELIVERIES": each.deliveries,
            "DEAD": each.dead,
        }
        for each in subjects
    ]
    show_table(rows, empty="")


def _agreed(count: int) -> bool:
    """Asks for confirmation. Raises `UsageError` without a terminal."""
    what = counted(count, "interview", "interviews")
    if not is_interactive():
        raise UsageError(f"this would erase {what} permanently; add --yes to do it")
    if not typer.confirm(f"Erase {what} permanently?"):
        print("nothing changed")
        return False
    return True


def _show_receipt(receipt: Receipt, settings: Config) -> None:
    at = format_time(receipt.at, ZoneInfo(settings.timezone))
    print(safe(f"erased at {at}: {', '.join(receipt.interviews)}"))
    for name, count in receipt.store.items():
        print(f"  store: {count} {name}")
    for each in receipt.destinations:
        detail = f" ({each.detail})" if each.detail else ""
        print(safe(f"  {each.sink}, {each.interview_id}: {each.result}{detail}"))
    for problem in receipt.problems:
        print(safe(f"  store: {problem}"))
    print("not reached:")
    for name in receipt.out_of_reach:
        print(safe(f"  {name}"))
    if not receipt.complete:
        again = " ".join(receipt.interviews)
        print(safe(f"not complete: what waits is tried again; for the rest run `connector erase {again}` again"))
