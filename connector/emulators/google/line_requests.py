"""Requests that insert, delete, move or format rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connector.emulators.google.cell_requests import write_mask
from connector.emulators.google.errors import Refusal
from connector.emulators.google.masks import overlay
from connector.emulators.google.model import Book, Dimension, Tab
from connector.emulators.google.ranges import dimension_range, tab_of

Body = Mapping[str, Any]


def insert_dimension(book: Book, body: Body) -> None:
    tab, dimension, start, end = dimension_range(book, body.get("range") or {})
    if end is None:
        raise Refusal("range.endIndex must be specified.")
    before = bool(body.get("inheritFromBefore"))
    size = len(tab.lines(dimension))
    if before and start == 0:
        raise Refusal("inheritFromBefore cannot be true if range.startIndex is 0.")
    if not before and start >= size:
        reason = "if inheritFromBefore is false."
        raise Refusal(f"range.startIndex must be less than the grid size ({size}) {reason}")
    if start > size:
        reason = "if inheritFromBefore is true."
        raise Refusal(f"range.startIndex must be less than or equal to the grid size ({size}) {reason}")
    _grow(book, tab, dimension, end - start)
    tab.insert(dimension, start, end - start, start - 1 if before else start)


def _grow(book: Book, tab: Tab, dimension: Dimension, count: int) -> None:
    book.grow(count * (tab.column_count if dimension == "ROWS" else tab.row_count))


def append_dimension(book: Book, body: Body) -> None:
    tab, dimension, length = tab_of(book, body), body.get("dimension"), int(body.get("length") or 0)
    if dimension not in {"ROWS", "COLUMNS"}:
        raise Refusal("No dimension specified.")
    if length <= 0:
        raise Refusal("length must be greater than 0.")
    _grow(book, tab, dimension, length)
    tab.insert(dimension, len(tab.lines(dimension)), length)


def delete_dimension(book: Book, body: Body) -> None:
    tab, dimension, start, end = dimension_range(book, body.get("range") or {})
    size = len(tab.lines(dimension))
    end = size if end is None else end
    word = "row" if dimension == "ROWS" else "column"
    if max(start + 1, end) > size:
        tried = f"Tried to delete {word} index {max(start, size)} but there are only {size} {word}s."
        raise Refusal(f"Cannot delete a {word} that doesn't exist. {tried}")
    if (start, end) == (0, size):
        raise Refusal(f"You can't delete all the {word}s on the sheet.")
    if start <= tab.grid.get(f"frozen{word.title()}Count", 0) and end == size:
        raise Refusal(f"Sorry, it is not possible to delete all non-frozen {word}s.")
    book.delete_lines(tab, dimension, start, end)


def move_dimension(book: Book, body: Body) -> None:
    tab, dimension, start, end = dimension_range(book, body.get("source") or {})
    to, size = int(body.get("destinationIndex") or 0), len(tab.lines(dimension))
    if end is None or end > size or not 0 <= to <= size:
        raise Refusal(f"The source or destination is outside of the grid ({size}).")
    tab.move(dimension, start, end, to)


def update_dimension_properties(book: Book, body: Body) -> None:
    mask = write_mask(body, "DimensionProperties")
    tab, dimension, start, end = dimension_range(book, body.get("range") or {})
    new = {name: value for name, value in (body.get("properties") or {}).items() if name != "developerMetadata"}
    for line in tab.lines(dimension)[start:end]:
        tab.line_properties[line] = overlay(tab.line_properties.get(line, {}), new, mask)


def auto_resize_dimensions(book: Book, body: Body) -> None:
    """Checks the request. Widths are not emulated."""
    dimension_range(book, body.get("dimensions") or {})


HANDLERS: dict[str, Callable[[Book, Body], Body | None]] = {
    "insertDimension": insert_dimension,
    "appendDimension": append_dimension,
    "deleteDimension": delete_dimension,
    "moveDimension": move_dimension,
    "updateDimensionProperties": update_dimension_properties,
    "autoResizeDimensions": auto_resize_dimensions,
}
