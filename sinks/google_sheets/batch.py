"""The requests of one atomic write, in their order, and what the sheet must look like after it. Pure.

For each tab: guard, compare-and-swap of the columns, set-up, updates of rows as the view shows them, new rows, old
guards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sinks.google_sheets import columns, requests
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.notes import Aim, Intent, digest
from sinks.google_sheets.plan import Part, Run, Wanted
from sinks.google_sheets.reading import TOP_ROWS, Guard, View
from sinks.google_sheets.requests import Request
from sinks.spreadsheet.columns import KEY, SPECS
from sinks.spreadsheet.values import CellKind

NEW_ROWS = 100
"""Rows of a tab that we make: room for people below ours."""
MIN_WIDTH = 2
"""A grid of one column could not be told from its key column in a reply."""
GUARDS_KEPT = 50
"""A request that is more writes late than this would no longer be refused."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one write does to one tab, and the layout and key column that it leaves behind there."""

    tab: str
    requests: Sequence[Request]
    guard: Guard
    view: View
    layout: Layout
    part: Part
    keys: Sequence[str]
    intent: Intent

    @property
    def ranges(self) -> Sequence[str]:
        """What the reply is to show of the tab."""
        top = requests.top_range(self.view.title, min(TOP_ROWS, self.view.rows) if self.view.exists else TOP_ROWS)
        at = self.layout.at
        return [top, requests.column_range(self.view.title, at[KEY])] if KEY in at else [top]


@dataclass(frozen=True, slots=True)
class Write:
    """One atomic write to any number of tabs: all of it lands, or nothing."""

    shares: Sequence[Share]

    @property
    def body(self) -> Mapping[str, Any]:
        batch = [request for share in self.shares for request in share.requests]
        return requests.batch_body(batch, [each for share in self.shares for each in share.ranges])

    @property
    def rows(self) -> int:
        return sum(share.part.rows for share in self.shares)

    @property
    def everybody(self) -> Sequence[Wanted]:
        """The interviews that it has something for."""
        return [wanted for share in self.shares for wanted in share.part.everybody]


def first_number(sheet_id: int) -> int:
    """Where the guard sequence of a tab begins: apart from those of other tabs, with room for 500 million writes."""
    return 1_000_000 + sheet_id * 2_654_435_761 % 1_600_000_000


def next_guard(view: View, nonce: str) -> Guard:
    """The number after the highest seen. Whoever read the same view takes the same, and only one of them lands."""
    return Guard(max(view.newest_guard + 1, first_number(view.sheet_id)), nonce)


def tagging(tab: str, view: View, layout: Layout, nonce: str) -> Share:
    """Puts tags on columns that were found by their header. No rows: the tags are looked at first."""
    return _share(tab, view, layout, Part(), nonce=nonce, work=columns.tag_requests(view, layout))


def row_write(tab: str, view: View, layout: Layout, part: Part, nonce: str) -> Share:
    """Adds the missing columns and writes the part. `layout` is the one that `part` was made for."""
    after, added = columns.add_columns(view, layout)
    keys = _key_requests(view, after, part)
    work = [*added, *keys, *_updates(view, part), *_formats(view, part), *_inserts(view, after, part)]
    return _share(tab, view, after, part, nonce=nonce, work=work)


def _share(tab: str, view: View, layout: Layout, part: Part, *, nonce: str, work: Sequence[Request]) -> Share:
    guard = next_guard(view, nonce)
    made = [] if view.exists else [_new_tab(view, layout), requests.mark_made(view.sheet_id)]
    hold = columns.hold_requests(view, layout, first_number(view.sheet_id) - 1)
    batch = [*made, requests.guard(view.sheet_id, *guard), *hold, *work, *_prunes(view)]
    keys = _expected_keys(view, part)
    return Share(tab, batch, guard, view, layout, part, keys, _intent(tab, guard, part, keys))


def _expected_keys(view: View, part: Part) -> list[str]:
    """The key column after the write, if nothing moves."""
    undone = set(part.undo)
    keys = ["" if key in undone else key for key in view.keys or ()]
    for restore in part.restores:
        keys += [""] * (restore.row + 1 - len(keys))
        keys[restore.row] = restore.key
    if part.inserts:
        keys += [""] * (view.end - len(keys)) + [wanted.key for wanted in part.inserts]
    while keys and not keys[-1].strip():
        keys.pop()
    return keys


def _intent(tab: str, guard: Guard, part: Part, keys: Sequence[str]) -> Intent:
    aims = tuple(Aim(change.row, change.key, change.cells) for change in part.changes)
    inserts, restores = [wanted.key for wanted in part.inserts], [restore.key for restore in part.restores]
    return Intent(guard, digest(keys), aims, tuple(inserts), 0, tab, tuple(restores))


def _key_requests(view: View, layout: Layout, part: Part) -> list[Request]:
    """Puts ids back, by what the cell shows where it shows something, and takes wrong ones out."""
    if not part.restores and not part.undo:
        return []
    column, below = layout.at[KEY], (view.header_row + 1, None)
    made = [requests.replace_key(view.sheet_id, column, below, key, "") for key in part.undo]
    for restore in part.restores:
        if restore.is_found:
            rows = below if restore.alone else (restore.row, restore.row + 1)
            made.append(requests.replace_key(view.sheet_id, column, rows, restore.shown, restore.key))
        else:
            cell = [requests.row_cells([requests.cell(restore.key, CellKind.TEXT)])]
            made.append(requests.update_cells(view.sheet_id, restore.row, column, cell, link=False))
    return made


def _new_tab(view: View, layout: Layout) -> Request:
    return requests.add_sheet(view.sheet_id, view.title, NEW_ROWS, max(MIN_WIDTH, len(layout.at)))


def _prunes(view: View) -> list[Request]:
    return [requests.prune(guard.number) for guard in sorted(view.guards)[: 1 - GUARDS_KEPT]]


def _updates(view: View, part: Part) -> list[Request]:
    return _merged(view.sheet_id, part.runs, 0)


def _formats(view: View, part: Part) -> list[Request]:
    """Date formats for cells that have none, one request for cells below each other."""
    ordered = sorted(part.formats, key=lambda cell: (cell[1], cell[0]))
    groups = groupby(enumerate(ordered), lambda each: (each[1][1], each[1][0] - each[0]))
    made = []
    for (column, _), group in groups:
        rows = [cell[0] for _, cell in group]
        made.append(requests.date_format(view.sheet_id, rows[0], rows[-1] + 1, column))
    return made


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
    below_header = start == view.header_row + 1
    rows = view.rows if view.exists else NEW_ROWS
    inherit = start == rows or not (below_header or view.closed.ends_at(start))
    made = [requests.insert_rows(sheet_id, start, end, inherit=inherit)]
    if inherit and below_header and not any(view.closed.covers_new(start, place) for place in range(view.width)):
        made.append(requests.plain_format(sheet_id, start, end))
    dates = [place for name, place in layout.at.items() if SPECS[name].kind is CellKind.DATETIME]
    dates = [place for place in dates if not view.closed.covers_new(start, place)]
    made += [requests.date_format(sheet_id, start, end, place) for place in dates]
    return made + _merged(sheet_id, part.new, start)
