"""What the key column in a reply proves about the write that it answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sinks.google_sheets.batch import Share
from sinks.google_sheets.notes import Aim, Intent, Suspect, digest
from sinks.google_sheets.plan import Change, Wanted
from sinks.google_sheets.reading import NOT_TEXT, View
from sinks.spreadsheet.values import CellValue

LATEST = 600_000
"""Milliseconds after which nobody executes a request any longer; Google gives up after 180 seconds (Usage limits)."""


@dataclass(frozen=True, slots=True)
class Settled:
    """`clean`: nothing moved, so everything landed where it was aimed. `hit` are the keys whose rows may hold values
    of another interview, `suspects` those values, and `undo` ids that may have been put into a wrong row, perhaps over
    one of the `lost`. Of those `removed` nothing is left.
    """

    clean: bool
    proven: Sequence[Wanted]
    unproven: Sequence[Wanted] = ()
    hit: frozenset[str] = frozenset()
    suspects: frozenset[Suspect] = frozenset()
    undo: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    removed: Sequence[Wanted] = ()


def settle(share: Share, after: View) -> Settled:
    """Compares the whole key column with what it must be; where that fails, looks row by row."""
    part = share.part
    if list(after.keys or ()) == list(share.keys):
        return Settled(clean=True, proven=part.written, removed=part.removals)
    astray = [change for change in part.changes if _key_at(after, change.row) != change.key]
    hit = frozenset(key for change in astray if is_text(key := _key_at(after, change.row)))
    there = after.key_rows
    safe = {change.key for change in part.changes} - {change.key for change in astray}
    safe |= {wanted.key for wanted in part.inserts if wanted.key in there}
    proven: list[Wanted] = []
    unproven: list[Wanted] = []
    for wanted in part.written:
        (proven if wanted.key in safe and wanted.key not in hit else unproven).append(wanted)
    undo = frozenset(restore.key for restore in part.restores)
    return Settled(
        clean=False,
        proven=proven,
        unproven=unproven,
        hit=hit,
        suspects=_cells(astray),
        undo=undo,
        lost=frozenset(share.view.key_rows.keys() - there.keys()) if undo else frozenset(),
        removed=[wanted for wanted in part.removals if wanted.key not in there],
    )


def _cells(astray: Iterable[Change | Aim]) -> frozenset[Suspect]:
    return frozenset(Suspect(*cell) for change in astray for cell in change.cells.items())


def is_text(key: str) -> bool:
    """Whether a key cell shows something that may be an id."""
    return bool(key) and not key.startswith(NOT_TEXT)


def _key_at(view: View, row: int) -> str:
    keys = view.keys or ()
    return keys[row].strip() if row < len(keys) else ""


@dataclass(frozen=True, slots=True)
class Closed:
    """What a look at the sheet makes of an open intent.

    `pending`: it has not landed and still may. `force`: rows to write again in full. `inserted`: new rows, whether they
    are still there or not. `applied` is what rows are known to hold by it. `suspects` and `undo` as for `Settled`;
    `lost` is none: what stood there before is not known any more.
    """

    landed: bool
    pending: bool = False
    moved: bool = False
    force: frozenset[str] = frozenset()
    inserted: frozenset[str] = frozenset()
    suspects: frozenset[Suspect] = frozenset()
    undo: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    applied: Mapping[str, Mapping[str, CellValue]] = field(default_factory=dict)


def close_intent(intent: Intent, view: View, now: int) -> Closed:
    """Whether the write that was under way landed, read from its guard, and whom it may have hit.

    One that has not landed is refused for ever once another write used its number; `now` is epoch milliseconds.
    """
    if not intent.landed(view):
        young = now - intent.sent_at < LATEST
        return Closed(landed=False, pending=young and view.newest_guard < intent.guard.number)
    inserted = frozenset(intent.inserts)
    if digest(view.keys or ()) == intent.keys:
        return Closed(landed=True, inserted=inserted, applied={aim.key: aim.cells for aim in intent.aims if aim.key})
    at = {_key_at(view, aim.row) for aim in intent.aims} | {aim.key for aim in intent.aims}
    force = frozenset(key for key in at if is_text(key))
    suspects, undo = _cells(intent.aims), frozenset(intent.restores)
    return Closed(landed=True, moved=True, force=force, inserted=inserted, suspects=suspects, undo=undo)
