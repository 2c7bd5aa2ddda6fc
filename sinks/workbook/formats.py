"""The formats of new tabs: fonts, widths, colours, filter and print set-up."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

from openpyxl.cell import Cell
from openpyxl.formatting.rule import CellIsRule, Rule
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.page import PageMargins
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

from connector.languages import Language
from connector.sink import STAGE_WORDS
from sinks.spreadsheet.columns import Column
from sinks.spreadsheet.values import CELL_COLOURS, HEADER_COLOUR, CellKind

HEADER_POINTS = 32
"""Height of a header: two lines, because a time zone or a long title needs a second one."""

_MARGIN_INCHES = 0.4
"""Margins of a printed page, small so that all columns fit on its width."""
_HEADER_FILL = PatternFill("solid", start_color=HEADER_COLOUR)
_COLOURED_ROWS = 20_000
"""Rows below the header with colours of stages."""
_KIND_WIDTHS = {CellKind.TEXT: 22, CellKind.NUMBER: 8, CellKind.DATETIME: 18, CellKind.DAYS_SINCE: 10, CellKind.LINK: 9}
"""Widths of new columns in characters."""
_FIELD_WIDTHS = {"candidate_name": 28, "candidate_email": 30, "position_name": 28, "interview_id": 27, "stage": 17}
_PADDING = 3
"""Characters beside the longest word of a title, which is bold and does not wrap."""


def changed_font(cell: Cell, **changes: Any) -> Font:
    """Returns a copy of the font of a cell with changes. So new cells have the default font of office programs."""
    font = cast("Font", copy.copy(cell.font))
    for name, value in changes.items():
        setattr(font, name, value)
    return font


def format_table(sheet: Worksheet, columns: Sequence[Column], words: Language) -> None:
    """Formats a new tab: bold and frozen header, widths, a filter, print set-up, and colours of stages that survive
    sorting.
    """
    for place, column in enumerate(columns, start=1):
        letter = get_column_letter(place)
        sheet.column_dimensions[letter].width = _width(column)
        cell = sheet[f"{letter}1"]
        cell.font = changed_font(cell, bold=True)
        cell.fill = _HEADER_FILL
        cell.alignment = Alignment(vertical="center", wrap_text=True)
        if column.field == "stage":
            _colour_stages(sheet, letter, words)
    sheet.row_dimensions[1].height = HEADER_POINTS
    sheet.freeze_panes = "B2" if columns[0].field == "candidate_name" else "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}1"
    set_up_print(sheet, 1)


def _width(column: Column) -> int:
    """Returns the width of a new column in characters: the words of its title fit, in every language."""
    word = max(map(len, column.title.split()), default=0)
    return max(word + _PADDING, _FIELD_WIDTHS.get(column.field, _KIND_WIDTHS[column.kind]))


def set_up_print(sheet: Worksheet, header: int) -> None:
    """Prints a tab in landscape, as wide as the paper, with its header and its number on each page."""
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.fitToWidth = 1
    sheet.page_setup.fitToHeight = 0  # as many pages as needed
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    sheet.page_margins = PageMargins(*[_MARGIN_INCHES] * 2, *[2 * _MARGIN_INCHES] * 2)
    sheet.print_title_rows = f"{header}:{header}"
    footer: Any = sheet.oddFooter  # optional in the stubs only
    footer.left.text, footer.right.text = "&A", "&P / &N"  # the title of the tab, page and pages


def _colour_stages(sheet: Worksheet, letter: str, words: Language) -> None:
    for stage, colour in CELL_COLOURS.items():
        fill = PatternFill("solid", start_color=colour, end_color=colour)
        rule: Rule = CellIsRule(  # type: ignore[no-untyped-call]  # missing from the stubs
            operator="equal", formula=[f'"{words.gettext(STAGE_WORDS[stage])}"'], fill=fill
        )
        sheet.conditional_formatting.add(f"{letter}2:{letter}{_COLOURED_ROWS}", rule)
