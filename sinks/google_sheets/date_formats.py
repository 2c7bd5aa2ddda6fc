"""Which of our date cells have a number format. Without one a date shows as a bare number.

A cell with any format is left alone: people chose it. (Google Sheets API, CellFormat.numberFormat.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import Formats
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.repair import slices
from sinks.google_sheets.sheets_client import Calls
from sinks.google_sheets.tabs import Look
from sinks.google_sheets.write_planner import Change
from sinks.spreadsheet.columns import SPECS
from sinks.spreadsheet.values import CellKind

_APART = 50
"""Rows that are asked for one by one; of more the block that holds them all."""

Bare = Mapping[int, frozenset[str]]
"""Row -> fields whose cells have no number format."""


def is_date(name: str) -> bool:
    return SPECS[name].kind is CellKind.DATETIME


def is_unsure(change: Change) -> bool:
    """Whether a change writes a date into a cell that may have no format: one in a row that we did not insert."""
    if change.wanted is None:
        return False
    known = (change.wanted.note.applied or {}) if change.wanted.note is not None and change.wanted.dated else {}
    return any(is_date(name) and value is not None and name not in known for name, value in change.cells.items())


class Question(NamedTuple):
    """Rows of a tab whose date cells may have no number format."""

    seen: Look
    layout: Layout
    rows: Collection[int]

    @property
    def places(self) -> dict[int, str]:
        return {place: name for name, place in self.layout.at.items() if is_date(name) and place < self.seen.view.width}

    @property
    def areas(self) -> list[tuple[int, int]]:
        rows = sorted(self.rows)
        return [(row, row + 1) for row in rows] if len(rows) <= _APART else [(rows[0], rows[-1] + 1)]

    @property
    def filters(self) -> list[Request]:
        sheet_id, columns = self.seen.view.sheet_id, (min(self.places), max(self.places) + 1)
        return [api_requests.area_filter(sheet_id, *area, *columns) for area in self.areas]


async def without_format(calls: Calls, questions: Mapping[str, Question]) -> dict[str, Bare]:
    """The date cells of these rows that have no number format, by tab: one read for all tabs, none without rows."""
    asked = {name: each for name, each in questions.items() if each.rows and each.places}
    if not asked:
        return {}
    reply = await calls.formats([each for question in asked.values() for each in question.filters])
    return {name: _bare(reply, question) for name, question in asked.items()}


def _bare(reply: Formats, question: Question) -> Bare:
    """A reply cuts what is empty at its ends; cells that were not asked for say nothing."""
    sheet_id, places = question.seen.view.sheet_id, question.places
    grids = {grid.start_row: grid for tab in reply.sheets if tab.properties.sheet_id == sheet_id for grid in tab.data}
    rows = set(question.rows)
    return {
        row: frozenset(name for place, name in places.items() if not grids[first].has_format(row, place))
        for first, end in question.areas
        if first in grids
        for row in range(first, end)
        if row in rows
    }


async def bare_dates(calls: Calls, looks: Mapping[str, Look]) -> dict[str, Bare]:
    """The cells of our date columns that show a bare number, by tab: one read, one more where there are any."""
    numbers: dict[str, set[int]] = {}
    for read in slices(looks):
        filters = [
            api_requests.cells_filter(part.seen.view.sheet_id, place, part.first, part.end)
            for part in read
            for place in _date_places(part.seen.layout)
        ]
        if not filters:
            continue
        reply = await calls.shown_dates(filters)
        by_sheet = {part.seen.view.sheet_id: part.tab for part in read}
        for matched in reply.value_ranges:
            grid = matched.data_filters[0].grid_range
            column = matched.value_range.values[0] if matched.value_range.values else []
            rows = _numbers(column, grid.start_row_index)
            numbers.setdefault(by_sheet[grid.sheet_id], set()).update(rows)
    return await without_format(
        calls, {name: Question(looks[name], looks[name].layout, rows) for name, rows in numbers.items()}
    )


def _date_places(layout: Layout) -> list[int]:
    return sorted(place for name, place in layout.at.items() if is_date(name))


def _numbers(column: Iterable[str | float | bool], first: int) -> set[int]:
    """The rows whose cell is a number where a date with a format would be a text."""
    return {first + row for row, value in enumerate(column) if not isinstance(value, str | bool)}
