"""`spreadsheets.values`: reads and writes plain values, trimmed like Google does (Sheets API, ValueRange)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from connector.emulators.google.cell_requests import clear, content_height, refuse_protected
from connector.emulators.google.cells import (
    Formula,
    Stored,
    Value,
    cell,
    entered,
    formatted,
    is_date,
    rest_of,
    value_of,
)
from connector.emulators.google.errors import Refusal, invalid
from connector.emulators.google.model import Area, Book, Tab
from connector.emulators.google.ranges import Bounds, clamped, letters, notation, parse_a1

Options: TypeAlias = Mapping[str, Any]
Shower: TypeAlias = Callable[[Stored], Any]


def value_range(tab: Tab, area: Area, options: Options) -> dict[str, Any]:
    """A `ValueRange`: empty ends are cut, gaps are `""`, and nothing at all has no `values`."""
    show = _shower(options)
    rows = [_cut([show(stored) for stored in row[area.left : area.right]]) for row in tab.rows[area.top : area.bottom]]
    by_columns = options.get("majorDimension") == "COLUMNS"
    if by_columns:
        rows = _turned(rows)
    while rows and not rows[-1]:
        rows.pop()
    answer: dict[str, Any] = {
        "range": notation(tab.title, area),
        "majorDimension": "COLUMNS" if by_columns else "ROWS",
    }
    return {**answer, "values": rows} if rows else answer


def _cut(values: list[Any]) -> list[Any]:
    while values and values[-1] == "":
        values.pop()
    return values


def _turned(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    width = max(map(len, rows), default=0)
    return [_cut([row[index] if index < len(row) else "" for row in rows]) for index in range(width)]


def _shower(options: Options) -> Shower:
    option = options.get("valueRenderOption") or "FORMATTED_VALUE"
    if option == "FORMATTED_VALUE":
        return _displayed
    if options.get("dateTimeRenderOption") == "FORMATTED_STRING":
        return lambda stored: _displayed(stored) if is_date(_number_format(stored)) else _bare(stored)
    return _bare


def _number_format(stored: Stored) -> Mapping[str, Any]:
    number_format: Mapping[str, Any] = rest_of(stored).get("userEnteredFormat", {}).get("numberFormat", {})
    return number_format


def _bare(stored: Stored) -> Value:
    value = value_of(stored)
    if isinstance(value, Formula):
        return str(_displayed(stored))  # the result is not computed
    return "" if value is None else value


def _displayed(stored: Stored) -> str:
    value = value_of(stored)
    return "" if value is None else formatted(value, _number_format(stored))


def write(book: Book, text: str, values: list[list[Any]], options: Options) -> dict[str, Any]:
    """Writes a `ValueRange` and returns an `UpdateValuesResponse`. `null` keeps a cell, `""` clears it."""
    tab, bounds = parse_a1(book, text)
    area = clamped(tab, bounds)
    if options.get("majorDimension") == "COLUMNS":
        width = max(map(len, values), default=0)
        values = [[each[index] if index < len(each) else None for each in values] for index in range(width)]
    width = max(map(len, values), default=0)
    _refuse_overflow(text, bounds, area, (len(values), width))
    written = clamped(tab, Bounds(area.top, area.top + max(1, len(values)), area.left, area.left + max(1, width)))
    if len(values) > written.bottom - written.top or width > written.right - written.left:
        size = f"Max rows: {tab.row_count}, max columns: {tab.column_count}"
        raise invalid(f"Range ({text}) exceeds grid limits. {size}")
    _fill(tab, written, values, user=options.get("valueInputOption") == "USER_ENTERED")
    return {
        "spreadsheetId": book.id,
        "updatedRange": notation(tab.title, written),
        "updatedRows": len(values),
        "updatedColumns": width,
        "updatedCells": sum(value is not None for row in values for value in row),
    }


def _refuse_overflow(text: str, bounds: Bounds, area: Area, size: tuple[int, int]) -> None:
    start = f"Requested writing within range [{text}], but tried writing to"
    if bounds.bottom is not None and bounds.bottom - bounds.top > 1 and size[0] > area.bottom - area.top:
        raise invalid(f"{start} row [{area.bottom + 1}]")
    if bounds.right is not None and bounds.right - bounds.left > 1 and size[1] > area.right - area.left:
        raise invalid(f"{start} column [{letters(area.right)}]")


def _fill(tab: Tab, area: Area, values: list[list[Any]], *, user: bool) -> None:
    try:
        refuse_protected(tab, area)
        for index, row in enumerate(values, area.top):
            old = [tab.at(index, area.left + offset) for offset in range(len(row))]
            tab.put(
                index, area.left, [_written(stored, value, user=user) for stored, value in zip(old, row, strict=True)]
            )
    except Refusal as refusal:
        raise invalid(str(refusal)) from None


def _written(stored: Stored, value: Any, *, user: bool) -> Stored:
    if value is None:
        return stored
    if isinstance(value, str):
        value = _typed(value) if user else entered({"stringValue": value})
    return cell(value, rest_of(stored))


def _typed(text: str) -> Value:
    """Parses a text like typed input: formulas, booleans and plain numbers, but not dates and currencies."""
    if text.startswith("="):
        return Formula(text)
    if text.upper() in {"TRUE", "FALSE"}:
        return text.upper() == "TRUE"
    try:
        return float(text) if any(letter in text for letter in ".eE") else int(text)
    except ValueError:
        return text.removeprefix("'") or None


def append(book: Book, text: str, values: list[list[Any]], options: Options) -> dict[str, Any]:
    """Writes below the last row with a value, at the columns of the range. Does not search for tables."""
    tab, bounds = parse_a1(book, text)
    top = content_height(tab)
    missing = top + len(values) - tab.row_count
    if missing > 0:
        tab.insert("ROWS", tab.row_count, missing)
    place = Bounds(top, top + 1, bounds.left, bounds.left + 1)
    return {"spreadsheetId": book.id, "updates": write(book, notation(tab.title, place), values, options)}


def clear_values(book: Book, text: str) -> dict[str, Any]:
    tab, bounds = parse_a1(book, text)
    area = clamped(tab, bounds)
    clear(tab, area)
    return {"spreadsheetId": book.id, "clearedRange": notation(tab.title, area)}
