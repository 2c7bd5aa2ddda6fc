"""The look of a tab that we made ourselves; what people change of it afterwards stays theirs."""

from __future__ import annotations

from collections.abc import Sequence

from openpyxl.formatting.rule import CellIsRule, Rule
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from connector.sink import STAGE_WORDS
from sinks.palette import HEADER_COLOUR, STAGE_COLOURS
from sinks.table import Column, Kind

WIDTHS = {Kind.TEXT: 22, Kind.NUMBER: 8, Kind.DATETIME: 17, Kind.LINK: 9}
"""Characters."""
_WIDE = {"candidate_email": 30, "position_name": 28, "interview_id": 27, "stage": 13}
_HEADER_FILL = PatternFill("solid", start_color=HEADER_COLOUR)
_COLOURED_ROWS = 20_000


def dress(sheet: Worksheet, columns: Sequence[Column]) -> None:
    """Bold and frozen header, widths, a filter, and the stage's colour by a rule that survives sorting."""
    for place, column in enumerate(columns, start=1):
        letter = get_column_letter(place)
        sheet.column_dimensions[letter].width = _WIDE.get(column.field, WIDTHS[column.kind])
        cell = sheet[f"{letter}1"]
        cell.font = Font(bold=True)
        cell.fill = _HEADER_FILL
        cell.alignment = Alignment(vertical="center")
        if column.field == "stage":
            _colour_stages(sheet, letter)
    sheet.freeze_panes = "B2" if columns[0].field == "candidate_name" else "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}1"


def _colour_stages(sheet: Worksheet, letter: str) -> None:
    for stage, colour in STAGE_COLOURS.items():
        fill = PatternFill("solid", start_color=colour, end_color=colour)
        rule: Rule = CellIsRule(  # type: ignore[no-untyped-call]  # the stubs miss it
            operator="equal", formula=[f'"{STAGE_WORDS[stage]}"'], fill=fill
        )
        sheet.conditional_formatting.add(f"{letter}2:{letter}{_COLOURED_ROWS}", rule)
