"""Builds the JSON of each request to Google from plain values. Pure functions. Indexes start at 0, and ends are
exclusive.

(Google Sheets API v4, spreadsheets.batchUpdate and spreadsheets.getByDataFilter.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from connector.languages import Language, gettext_noop
from sinks.spreadsheet.values import HEADER_COLOUR, LINK_TEXT, CellKind, CellValue, days_since

Request: TypeAlias = dict[str, Any]

COLUMN_TAG = "hf.col"
"""Key of the developer metadata that marks an owned column; its value is the field."""
DECISION_TAG = "hf.decision"
"""Key of the developer metadata that marks the column in which users decide."""
GUARD_TAG = "hf.guard"
"""Key of the developer metadata that counts the writes to a tab; its value is the nonce of one write."""
WIDTH_TAG = "hf.width"
MADE_TAG = "hf.made"
"""Key of the developer metadata that marks a tab that the sink made."""
SETUP_TAG = "hf.setup"
"""Key of the developer metadata that marks a formatted tab."""

PROTECTED = gettext_noop("Filled from Hireflix. A correction stays until Hireflix changes the value.")
"""Description of a protected range."""
DATE_FORMAT = {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm"}


def columns(sheet_id: int, start: int, end: int) -> Request:
    return {"sheetId": sheet_id, "dimension": "COLUMNS", "startIndex": start, "endIndex": end}


def top_filter(sheet_id: int, rows: int) -> Request:
    """Selects the first rows of a tab, which contain the header."""
    return {"gridRange": {"sheetId": sheet_id, "startRowIndex": 0, "endRowIndex": rows}}


def tagged_filter(sheet_id: int, field: str) -> Request:
    """Selects the column of this tab with the tag of `field`, at any place."""
    location = {"sheetId": sheet_id}
    lookup = {"metadataKey": COLUMN_TAG, "metadataValue": field, "metadataLocation": location}
    return {"developerMetadataLookup": {**lookup, "locationMatchingStrategy": "INTERSECTING_LOCATION"}}


def tag_filter(metadata_id: int) -> Request:
    """Selects the column with this tag."""
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
    """Adds a tab with a frozen first row. Google refuses it when the id or the title is in use."""
    grid = {"rowCount": rows, "columnCount": width, "frozenRowCount": 1}
    return {"addSheet": {"properties": {"sheetId": sheet_id, "title": title, "gridProperties": grid}}}


def guard(sheet_id: int, number: int, nonce: str) -> Request:
    """Adds a guard, so that the batch is applied at most once: Google refuses the whole batch when the number is in
    use.
    """
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
    """A write that changes nothing, because no tag has this value. It needs the right to edit."""
    lookup = {"metadataKey": "hf.nothing", "metadataValue": "nothing"}
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}


def tag_column(sheet_id: int, index: int, field: str) -> Request:
    return _create(COLUMN_TAG, field, _column(sheet_id, index), None)


def tag_decisions(sheet_id: int, index: int, number: int) -> Request:
    """Marks the column in which users decide. Google refuses it when the tab has one."""
    return _create(DECISION_TAG, "1", _column(sheet_id, index), number)


def keyed_filter(key: str, value: str) -> Request:
    """Selects the columns with this tag in all tabs."""
    return {"developerMetadataLookup": {"metadataKey": key, "metadataValue": value, "locationType": "COLUMN"}}


def drop_down(sheet_id: int, first_row: int, column: int, choices: Sequence[str]) -> Request:
    """Offers choices in all cells of a column from `first_row` on, and warns when another text is entered."""
    values = [{"userEnteredValue": choice} for choice in choices]
    rule = {"condition": {"type": "ONE_OF_LIST", "values": values}, "strict": False, "showCustomUi": True}
    return {"setDataValidation": {"range": _area(sheet_id, first_row, None, column, column + 1), "rule": rule}}


def cell_note(sheet_id: int, row: int, column: int, text: str) -> Request:
    """Sets the note of a cell; an empty text removes it."""
    start = {"sheetId": sheet_id, "rowIndex": row, "columnIndex": column}
    rows = [row_cells([{"note": text} if text else {}])]
    return {"updateCells": {"start": start, "fields": "note", "rows": rows}}


def hold_column(sheet_id: int, index: int, field: str, tag: int, key: str = COLUMN_TAG) -> list[Request]:
    """Compare-and-swap of a column: Google refuses the whole batch when the tag `tag` is on another column now. The
    deletion finds the tag only at its old place. If it is elsewhere, the creation fails, because the id is still in
    use.
    """
    column = _column(sheet_id, index)
    lookup = {"metadataId": tag, "metadataLocation": column, "locationMatchingStrategy": "EXACT_LOCATION"}
    delete = {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}
    return [delete, _create(key, field, column, tag)]


def prove_width(sheet_id: int, width: int, tag: int) -> list[Request]:
    """Google refuses the whole batch when the grid has fewer than `width` columns now."""
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
    """Inserts blank rows. With `inherit` they get the formatting of the row above; at the end of the grid it must be
    set.
    """
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
    """Sets the date format of a column, from `first_row` to `end_row` (`None`: the end of the grid)."""
    area = _area(sheet_id, first_row, end_row, column, column + 1)
    cell = {"userEnteredFormat": {"numberFormat": DATE_FORMAT}}
    return {"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.numberFormat"}}


def plain_format(sheet_id: int, first_row: int, end_row: int) -> Request:
    """Removes all formats of whole rows."""
    area = {"sheetId": sheet_id, "startRowIndex": first_row, "endRowIndex": end_row}
    return {"repeatCell": {"range": area, "cell": {}, "fields": "userEnteredFormat"}}


def _area(sheet_id: int, first_row: int, end_row: int | None, first_column: int, end_column: int) -> Request:
    area = {"sheetId": sheet_id, "startRowIndex": first_row, "endRowIndex": end_row}
    area |= {"startColumnIndex": first_column, "endColumnIndex": end_column}
    return {name: value for name, value in area.items() if value is not None}


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


def warn(sheet_id: int, protected_id: int, span: tuple[int, int] | None, words: Language) -> Request:
    """Adds a protection that warns users before an edit and forbids nothing. `span`: columns, `None` = the
    whole tab.
    """
    area = {"sheetId": sheet_id}
    if span is not None:
        area |= {"startColumnIndex": span[0], "endColumnIndex": span[1]}
    text = words.gettext(PROTECTED)
    protected: dict[str, Any] = {"protectedRangeId": protected_id, "range": area, "description": text}
    return {"addProtectedRange": {"protectedRange": {**protected, "warningOnly": True}}}


def header_cells(sheet_id: int, row: int, column: int, titles: Sequence[str]) -> Request:
    return update_cells(
        sheet_id, row, column, [row_cells([cell(title, CellKind.TEXT) for title in titles])], link=False
    )


def row_cells(cells: Sequence[Request]) -> msgspec.Raw:
    """Returns adjacent cells as encoded JSON, because thousands of rows need less memory as bytes than as objects."""
    return msgspec.Raw(msgspec.json.encode({"values": cells}))


def update_cells(sheet_id: int, row: int, column: int, rows: Sequence[msgspec.Raw], *, link: bool) -> Request:
    """Writes cells, starting at one corner. A cell `{}` is emptied. With `link` links are set or removed as well."""
    fields = "userEnteredValue,userEnteredFormat.textFormat.link" if link else "userEnteredValue"
    start = {"sheetId": sheet_id, "rowIndex": row, "columnIndex": column}
    return {"updateCells": {"start": start, "fields": fields, "rows": list(rows)}}


def cell(value: CellValue, kind: CellKind, link_text: str = LINK_TEXT) -> Request:
    """Returns one typed cell. Text is always a string: it is not parsed, so it never becomes a formula. `link_text` is
    the text of a link.
    """
    if value is None:
        return {}
    if kind is CellKind.DAYS_SINCE and isinstance(value, int | float):
        return {"userEnteredValue": {"formulaValue": days_since(int(value))}}
    if kind is CellKind.LINK:
        link = {"textFormat": {"link": {"uri": value}}}
        return {"userEnteredValue": {"stringValue": link_text}, "userEnteredFormat": link}
    if isinstance(value, str):
        return {"userEnteredValue": {"stringValue": value}}
    return {"userEnteredValue": {"numberValue": value}}


def batch_body(requests: Sequence[Request], ranges: Sequence[str]) -> Mapping[str, Any]:
    """Returns the body of one atomic write. Its reply contains `ranges` after the write."""
    return {"requests": requests, "includeSpreadsheetInResponse": True, "responseRanges": ranges}


def replace_key(sheet_id: int, column: int, rows: tuple[int, int | None], found: str, replacement: str) -> Request:
    """Replaces the text of the cells of a column that contain exactly `found`."""
    area = _area(sheet_id, *rows, column, column + 1)
    exact = {"matchEntireCell": True, "matchCase": True}
    return {"findReplace": {"find": found, "replacement": replacement, **exact, "range": area}}


def top_range(title: str, rows: int) -> str:
    """Returns the first rows in A1 notation."""
    return f"{_quoted(title)}!1:{rows}"


def column_range(title: str, column: int) -> str:
    """Returns a column in A1 notation."""
    return f"{_quoted(title)}!{column_letters(column)}:{column_letters(column)}"


def cell_range(title: str, row: int, column: int) -> str:
    """Returns a cell in A1 notation."""
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
