"""Converts fields of an interview to values of cells (text, number, date, link), and names the colours of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import TypeAlias

from connector.languages import gettext_noop
from connector.sink import STAGE_COLOURS, Stage
from connector.text import clean, web_link

LINK_TEXT = gettext_noop("Open")
"""Text of a cell with a link, before its translation."""
TEXT_MAX = 49_990
"""Most UTF-16 units of a text cell before `CUT_MARK` (the limit of Google Sheets is 50,000)."""
CUT_MARK = "… [cut]"
"""End of a text that was cut."""

_TIME_MAX_MS = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp() * 1000)
_LAST_DAY = 2_958_465
"""9999-12-31 as a serial number."""
_SHEET_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a date cell is wall time without a zone
_BMP_END = 0xFFFF
"""Characters above this code point take two UTF-16 units."""

CellValue: TypeAlias = str | int | float | None
"""Text, a number, epoch milliseconds or a URL, by the column's kind; `None` is an empty cell."""


class CellKind(StrEnum):
    """The type of a cell, which decides how it is written."""

    TEXT = "text"
    NUMBER = "number"
    DATETIME = "datetime"
    """Epoch milliseconds here; each spreadsheet writes wall time in its own zone."""
    DAYS_SINCE = "days since"
    """Epoch milliseconds here; a spreadsheet computes the days since then, so that they are right on every day."""
    LINK = "link"
    """The URL here; a spreadsheet shows `LINK_TEXT` in its language and links the cell."""


def cell_value(kind: CellKind, value: object) -> CellValue:
    """Returns the value of a cell of this kind; `None` for what is unknown, blank or not of that kind.

    Text is cleaned and cut, times are epoch milliseconds, a link is an http or https URL.
    """
    return _READERS[kind](value)


def clean_text(text: str) -> str:
    """Returns the text as a cell may hold it: cleaned, and cut to `TEXT_MAX` with a mark."""
    text = clean(text)
    return _cut(text) if _units(text) > TEXT_MAX else text


def _units(text: str) -> int:
    return len(text) + (0 if text.isascii() else sum(ord(char) > _BMP_END for char in text))


def _cut(text: str) -> str:
    return text.encode("utf-16-le")[: 2 * TEXT_MAX].decode("utf-16-le", "ignore") + CUT_MARK


def _text_value(value: object) -> CellValue:
    text = clean_text(str(value)) if value is not None else ""
    return text if text.strip() else None  # a cell with a space looks empty, but a filter does not count it as empty


def _number_value(value: object) -> CellValue:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _time_value(value: object) -> CellValue:
    return value if isinstance(value, int) and 0 < value <= _TIME_MAX_MS else None


def _link_value(value: object) -> CellValue:
    return web_link(str(value)) if value else None


_READERS: Mapping[CellKind, Callable[[object], CellValue]] = {
    CellKind.TEXT: _text_value,
    CellKind.NUMBER: _number_value,
    CellKind.DATETIME: _time_value,
    CellKind.DAYS_SINCE: _time_value,
    CellKind.LINK: _link_value,
}


def wall_time(at_ms: int, zone: tzinfo) -> datetime:
    """Returns the local time in `zone`, without a zone of its own."""
    return datetime.fromtimestamp(at_ms / 1000, tz=zone).replace(tzinfo=None)


def serial_number(at_ms: int, zone: tzinfo) -> float:
    """Returns a spreadsheet's date: days since 1899-12-30, wall time in `zone`.

    (Google Sheets API, DateTimeRenderOption SERIAL_NUMBER.)
    """
    return (wall_time(at_ms, zone) - _SHEET_EPOCH) / timedelta(days=1)


def days_since(day: int) -> str:
    """Returns the formula of the days from a day, a spreadsheet's date, until today. It has no separator, so that it is
    the same in every locale; `N` makes a number of the date, which a spreadsheet would otherwise show as a date.
    """
    return f"=N(TODAY())-{day}"


def from_serial(number: float) -> datetime:
    """Returns a spreadsheet's date as wall time, to the second; a number beyond all dates gives the nearest one."""
    days = min(max(number, 0), _LAST_DAY)
    return _SHEET_EPOCH + timedelta(seconds=round(days * 86_400))


CELL_COLOURS: Mapping[Stage, str] = {stage: each.cell for stage, each in STAGE_COLOURS.items() if each.cell}
"""Background colours of cells (RRGGBB). An unknown stage has none."""
HEADER_COLOUR = "E8EDF7"
"""Background colour of a header (RRGGBB)."""
