"""The tab with the table: where its columns and rows are, however people have arranged them."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from openpyxl.cell import Cell, MergedCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.cell_range import CellRange
from openpyxl.worksheet.worksheet import Worksheet

from connector.sink import SinkBroken
from sinks.table import KEY, Column, Kind, header_key
from sinks.workbook.cells import is_used, text_of, write_cell
from sinks.workbook.memory import Written
from sinks.workbook.tags import has_other_names, renamed_columns, tagged_cells

HEADER_ROWS = 20
"""The header is looked for in so many rows from the top."""
GRID_ROWS = 1_048_576
"""Rows of a tab (Excel, Specifications and limits)."""


def _cells(sheet: Worksheet) -> dict[tuple[int, int], Cell | MergedCell]:
    # The public iterators make a cell for every gap: one stray note in the last row would cost gigabytes.
    return sheet._cells  # noqa: SLF001 - see above


class Tab:
    """A worksheet with its header found: `columns` maps a field to its column, `rows` a key cell's text to its row."""

    def __init__(self, sheet: Worksheet, header: int, columns: Mapping[str, int]) -> None:
        self.sheet = sheet
        self.header = header
        self.columns = dict(columns)
        self.rows = self._find_rows()
        self.last = max(self.rows.values(), default=header)

    def write(self, row: int, column: Column, value: Written) -> None:
        """Writes one owned cell by its column's kind; a cell inside a merged range belongs to people."""
        cell = self.sheet.cell(row, self.columns[column.field])
        if isinstance(cell, MergedCell):
            return
        write_cell(cell, column.kind, value)

    def make_room(self, count: int) -> int:
        """Room for `count` rows below the last one of the table; the first of them."""
        below = [place for place, cell in _cells(self.sheet).items() if place[0] > self.last and is_used(cell)]
        if below and self.rows and self._may_move(self.last):
            self._move_down(count)
        elif below:
            self.last = max(row for row, _ in below)
        if self.last + count > GRID_ROWS:
            raise SinkBroken("there is no room below the table", "clear the last rows of the tab")
        first, self.last = self.last + 1, self.last + count
        self._stretch_filters()
        return first

    def remove(self, keys: Iterable[str]) -> None:
        """Takes rows out, with all that is in them; where something may refer to rows, only our cells are emptied."""
        rows = sorted(self.rows[key] for key in keys)
        if self._may_move(rows[0] - 1):
            self._take_out(rows)
        else:
            for row in rows:
                self._empty(row)
        self.rows = self._find_rows()
        self.last = max(self.rows.values(), default=self.header)

    def _take_out(self, rows: Sequence[int]) -> None:
        cells = _cells(self.sheet)
        gone = set(rows)
        for place in [place for place in cells if place[0] in gone]:
            del cells[place]
        for row in rows:
            self.sheet.row_dimensions.pop(row, None)
        self._shift(lambda row: row - bisect_left(rows, row))
        if self.sheet.auto_filter.ref:
            left, top, right, bottom = _bounds(self.sheet.auto_filter.ref)
            self.sheet.auto_filter.ref = _ref(left, top, right, bottom - sum(top < row <= bottom for row in rows))

    def _empty(self, row: int) -> None:
        for column in self.columns.values():
            cell = _cells(self.sheet).get((row, column))
            if isinstance(cell, Cell):
                cell.value = cell.hyperlink = None

    def _find_rows(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        key_column, cells = self.columns[KEY], _cells(self.sheet)
        for row in sorted(row for row, column in cells if column == key_column and row > self.header):
            key = text_of(cells[row, key_column])
            if key:
                rows.setdefault(key, row)  # of copied rows the first is ours
        return rows

    def _may_move(self, above: int) -> bool:
        """Whether what stands below a row can move without breaking a reference to it."""
        book = self.sheet.parent
        sheets: Iterable[Worksheet] = book.worksheets if book is not None else ()
        formulas = any(cell.data_type == "f" for sheet in sheets for cell in _cells(sheet).values())
        merged = any(area.max_row > above for area in self.sheet.merged_cells.ranges)
        tables = any(_bounds(table.ref)[3] > above for table in self.sheet.tables.values())
        named = (book is not None and book.defined_names) or any(has_other_names(sheet) for sheet in sheets)
        return not (formulas or merged or tables or named)

    def _move_down(self, count: int) -> None:
        if max(row for row, _ in _cells(self.sheet)) + count > GRID_ROWS:
            raise SinkBroken("there is no room below the table", "clear the last rows of the tab")
        last = self.last
        self._shift(lambda row: row + count if row > last else row)

    def _shift(self, to: Callable[[int], int]) -> None:
        """Moves rows with all that is in them; `to` gives each its new place, and no two the same."""
        cells = _cells(self.sheet)
        moving = [(place, cells.pop(place)) for place in [place for place in cells if to(place[0]) != place[0]]]
        for (row, column), cell in moving:
            cell.row = to(row)
            cells[cell.row, column] = cell
            if isinstance(cell, Cell) and cell.hyperlink is not None:
                cell.hyperlink.ref = cell.coordinate
        heights = self.sheet.row_dimensions
        for row, dimension in [(row, heights.pop(row)) for row in [row for row in heights if to(row) != row]]:
            dimension.index = to(row)
            heights[to(row)] = dimension

    def _stretch_filters(self) -> None:
        """A filter or a table of the office program that starts at our header takes in the new rows."""
        for owner in (self.sheet.auto_filter, *self.sheet.tables.values()):
            if owner.ref:
                owner.ref = self._stretched(owner.ref)
        for table in self.sheet.tables.values():
            if table.autoFilter is not None and table.autoFilter.ref:
                table.autoFilter.ref = self._stretched(table.autoFilter.ref)

    def _stretched(self, ref: str) -> str:
        left, top, right, bottom = _bounds(ref)
        if top != self.header or bottom >= self.last:
            return ref
        return _ref(left, top, right, self.last)


def _ref(left: int, top: int, right: int, bottom: int) -> str:
    return f"{get_column_letter(left)}{top}:{get_column_letter(right)}{bottom}"


def _bounds(ref: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a range such as `A1:L20`."""
    area = CellRange(ref)
    return area.min_col, area.min_row, area.max_col, area.max_row


def find_header(sheet: Worksheet, columns: Sequence[Column]) -> int | None:
    """The first row near the top that has the title of the key column."""
    key = {column for column in columns if column.field == KEY}
    return min(_titled_rows(sheet, key), default=None)


def renamed_header(sheet: Worksheet, ids: Collection[str]) -> int | None:
    """The header row by the name on the key column's header, when one of the `ids` stands below it."""
    place = tagged_cells(sheet).get(KEY)
    if place is None:
        return None
    below = (cell for (row, column), cell in _cells(sheet).items() if column == place[1] and row > place[0])
    return place[0] if any(text_of(cell) in ids for cell in below) else None


def likely_header(sheet: Worksheet, columns: Sequence[Column]) -> int | None:
    """On a tab never seen before: the row near the top with most of our titles, else the first row with anything in
    it; `None` for an empty tab.
    """
    rows = _titled_rows(sheet, columns)
    if rows:
        return max(rows, key=lambda row: (rows[row], -row))
    return min((row for (row, _), cell in _cells(sheet).items() if is_used(cell)), default=None)


def _titled_rows(sheet: Worksheet, columns: Iterable[Column]) -> Counter[int]:
    titles = {header_key(column.title) for column in columns}
    return Counter(
        row for (row, _), cell in _cells(sheet).items() if row <= HEADER_ROWS and header_key(text_of(cell)) in titles
    )


def place_columns(sheet: Worksheet, header: int, columns: Sequence[Column], known: Iterable[str]) -> dict[str, int]:
    """Finds the columns by their titles, else by the names on their header cells, and adds those that were never
    there at the right of all others.

    A column among the `known` that cannot be found was deleted by people: it stays away.
    """
    heads = sorted(((at, cell) for (row, at), cell in _cells(sheet).items() if row == header), reverse=True, key=_first)
    titles = {header_key(text_of(cell)): at for at, cell in heads if is_used(cell)}  # of equal titles the first
    placed = {
        column.field: titles[header_key(column.title)] for column in columns if header_key(column.title) in titles
    }
    ours = {column.field for column in columns}
    placed |= {field: at for field, at in renamed_columns(sheet, header, placed).items() if field in ours}
    missing = [column for column in columns if column.field not in {*placed, *known}]
    taken = (at for (_, at), cell in _cells(sheet).items() if is_used(cell) or isinstance(cell, MergedCell))
    for at, column in enumerate(missing, start=1 + max(taken, default=0)):
        placed[column.field] = at
        _write_title(sheet, header, at, column.title)
    return placed


def _first(pair: tuple[int, object]) -> int:
    return pair[0]


def _write_title(sheet: Worksheet, header: int, column: int, title: str) -> None:
    cell = sheet.cell(header, column)
    assert isinstance(cell, Cell), "beyond the last used column nothing is merged"
    write_cell(cell, Kind.TEXT, title)
    beside = sheet.cell(header, column - 1) if column > 1 else None
    like: Any = beside.font if isinstance(beside, Cell) and beside.value else Font(bold=True)
    cell.font = copy.copy(like)
