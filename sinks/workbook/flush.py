"""One rewrite of the file: read, change what is due, replace. Blocking; it runs in the sink's thread."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from openpyxl.workbook import Workbook

from connector.sink import SinkBroken
from sinks.table import clean_text
from sinks.workbook import files
from sinks.workbook.book import flush_number, load, new_book, open_tab, stamp, to_bytes
from sinks.workbook.cells import cell_text
from sinks.workbook.memory import Flushed, Memory, Order, Sight
from sinks.workbook.tab import Tab
from sinks.workbook.tags import write_tags

ROWS_MAX = 10_000
"""Most rows of a workbook; beyond it a rewrite takes too long."""


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
        book = _load(path, order.memory) if before else new_book()
        try:
            return _rewrite(order, path, before, book)
        finally:
            _release(book)
    except OSError as error:
        raise files.broken_by(error) from error


def _load(path: Path, memory: Memory) -> Workbook:
    content = path.read_bytes()
    return load(content, is_own=_digest(content) == memory.digest)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _rewrite(order: Order, path: Path, before: files.Identity | None, book: Workbook) -> Flushed:
    memory = order.memory if before else replace(order.memory, deleted=frozenset())
    known = memory.columns if before else ()
    found = flush_number(book)
    tab = open_tab(book, order, known)
    there = {key for key in memory.rows if _place(tab, key)}
    seen = _sight(memory, there, found, order)
    written = _update(tab, order, seen.lost) | _append(tab, order, seen.deleted) | _remove(tab, order)
    number = max(memory.flush, found or 0) + 1
    if written or not tab.columns.keys() <= set(known):
        write_tags(tab.sheet, tab.header, tab.columns)
        stamp(book, number)
        content = to_bytes(book)
        files.replace(path, before, lambda file: file.write(content))
        memory = replace(memory, flush=number, digest=_digest(content))
    memory = replace(memory, rows=memory.after(memory.flush, written, seen.lost - order.rows.keys()))
    back = (memory.deleted & there) | {key for key in memory.removed if _place(tab, key)}
    return _flushed(order, replace(memory, deleted=seen.deleted), list(tab.columns), seen.lost | back, known)


def _sight(memory: Memory, there: Collection[str], found: int | None, order: Order) -> Sight:
    """What became of our rows. `SinkBroken` when so many are gone that a person has to say what is meant."""
    seen = memory.compare(there, found)
    if order.recreate:
        return seen.recreated()
    rows = len(memory.rows.keys() - memory.deleted)
    if seen.emptied(rows) and not order.accept:
        raise SinkBroken(
            f"{len(seen.newly)} of {rows} rows are gone from the workbook at once",
            "connector resume SINK --accept leaves them deleted, connector resume SINK --refill writes them again",
            until_person=True,
        )
    return seen


def _flushed(
    order: Order, memory: Memory, placed: Sequence[str], doubtful: Collection[str], known: Sequence[str]
) -> Flushed:
    """What there is to remember now, and to write next: all rows, when dates or columns changed."""
    removed = {key for key, row in order.rows.items() if row.removed}
    fields = [column.field for column in order.columns]
    changed = memory.zone not in {"", order.zone} or (known and not set(fields) <= set(known))
    again = {*(memory.rows.keys() - memory.deleted if changed else ()), *doubtful} - order.rows.keys()
    memory = memory.without(removed)
    memory = replace(memory, zone=order.zone, columns=fields, removed=(memory.removed - order.rows.keys()) | removed)
    return Flushed(memory, placed, again)


def _update(tab: Tab, order: Order, lost: Collection[str]) -> set[str]:
    """Writes what is due in the rows that are there; the interviews whose row changed."""
    columns = {column.field: column for column in order.columns}
    written: set[str] = set()
    for key, row in order.rows.items():
        place = None if row.removed else _place(tab, key)
        if place:
            due = (replace(row, applied=None) if key in lost else row).due(tab.columns)
            for name in due:
                tab.write(place, columns[name], row.values[name])
            written |= {key} if due else set()
    return written


def _append(tab: Tab, order: Order, deleted: Collection[str]) -> set[str]:
    """Adds a row for each interview that has none and shall have one; those interviews."""
    wanted = (key for key, row in order.rows.items() if not row.removed and key not in deleted)
    missing = [key for key in wanted if not _place(tab, key)]
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


def _remove(tab: Tab, order: Order) -> set[str]:
    """Takes out the rows that shall not be there; those interviews."""
    gone = {key: _cell_of(key) for key, row in order.rows.items() if row.removed and _place(tab, key)}
    if gone:
        tab.remove(gone.values())
    return set(gone)


def _place(tab: Tab, key: str) -> int | None:
    return tab.rows.get(_cell_of(key))


def _cell_of(key: str) -> str:
    return cell_text(clean_text(key))


def _release(book: Workbook) -> None:
    for sheet in book.worksheets:
        sheet._cells.clear()  # noqa: SLF001 - cells and sheet refer to each other; this frees them at once
