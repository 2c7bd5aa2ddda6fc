"""The requests of one atomic write, in their order, and what the sheet must look like after it. Pure.

Guard, compare-and-swap of the columns, set-up, updates of rows as the view shows them, new rows, old guards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sinks.google_sheets import columns, requests
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.notes import Aim, Intent, digest
from sinks.google_sheets.plan import Part, Run
from sinks.google_sheets.reading import HEADER_ROW, Guard, View
from sinks.google_sheets.requests import Request
from sinks.table import KEY, SPECS, Kind

NEW_ROWS = 100
"""Rows of a tab that we make: room for people below ours."""
MIN_WIDTH = 2
"""A grid of one column could not be told from its key column in a reply."""
GUARDS_KEPT = 50
"""A request that is more writes late than this would no longer be refused."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write: its body, what it is made of, and the layout and key column that it leaves behind."""

    body: Mapping[str, Any]
    guard: Guard
    view: View
    layout: Layout
    part: Part
    keys: Sequence[str]
    intent: Intent


def first_number(sheet_id: int) -> int:
    """Where the guard sequence of a tab begins: apart from those of other tabs, with room for 500 million writes."""
    return 1_000_000 + sheet_id * 2_654_435_761 % 1_600_000_000


def next_guard(view: View, nonce: str) -> Guard:
    """The number after the highest seen. Whoever read the same view takes the same, and only one of them lands."""
    return Guard(max(view.newest_guard + 1, first_number(view.sheet_id)), nonce)


def tagging(view: View, layout: Layout, nonce: str) -> Write:
    """Puts tags on columns that were found by their header. No rows: the tags are looked at first."""
    return _write(view, layout, Part(), nonce, columns.tag_requests(view, layout))


def row_write(view: View, layout: Layout, part: Part, nonce: str) -> Write:
    """Adds the missing columns and writes the part. `layout` is the one that `part` was made for."""
    after, added = columns.add_columns(view, layout)
    return _write(view, after, part, nonce, [*added, *_updates(view, part), *_inserts(view, after, part)])


def _write(view: View, layout: Layout, part: Part, nonce: str, work: Sequence[Request]) -> Write:
    guard = next_guard(view, nonce)
    made = [] if view.exists else [_new_tab(view, layout), requests.mark_made(view.sheet_id)]
    hold = columns.hold_requests(view, layout, first_number(view.sheet_id) - 1)
    batch = [*made, requests.guard(view.sheet_id, *guard), *hold, *work, *_prunes(view)]
    keys = [*_padded(view), *(wanted.key for wanted in part.inserts)] if part.inserts else list(view.keys or ())
    body = requests.batch_body(batch, _ranges(view, layout))
    return Write(body, guard, view, layout, part, keys, _intent(guard, part, keys))


def _intent(guard: Guard, part: Part, keys: Sequence[str]) -> Intent:
    aims = tuple(Aim(change.row, change.wanted.key, change.cells) for change in part.changes)
    return Intent(guard, digest(keys), aims, tuple(wanted.key for wanted in part.inserts))


def _new_tab(view: View, layout: Layout) -> Request:
    return requests.add_sheet(view.sheet_id, view.title, NEW_ROWS, max(MIN_WIDTH, len(layout.at)))


def _padded(view: View) -> list[str]:
    keys = list(view.keys or ())
    return keys + [""] * (view.end - len(keys))


def _ranges(view: View, layout: Layout) -> Sequence[str]:
    header = requests.row_range(view.title, HEADER_ROW)
    return [header, requests.column_range(view.title, layout.at[KEY])] if KEY in layout.at else [header]


def _prunes(view: View) -> list[Request]:
    return [requests.prune(guard.number) for guard in sorted(view.guards)[: 1 - GUARDS_KEPT]]


def _updates(view: View, part: Part) -> list[Request]:
    return _merged(view.sheet_id, part.runs, 0)


def _merged(sheet_id: int, runs: Sequence[Run], first_row: int) -> list[Request]:
    """One request for runs that lie below each other in the same columns."""
    ordered = sorted(runs, key=lambda run: (run.column, run.width, run.link, run.row))
    groups = groupby(enumerate(ordered), lambda each: (*each[1][1:4], each[1].row - each[0]))
    merged = []
    for _, group in groups:
        block = [run for _, run in group]
        head = block[0]
        row, cells = first_row + head.row, [run.cells for run in block]
        merged.append(requests.update_cells(sheet_id, row, head.column, cells, link=head.link))
    return merged


def _inserts(view: View, layout: Layout, part: Part) -> list[Request]:
    """New rows below the last key. They take the looks of a row above, never the header's, and show dates as dates."""
    if not part.inserts:
        return []
    sheet_id, start = view.sheet_id, view.end
    end = start + len(part.inserts)
    below_header = start == HEADER_ROW + 1
    rows = view.rows if view.exists else NEW_ROWS
    inherit = start == rows or not below_header
    made = [requests.insert_rows(sheet_id, start, end, inherit=inherit)]
    if inherit and below_header:
        made.append(requests.plain_format(sheet_id, start, end))
    dates = [place for name, place in layout.at.items() if SPECS[name].kind is Kind.DATETIME]
    made += [requests.date_format(sheet_id, start, end, place) for place in dates]
    return made + _merged(sheet_id, part.new, start)
