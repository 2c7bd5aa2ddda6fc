"""Reads the spreadsheets of the emulator directly, without the API, for tests."""

from __future__ import annotations

from threading import RLock
from typing import Any

from connector.emulators.google.cells import Cell, Value, data_of
from connector.emulators.google.model import Book, Tab, Tag


class Inspector:
    """Reads the spreadsheets under the lock."""

    lock: RLock
    books: dict[str, Book]

    def book(self, spreadsheet_id: str) -> Book:
        """The live spreadsheet; hold the lock while using it."""
        return self.books[spreadsheet_id]

    def tab(self, spreadsheet_id: str, title: str) -> Tab:
        tab = self.books[spreadsheet_id].titled(title)
        if tab is None:
            raise KeyError(f"no tab {title!r} among {self.titles(spreadsheet_id)}")
        return tab

    def titles(self, spreadsheet_id: str) -> list[str]:
        with self.lock:
            return [tab.title for tab in self.books[spreadsheet_id].tabs]

    def rows(self, spreadsheet_id: str, title: str) -> list[list[Value]]:
        """Returns all values up to the last row with one, in rows of equal length. `None` is an empty cell."""
        with self.lock:
            rows: list[list[Value]] = [
                [stored.value if isinstance(stored, Cell) else stored for stored in row]
                for row in self.tab(spreadsheet_id, title).rows
            ]
        while rows and all(value is None for value in rows[-1]):
            rows.pop()
        width = max((_width(row) for row in rows), default=0)
        return [[*row[:width], *[None] * (width - len(row))] for row in rows]

    def header(self, spreadsheet_id: str, title: str) -> list[Value]:
        """The values of the first row."""
        return next(iter(self.rows(spreadsheet_id, title)), [])

    def records(self, spreadsheet_id: str, title: str) -> list[dict[Value, Value]]:
        """Returns a mapping from header to value for each row below the header, without blank headers."""
        header, *rows = self.rows(spreadsheet_id, title) or [[]]
        named = [(index, text) for index, text in enumerate(header) if text is not None]
        return [{text: row[index] for index, text in named} for row in rows]

    def cell(self, spreadsheet_id: str, title: str, row: int, column: int) -> dict[str, Any]:
        """The whole `CellData`: `userEnteredValue`, `userEnteredFormat`, `hyperlink`, `formattedValue`, …"""
        with self.lock:
            return data_of(self.tab(spreadsheet_id, title).at(row, column))

    def tags(self, spreadsheet_id: str) -> list[Tag]:
        """Returns all developer metadata in order of creation."""
        with self.lock:
            return list(self.books[spreadsheet_id].tags.values())

    def column_tags(self, spreadsheet_id: str, title: str) -> dict[int, list[Tag]]:
        """Column index -> its tags."""
        with self.lock:
            tab = self.tab(spreadsheet_id, title)
            found: dict[int, list[Tag]] = {}
            for tag in self.books[spreadsheet_id].tags_of(tab, "COLUMNS"):
                assert tag.line is not None
                found.setdefault(tab.index_of("COLUMNS", tag.line), []).append(tag)
            return found

    def objects(self, spreadsheet_id: str, title: str, name: str) -> list[dict[str, Any]]:
        """Returns stored formatting objects: `conditionalFormats`, `dataValidations`, `filterViews`, `charts`, …"""
        with self.lock:
            return list(self.tab(spreadsheet_id, title).objects.get(name, []))


def _width(row: list[Value]) -> int:
    width = len(row)
    while width and row[width - 1] is None:
        width -= 1
    return width
