"""Actions of users in a shared spreadsheet, at any time, including between a read and a write of the sink."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

from connector.emulators.google.cell_requests import clear, reorder, sort_rows
from connector.emulators.google.cells import Formula, Row, Value, cell, rest_of, value_of
from connector.emulators.google.inspection import Inspector
from connector.emulators.google.model import Area, Book, Dimension, Lines, Protection, Tab, new_lines
from connector.emulators.google.tab_requests import free_sheet_id

_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?", re.ASCII)
"""Digits that Google enters as a number, in the locale en_US."""


def once(act: Callable[[], object]) -> Callable[[], None]:
    """Returns a hook that calls `act` only the first time."""
    left = [act]

    def hook() -> None:
        if left:
            left.pop()()

    return hook


def typed(text: str) -> Value:
    """Returns the value that a typed text enters."""
    if text.upper() in {"TRUE", "FALSE"}:
        return text.upper() == "TRUE"
    return float(text) if _NUMBER.fullmatch(text) else text


class Person:
    """A user of a spreadsheet. Rows and columns count from 0, tabs are named by title. Every action is atomic."""

    def __init__(self, emulator: Inspector, spreadsheet_id: str) -> None:
        self._emulator = emulator
        self._id = spreadsheet_id

    @property
    def _lock(self) -> RLock:
        return self._emulator.lock

    @contextmanager
    def _at(self, title: str) -> Iterator[tuple[Book, Tab]]:
        with self._emulator.lock:
            book = self._emulator.book(self._id)
            yield book, self._emulator.tab(self._id, title)

    def edit(self, title: str, row: int, column: int, value: Value) -> None:
        """Enters a value with its type; text that begins with `=` is a formula. The format of the cell stays."""
        if isinstance(value, str) and value.startswith("="):
            value = Formula(value)
        with self._at(title) as (_, tab):
            tab.put(row, column, [cell(value or (None if value == "" else value), rest_of(tab.at(row, column)))])

    def enter(self, title: str, row: int, column: int, text: str) -> None:
        """Types a text into a cell: digits become a number, except where the cell is formatted as text. A column after
        the last one is inserted first.
        """
        with self._at(title) as (_, tab):
            tab.insert("COLUMNS", tab.column_count, max(0, column - tab.column_count + 1))
            kind = rest_of(tab.at(row, column)).get("userEnteredFormat", {}).get("numberFormat", {}).get("type")
            self.edit(title, row, column, text if kind == "TEXT" else typed(text))

    def write(self, title: str, rows: Sequence[Sequence[Value]], row: int = 0, column: int = 0) -> None:
        """Pastes a block of values."""
        for index, values in enumerate(rows, row):
            for offset, value in enumerate(values, column):
                self.edit(title, index, offset, value)

    def clear(self, title: str, area: Area | None = None) -> None:
        """Presses Delete on a block, by default on the whole tab."""
        with self._at(title) as (_, tab):
            clear(tab, area or tab.area)

    def sort(self, title: str, column: int, *, descending: bool = False, area: Area | None = None) -> None:
        """Sorts a block by a column, by default everything below the first row."""
        with self._at(title) as (_, tab):
            sort_rows(tab, area or self._below_header(tab), [(column, descending)])

    def shuffle(self, title: str, chance: random.Random, height: int | None = None) -> None:
        """Reorders the rows below the header, or the first `height` of them."""
        with self._at(title) as (_, tab):
            order = list(range(1, tab.row_count if height is None else 1 + height))
            chance.shuffle(order)
            reorder(tab, self._below_header(tab), order)

    @staticmethod
    def _below_header(tab: Tab) -> Area:
        return Area(1, tab.row_count, 0, tab.column_count)

    def insert_rows(self, title: str, at: int, count: int = 1) -> None:
        self._insert(title, "ROWS", at, count)

    def insert_columns(self, title: str, at: int, count: int = 1) -> None:
        self._insert(title, "COLUMNS", at, count)

    def _insert(self, title: str, dimension: Dimension, at: int, count: int) -> None:
        with self._at(title) as (_, tab):
            tab.insert(dimension, at, count, at - 1 if at else None)

    def delete_rows(self, title: str, at: int, count: int = 1) -> None:
        with self._at(title) as (book, tab):
            book.delete_lines(tab, "ROWS", at, at + count)

    def delete_columns(self, title: str, at: int, count: int = 1) -> None:
        with self._at(title) as (book, tab):
            book.delete_lines(tab, "COLUMNS", at, at + count)

    def move_rows(self, title: str, at: int, to: int, count: int = 1) -> None:
        """Moves rows before the row at `to`."""
        with self._at(title) as (_, tab):
            tab.move("ROWS", at, at + count, to)

    def move_columns(self, title: str, at: int, to: int, count: int = 1) -> None:
        with self._at(title) as (_, tab):
            tab.move("COLUMNS", at, at + count, to)

    def copy_row(self, title: str, row: int, to: int) -> None:
        """Inserts a copy of a row at `to`, with its formats."""
        with self._at(title) as (_, tab):
            cells: Row = tab.rows[row]
            tab.insert("ROWS", to, 1)
            tab.rows[to] = cells

    def rename_header(self, title: str, old: str, new: str) -> None:
        with self._at(title) as (_, tab):
            column = [value_of(stored) for stored in tab.rows[0]].index(old)
            tab.put(0, column, [cell(new, rest_of(tab.at(0, column)))])

    def protect_columns(self, title: str, at: int, count: int = 1) -> None:
        """Protects columns from other users; protection moves with the columns."""
        with self._at(title) as (_, tab):
            self._protect(tab, Lines(columns=frozenset(tab.column_lines[at : at + count])))

    def protect_rows(self, title: str, at: int, count: int = 1) -> None:
        """Protects whole rows; rows that are inserted between them are protected too."""
        with self._at(title) as (_, tab):
            self._protect(tab, Lines(rows=frozenset(tab.row_lines[at : at + count])))

    def protect_cells(self, title: str, area: Area) -> None:
        with self._at(title) as (_, tab):
            self._protect(tab, self._lines(tab, area))

    def protect_tab(self, title: str, *exceptions: Area) -> None:
        """Protects the tab with exceptions; then no row can be inserted either."""
        with self._at(title) as (_, tab):
            self._protect(tab, Lines(), *(self._lines(tab, each) for each in exceptions))

    @staticmethod
    def _protect(tab: Tab, block: Lines, *exceptions: Lines) -> None:
        tab.protected = (*tab.protected, Protection(block, exceptions))

    @staticmethod
    def _lines(tab: Tab, area: Area) -> Lines:
        rows, columns = tab.row_lines[area.top : area.bottom], tab.column_lines[area.left : area.right]
        return Lines(frozenset(rows), frozenset(columns))

    def unprotect(self, title: str) -> None:
        with self._at(title) as (_, tab):
            tab.protected = ()

    def add_tab(self, title: str, rows: int = 1000, columns: int = 26) -> int:
        """Adds a tab at the end and returns its sheet id."""
        with self._emulator.lock:
            book = self._emulator.book(self._id)
            tab = Tab.blank(free_sheet_id(book), title, rows, columns)
            book.tabs.append(tab)
            return tab.id

    def copy_tab(self, title: str) -> str:
        """Copies a tab without its tags and returns the title of the copy."""
        with self._at(title) as (book, tab):
            twin = tab.copy()
            twin.id, twin.title = free_sheet_id(book), f"Copy of {title}"
            twin.row_lines, twin.column_lines = new_lines(tab.row_count), new_lines(tab.column_count)
            twin.line_properties, twin.protected = {}, ()
            book.tabs.append(twin)
            return twin.title

    def rename_tab(self, title: str, new: str) -> None:
        with self._at(title) as (_, tab):
            tab.title = new

    def delete_tab(self, title: str) -> None:
        with self._at(title) as (book, tab):
            book.delete_tab(tab)

    def set_timezone(self, name: str) -> None:
        with self._lock:
            self._emulator.book(self._id).timezone = name

    def share(self, email: str) -> None:
        self.unshare(email)
        with self._lock:
            self._emulator.book(self._id).editors.add(email)

    def share_read_only(self, email: str) -> None:
        """Makes the account a Viewer."""
        self.unshare(email)
        with self._lock:
            self._emulator.book(self._id).viewers.add(email)

    def unshare(self, email: str) -> None:
        with self._lock:
            self._emulator.book(self._id).editors.discard(email)
            self._emulator.book(self._id).viewers.discard(email)

    def replace_by_office_file(self) -> None:
        """Replaces the spreadsheet by an Excel file in Drive with the same id."""
        with self._lock:
            self._emulator.book(self._id).office = True
