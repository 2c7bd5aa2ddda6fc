"""Audits: reads the owned cells of a tab, a part at a time, so that a tab of any size fits into memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace

from connector.sink import Context
from sinks.google_sheets import requests
from sinks.google_sheets.calls import Calls
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.look import Look
from sinks.google_sheets.notes import RowNote, TabNote, read_row_note, row_name
from sinks.google_sheets.plan import Due, key_rows
from sinks.google_sheets.reading import View
from sinks.google_sheets.repair import EMAIL, Repairs, Row, Sieve, find_repairs, rows_of, shown

SLICE = 20_000
"""Rows in one read."""


async def owned_rows(calls: Calls, view: View, layout: Layout) -> AsyncIterator[Sequence[Row]]:
    """All rows below the header that hold anything of ours, in slices; each is consistent in itself."""
    for first in range(view.header_row + 1, view.rows, SLICE):
        end = min(first + SLICE, view.rows)
        columns = sorted(set(layout.at.values()))
        reply = await calls.values([requests.cells_filter(view.sheet_id, place, first, end) for place in columns])
        yield await calls.think(lambda reply=reply, first=first: list(rows_of(reply, layout, first)))  # type: ignore[misc]


async def audit(calls: Calls, context: Context, seen: Look, tab: TabNote, due: Due) -> tuple[Repairs, TabNote]:
    """Looks through a tab for values that strayed and for rows whose id is gone; gives what is still to look for.

    What is suspect is dropped only when a look finds nothing of it any more.
    """
    there = key_rows(seen.view)
    lost = {key: note for key, note in (await recall_rows(context, tab.lost)).items() if key not in there}
    lost |= {each.key: each.note for each in due.absent if each.note is not None}
    emails = {shown(EMAIL, (note.applied or {}).get(EMAIL)) for note in lost.values()} - {None}
    sieve = Sieve(tab.suspects, emails)
    if tab.suspects or emails:
        async for rows in owned_rows(calls, seen.view, seen.layout):
            sieve.sift(rows)
    known = await recall_rows(context, {row.key.strip() for row in [*sieve.strays, *sieve.orphans]} - {""})
    repairs = find_repairs(sieve, lost, known, seen.view.keys or ())
    found = frozenset(restore.key for restore in repairs.restores)
    suspects = frozenset() if repairs.is_clean else tab.suspects
    return repairs, replace(tab, suspects=suspects, lost=tab.lost & found)


async def recall_rows(context: Context, keys: Collection[str]) -> dict[str, RowNote]:
    """What is remembered of these rows."""
    notes = await context.recall([row_name(key) for key in keys])
    read = {key: read_row_note(notes.get(row_name(key))) for key in keys}
    return {key: note for key, note in read.items() if note is not None}
