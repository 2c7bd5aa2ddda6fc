"""Requests that write, find or sort cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connector.emulators.google.cells import Row, Stored, Value, cell, rest_of, trimmed, value_of, writer
from connector.emulators.google.errors import Refusal
from connector.emulators.google.masks import Mask, parse
from connector.emulators.google.model import Area, Book, Tab
from connector.emulators.google.ranges import Bounds, grid_range, index, tab_of
from connector.emulators.google.schema import discovery, lost_path

Body = Mapping[str, Any]
Rows = Sequence[Body | None]


def write_mask(body: Body, message: str) -> Mask:
    """Returns the `fields` of a request. Raises when it is missing or has a path that the message does not have."""
    text = body.get("fields")
    if not text:
        raise Refusal("At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)")
    mask = parse(text)
    lost = lost_path(mask, discovery().message(message))
    if lost is not None:
        raise Refusal(f"Invalid field: {lost}")
    return mask


def refuse_protected(tab: Tab, area: Area) -> None:
    """Raises when a cell of the block is protected."""
    rows, columns = tab.row_lines[area.top : area.bottom], tab.column_lines[area.left : area.right]
    for protection in tab.protected:
        if any(protection.closes(row, column) for row in rows for column in columns):
            raise protected_cell()


def protected_cell() -> Refusal:
    return Refusal(
        "You are trying to edit a protected cell or object. Please contact the spreadsheet owner to remove "
        "protection if you need to edit."
    )


def update_cells(book: Book, body: Body) -> None:
    mask = write_mask(body, "CellData")
    rows = body.get("rows") or []
    if "range" in body:
        tab, bounds = grid_range(book, body["range"])
        area = bounds.inside(tab)
        blank: list[Body | None] = [{}] * (area.right - area.left)
        rows = [{"values": [*_values(row), *blank[len(_values(row)) :]]} for row in rows]
        rows += [{"values": blank}] * (area.bottom - area.top - len(rows))
    else:
        tab, area = _from_start(book, body.get("start") or {}, rows)
    _write_rows(tab, area, rows, mask)


def _from_start(book: Book, start: Body, rows: Rows) -> tuple[Tab, Area]:
    """Returns the grid from the start. Cells outside of it are refused row by row."""
    tab = tab_of(book, start)
    top, left = index(start, "rowIndex"), index(start, "columnIndex")
    width = max((len(_values(row)) for row in rows), default=1)
    Bounds(top, top + max(len(rows), 1), left, left + max(width, 1)).clamp(tab)
    return tab, Area(top, tab.row_count, left, tab.column_count)


def _values(row: Body | None) -> list[Body | None]:
    return (row or {}).get("values") or []


def _write_rows(tab: Tab, area: Area, rows: Rows, mask: Mask) -> None:
    if len(rows) > area.bottom - area.top:
        raise Refusal(f"Attempting to write row: {area.bottom}, beyond the last requested row of: {area.bottom - 1}")
    put = writer(mask)
    for number, row in enumerate(rows, area.top):
        values = _values(row)
        if not values:
            continue
        right = area.left + len(values)
        if right > area.right:
            beyond = f"beyond the last requested column of: {area.right - 1}"
            raise Refusal(f"Attempting to write column: {area.right}, {beyond}")
        if tab.protected:
            refuse_protected(tab, Area(number, number + 1, area.left, right))
        old = tab.rows[number][area.left : right]
        padded = (*old, *(None,) * (len(values) - len(old)))
        tab.put(number, area.left, [put(stored, value or {}) for stored, value in zip(padded, values, strict=True)])


def append_cells(book: Book, body: Body) -> None:
    tab, mask, rows = tab_of(book, body), write_mask(body, "CellData"), body.get("rows") or []
    top = content_height(tab)
    missing = top + len(rows) - tab.row_count
    if missing > 0:
        book.grow(missing * tab.column_count)
        tab.insert("ROWS", tab.row_count, missing)
    _write_rows(tab, Area(top, tab.row_count, 0, tab.column_count), rows, mask)


def content_height(tab: Tab) -> int:
    """The number of rows up to the last one with a value."""
    height = tab.row_count
    while height and all(value_of(stored) is None for stored in tab.rows[height - 1]):
        height -= 1
    return height


def repeat_cell(book: Book, body: Body) -> None:
    tab, bounds = grid_range(book, body.get("range") or {})
    mask, area, data = write_mask(body, "CellData"), bounds.clamp(tab), body.get("cell") or {}
    refuse_protected(tab, area)
    put = writer(mask)
    for number in range(area.top, area.bottom):
        row = tab.rows[number]
        tab.put(number, area.left, [put(_at(row, column), data) for column in range(area.left, area.right)])


def _at(row: Row, column: int) -> Stored:
    return row[column] if column < len(row) else None


def find_replace(book: Book, body: Body) -> Body:
    """Finds texts only, without regular expressions and formulas."""
    if body.get("searchByRegex") or body.get("includeFormulas"):
        raise Refusal("The emulator finds plain text only.")
    if not body.get("find"):
        raise Refusal("The search text must not be empty.")
    counts = {"valuesChanged": 0, "rowsChanged": 0, "sheetsChanged": 0, "occurrencesChanged": 0}
    for tab, area in _searched(book, body):
        before = counts["valuesChanged"]
        for number in range(area.top, area.bottom):
            _replace_in_row(tab, number, area, body, counts)
        counts["sheetsChanged"] += counts["valuesChanged"] > before
    return {name: count for name, count in counts.items() if count}


def _searched(book: Book, body: Body) -> list[tuple[Tab, Area]]:
    if body.get("allSheets"):
        return [(tab, tab.area) for tab in book.tabs]
    if "range" in body:
        tab, bounds = grid_range(book, body["range"])
        return [(tab, bounds.clamp(tab))]
    tab = tab_of(book, body)
    return [(tab, tab.area)]


def _replace_in_row(tab: Tab, number: int, area: Area, body: Body, counts: dict[str, int]) -> None:
    changed = []
    for column in range(area.left, min(area.right, len(tab.rows[number]))):
        stored = tab.rows[number][column]
        text, times = _replaced(value_of(stored), body)
        if times:
            changed.append((column, cell(text or None, rest_of(stored))))
            counts["occurrencesChanged"] += times
    for column, stored in changed:
        refuse_protected(tab, Area(number, number + 1, column, column + 1))
        tab.put(number, column, [stored])
    counts["valuesChanged"] += len(changed)
    counts["rowsChanged"] += bool(changed)


def _replaced(value: Value, body: Body) -> tuple[str, int]:
    if type(value) is not str:
        return "", 0
    pattern = re.escape(body["find"])
    if body.get("matchEntireCell"):
        pattern = rf"\A{pattern}\Z"
    replacement = body.get("replacement") or ""
    return re.subn(pattern, lambda _: replacement, value, flags=0 if body.get("matchCase") else re.IGNORECASE)


def sort_range(book: Book, body: Body) -> None:
    tab, bounds = grid_range(book, body.get("range") or {})
    area = bounds.clamp(tab)
    refuse_protected(tab, area)
    keys = []
    for spec in body.get("sortSpecs") or []:
        column = int(spec.get("dimensionIndex") or 0)
        if not area.left <= column < area.right:
            raise Refusal(f"Sort index {column} is outside of the range.")
        keys.append((column, spec.get("sortOrder") == "DESCENDING"))
    sort_rows(tab, area, keys)


def sort_rows(tab: Tab, area: Area, keys: Sequence[tuple[int, bool]]) -> None:
    """Sorts the cells of a block by (column, descending). Lines stay, and blanks are last, as in the menu of Google."""
    rows = list(range(area.top, area.bottom))
    for column, descending in reversed(keys):
        full = [row for row in rows if value_of(tab.at(row, column)) is not None]
        empty = [row for row in rows if value_of(tab.at(row, column)) is None]
        full.sort(key=lambda row, column=column: _rank(value_of(tab.at(row, column))), reverse=descending)  # type: ignore[misc]
        rows = [*full, *empty]
    reorder(tab, area, rows)


def reorder(tab: Tab, area: Area, order: Sequence[int]) -> None:
    """Reorders the rows of a block: the cells of the rows in `order`, from the top of the block."""
    blocks = [tab.rows[row][area.left : area.right] for row in order]
    for number, block in enumerate(blocks, area.top):
        tab.put(number, area.left, [*block, *(None,) * (area.right - area.left - len(block))])


def _rank(value: Value) -> tuple[int, float, str]:
    if isinstance(value, bool):
        return (2, value, "")
    return (1, 0, value.casefold()) if isinstance(value, str) else (0, value or 0, "")


def clear(tab: Tab, area: Area) -> None:
    """Clears values and keeps the formats, like the Delete key."""
    for number in range(area.top, area.bottom):
        row = tab.rows[number]
        kept = [cell(None, rest_of(stored)) for stored in row[area.left : area.right]]
        tab.rows[number] = trimmed([*row[: area.left], *kept, *row[area.right :]])


HANDLERS: dict[str, Callable[[Book, Body], Body | None]] = {
    "updateCells": update_cells,
    "appendCells": append_cells,
    "repeatCell": repeat_cell,
    "findReplace": find_replace,
    "sortRange": sort_range,
}
