"""`connector explain`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from connector.capabilities import CellPreview, MessagePreview, Preview
from connector.cli import options as o
from connector.cli.output import safe, show_json
from connector.config import Config, load
from connector.formats import format_time
from connector.hireflix.payload import BACKFILL, CORRECTION, DECISION, ENRICHMENT, RECONCILE, RENAMED, EventKind
from connector.interview import Value
from connector.operations.explain import Effect, Explanation, explain_body, explain_event
from connector.operations.listings import is_number
from connector.operations.store_access import now
from connector.role import Secrets

WhatArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE|EVENT_ID", help="File with the body of a webhook (- is standard input), or id of a stored event."
    ),
]
_UNUSED = {
    EventKind.UNREADABLE: "Unreadable: {reason}. The event is stored and answered with 202.\n"
    "After an upgrade, `connector replay --state unreadable` reads it again.",
    EventKind.UNKNOWN: "This version does not know the name of the event. It is stored, not merged and not routed.\n"
    "After an upgrade, `connector replay --state unknown` applies it.",
}
_EMPTY = "(empty)"
"""Shown for an empty cell."""
_TIMES = {"created_at", "completed", "deleted", "archived", "finalist", "finished_at"}


def explain(what: WhatArgument, config: o.ConfigOption = None, as_json: o.JsonOption = False) -> None:
    """Show what an event changes and where it goes; send nothing.

    Prints which routes match and why others do not, which fields change, and what each sink would write. Nothing is
    written. A file needs no store.
    """
    settings = load(config, needs=Secrets.SINKS)
    found = _explanation(settings, what)
    if as_json:
        show_json(found)
        return
    for line in _lines(found, settings):
        print(safe(line, keep="\n"))


def _explanation(settings: Config, what: str) -> Explanation:
    if is_number(what) and not _is_there(Path(what)):
        return asyncio.run(explain_event(settings, int(what), now()))
    return asyncio.run(explain_body(settings, o.read_body(what), now()))


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # the working folder does not let this user in, for example after `sudo -u connector`
        return False


def _lines(found: Explanation, settings: Config) -> Iterator[str]:
    yield from _heading(found)
    yield ""
    if found.kind != EventKind.EVENT:
        yield _UNUSED[EventKind(found.kind)].format(reason=found.reason)
        return
    yield from _changes(found, ZoneInfo(settings.timezone))
    yield ""
    yield from _routes(found, settings)
    for effect in found.effects:
        yield ""
        yield from _effect(effect)


_MARKS = {
    BACKFILL: "made from the API of Hireflix; goes to state sinks only",
    CORRECTION: "made from the API of Hireflix, for fields that no webhook reports; goes to state sinks only",
    RECONCILE: "made from the API of Hireflix, for a webhook that did not arrive",
    DECISION: "made from the API of Hireflix, after a decision of a user",
    ENRICHMENT: "made from the API of Hireflix, for fields that no webhook has; goes to state sinks only",
    RENAMED: "made because another interview has a newer name of the position; goes to state sinks only",
}


def _heading(found: Explanation) -> Iterator[str]:
    known = f", stored as event {found.stored_as}" if found.stored_as is not None else ""
    yield f"{found.name or 'unnamed event'}{known}"
    if found.interview_id:
        yield f"  interview {found.interview_id}" + (f", afterwards {found.stage}" if found.stage else "")
    if found.mark:
        yield f"  {found.mark}: {_MARKS.get(found.mark, 'the time of receipt is used as its date')}"
    if found.unused:
        yield f"  values that could not be used: {', '.join(found.unused)}"


def _changes(found: Explanation, zone: ZoneInfo) -> Iterator[str]:
    if not found.changes:
        yield "Changes nothing: the interview has these values, or newer ones."
        return
    yield "Changes"
    for change in found.changes:
        before, after = (_value(change.field, value, zone) for value in (change.before, change.after))
        yield f"  {change.field}: {before} → {after}"


def _value(field: str, value: Value, zone: ZoneInfo) -> str:
    if value is None:
        return "nothing"
    if field in _TIMES and type(value) is int:
        return f"{format_time(value, zone)} {zone}"
    return repr(value) if isinstance(value, str) else str(value)


def _routes(found: Explanation, settings: Config) -> Iterator[str]:
    yield "Routes"
    for verdict in found.routes:
        name = f"routes[{verdict.route}]" if settings.routes else "no routes are configured"
        yield f"  {'yes' if verdict.matched else 'no '}  {name}: {verdict.reason}"
    if not found.effects:
        yield "  No sink receives it."


def _effect(effect: Effect) -> Iterator[str]:
    yield f"{effect.sink} ({effect.type}): {effect.why}"
    for row in effect.deliveries:
        why = f", {row.reason}" if row.reason else ""
        yield f"  delivery {row.id}: {row.state}, failed attempts: {row.attempts}{why}"
    for line in _preview(effect.preview):
        yield f"  | {safe(line)}"


def _preview(preview: Preview) -> Iterator[str]:
    yield from preview.text.splitlines()
    for cell in preview.cells:
        yield _cell(cell)
    for number, message in enumerate(preview.messages):
        if number or preview.text or preview.cells:
            yield ""
        yield from _message(message)


def _cell(cell: CellPreview) -> str:
    before = "" if cell.before is None else f"{cell.before or _EMPTY} → "
    return f"  {cell.title}: {before}{cell.after or _EMPTY}"


def _message(message: MessagePreview) -> Iterator[str]:
    yield f"{message.place}:"
    if message.headline:
        yield message.headline
    yield from message.lines
    for button in message.buttons:
        yield f"[{button.label}] {button.link}".rstrip()
