"""Audits: reads the owned cells of a tab, a part at a time, so that a tab of any size fits into memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from connector.sink import Context
from sinks.google_sheets import requests
from sinks.google_sheets.calls import Calls
from sinks.google_sheets.look import Look
from sinks.google_sheets.notes import RowNote, TabNote, read_row_note, row_name
from sinks.google_sheets.plan import Due, Wanted
from sinks.google_sheets.repair import Repairs, Row, Sieve, find_repairs, marks_of, rows_of
from sinks.google_sheets.replies import Columns
from sinks.google_sheets.requests import Request
from sinks.spreadsheet.columns import KEY

SLICE = 50_000
"""Rows in one read, of however many tabs: about 8 MB."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows of a tab."""

    tab: str
    seen: Look
    first: int
    end: int

    @property
    def filters(self) -> list[Request]:
        columns = sorted(set(self.seen.layout.at.values()))
        return [requests.cells_filter(self.seen.view.sheet_id, place, self.first, self.end) for place in columns]


def slices(looks: Mapping[str, Look]) -> list[list[Slice]]:
    """The rows below the headers of some tabs, parted into reads."""
    reads: list[list[Slice]] = []
    room = 0
    for name, seen in looks.items():
        first, rows = seen.view.header_row + 1, seen.view.rows if KEY in seen.layout.at else 0
        while first < rows:
            if not room:
                reads.append([])
                room = SLICE
            end = min(rows, first + room)
            reads[-1].append(Slice(name, seen, first, end))
            room, first = room - (end - first), end
    return reads


async def owned_rows(calls: Calls, looks: Mapping[str, Look]) -> AsyncIterator[tuple[str, Sequence[Row]]]:
    """All rows that hold anything of ours, by tab; those of one read are consistent with each other."""
    for read in slices(looks):
        reply = await calls.values([each for part in read for each in part.filters])
        for part in read:
            yield part.tab, await calls.think(partial(_rows, reply, part))


def _rows(reply: Columns, part: Slice) -> list[Row]:
    return list(rows_of(reply, part.seen.view.sheet_id, part.seen.layout, part.first))


async def audit(calls: Calls, context: Context, seen: Look, tab: TabNote, due: Due) -> tuple[Repairs, TabNote]:
    """Looks through a tab for values that strayed and for rows whose id is gone; gives what is still to look for.

    What is suspect is dropped only when a look finds nothing of it any more.
    """
    there = seen.view.key_rows
    lost = {key: note for key, note in (await recall_rows(context, tab.lost)).items() if key not in there}
    lost |= {each.key: _note_of(each) for each in due.absent}
    sieve = Sieve(tab.suspects, marks_of(lost.values()))
    if tab.suspects or sieve.marks:
        async for _, rows in owned_rows(calls, {"": seen}):
            sieve.sift(rows)
    known = await recall_rows(context, {row.key.strip() for row in [*sieve.strays, *sieve.orphans]} - {""})
    # what is due in full is written over anyway; cleared in the same write, it could come out empty
    in_full = {change.key for change in due.changes if change.wanted is not None and change.wanted.in_full}
    sieve.strays = [row for row in sieve.strays if row.key.strip() not in in_full]
    repairs = find_repairs(sieve, lost, known, seen.view.keys or ())
    repairs.leave_closed(seen.view.closed, seen.layout.at)
    found = frozenset(restore.key for restore in repairs.restores)
    suspects = frozenset() if repairs.is_clean else tab.suspects
    return repairs, replace(tab, suspects=suspects, lost=tab.lost & found)


def _note_of(absent: Wanted) -> RowNote:
    """What the row of an absent interview holds; if nobody knows, what is due comes nearest."""
    note = absent.note or RowNote()
    return note if note.applied else replace(note, applied=absent.cells)


async def recall_rows(context: Context, keys: Collection[str]) -> dict[str, RowNote]:
    """What is remembered of these rows."""
    notes = await context.get_notes([row_name(key) for key in keys])
    read = {key: read_row_note(notes.get(row_name(key))) for key in keys}
    return {key: note for key, note in read.items() if note is not None}
