"""Which of our date cells have a number format. Without one a date shows as a bare number.

A cell with any format is left alone: users chose it. (Google Sheets API, CellFormat.numberFormat.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import Formats
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.repair import slices
from sinks.google_sheets.sheets_client import Calls, read_formats, read_values
from sinks.google_sheets.tabs import TabSnapshot
from sinks.google_sheets.write_planner import Change
from sinks.spreadsheet.columns import SPECS
from sinks.spreadsheet.values import CellKind

_SINGLE_ROWS_MAX = 50
"""Rows that are asked for one by one; of more the block that holds them all."""

UnformattedDates = Mapping[int, frozenset[str]]
"""Row -> fields whose cells have no number format."""


def is_date(name: str) -> bool:
    return SPECS[name].kind is CellKind.DATETIME


def may_lack_format(change: Change) -> bool:
    """Whether a change writes a date into a cell that may have no format: one in a row that we did not insert."""
    if change.wanted is None:
        return False
    known = (change.wanted.note.applied or {}) if change.wanted.note is not None and change.wanted.dated else {}
    return any(is_date(name) and value is not None and name not in known for name, value in change.cells.items())


class FormatQuery(NamedTuple):
    """Rows of a tab whose date cells may have no number format."""

    snapshot: TabSnapshot
    layout: Layout
    rows: Collection[int]

    @property
    def places(self) -> dict[int, str]:
        return {
            place: name for name, place in self.layout.at.items() if is_date(name) and place < self.snapshot.view.width
        }

    @property
    def areas(self) -> list[tuple[int, int]]:
        rows = sorted(self.rows)
        return [(row, row + 1) for row in rows] if len(rows) <= _SINGLE_ROWS_MAX else [(rows[0], rows[-1] + 1)]

    @property
    def filters(self) -> list[Request]:
        sheet_id, columns = self.snapshot.view.sheet_id, (min(self.places), max(self.places) + 1)
        return [api_requests.area_filter(sheet_id, *area, *columns) for area in self.areas]


async def without_format(calls: Calls, queries: Mapping[str, FormatQuery]) -> dict[str, UnformattedDates]:
    """The date cells of these rows that have no number format, by tab: one read for all tabs, none without rows."""
    asked = {name: each for name, each in queries.items() if each.rows and each.places}
    if not asked:
        return {}
    reply = await calls.fetch(read_formats([each for query in asked.values() for each in query.filters]))
    return {name: _unformatted(reply, query) for name, query in asked.items()}


def _unformatted(reply: Formats, query: FormatQuery) -> UnformattedDates:
    """A reply cuts what is empty at its ends; cells that were not asked for say nothing."""
    sheet_id, places = query.snapshot.view.sheet_id, query.places
    grids = {grid.start_row: grid for tab in reply.sheets if tab.properties.sheet_id == sheet_id for grid in tab.data}
    rows = set(query.rows)
    return {
        row: frozenset(name for place, name in places.items() if not grids[first].has_format(row, place))
        for first, end in query.areas
        if first in grids
        for row in range(first, end)
        if row in rows
    }


async def unformatted_dates(calls: Calls, snapshots: Mapping[str, TabSnapshot]) -> dict[str, UnformattedDates]:
    """The cells of our date columns that show a bare number, by tab: one read, one more where there are any."""
    numbers: dict[str, set[int]] = {}
    for read in slices(snapshots):
        filters = [
            api_requests.cells_filter(part.snapshot.view.sheet_id, place, part.first, part.end)
            for part in read
            for place in _date_places(part.snapshot.layout)
        ]
        if not filters:
            continue
        reply = await calls.fetch(read_values(filters, dates_as_shown=True))
        by_sheet = {part.snapshot.view.sheet_id: part.tab for part in read}
        for matched in reply.value_ranges:
            grid = matched.data_filters[0].grid_range
            column = matched.value_range.values[0] if matched.value_range.values else []
            rows = _numbers(column, grid.start_row_index)
            numbers.setdefault(by_sheet[grid.sheet_id], set()).update(rows)
    return await without_format(
        calls, {name: FormatQuery(snapshots[name], snapshots[name].layout, rows) for name, rows in numbers.items()}
    )


def _date_places(layout: Layout) -> list[int]:
    return sorted(place for name, place in layout.at.items() if is_date(name))


def _numbers(column: Iterable[str | float | bool], first: int) -> set[int]:
    """The rows whose cell is a number where a date with a format would be a text."""
    return {first + row for row, value in enumerate(column) if not isinstance(value, str | bool)}
