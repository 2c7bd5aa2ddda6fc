"""The `Spreadsheet` resource and its parts. Only the parts in the field mask are built."""

from __future__ import annotations

from typing import Any

from connector.emulators.google.cells import Renderer, Row, renderer
from connector.emulators.google.masks import Mask, select
from connector.emulators.google.model import Area, Book, Dimension, Lines, Tab, Tag
from connector.emulators.google.ranges import Found, location_type

_PIXELS = {"ROWS": 21, "COLUMNS": 100}
_WHITE = {"red": 1, "green": 1, "blue": 1}
_DEFAULT_FORMAT = {
    "backgroundColor": _WHITE,
    "padding": {"top": 2, "right": 3, "bottom": 2, "left": 3},
    "verticalAlignment": "BOTTOM",
    "wrapStrategy": "OVERFLOW_CELL",
    "textFormat": {"foregroundColor": {}, "fontFamily": "arial,sans,sans-serif", "fontSize": 10, "bold": False},
    "backgroundColorStyle": {"rgbColor": _WHITE},
}


def spreadsheet(book: Book, mask: Mask, found: Found | None, *, grid: bool) -> dict[str, Any]:
    """The resource. `found` limits it to tabs and blocks (`None` = everything); `grid` asks for cells."""
    whole: dict[str, Any] = {
        "spreadsheetId": book.id,
        "properties": {
            "title": book.title,
            "locale": book.locale,
            "autoRecalc": book.auto_recalc,
            "timeZone": book.timezone,
            "defaultFormat": _DEFAULT_FORMAT,
        },
        "sheets": [],
    }
    if book.named_ranges:
        whole["namedRanges"] = book.named_ranges
    whole["spreadsheetUrl"] = f"https://docs.google.com/spreadsheets/d/{book.id}/edit"
    own = [tag_resource(book, tag) for tag in book.tags.values() if tag.sheet_id is None]
    if own:
        whole["developerMetadata"] = own
    answer: dict[str, Any] = select(mask, whole)
    if mask.wants("sheets"):
        answer["sheets"] = _sheets(book, mask.sub("sheets"), found, grid=grid)
    return answer


def _sheets(book: Book, mask: Mask, found: Found | None, *, grid: bool) -> list[dict[str, Any]]:
    sheets = []
    for tab in book.tabs:
        areas = [tab.area] if found is None else [area for other, area in found if other is tab]
        if not areas:
            continue
        sheet = select(mask, sheet_resource(book, tab))
        if grid and mask.wants("data"):
            sheet["data"] = [grid_data(book, tab, area, mask.sub("data")) for area in areas]
        sheets.append(sheet)
    return sheets


def sheet_resource(book: Book, tab: Tab) -> dict[str, Any]:
    """The tab without its cells."""
    sheet: dict[str, Any] = {"properties": sheet_properties(book, tab)}
    own = [tag_resource(book, tag) for tag in book.tags_of(tab, None)]
    if own:
        sheet["developerMetadata"] = own
    sheet.update({name: items for name, items in tab.objects.items() if items})
    if tab.protected:
        sheet["protectedRanges"] = [*sheet.get("protectedRanges", []), *_protected(tab)]
    if "basicFilter" in sheet:
        sheet["basicFilter"] = sheet["basicFilter"][0]
    sheet.pop("dataValidations", None)
    return sheet


def _protected(tab: Tab) -> list[dict[str, Any]]:
    """The ranges that users protected."""
    ranges: list[dict[str, Any]] = []
    for protection in tab.protected:
        exceptions = [block for each in protection.exceptions for block in _blocks(tab, each)]
        for block in _blocks(tab, protection.block):
            ranges.append({"protectedRangeId": 1 + len(ranges), "range": block})
            if exceptions:
                ranges[-1]["unprotectedRanges"] = exceptions
    return ranges


def _blocks(tab: Tab, block: Lines) -> list[dict[str, Any]]:
    """The `GridRange`s that hold just these lines."""
    rows = _spans(tab.row_lines, block.rows, "startRowIndex", "endRowIndex")
    columns = _spans(tab.column_lines, block.columns, "startColumnIndex", "endColumnIndex")
    return [{**_sheet_id(tab.id), **row, **column} for row in rows for column in columns]


def _spans(lines: list[int], own: frozenset[int] | None, start: str, end: str) -> list[dict[str, int]]:
    if own is None:
        return [{}]
    places = [index for index, line in enumerate(lines) if line in own]
    spans: list[dict[str, int]] = []
    for place in places:
        if spans and spans[-1][end] == place:
            spans[-1][end] = place + 1
        else:
            spans.append({start: place, end: place + 1})
    return spans


def sheet_properties(book: Book, tab: Tab) -> dict[str, Any]:
    size = {"rowCount": tab.row_count, "columnCount": tab.column_count}
    return {
        "sheetId": tab.id,
        "title": tab.title,
        "index": book.tabs.index(tab),
        "sheetType": "GRID",
        "gridProperties": {**size, **{name: value for name, value in tab.grid.items() if value}},
        **{name: value for name, value in tab.properties.items() if value},
    }


def tag_resource(book: Book, tag: Tag) -> dict[str, Any]:
    """A `DeveloperMetadata`; ids of 0 are left out, as proto3 does."""
    location: dict[str, Any] = {"locationType": location_type(tag)}
    if tag.sheet_id is None:
        location["spreadsheet"] = True
    elif tag.dimension is None or tag.line is None:
        location.update(_sheet_id(tag.sheet_id))
    else:
        tab = book.tab(tag.sheet_id)
        assert tab is not None
        index = tab.index_of(tag.dimension, tag.line)
        span = {"dimension": tag.dimension, "startIndex": index, "endIndex": index + 1}
        location["dimensionRange"] = {**_sheet_id(tag.sheet_id), **span}
    resource = {"metadataId": tag.id, "metadataKey": tag.key, "metadataValue": tag.value, "location": location}
    if not tag.value:
        del resource["metadataValue"]
    return {**resource, "visibility": tag.visibility}


def _sheet_id(sheet_id: int) -> dict[str, int]:
    return {"sheetId": sheet_id} if sheet_id else {}


def grid_data(book: Book, tab: Tab, area: Area, mask: Mask) -> dict[str, Any]:
    """One block: starts of 0 are left out, and so are rows and cells after the last content."""
    data: dict[str, Any] = {}
    if area.top and mask.wants("startRow"):
        data["startRow"] = area.top
    if area.left and mask.wants("startColumn"):
        data["startColumn"] = area.left
    if mask.wants("rowData"):
        rows = _row_data(tab.rows[area.top : area.bottom], area, mask.sub("rowData"))
        if rows:
            data["rowData"] = rows
    if mask.wants("rowMetadata"):
        lines = tab.row_lines[area.top : area.bottom]
        data["rowMetadata"] = _line_data(book, tab, "ROWS", lines, mask.sub("rowMetadata"))
    if mask.wants("columnMetadata"):
        lines = tab.column_lines[area.left : area.right]
        data["columnMetadata"] = _line_data(book, tab, "COLUMNS", lines, mask.sub("columnMetadata"))
    return data


def _row_data(rows: list[Row], area: Area, mask: Mask) -> list[dict[str, Any]]:
    show = renderer(mask.sub("values"))
    if not mask.wants("values"):
        data: list[dict[str, Any]] = [{} for _ in range(_height(rows, area))]
    elif area.right - area.left == 1:
        data = _one_column(rows[: _height(rows, area)], area.left, show)
    else:
        data = [_shown(row[area.left : area.right], show) for row in rows[: _height(rows, area)]]
    return data


def _height(rows: list[Row], area: Area) -> int:
    """The number of rows up to the last one with content in the block."""
    left, right = area.left, area.right
    height = len(rows)
    while height and not any(stored is not None for stored in rows[height - 1][left:right]):
        height -= 1
    return height


def _one_column(rows: list[Row], column: int, show: Renderer) -> list[dict[str, Any]]:
    return [{"values": [show(row[column])]} if len(row) > column and row[column] is not None else {} for row in rows]


def _shown(cells: Row, show: Renderer) -> dict[str, Any]:
    width = len(cells)
    while width and cells[width - 1] is None:
        width -= 1
    return {"values": [show(stored) for stored in cells[:width]]} if width else {}


def _line_data(book: Book, tab: Tab, dimension: Dimension, lines: list[int], mask: Mask) -> list[dict[str, Any]]:
    tags: dict[int | None, list[Tag]] = {}
    for tag in book.tags_of(tab, dimension):
        tags.setdefault(tag.line, []).append(tag)
    data = []
    for line in lines:
        entry = {"pixelSize": _PIXELS[dimension], **tab.line_properties.get(line, {})}
        if line in tags:
            entry["developerMetadata"] = [tag_resource(book, tag) for tag in tags[line]]
        data.append(select(mask, entry))
    return data
