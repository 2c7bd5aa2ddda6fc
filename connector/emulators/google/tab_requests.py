"""Requests about tabs and about the spreadsheet itself."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connector.emulators.google.cell_requests import write_mask
from connector.emulators.google.errors import Refusal
from connector.emulators.google.masks import Mask, overlay
from connector.emulators.google.model import Book, Dimension, Tab
from connector.emulators.google.ranges import tab_of
from connector.emulators.google.render import sheet_properties

Body = Mapping[str, Any]
_OWN = frozenset({"sheetId", "title", "index", "sheetType", "gridProperties"})
_SIZES: dict[str, Dimension] = {"rowCount": "ROWS", "columnCount": "COLUMNS"}


def add_sheet(book: Book, body: Body) -> Body:
    properties = body.get("properties") or {}
    grid = properties.get("gridProperties") or {}
    rows, columns = int(grid.get("rowCount") or 1000), int(grid.get("columnCount") or 26)
    book.grow(rows * columns)
    title = properties.get("title") or free_title(book, "Sheet")
    refuse_title(book, title)
    tab = Tab.blank(_new_id(book, properties), title, rows, columns)
    tab.grid = {name: value for name, value in grid.items() if name not in _SIZES}
    tab.properties = {name: value for name, value in properties.items() if name not in _OWN}
    index = properties.get("index")
    book.tabs.insert(len(book.tabs) if index is None else int(index), tab)
    return {"properties": sheet_properties(book, tab)}


def _new_id(book: Book, properties: Body) -> int:
    if properties.get("sheetId") is None:
        return free_sheet_id(book)
    sheet_id = int(properties["sheetId"])
    if sheet_id < 0:
        raise Refusal(f"Invalid sheet ID: {sheet_id}")
    if book.tab(sheet_id) is not None:
        raise Refusal(f"Cannot add sheet with ID: {sheet_id}, a sheet with that ID already exists.")
    return sheet_id


def free_sheet_id(book: Book) -> int:
    while book.tab(number := secrets.randbelow(2**31)) is not None:
        pass
    return number


def free_title(book: Book, start: str) -> str:
    number = len(book.tabs) + 1
    while book.titled(f"{start}{number}") is not None:
        number += 1
    return f"{start}{number}"


def refuse_title(book: Book, title: str, own: Tab | None = None) -> None:
    """Titles are compared without regard to case."""
    if any(tab is not own and tab.title.casefold() == title.casefold() for tab in book.tabs):
        raise Refusal(f'A sheet with the name "{title}" already exists. Please enter another name.')


def delete_sheet(book: Book, body: Body) -> None:
    tab = tab_of(book, body, "sheet")
    if len(book.tabs) == 1:
        raise Refusal("You can't remove all the sheets in a document.")
    book.delete_tab(tab)


def update_sheet_properties(book: Book, body: Body) -> None:
    mask = write_mask(body, "SheetProperties")
    properties = body.get("properties") or {}
    tab = tab_of(book, properties, "sheet")
    if mask.wants("title") and (mask.fields is not None or "title" in properties):
        refuse_title(book, properties.get("title") or "", tab)
        tab.title = properties.get("title") or ""
    if mask.fields is not None and mask.wants("index"):
        book.tabs.remove(tab)
        book.tabs.insert(int(properties.get("index") or 0), tab)
    if mask.wants("gridProperties"):
        _update_grid(book, tab, properties.get("gridProperties") or {}, mask.sub("gridProperties"))
    rest = {name: value for name, value in properties.items() if name not in _OWN}
    tab.properties = {name: value for name, value in overlay(tab.properties, rest, mask).items() if name not in _OWN}


def _update_grid(book: Book, tab: Tab, grid: Body, mask: Mask) -> None:
    for name, dimension in _SIZES.items():
        if mask.wants(name) and (mask.fields is not None or name in grid):
            _resize(book, tab, dimension, int(grid.get(name) or 0))
    tab.grid = {name: value for name, value in overlay(tab.grid, grid, mask).items() if name not in _SIZES}
    if tab.grid.get("frozenRowCount", 0) >= tab.row_count or tab.grid.get("frozenColumnCount", 0) >= tab.column_count:
        raise Refusal("You can't freeze all visible rows or columns on the sheet.")


def _resize(book: Book, tab: Tab, dimension: Dimension, size: int) -> None:
    now = len(tab.lines(dimension))
    if size < 1:
        raise Refusal(f"You can't delete all the {dimension.lower()} on the sheet.")
    if size < now:
        book.delete_lines(tab, dimension, size, now)
    elif size > now:
        book.grow((size - now) * (tab.column_count if dimension == "ROWS" else tab.row_count))
        tab.insert(dimension, now, size - now)


def update_spreadsheet_properties(book: Book, body: Body) -> None:
    mask = write_mask(body, "SpreadsheetProperties")
    properties = body.get("properties") or {}
    for name, attribute in {"title": "title", "locale": "locale", "autoRecalc": "auto_recalc"}.items():
        if mask.wants(name) and properties.get(name):
            setattr(book, attribute, properties[name])
    if mask.wants("timeZone") and (mask.fields is not None or "timeZone" in properties):
        book.timezone = _known_zone(properties.get("timeZone") or "")


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refusal(f"Invalid time zone: {name}") from None
    return name


HANDLERS: dict[str, Callable[[Book, Body], Body | None]] = {
    "addSheet": add_sheet,
    "deleteSheet": delete_sheet,
    "updateSheetProperties": update_sheet_properties,
    "updateSpreadsheetProperties": update_spreadsheet_properties,
}
