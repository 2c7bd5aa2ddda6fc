"""What `connector explain` prints."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from connector.cli.explaining import Effect, Explanation
from connector.cli.terminal import safe
from connector.cli.times import shown
from connector.config import Config
from connector.hireflix.payload import Kind
from connector.interview import Value

_UNUSED = {
    Kind.UNREADABLE: "Unreadable: {reason}. It is kept, answered 202 and shown; after an upgrade\n"
    "`connector replay --state unreadable` reads it again.",
    Kind.UNKNOWN: "This version knows no event of that name. It is kept and shown, neither merged nor routed;\n"
    "after an upgrade `connector replay --state unknown` applies it.",
}
_TIMES = {"created_at", "completed", "deleted", "archived", "finalist", "finished_at"}


def show(found: Explanation, settings: Config) -> None:
    """Prints an explanation for people."""
    for line in _lines(found, settings):
        print(safe(line, keep="\n"))


def _lines(found: Explanation, settings: Config) -> Iterator[str]:
    yield from _heading(found)
    yield ""
    if found.kind != Kind.EVENT:
        yield _UNUSED[Kind(found.kind)].format(reason=found.reason)
        return
    yield from _changes(found, ZoneInfo(settings.timezone))
    yield ""
    yield from _routes(found, settings)
    for effect in found.effects:
        yield ""
        yield from _effect(effect)


def _heading(found: Explanation) -> Iterator[str]:
    known = f", stored as event {found.stored_as}" if found.stored_as is not None else ""
    yield f"{found.name or 'a body'}{known}"
    if found.interview_id:
        yield f"  interview {found.interview_id}" + (f", afterwards {found.stage}" if found.stage else "")
    if found.mark:
        yield f"  {found.mark}: the time of receipt counts as its date"


def _changes(found: Explanation, zone: ZoneInfo) -> Iterator[str]:
    if not found.changes:
        yield "Changes nothing: all of it was known, or newer things were."
        return
    yield "Changes"
    for change in found.changes:
        before, after = (_value(change.field, value, zone) for value in (change.before, change.after))
        yield f"  {change.field}: {before} → {after}"


def _value(field: str, value: Value, zone: ZoneInfo) -> str:
    if value is None:
        return "nothing"
    if field in _TIMES and type(value) is int:
        return f"{shown(value, zone)} {zone}"
    return repr(value) if isinstance(value, str) else str(value)


def _routes(found: Explanation, settings: Config) -> Iterator[str]:
    yield "Routes"
    for verdict in found.routes:
        name = f"routes[{verdict.route}]" if settings.routes else "no routes, so every sink"
        yield f"  {'yes' if verdict.matched else 'no '}  {name}: {verdict.reason}"
    if not found.effects:
        yield "  No sink gets it."


def _effect(effect: Effect) -> Iterator[str]:
    yield f"{effect.sink} ({effect.type}): {effect.why}"
    for row in effect.deliveries:
        why = f", {row.reason}" if row.reason else ""
        yield f"  delivery {row.id}: {row.state}, attempts that failed: {row.attempts}{why}"
    for line in effect.preview.splitlines():
        yield f"  | {line}"
