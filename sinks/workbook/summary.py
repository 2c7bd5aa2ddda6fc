"""The Summary tab: interviews per position and stage, and how long those to evaluate wait. Formulas count the table.

The tab is made with the table. A rewrite adds positions that are new. Cells of users stay, and a Summary that users
delete stays deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from openpyxl.cell import Cell
from openpyxl.styles import Alignment, PatternFill
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.workbook import Workbook
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.worksheet import Worksheet

from connector.languages import Language
from connector.sink import STAGE_WORDS
from sinks.spreadsheet.columns import KEY
from sinks.spreadsheet.summary import ALL, STAGES, TITLE, WAITING, differs, equals, waiting_titles
from sinks.spreadsheet.values import CELL_COLOURS, HEADER_COLOUR
from sinks.workbook.formats import HEADER_POINTS, changed_font, set_up_print
from sinks.workbook.package import SheetCells

NAME = "connector_summary"
"""Name of the Summary tab that refers to the key column's header of its table. Office programs adapt it when users
rename a tab.
"""
WIDTH = len(CELL_COLOURS) + 4
"""Columns of the Summary: the position, one per stage, all, and two of waiting times."""

_SEPARATOR = ","
"""Between arguments of a formula, in a file of any language."""
_HEADER = 1
"""Row of the header."""
_TOTAL = 2
"""Row of the total of all positions."""
_POSITION_WIDTH = 32
"""Width of the column of positions in characters."""
_COUNT_WIDTH = 13
"""Width of the other columns in characters."""
_DAYS = "0.0"
_ALL_COLUMN = len(STAGES) + 2


@dataclass(frozen=True, slots=True)
class Table:
    """The table that is counted: its tab, the row of its header, and field -> column."""

    sheet: Worksheet
    header: int
    columns: Mapping[str, int]

    def column(self, field: str) -> str:
        """Returns the reference to the whole column of a field."""
        letter = get_column_letter(self.columns[field])
        return f"{quote_sheetname(self.sheet.title)}!${letter}:${letter}"

    @property
    def key_header(self) -> str:
        """The reference to the header cell of the key column."""
        return f"{quote_sheetname(self.sheet.title)}!${get_column_letter(self.columns[KEY])}${self.header}"

    @property
    def rows(self) -> str:
        """Criteria for COUNTIFS: the rows with an id, without the header."""
        return f'{self.column(KEY)},"?*",{self.column(KEY)},{differs(self.key_header, _SEPARATOR)}'


def make(book: Workbook, table: Table, words: Language) -> None:
    """Adds a Summary of the table to the workbook, when the table has a column with the stage."""
    if "stage" not in table.columns:
        return
    sheet: Worksheet = book.create_sheet(words.gettext(TITLE))
    sheet.defined_names[NAME] = DefinedName(NAME, attr_text=table.key_header, hidden=True)
    stages = [words.gettext(STAGE_WORDS[stage]) for stage in STAGES]
    waiting = waiting_titles(words) if "completed_at" in table.columns else ()
    titles = [words.gettext("Position"), *stages, words.gettext("All"), *waiting]
    colours = [HEADER_COLOUR, *(CELL_COLOURS[stage] for stage in STAGES), *[HEADER_COLOUR] * 3]
    for column, (title, colour) in enumerate(zip(titles, colours, strict=False), start=1):
        cell = _cell(sheet, _HEADER, column)
        _set(cell, title, bold=True)
        cell.fill = PatternFill("solid", start_color=colour)
        cell.alignment = Alignment("left" if column == 1 else "right", "center", wrap_text=True)
        sheet.column_dimensions[get_column_letter(column)].width = _COUNT_WIDTH if column > 1 else _POSITION_WIDTH
    _write_row(sheet, _TOTAL, words.gettext(ALL), _formulas(table, ""), bold=True)
    sheet.row_dimensions[_HEADER].height = HEADER_POINTS
    sheet.freeze_panes = f"B{_TOTAL + 1}"
    set_up_print(sheet, _HEADER)


def find(book: Workbook, table: Worksheet) -> Worksheet | None:
    """Returns the Summary of a table; `None` when there is none."""
    start = f"{quote_sheetname(table.title)}!"
    for sheet in book.worksheets:
        name = sheet.defined_names.get(NAME)
        if name is not None and (name.attr_text or "").startswith((start, f"{table.title}!")):
            return sheet
    return None


def has_formula_of_users(sheet: Worksheet, formulas: Collection[tuple[int, int]]) -> bool:
    """Whether a tab has a formula that is not in the columns of the sink in a Summary."""
    return any(NAME not in sheet.defined_names or column > WIDTH for _, column in formulas)


def add_positions(sheet: Worksheet, cells: SheetCells, table: Table, positions: Iterable[str]) -> None:
    """Adds the positions that the Summary does not have, sorted, below its last row; `cells` are those that it has."""
    if "position_name" not in table.columns:
        return
    rows = {row for row, column in cells.places if column == 1} | {_TOTAL}
    present = {str(sheet.cell(row, 1).value) for row in rows}
    last = max(row for row, _ in cells.places | {(_TOTAL, 1)})
    new = sorted(set(positions) - present, key=str.casefold)
    for row, position in enumerate(new, start=last + 1):
        chosen = f"{table.column('position_name')},{equals(f'$A{row}', _SEPARATOR)},"
        _write_row(sheet, row, position, _formulas(table, chosen), bold=False)


def _formulas(table: Table, chosen: str) -> list[str]:
    """Returns the formulas of a row; `chosen` are the criteria for the rows that they count."""
    stage = table.column("stage")
    words = {each: f"{get_column_letter(place)}${_HEADER}" for place, each in enumerate(STAGES, start=2)}
    counts = [f"=COUNTIFS({chosen}{stage},{word},{table.rows})" for word in words.values()]
    counts.append(f"=COUNTIFS({chosen}{table.rows})")
    if "completed_at" not in table.columns:
        return counts
    completed = table.column("completed_at")
    waiting = f"{chosen}{stage},{words[WAITING]},{completed},"
    average = f'AVERAGEIFS({completed},{waiting}">0")'
    longest = f'_xlfn.MINIFS({completed},{waiting}">0")'
    is_none = f'COUNTIFS({waiting}">0")=0'
    return [*counts, *(f'=IF({is_none},"",NOW()-{since})' for since in (average, longest))]


def _write_row(sheet: Worksheet, row: int, position: str, formulas: Sequence[str], *, bold: bool) -> None:
    cell = _cell(sheet, row, 1)
    _set(cell, position, bold=bold)
    cell.data_type = "s"  # after the value: a position may begin with `=`
    for column, formula in enumerate(formulas, start=2):
        cell = _cell(sheet, row, column)
        _set(cell, formula, bold=bold)
        if column > _ALL_COLUMN:
            cell.number_format = _DAYS


def _cell(sheet: Worksheet, row: int, column: int) -> Cell:
    cell = sheet.cell(row, column)
    assert isinstance(cell, Cell), "nothing is merged in new cells"
    return cell


def _set(cell: Cell, value: str, *, bold: bool) -> None:
    cell.value = value
    cell.font = changed_font(cell, bold=bold)
