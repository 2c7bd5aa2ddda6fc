"""The tab with the table: where its columns and rows are, however people have arranged them."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from openpyxl.cell import Cell, MergedCell
from openpyxl.cell.rich_text import CellRichText
from openpyxl.styles import Font
from openpyxl.styles.numbers import is_date_format
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.cell_range import CellRange
from openpyxl.worksheet.worksheet import Worksheet

from connector.sink import SinkBroken
from sinks.table import CUT_MARK, KEY, LINK_TEXT, Column, Kind, header_key
from sinks.workbook.memory import Written

HEADER_ROWS = 20
"""The header is looked for in so many rows from the top."""
GRID_ROWS = 1_048_576
"""Rows of a tab (Excel, Specifications and limits)."""
TEXT_MAX = 32_767
"""UTF-16 units of a cell's text (Excel, Specifications and limits)."""

DATE_FORMAT = "yyyy-mm-dd hh:mm"
TEXT_FORMAT = "@"  # a text that a person edits stays text: no lost zeros, no formula out of a name
_LINK_FONT = Font(color="0563C1", underline="single")
_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_LOOKS_LIKE_UNDERSCORE = "\N{FULLWIDTH LOW LINE}"


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
        _WRITERS[column.kind](cell, value)

    def make_room(self, count: int) -> int:
        """Room for `count` rows below the last one of the table; the first of them."""
        below = [place for place, cell in _cells(self.sheet).items() if place[0] > self.last and _is_used(cell)]
        if below and self.rows and self._may_move():
            self._move_down(count)
        elif below:
            self.last = max(row for row, _ in below)
        if self.last + count > GRID_ROWS:
            raise SinkBroken("there is no room below the table", "clear the last rows of the tab")
        first, self.last = self.last + 1, self.last + count
        self._stretch_filters()
        return first

    def _find_rows(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        key_column, cells = self.columns[KEY], _cells(self.sheet)
        for row in sorted(row for row, column in cells if column == key_column and row > self.header):
            key = text_of(cells[row, key_column])
            if key:
                rows.setdefault(key, row)  # of copied rows the first is ours
        return rows

    def _may_move(self) -> bool:
        """Whether what stands below can move down without breaking a reference to it."""
        book = self.sheet.parent
        sheets: Iterable[Worksheet] = book.worksheets if book is not None else ()
        formulas = any(cell.data_type == "f" for sheet in sheets for cell in _cells(sheet).values())
        merged = any(area.max_row > self.last for area in self.sheet.merged_cells.ranges)
        tables = any(_bounds(table.ref)[3] > self.last for table in self.sheet.tables.values())
        return not (formulas or merged or tables or (book is not None and book.defined_names))

    def _move_down(self, count: int) -> None:
        cells = _cells(self.sheet)
        places = sorted((place for place in cells if place[0] > self.last), reverse=True)
        if places[0][0] + count > GRID_ROWS:
            raise SinkBroken("there is no room below the table", "clear the last rows of the tab")
        for row, column in places:
            cell = cells.pop((row, column))
            cell.row = row + count
            cells[row + count, column] = cell
            if isinstance(cell, Cell) and cell.hyperlink is not None:
                cell.hyperlink.ref = cell.coordinate
        heights = self.sheet.row_dimensions
        for row in sorted((row for row in heights if row > self.last), reverse=True):
            dimension = heights.pop(row)
            dimension.index = row + count
            heights[row + count] = dimension

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
        return f"{get_column_letter(left)}{top}:{get_column_letter(right)}{self.last}"


def _bounds(ref: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a range such as `A1:L20`."""
    area = CellRange(ref)
    return area.min_col, area.min_row, area.max_col, area.max_row


def find_header(sheet: Worksheet, columns: Sequence[Column]) -> int | None:
    """The first row near the top that has the title of the key column."""
    key = {column for column in columns if column.field == KEY}
    return min(_titled_rows(sheet, key), default=None)


def likely_header(sheet: Worksheet, columns: Sequence[Column]) -> int | None:
    """On a tab never seen before: the row near the top with most of our titles, else the first row with anything in
    it; `None` for an empty tab.
    """
    rows = _titled_rows(sheet, columns)
    if rows:
        return max(rows, key=lambda row: (rows[row], -row))
    return min((row for (row, _), cell in _cells(sheet).items() if _is_used(cell)), default=None)


def _titled_rows(sheet: Worksheet, columns: Iterable[Column]) -> Counter[int]:
    titles = {header_key(column.title) for column in columns}
    return Counter(
        row for (row, _), cell in _cells(sheet).items() if row <= HEADER_ROWS and header_key(text_of(cell)) in titles
    )


def place_columns(sheet: Worksheet, header: int, columns: Sequence[Column], known: Iterable[str]) -> dict[str, int]:
    """Finds the columns by their titles, and adds those that were never there at the right of all others.

    A column among the `known` that cannot be found was deleted or renamed by people: it stays away.
    """
    heads = sorted(((at, cell) for (row, at), cell in _cells(sheet).items() if row == header), reverse=True, key=_first)
    titles = {header_key(text_of(cell)): at for at, cell in heads if _is_used(cell)}  # of equal titles the first
    placed = {
        column.field: titles[header_key(column.title)] for column in columns if header_key(column.title) in titles
    }
    missing = [column for column in columns if column.field not in {*placed, *known}]
    taken = (at for (_, at), cell in _cells(sheet).items() if _is_used(cell) or isinstance(cell, MergedCell))
    for at, column in enumerate(missing, start=1 + max(taken, default=0)):
        placed[column.field] = at
        _write_title(sheet, header, at, column.title)
    return placed


def _first(pair: tuple[int, object]) -> int:
    return pair[0]


def _write_title(sheet: Worksheet, header: int, column: int, title: str) -> None:
    cell = sheet.cell(header, column)
    assert isinstance(cell, Cell), "beyond the last used column nothing is merged"
    _write_text(cell, title)
    beside = sheet.cell(header, column - 1) if column > 1 else None
    like: Any = beside.font if isinstance(beside, Cell) and beside.value else Font(bold=True)
    cell.font = copy.copy(like)


def text_of(cell: Cell | MergedCell) -> str:
    """What the cell says as text; `""` for anything that is no text or whole number."""
    value: Any = cell.value
    if isinstance(value, str | CellRichText) and cell.data_type != "f":
        return str(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _is_used(cell: Cell | MergedCell) -> bool:
    return cell.value is not None or cell.comment is not None


def _write_text(cell: Cell, value: Written) -> None:
    if value is None:
        cell.value = None
        return
    cell.value = cell_text(str(value))
    cell.data_type = "s"  # after the value: openpyxl takes `=1+1` for a formula and `#N/A` for an error
    if cell.number_format == "General":
        cell.number_format = TEXT_FORMAT


def cell_text(text: str) -> str:
    """The text as a cell can hold it: cut, and without what office programs read as an escape (`_x0041_` is an A to
    them: ECMA-376 part 1, section 22.9.2.19). openpyxl drops the escape of that escape, so it is no way out.
    """
    return _ESCAPE.sub(_LOOKS_LIKE_UNDERSCORE, _cut(text))


def _cut(text: str) -> str:
    if len(text) <= TEXT_MAX // 2:
        return text  # whatever its characters, it fits
    units = text.encode("utf-16-le")
    if len(units) <= 2 * TEXT_MAX:
        return text
    return units[: 2 * (TEXT_MAX - len(CUT_MARK))].decode("utf-16-le", "ignore") + CUT_MARK


def _write_number(cell: Cell, value: Written) -> None:
    cell.value = value


def _write_time(cell: Cell, value: Written) -> None:
    if not is_date_format(cell.number_format):
        cell.number_format = DATE_FORMAT  # before the value, which would choose a format of its own
    cell.value = datetime.fromisoformat(value) if isinstance(value, str) else None


def _write_link(cell: Cell, value: Written) -> None:
    cell.value = LINK_TEXT if value else None
    cell.hyperlink = str(value) if value else None
    if value:
        cell.font = _LINK_FONT


_WRITERS = {
    Kind.TEXT: _write_text,
    Kind.NUMBER: _write_number,
    Kind.DATETIME: _write_time,
    Kind.LINK: _write_link,
}
