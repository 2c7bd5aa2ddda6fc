"""Requests and ids that both the formats of a tab and the Summary use."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from sinks.google_sheets.api_replies import SpreadsheetObjects
from sinks.google_sheets.api_requests import Request
from sinks.spreadsheet.values import HEADER_COLOUR

PROTECTED = "Filled from Hireflix. A correction stays until Hireflix changes the value."
_MOST = 0x7FFF_FFFF
"""Ids of Google are positive 32-bit integers."""


class IdAllocator:
    """Allocates ids and titles that are not in use; the same for every process that reads the same spreadsheet."""

    def __init__(self, objects: SpreadsheetObjects) -> None:
        self._ids = {number for tab in objects.sheets for number in tab.ids()}
        self._titles = {tab.properties.title.casefold() for tab in objects.sheets}

    def id(self, name: str) -> int:
        """Returns an id for the object called `name`."""
        wish = crc32(name.encode()) & _MOST or 1
        while wish in self._ids:
            wish = wish % _MOST + 1
        self._ids.add(wish)
        return wish

    def title(self, wish: str) -> str:
        """Returns the title, with a number when a tab has it. Google compares titles without letter case."""
        title, number = wish, 1
        while title.casefold() in self._titles:
            number += 1
            title = f"{wish} ({number})"
        self._titles.add(title.casefold())
        return title


def colour(rgb: str) -> Request:
    """Converts RRGGBB to Google's form: parts from 0 to 1."""
    parts = (int(rgb[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return {"rgbColor": dict(zip(("red", "green", "blue"), parts, strict=True))}


def header_look(sheet_id: int, row: int) -> Request:
    """Makes the header bold with a light background, across the whole row, so that added columns have it too."""
    style = {
        "textFormat": {"bold": True},
        "backgroundColorStyle": colour(HEADER_COLOUR),
        "wrapStrategy": "WRAP",
        "verticalAlignment": "MIDDLE",
    }
    area = {"sheetId": sheet_id, "startRowIndex": row, "endRowIndex": row + 1}
    fields = "userEnteredFormat(textFormat.bold,backgroundColorStyle,wrapStrategy,verticalAlignment)"
    return {"repeatCell": {"range": area, "cell": {"userEnteredFormat": style}, "fields": fields}}


def freeze(sheet_id: int, rows: int, columns: int) -> Request:
    grid = {"frozenRowCount": rows, "frozenColumnCount": columns}
    fields = "gridProperties.frozenRowCount,gridProperties.frozenColumnCount"
    return {"updateSheetProperties": {"properties": {"sheetId": sheet_id, "gridProperties": grid}, "fields": fields}}


def warn(sheet_id: int, protected_id: int, span: tuple[int, int] | None) -> Request:
    """Adds a protection that warns users before an edit and forbids nothing. `span`: columns, `None` = the
    whole tab.
    """
    area = {"sheetId": sheet_id}
    if span is not None:
        area |= {"startColumnIndex": span[0], "endColumnIndex": span[1]}
    protected: dict[str, Any] = {"protectedRangeId": protected_id, "range": area, "description": PROTECTED}
    return {"addProtectedRange": {"protectedRange": {**protected, "warningOnly": True}}}
