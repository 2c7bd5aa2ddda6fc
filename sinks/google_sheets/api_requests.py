"""The JSON of each request to Google, built from plain values. Pure; indexes count from 0, ends are exclusive.

(Google Sheets API v4, spreadsheets.batchUpdate and spreadsheets.getByDataFilter.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from sinks.spreadsheet.values import LINK_TEXT, CellKind, CellValue

Request: TypeAlias = dict[str, Any]

COLUMN_TAG = "hf.col"
"""Key of the developer metadata that marks an owned column; its value is the field."""
GUARD_TAG = "hf.guard"
"""Key of the developer metadata that counts the writes to a tab; its value is the nonce of one write."""
WIDTH_TAG = "hf.width"
MADE_TAG = "hf.made"
"""Key of the developer metadata that marks a tab that we made."""
SETUP_TAG = "hf.setup"
"""Key of the developer metadata that marks a tab that has its formatting."""

DATE_FORMAT = {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm"}


def columns(sheet_id: int, start: int, end: int) -> Request:
    return {"sheetId": sheet_id, "dimension": "COLUMNS", "startIndex": start, "endIndex": end}


def top_filter(sheet_id: int, rows: int) -> Request:
    """Selects the first rows, where the header is, whatever the tab is called."""
    return {"gridRange": {"sheetId": sheet_id, "startRowIndex": 0, "endRowIndex": rows}}


def tagged_filter(sheet_id: int, field: str) -> Request:
    """Selects the column of this tab that carries the tag of `field`, wherever it was moved."""
    location = {"sheetId": sheet_id}
    lookup = {"metadataKey": COLUMN_TAG, "metadataValue": field, "metadataLocation": location}
    return {"developerMetadataLookup": {**lookup, "locationMatchingStrategy": "INTERSECTING_LOCATION"}}


def tag_filter(metadata_id: int) -> Request:
    """Selects the column that carries this very tag."""
    return {"developerMetadataLookup": {"metadataId": metadata_id}}


def column_filter(sheet_id: int, index: int) -> Request:
    return {"gridRange": {"sheetId": sheet_id, "startColumnIndex": index, "endColumnIndex": index + 1}}


def cells_filter(sheet_id: int, column: int, first_row: int, end_row: int) -> Request:
    """Selects a part of one column."""
    return {"gridRange": _area(sheet_id, first_row, end_row, column, column + 1)}


def area_filter(sheet_id: int, first_row: int, end_row: int, first_column: int, end_column: int) -> Request:
    """Selects a block of cells."""
    return {"gridRange": _area(sheet_id, first_row, end_row, first_column, end_column)}


def add_sheet(sheet_id: int, title: str, rows: int, width: int) -> Request:
    """A new tab with a frozen first row; refused when id or title are in use."""
    grid = {"rowCount": rows, "columnCount": width, "frozenRowCount": 1}
    return {"addSheet": {"properties": {"sheetId": sheet_id, "title": title, "gridProperties": grid}}}


def guard(sheet_id: int, number: int, nonce: str) -> Request:
    """Makes the batch land at most once: refused, with all of it, when the number is in use."""
    return _create(GUARD_TAG, nonce, {"sheetId": sheet_id}, number)


def mark_made(sheet_id: int) -> Request:
    return _create(MADE_TAG, "1", {"sheetId": sheet_id}, None)


def mark_formatted(sheet_id: int, number: int) -> Request:
    """Makes a second batch that formats the same tab fail."""
    return _create(SETUP_TAG, "1", {"sheetId": sheet_id}, number)


def tag_spreadsheet(key: str, value: str) -> Request:
    return _create(key, value, {"spreadsheet": True}, None)


def prune(number: int) -> Request:
    return {"deleteDeveloperMetadata": {"dataFilter": tag_filter(number)}}


def change_nothing() -> Request:
    """Needs the right to edit and finds nothing to delete: nothing of the sink or of anybody has this tag."""
    lookup = {"metadataKey": "hf.nothing", "metadataValue": "nothing"}
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}


def tag_column(sheet_id: int, index: int, field: str) -> Request:
    return _create(COLUMN_TAG, field, _column(sheet_id, index), None)


def hold_column(sheet_id: int, index: int, field: str, tag: int) -> list[Request]:
    """Compare and swap: refused, with all of the batch, when the tag `tag` is on another column by now.

    The deletion finds the tag only where it was; left elsewhere, it makes the creation meet an id in use.
    """
    lookup = {
        "metadataId": tag,
        "metadataLocation": _column(sheet_id, index),
        "locationMatchingStrategy": "EXACT_LOCATION",
    }
    delete = {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}
    return [delete, _create(COLUMN_TAG, field, _column(sheet_id, index), tag)]


def prove_width(sheet_id: int, width: int, tag: int) -> list[Request]:
    """Refused, with all of the batch, when the grid has fewer than `width` columns by now."""
    return [_create(WIDTH_TAG, "1", _column(sheet_id, width - 1), tag), prune(tag)]


def _column(sheet_id: int, index: int) -> Request:
    return {"dimensionRange": columns(sheet_id, index, index + 1)}


def _create(key: str, value: str, location: Request, metadata_id: int | None) -> Request:
    metadata: Request = {"metadataKey": key, "metadataValue": value, "visibility": "DOCUMENT", "location": location}
    if metadata_id is not None:
        metadata["metadataId"] = metadata_id
    return {"createDeveloperMetadata": {"developerMetadata": metadata}}


def insert_columns(sheet_id: int, start: int, end: int, *, inherit: bool) -> Request:
    return {"insertDimension": {"range": columns(sheet_id, start, end), "inheritFromBefore": inherit}}


def insert_rows(sheet_id: int, start: int, end: int, *, inherit: bool) -> Request:
    """New blank rows; `inherit` takes their formatting from the row above, and must be set at the end of the grid."""
    rows = {"sheetId": sheet_id, "dimension": "ROWS", "startIndex": start, "endIndex": end}
    return {"insertDimension": {"range": rows, "inheritFromBefore": inherit}}


def column_width(sheet_id: int, index: int, pixels: int) -> Request:
    update = {"range": columns(sheet_id, index, index + 1), "properties": {"pixelSize": pixels}, "fields": "pixelSize"}
    return {"updateDimensionProperties": update}


def bold_header(sheet_id: int, row: int, start: int, end: int) -> Request:
    area = _area(sheet_id, row, row + 1, start, end)
    cell = {"userEnteredFormat": {"textFormat": {"bold": True}}}
    return {"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.textFormat.bold"}}


def date_format(sheet_id: int, first_row: int, end_row: int | None, column: int) -> Request:
    """Shows the numbers of a column as dates, from `first_row` to `end_row` (`None`: to the end of the grid)."""
    area = _area(sheet_id, first_row, end_row, column, column + 1)
    cell = {"userEnteredFormat": {"numberFormat": DATE_FORMAT}}
    return {"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.numberFormat"}}


def plain_format(sheet_id: int, first_row: int, end_row: int) -> Request:
    """Takes every format off whole rows."""
    area = {"sheetId": sheet_id, "startRowIndex": first_row, "endRowIndex": end_row}
    return {"repeatCell": {"range": area, "cell": {}, "fields": "userEnteredFormat"}}


def _area(sheet_id: int, first_row: int, end_row: int | None, first_column: int, end_column: int) -> Request:
    area = {"sheetId": sheet_id, "startRowIndex": first_row, "endRowIndex": end_row}
    area |= {"startColumnIndex": first_column, "endColumnIndex": end_column}
    return {name: value for name, value in area.items() if value is not None}


def header_cells(sheet_id: int, row: int, column: int, titles: Sequence[str]) -> Request:
    return update_cells(
        sheet_id, row, column, [row_cells([cell(title, CellKind.TEXT) for title in titles])], link=False
    )


def row_cells(cells: Sequence[Request]) -> msgspec.Raw:
    """Cells next to each other, encoded at once: thousands of rows are small as bytes and large as objects."""
    return msgspec.Raw(msgspec.json.encode({"values": cells}))


def update_cells(sheet_id: int, row: int, column: int, rows: Sequence[msgspec.Raw], *, link: bool) -> Request:
    """Writes cells from one corner on. A cell `{}` is emptied. `link` sets, or takes off, the links as well."""
    fields = "userEnteredValue,userEnteredFormat.textFormat.link" if link else "userEnteredValue"
    start = {"sheetId": sheet_id, "rowIndex": row, "columnIndex": column}
    return {"updateCells": {"start": start, "fields": fields, "rows": list(rows)}}


def cell(value: CellValue, kind: CellKind) -> Request:
    """One typed cell. Text is a string whatever it looks like: nothing is parsed, so nothing is a formula."""
    if value is None:
        return {}
    if kind is CellKind.LINK:
        link = {"textFormat": {"link": {"uri": value}}}
        return {"userEnteredValue": {"stringValue": LINK_TEXT}, "userEnteredFormat": link}
    if isinstance(value, str):
        return {"userEnteredValue": {"stringValue": value}}
    return {"userEnteredValue": {"numberValue": value}}


def batch_body(requests: Sequence[Request], ranges: Sequence[str]) -> Mapping[str, Any]:
    """The body of one atomic write whose reply shows `ranges` as the write left them."""
    return {"requests": requests, "includeSpreadsheetInResponse": True, "responseRanges": ranges}


def replace_key(sheet_id: int, column: int, rows: tuple[int, int | None], found: str, replacement: str) -> Request:
    """Gives the cells of a column that hold exactly this text another: by content, so it hits no other text."""
    area = _area(sheet_id, *rows, column, column + 1)
    exact = {"matchEntireCell": True, "matchCase": True}
    return {"findReplace": {"find": found, "replacement": replacement, **exact, "range": area}}


def top_range(title: str, rows: int) -> str:
    """The first rows in A1 notation."""
    return f"{_quoted(title)}!1:{rows}"


def column_range(title: str, column: int) -> str:
    """One column in A1 notation."""
    return f"{_quoted(title)}!{column_letters(column)}:{column_letters(column)}"


def cell_range(title: str, row: int, column: int) -> str:
    """One cell in A1 notation."""
    return f"{_quoted(title)}!{column_letters(column)}{row + 1}"


def _quoted(title: str) -> str:
    return "'" + title.replace("'", "''") + "'"


def column_letters(index: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
