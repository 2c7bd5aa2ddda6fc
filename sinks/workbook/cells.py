"""One cell: what it says, and how each kind of value is written into it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from openpyxl.cell import Cell, MergedCell
from openpyxl.cell.rich_text import CellRichText
from openpyxl.styles import Font
from openpyxl.styles.numbers import is_date_format

from sinks.table import CUT_MARK, LINK_TEXT, Kind
from sinks.workbook.memory import Written

TEXT_MAX = 32_767
"""UTF-16 units of a cell's text (Excel, Specifications and limits)."""

DATE_FORMAT = "yyyy-mm-dd hh:mm"
TEXT_FORMAT = "@"  # a text that a person edits stays text: no lost zeros, no formula out of a name
_LINK_FONT = Font(color="0563C1", underline="single")
_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_LOOKS_LIKE_UNDERSCORE = "\N{FULLWIDTH LOW LINE}"


def text_of(cell: Cell | MergedCell) -> str:
    """What the cell says as text; `""` for anything that is no text or whole number."""
    value: Any = cell.value
    if isinstance(value, str | CellRichText) and cell.data_type != "f":
        return str(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def is_used(cell: Cell | MergedCell) -> bool:
    return cell.value is not None or cell.comment is not None


def write_cell(cell: Cell, kind: Kind, value: Written) -> None:
    """Writes a value by its column's kind."""
    _WRITERS[kind](cell, value)


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
