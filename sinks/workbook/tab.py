"""The tab with the table: finds its header, columns and rows, and writes, moves and formats its cells."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from openpyxl.cell import Cell, MergedCell
from openpyxl.cell.rich_text import CellRichText
from openpyxl.styles.numbers import is_date_format
from openpyxl.utils import column_index_from_string, get_column_letter, quote_sheetname
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.cell_range import CellRange
from openpyxl.worksheet.worksheet import Worksheet

from connector.languages import Language
from connector.sink import SinkBroken
from sinks.spreadsheet.columns import KEY, SPECS, Column, header_key, usual_header_keys, usual_titles
from sinks.spreadsheet.values import CUT_MARK, LINK_TEXT, CellKind, clean_text, days_since
from sinks.workbook import summary
from sinks.workbook.file import Book, set_flush_number
from sinks.workbook.formats import changed_font, format_table
from sinks.workbook.package import SheetCells
from sinks.workbook.state import RewriteRequest, Written

HEADER_ROWS = 20
"""The header is searched in this number of rows from the top, and in all rows when users sorted it away."""
GRID_ROWS = 1_048_576
"""Rows of a tab (Excel, Specifications and limits)."""
TEXT_MAX = 32_767
"""UTF-16 units of a cell's text (Excel, Specifications and limits)."""
NAME_PREFIX = "connector_"
"""Start of the defined names on header cells."""

DATE_FORMAT = "yyyy-mm-dd hh:mm_)"
"""Format of a date where users chose none. `_)` is a space as wide as a bracket, between a value at the right of its
column and the text of the next one.
"""
DAYS_FORMAT = "0_)"
"""Format of a number of days where users chose none."""
TEXT_FORMAT = "@"
"""A text that a user edits stays text: no lost zeros, no formula from a name."""
LINK_COLOUR = "0563C1"
"""Colour of the text of a link (RRGGBB)."""
_HALF_SECOND = timedelta(milliseconds=500)  # a date is a number of days, which is not exact to a microsecond
_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_LOOKS_LIKE_UNDERSCORE = "\N{FULLWIDTH LOW LINE}"
NAMED_CELL = re.compile(r"!\$([A-Z]{1,3})\$([0-9]{1,7})")
"""The column and the row of a defined name on a cell."""


class Tab:
    """A worksheet whose header was found: `columns` maps a field to its column, `rows` a key cell's text to its row.

    `cells` are the places of all its cells. They are kept here, because openpyxl cannot list them.
    """

    def __init__(self, book: Book, sheet: Worksheet, header: int, columns: Mapping[str, int], words: Language) -> None:
        cells = book.cells.get(sheet.title, SheetCells())
        self.sheet = sheet
        self._book = book
        self._fixed = _has_references(book)
        self.header = header
        self.columns = dict(columns)
        self._link_text = words.gettext(LINK_TEXT)
        self._cells = cells.places | {(header, column) for column in columns.values()}
        self.rows = self._find_rows()
        self.last = max([header, *self.rows.values()])

    def write(self, row: int, column: Column, value: Written) -> None:
        """Writes one owned cell by the kind of its column; a cell inside a merged range belongs to the user."""
        cell = self.sheet.cell(row, self.columns[column.field])
        self._cells.add((row, self.columns[column.field]))
        if not isinstance(cell, MergedCell):
            _write_cell(cell, column.kind, value, self._link_text)

    def make_room(self, count: int) -> int:
        """Makes room for `count` rows below the last one of the table, and returns the first of them.

        What is below moves down; it stays when references or merged cells forbid that, and the rows come below it.
        Raises `SinkBroken` when the grid has no room.
        """
        below = [place for place in self._cells if place[0] > self.last and _is_used(self.sheet.cell(*place))]
        if below and self.rows and not self._fixed and not self._is_fixed(self.last):
            self._move_down(count)
        elif below:
            self.last = max(row for row, _ in below)
        self._check_grid(self.last + count)
        first, self.last = self.last + 1, self.last + count
        self._stretch_filters()
        return first

    def remove(self, keys: Iterable[str]) -> None:
        """Removes rows with everything in them; where references or merged cells forbid that, only owned cells are
        emptied.
        """
        rows = sorted(self.rows[key] for key in keys)
        if self._fixed or self._is_fixed(rows[0] - 1):
            for row in rows:
                self._empty(row)
        else:
            self._take_out(rows)
        self.rows = self._find_rows()
        self.last = max([self.header, *self.rows.values()])

    def content(self, columns: Sequence[Column]) -> dict[str, list[tuple[int, dict[str, Written]]]]:
        """Returns all rows with an id, by the text of the id: their numbers and their owned cells by field."""
        kinds = {column.field: column.kind for column in columns if column.field in self.columns}
        found: dict[str, list[tuple[int, dict[str, Written]]]] = {}
        for row, cell in _cells_beside(self.sheet, self._cells, self.header, self.columns[KEY]):
            if key := text_of(cell):
                cells = {name: _shown(self.sheet.cell(row, self.columns[name]), kind) for name, kind in kinds.items()}
                found.setdefault(key, []).append((row, cells))
        return found

    def to_bytes(self, flush: int) -> bytes:
        """Returns the content of the file. `flush` is the number of this rewrite."""
        _write_names(self.sheet, self.header, self.columns)
        self._add_positions()
        set_flush_number(self._book.book, flush)
        return self._book.to_bytes()

    def _add_positions(self) -> None:
        sheet = summary.find(self._book.book, self.sheet)
        at = self.columns.get("position_name")
        if sheet is None or at is None:
            return
        rows = (row for row, column in sorted(self._cells) if column == at and row != self.header)
        positions = filter(None, (text_of(self.sheet.cell(row, at)) for row in rows))
        cells = self._book.cells.get(sheet.title, SheetCells())
        summary.add_positions(sheet, cells, summary.Table(self.sheet, self.header, self.columns), positions)

    def _take_out(self, rows: Sequence[int]) -> None:
        width = self._width()
        for row in rows:
            for column in range(1, width + 1):
                _clear(self.sheet.cell(row, column))
            self.sheet.row_dimensions.pop(row, None)
        gone = set(rows)
        self._cells = {place for place in self._cells if place[0] not in gone}
        self._move_rows(lambda row: row - bisect_left(rows, row))
        self.header -= bisect_left(rows, self.header)
        if self.sheet.auto_filter.ref:
            left, top, right, bottom = bounds(self.sheet.auto_filter.ref)
            self.sheet.auto_filter.ref = _ref(left, top, right, bottom - sum(top < row <= bottom for row in rows))

    def _empty(self, row: int) -> None:
        for column in self.columns.values():
            cell = self.sheet.cell(row, column)
            if isinstance(cell, Cell):
                cell.value = cell.hyperlink = None

    def _find_rows(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        for row, cell in _cells_beside(self.sheet, self._cells, self.header, self.columns[KEY]):
            key = text_of(cell)
            if key:
                rows.setdefault(key, row)  # the first one counts when a user copied the row
        return rows

    def _is_fixed(self, above: int) -> bool:
        """Whether merged cells or a table of the office program end below a row, so that rows there cannot move."""
        merged = any(area.max_row > above for area in self.sheet.merged_cells.ranges)
        return merged or any(bounds(table.ref)[3] > above for table in self.sheet.tables.values())

    def _move_down(self, count: int) -> None:
        self._check_grid(max(row for row, _ in self._cells) + count)
        last = self.last
        self._move_rows(lambda row: row + count if row > last else row)

    def _check_grid(self, row: int) -> None:
        if row > GRID_ROWS:
            raise SinkBroken("there is no room below the table", "clear the last rows of the tab")

    def _move_rows(self, to: Callable[[int], int]) -> None:
        """Moves rows with everything in them; `to` returns the new row, and all rows move in the same direction."""
        moving = sorted(row for row in {row for row, _ in self._cells} if to(row) != row)
        if moving and to(moving[0]) > moving[0]:
            moving.reverse()  # downwards the last row goes first, so that no row is overwritten
        width = get_column_letter(self._width())
        for row in moving:
            self.sheet.move_range(f"A{row}:{width}{row}", rows=to(row) - row)
        self._cells = {(to(row), column) for row, column in self._cells}
        moved = {to(row) for row in moving}
        for row, column in self._cells:
            cell = self.sheet.cell(row, column) if row in moved else None
            if isinstance(cell, Cell) and cell.hyperlink is not None:
                cell.hyperlink.ref = cell.coordinate
        heights = self.sheet.row_dimensions
        for row, dimension in [(row, heights.pop(row)) for row in [row for row in heights if to(row) != row]]:
            dimension.index = to(row)
            heights[to(row)] = dimension

    def _width(self) -> int:
        return max((column for _, column in self._cells), default=1)

    def _stretch_filters(self) -> None:
        """Extends a filter or a table of the office program that starts at our header to the new rows."""
        for owner in (self.sheet.auto_filter, *self.sheet.tables.values()):
            if owner.ref:
                owner.ref = self._stretched(owner.ref)
        for table in self.sheet.tables.values():
            if table.autoFilter is not None and table.autoFilter.ref:
                table.autoFilter.ref = self._stretched(table.autoFilter.ref)

    def _stretched(self, ref: str) -> str:
        left, top, right, bottom = bounds(ref)
        if top != self.header or bottom >= self.last:
            return ref
        return _ref(left, top, right, self.last)


def open_tab(book: Book, request: RewriteRequest) -> Tab:
    """Returns the tab with all its columns; makes it when the table is new.

    Raises `SinkBroken` when the table had columns before, and its tab or its key column is missing now: a user deleted
    it.
    """
    known = request.state.columns
    sheet = _find_sheet(book, request, known)
    cells = book.cells.get(sheet.title, SheetCells())
    header = _known_header(sheet, cells, request) if known else _likely_header(sheet, cells, request)
    if header is None and known:
        raise SinkBroken(
            "the column that names the interview of each row is gone",
            f'undo the change, or give that column its title "{_key_title(request)}" again above the first row; or '
            "move the file away: a new one is made",
        )
    columns = _place_columns(sheet, cells, header or 1, request)
    if header is None:
        header = 1
        if request.style:
            format_table(sheet, request.columns, request.words)
            summary.make(book.book, summary.Table(sheet, header, columns), request.words)
    return Tab(book, sheet, header, columns, request.words)


def _has_references(book: Book) -> bool:
    """Whether formulas or names of users may refer to rows of the table."""
    cells = [(sheet, book.cells.get(sheet.title, SheetCells())) for sheet in book.book.worksheets]
    formulas = any(summary.has_formula_of_users(sheet, _not_ours(sheet, each.formulas)) for sheet, each in cells)
    named = any(not name.startswith(NAME_PREFIX) for sheet in book.book.worksheets for name in sheet.defined_names)
    return formulas or named or bool(book.book.defined_names)


def _not_ours(sheet: Worksheet, formulas: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the formulas outside of the columns in which the sink writes formulas."""
    fields = {field for field, spec in SPECS.items() if spec.kind is CellKind.DAYS_SINCE}
    ours = {column for field, (_, column) in named_cells(sheet).items() if field in fields}
    return [place for place in formulas if place[1] not in ours]


def _find_sheet(book: Book, request: RewriteRequest, known: Sequence[str]) -> Worksheet:
    sheets = book.book.worksheets
    titled = [sheet for sheet in sheets if sheet.title.casefold() == request.worksheet.casefold()]
    if titled:
        return titled[0]
    if not known:
        made: Worksheet = book.book.create_sheet(request.worksheet)
        return made
    renamed = [sheet for sheet in sheets if _known_header(sheet, book.cells[sheet.title], request) is not None]
    if len(renamed) != 1:
        raise SinkBroken(
            f'the tab "{request.worksheet}" is gone',
            "give the tab its name again, or move the file away: a new one is made and filled",
        )
    return renamed[0]


def _key_title(request: RewriteRequest) -> str:
    return next(column.title for column in request.columns if column.field == KEY)


def _known_header(sheet: Worksheet, cells: SheetCells, request: RewriteRequest) -> int | None:
    """The first row that has the title of the key column, near the top if there is one, else the row with its name."""
    titled = min(_titled_rows(sheet, cells, request, {KEY}), default=None)
    if titled is not None:
        return titled
    named = _named_header(sheet, cells, request.state.rows)
    return named or min(_titled_rows(sheet, cells, request, {KEY}, GRID_ROWS), default=None)


def _named_header(sheet: Worksheet, cells: SheetCells, ids: Collection[str]) -> int | None:
    """The row of the name on the key column's header, when other rows have one of the `ids` and it has none: users may
    have sorted the header away.
    """
    place = named_cells(sheet).get(KEY)
    if place is None or text_of(sheet.cell(*place)) in ids:
        return None
    others = _cells_beside(sheet, cells.places, *place)
    return place[0] if any(text_of(cell) in ids for _, cell in others) else None


def _likely_header(sheet: Worksheet, cells: SheetCells, request: RewriteRequest) -> int | None:
    """Returns the header of a tab that is new to the sink: the row near the top with most of the titles, else the first
    used row; `None` for an empty tab.
    """
    rows = _titled_rows(sheet, cells, request, {column.field for column in request.columns})
    if rows:
        return max(rows, key=lambda row: (rows[row], -row))
    return min((place[0] for place in cells.places if _is_used(sheet.cell(*place))), default=None)


def _titled_rows(
    sheet: Worksheet, cells: SheetCells, request: RewriteRequest, fields: Collection[str], most: int = HEADER_ROWS
) -> Counter[int]:
    """Returns how many headers of these fields each of the first `most` rows has."""
    titles = {key for column in request.columns if column.field in fields for key in _header_keys(column, request)}
    top = (place for place in cells.places if place[0] <= most)
    return Counter(row for row, column in top if header_key(text_of(sheet.cell(row, column))) in titles)


def heading(column: Column, zone: str) -> str:
    """Returns the text of the header of a new column: its title, and the time zone of dates."""
    return f"{column.title} ({zone})" if column.kind is CellKind.DATETIME else column.title


def _header_keys(column: Column, request: RewriteRequest) -> list[str]:
    """Returns the headers of a column in the form in which they are compared, the likeliest first."""
    own = [*(heading(column, zone) for zone in (request.zone, request.state.zone)), column.title]
    return [header_key(text) for text in [*own, *_other_headings(column, request)]]


def _other_headings(column: Column, request: RewriteRequest) -> list[str]:
    """Returns the usual headers of a column in other languages, unless another column has one of them as its title."""
    others = {header_key(each.title) for each in request.columns}
    titles = [title for title in usual_titles(column.field) if header_key(title) not in others]
    same = [column.model_copy(update={"title": title}) for title in titles]
    return [heading(each, zone) for each in same for zone in (request.zone, request.state.zone)] + titles


def _place_columns(sheet: Worksheet, cells: SheetCells, header: int, request: RewriteRequest) -> dict[str, int]:
    """Finds the columns by their titles, else by the names on their header cells, and adds new ones at the right.

    A column that the table had and that cannot be found was deleted by a user, and is not added.
    """
    columns = request.columns
    heads = sorted((column for row, column in cells.places if row == header), reverse=True)
    titles = {header_key(text_of(sheet.cell(header, at))): at for at in heads if _is_used(sheet.cell(header, at))}
    found = {
        column.field: [titles[key] for key in _header_keys(column, request) if key in titles] for column in columns
    }
    placed = {field: at[0] for field, at in found.items() if at}
    ours = {column.field for column in columns}
    placed |= {field: at for field, at in _renamed_columns(sheet, header, placed).items() if field in ours}
    missing = [column for column in columns if column.field not in {*placed, *request.state.columns}]
    for at, column in enumerate(missing, start=1 + _last_used_column(sheet, cells)):
        placed[column.field] = at
        _write_title(sheet, header, at, heading(column, request.zone))
    _name_zone(sheet, header, placed, request)
    return placed


def _name_zone(sheet: Worksheet, header: int, placed: Mapping[str, int], request: RewriteRequest) -> None:
    """Writes the present language and time zone into headers that are the usual ones of another."""
    for column in request.columns:
        former, present = (heading(column, zone) for zone in (request.state.zone, request.zone))
        known = {former}
        if header_key(column.title) in usual_header_keys(column.field):
            known |= {*_other_headings(column, request)}
        cell = sheet.cell(header, placed[column.field]) if column.field in placed else None
        if isinstance(cell, Cell) and text_of(cell) != present and text_of(cell) in known:
            _write_text(cell, present)


def _last_used_column(sheet: Worksheet, cells: SheetCells) -> int:
    used = max((place[1] for place in cells.places if _is_used(sheet.cell(*place))), default=0)
    return max([used, *(int(area.max_col) for area in sheet.merged_cells.ranges)])


def _write_title(sheet: Worksheet, header: int, column: int, title: str) -> None:
    cell = sheet.cell(header, column)
    assert isinstance(cell, Cell), "beyond the last used column nothing is merged"
    _write_text(cell, title)
    beside = sheet.cell(header, column - 1) if column > 1 else None
    like = beside if isinstance(beside, Cell) and beside.value else None
    cell.font = changed_font(cell, bold=True) if like is None else changed_font(like)


def _write_names(sheet: Worksheet, header: int, columns: Mapping[str, int]) -> None:
    """Gives each header cell a hidden name, by which a renamed column is found again.

    Office programs move names along with the cells (ECMA-376 part 1, section 18.2.5, definedName). A program that does
    not know names may leave them where they were: so a title counts more than a name, and names count only while they
    agree with every title that is present.
    """
    for name in [name for name in sheet.defined_names if name.startswith(NAME_PREFIX)]:
        del sheet.defined_names[name]
    for field, column in columns.items():
        place = f"{quote_sheetname(sheet.title)}!${get_column_letter(column)}${header}"
        sheet.defined_names[NAME_PREFIX + field] = DefinedName(NAME_PREFIX + field, attr_text=place, hidden=True)


def named_cells(sheet: Worksheet) -> dict[str, tuple[int, int]]:
    """Returns field -> row and column of its header cell, for the names that still refer to a cell."""
    found = {}
    for name, defined in sheet.defined_names.items():
        place = NAMED_CELL.search(defined.attr_text or "")
        if name.startswith(NAME_PREFIX) and place:
            found[name.removeprefix(NAME_PREFIX)] = int(place[2]), column_index_from_string(place[1])
    return found


def _renamed_columns(sheet: Worksheet, header: int, titled: Mapping[str, int]) -> dict[str, int]:
    """Columns found by their names alone; `titled` are those found by their titles."""
    named = {field: column for field, (row, column) in named_cells(sheet).items() if row == header}
    known = named.keys() & titled.keys()
    if not known or any(named[field] != titled[field] for field in known):
        return {}
    taken = set(titled.values())
    return {field: column for field, column in named.items() if field not in titled and column not in taken}


def _cells_beside(
    sheet: Worksheet, places: Collection[tuple[int, int]], header: int, column: int
) -> Iterator[tuple[int, Cell | MergedCell]]:
    """The cells of one column except the header, from top to bottom, with their rows. Those above the header count too,
    because users may sort it into the table.
    """
    for row in sorted(row for row, at in places if at == column and row != header):
        yield row, sheet.cell(row, column)


def text_of(cell: Cell | MergedCell) -> str:
    """Returns the text of the cell; `""` for anything but a text or a whole number."""
    value: Any = cell.value
    if isinstance(value, str | CellRichText) and cell.data_type != "f":
        return str(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _is_used(cell: Cell | MergedCell) -> bool:
    return cell.value is not None or cell.comment is not None


def _clear(cell: Cell | MergedCell) -> None:
    if isinstance(cell, Cell):
        cell.value = cell.hyperlink = cell.comment = None
        cell.style = "Normal"


def _write_cell(cell: Cell, kind: CellKind, value: Written, link_text: str) -> None:
    """Writes a value by the kind of its column."""
    if kind is CellKind.LINK:
        _write_link(cell, value, link_text)
    else:
        _WRITERS[kind](cell, value)


def _write_text(cell: Cell, value: Written) -> None:
    if value is None:
        cell.value = None
        return
    cell.value = cell_text(str(value))
    cell.data_type = "s"  # after the value: openpyxl takes `=1+1` for a formula and `#N/A` for an error
    if cell.number_format == "General":
        cell.number_format = TEXT_FORMAT


def _shown(cell: Cell | MergedCell, kind: CellKind) -> Written:
    """Returns what a cell shows, in the form in which a value of its kind is remembered."""
    if kind is CellKind.LINK:
        return cell.hyperlink.target if isinstance(cell, Cell) and cell.hyperlink is not None else None
    value: Any = cell.value
    if isinstance(value, datetime):
        return (value + _HALF_SECOND).replace(microsecond=0).isoformat()
    return value if value is None or isinstance(value, int | float) else str(value)


def same_value(kind: CellKind, shown: Written, value: Written) -> bool:
    """Whether a cell that shows `shown` has this value."""
    if kind is CellKind.DAYS_SINCE:
        return shown == (None if value is None else days_since(int(value)))
    if kind is CellKind.TEXT and value is not None:
        return shown is not None and str(shown) == cell_text(str(value))
    if isinstance(shown, int | float) and isinstance(value, int | float):
        return math.isclose(shown, value)
    return shown == value


def key_text(key: str) -> str:
    """Returns the text of the cell with an id."""
    return cell_text(clean_text(key))


def cell_text(text: str) -> str:
    """Returns the text as a cell can hold it: cut, and without what office programs read as an escape.

    `_x0041_` is an A to them (ECMA-376 part 1, section 22.9.2.19). openpyxl drops the escape of that escape, so an
    underscore of another width replaces the first one.
    """
    return _ESCAPE.sub(_LOOKS_LIKE_UNDERSCORE, _cut(text))


def _cut(text: str) -> str:
    if len(text) <= TEXT_MAX // 2:
        return text  # it fits with any characters
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


def _write_days_since(cell: Cell, value: Written) -> None:
    cell.value = None if value is None else days_since(int(value))
    if cell.number_format == "General":
        cell.number_format = DAYS_FORMAT


def _write_link(cell: Cell, value: Written, link_text: str) -> None:
    cell.value = link_text if value else None
    cell.hyperlink = str(value) if value else None
    if value:
        cell.font = changed_font(cell, color=LINK_COLOUR, underline="single")


_WRITERS = {
    CellKind.TEXT: _write_text,
    CellKind.NUMBER: _write_number,
    CellKind.DATETIME: _write_time,
    CellKind.DAYS_SINCE: _write_days_since,
}


def _ref(left: int, top: int, right: int, bottom: int) -> str:
    return f"{get_column_letter(left)}{top}:{get_column_letter(right)}{bottom}"


def bounds(ref: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a range such as `A1:L20`."""
    area = CellRange(ref)
    return area.min_col, area.min_row, area.max_col, area.max_row
