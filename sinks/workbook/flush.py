"""One rewrite of the file: read, change what is due, replace. Blocking; it runs in the sink's thread."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.packaging.custom import IntProperty
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from connector.sink import SinkBroken
from sinks.table import KEY, clean_text
from sinks.workbook import files
from sinks.workbook.look import dress
from sinks.workbook.memory import Flushed, Order
from sinks.workbook.parts import refuse_what_would_be_lost
from sinks.workbook.tab import Tab, cell_text, find_header, likely_header, place_columns

ROWS_MAX = 10_000
"""Most rows of a workbook; beyond it a rewrite takes too long."""
FLUSH_PROPERTY = "connector_flush"
"""Custom document property with the number of the last rewrite; office programs keep it."""


def flush(order: Order) -> Flushed:
    """Carries out one rewrite, or nothing when every cell is as it should be.

    Raises `files.InUseError` when somebody is at the file, `SinkBroken` when a person must act; then nothing was
    written.
    """
    try:
        path = order.path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        files.refuse_if_open(path)
        before = files.identity(path)
        book = load(path) if before else new_book()
        try:
            return _rewrite(order, path, before, book)
        finally:
            _release(book)
    except OSError as error:
        raise files.broken_by(error) from error


def new_book() -> Workbook:
    """A workbook without any tab."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    return book


def load(path: Path) -> Workbook:
    """The workbook in the file. `SinkBroken` when it cannot be read, or would lose something by a rewrite."""
    try:
        refuse_what_would_be_lost(path)
        return openpyxl.load_workbook(path, rich_text=True)
    except SinkBroken:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise SinkBroken(
            f"the workbook cannot be read ({type(error).__name__})",
            "repair it in an office program, or move it away: a new one is made and filled",
        ) from error


def _rewrite(order: Order, path: Path, before: files.Identity | None, book: Workbook) -> Flushed:
    memory, found = order.memory, _flush_number(book)
    known = memory.columns if before else ()
    tab = open_tab(book, order, known)
    lost = memory.lost({key for key in memory.rows if _place(tab, key)}, found)
    written = _update(tab, order, lost) | _append(tab, order)
    lost -= order.rows.keys()
    number = max(memory.flush, found or 0) + 1
    fields = [column.field for column in order.columns]
    if written or not tab.columns.keys() <= set(known):
        _stamp(book, number)
        files.replace(path, before, book.save)
        memory = replace(memory, flush=number, rows=memory.after(number, written, lost))
    changed = memory.zone not in {"", order.zone} or (known and not set(fields) <= set(known))
    again = memory.rows.keys() - order.rows.keys() if changed else lost
    return Flushed(replace(memory, zone=order.zone, columns=fields), list(tab.columns), again)


def open_tab(book: Workbook, order: Order, known: Sequence[str]) -> Tab:
    """The tab with all its columns; made when there is none. `known` are the fields that had a column before: with
    any, a missing tab or key column is people's doing and not made again.
    """
    sheet = _find_sheet(book, order, known)
    header = find_header(sheet, order.columns) if known else likely_header(sheet, order.columns)
    if header is None and known:
        raise SinkBroken(
            "the column that names the interview of each row is gone",
            f'give that column its title "{_key_title(order)}" again, or move the file away: a new one is made',
        )
    columns = place_columns(sheet, header or 1, order.columns, known)
    if header is None:
        dress(sheet, order.columns)
    return Tab(sheet, header or 1, columns)


def _find_sheet(book: Workbook, order: Order, known: Sequence[str]) -> Worksheet:
    titled = [sheet for sheet in book.worksheets if sheet.title.casefold() == order.worksheet.casefold()]
    if titled:
        return titled[0]
    if not known:
        made: Worksheet = book.create_sheet(order.worksheet)
        return made
    renamed = [sheet for sheet in book.worksheets if find_header(sheet, order.columns) is not None]
    if len(renamed) != 1:
        raise SinkBroken(
            f'the tab "{order.worksheet}" is gone',
            "give the tab its name again, or move the file away: a new one is made and filled",
        )
    return renamed[0]


def _key_title(order: Order) -> str:
    return next(column.title for column in order.columns if column.field == KEY)


def _update(tab: Tab, order: Order, lost: Collection[str]) -> set[str]:
    """Writes what is due in the rows that are there; the interviews whose row changed."""
    columns = {column.field: column for column in order.columns}
    written: set[str] = set()
    for key, row in order.rows.items():
        place = _place(tab, key)
        if place:
            due = (replace(row, applied=None) if key in lost else row).due(tab.columns)
            for name in due:
                tab.write(place, columns[name], row.values[name])
            written |= {key} if due else set()
    return written


def _append(tab: Tab, order: Order) -> set[str]:
    """Adds a row for each interview that has none; those interviews."""
    missing = [key for key in order.rows if not _place(tab, key)]
    if len(tab.rows) + len(missing) > ROWS_MAX:
        raise SinkBroken(
            f"a workbook holds at most {ROWS_MAX} interviews",
            "split by position with routes to several workbooks, or use a google_sheets sink",
        )
    first = tab.make_room(len(missing)) if missing else 0
    for place, key in enumerate(missing, start=first):
        for column in order.columns:
            if column.field in tab.columns:
                tab.write(place, column, order.rows[key].values[column.field])
    return set(missing)


def _place(tab: Tab, key: str) -> int | None:
    return tab.rows.get(cell_text(clean_text(key)))


def _flush_number(book: Workbook) -> int | None:
    found = [prop.value for prop in _properties(book) if prop.name == FLUSH_PROPERTY]
    return found[0] if found and isinstance(found[0], int) else None


def _stamp(book: Workbook, number: int) -> None:
    properties = _properties(book)
    if FLUSH_PROPERTY in properties.names:
        del properties[FLUSH_PROPERTY]
    properties.append(IntProperty(name=FLUSH_PROPERTY, value=number))
    book.calculation.fullCalcOnLoad = True  # a rewrite keeps people's formulas but not their last results


def _properties(book: Workbook) -> Any:
    return book.custom_doc_props  # type: ignore[attr-defined]  # the stubs miss it


def _release(book: Workbook) -> None:
    for sheet in book.worksheets:
        sheet._cells.clear()  # noqa: SLF001 - cells and sheet refer to each other; this frees them at once
