"""What the key column in a reply proves about the write that it answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sinks.google_sheets.batch import Write
from sinks.google_sheets.notes import Intent, digest
from sinks.google_sheets.plan import Change, Wanted, key_rows
from sinks.google_sheets.reading import NOT_TEXT, View


@dataclass(frozen=True, slots=True)
class Settled:
    """`clean`: nothing moved, so everything landed where it was aimed. `hit` are the keys whose rows may hold values
    of another interview.
    """

    clean: bool
    proven: Sequence[Wanted]
    unproven: Sequence[Wanted] = ()
    hit: frozenset[str] = frozenset()


def settle(write: Write, after: View) -> Settled:
    """Compares the whole key column with what it must be; where that fails, looks row by row."""
    part = write.part
    if list(after.keys or ()) == list(write.keys):
        return Settled(clean=True, proven=part.everybody)
    hit = frozenset(key for change in part.changes if (key := _hit(change, after)))
    there = key_rows(after)
    safe = {change.wanted.key for change in part.changes if _key_at(after, change.row) == change.wanted.key}
    safe |= {wanted.key for wanted in part.inserts if wanted.key in there}
    proven: list[Wanted] = []
    unproven: list[Wanted] = []
    for wanted in part.everybody:
        (proven if wanted.key in safe and wanted.key not in hit else unproven).append(wanted)
    return Settled(clean=False, proven=proven, unproven=unproven, hit=hit)


def _hit(change: Change, after: View) -> str:
    key = _key_at(after, change.row)
    return "" if key == change.wanted.key or key.startswith(NOT_TEXT) else key


def _key_at(view: View, row: int) -> str:
    keys = view.keys or ()
    return keys[row].strip() if row < len(keys) else ""


@dataclass(frozen=True, slots=True)
class Closed:
    """What a look at the sheet makes of an open intent.

    `force`: rows to write again in full. `deleted`: new rows that landed and that people took out since.
    """

    landed: bool
    moved: bool = False
    force: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()


def close_intent(intent: Intent, now: View) -> Closed:
    """Whether the write that was under way landed, read from its guard, and whom it may have hit."""
    if not intent.landed(now):
        return Closed(landed=False)
    there = key_rows(now)
    deleted = frozenset(key for key in intent.inserts if key not in there)
    if digest(now.keys or ()) == intent.keys:
        return Closed(landed=True)
    at = {_key_at(now, aim.row) for aim in intent.aims} | {aim.key for aim in intent.aims}
    force = frozenset(key for key in at if key and not key.startswith(NOT_TEXT))
    return Closed(landed=True, moved=True, force=force, deleted=deleted)
