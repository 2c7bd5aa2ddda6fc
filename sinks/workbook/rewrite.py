"""A rewrite of the file: reads it, changes the due cells, and replaces it. Blocking."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from connector.sink import SinkBroken
from sinks.spreadsheet.columns import Column
from sinks.workbook import file
from sinks.workbook.package import Package
from sinks.workbook.patch import NotPatchable, PatchedTab
from sinks.workbook.state import FileDiff, RewriteRequest, RewriteResult, TableState, Written, emptied
from sinks.workbook.tab import key_text, open_tab

ROWS_MAX = 10_000
"""Most rows of a workbook; a rewrite of more takes too long."""


class _Table(Protocol):
    """The table in a file: `columns` maps a field to its column, `rows` the text of a key to its row."""

    columns: dict[str, int]
    rows: dict[str, int]

    def write(self, row: int, column: Column, value: Written) -> None: ...

    def make_room(self, count: int) -> int: ...

    def remove(self, keys: Iterable[str]) -> None: ...

    def to_bytes(self, flush: int) -> bytes: ...


def rewrite(request: RewriteRequest) -> RewriteResult:
    """Rewrites the file. Writes nothing when all cells are correct.

    Raises `file.InUseError` when another program uses the file, and `SinkBroken` when an operator must act. After an
    error nothing is written.
    """
    try:
        path = request.path.resolve()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(row.removed for row in request.rows.values()):
            file.remove_leftovers(path)  # also when no row has to be removed
        file.refuse_if_open(path)
        before = file.file_version(path)
        if before is None:
            request = replace(request, state=replace(request.state, columns=(), deleted=frozenset()))
            return _rewrite(request, path, before, open_tab(file.new_book(), request), None)
        content = path.read_bytes()
        is_own = file.digest_of(content) == request.state.digest
        if is_own:
            with contextlib.suppress(NotPatchable), Package(content) as package:
                return _rewrite(request, path, before, PatchedTab(package, request), request.state.flush)
        book = file.load(content, is_own=is_own)
        return _rewrite(request, path, before, open_tab(book, request), file.flush_number(book.book))
    except OSError as error:
        raise file.broken_by(error) from error


def _rewrite(
    request: RewriteRequest, path: Path, before: file.FileVersion | None, tab: _Table, found: int | None
) -> RewriteResult:
    """`found` is the number of the last rewrite that the file has."""
    state, known = request.state, request.state.columns
    present = {key for key in state.rows if _row_of(tab, key)}
    diff = _compare(state, present, found, request)
    written = _update(tab, request, diff.lost) | _append(tab, request, diff.deleted) | _remove(tab, request)
    if written or not tab.columns.keys() <= set(known):
        state = replace(state, flush=max(state.flush, found or 0) + 1)
        content = tab.to_bytes(state.flush)
        file.replace_file(path, before, content)
        state = replace(state, digest=file.digest_of(content))
    rows = state.rows_after(state.flush, written, diff.lost - request.rows.keys())
    returned = (state.deleted & present) | {key for key in state.removed if _row_of(tab, key)}
    state = replace(state, rows=rows, deleted=diff.deleted)
    return _result(request, state, list(tab.columns), diff.lost | returned, known)


def _compare(state: TableState, present: Collection[str], found: int | None, request: RewriteRequest) -> FileDiff:
    """Compares the file with the state. Raises `SinkBroken` when the operator has to decide about deleted rows."""
    diff = state.compare(present, found)
    if request.recreate:
        return diff.with_deleted_as_lost()
    rows = len(state.rows.keys() - state.deleted)
    if diff.is_mass_deletion(rows) and not request.accept:
        raise emptied(request.sink, len(diff.newly_deleted), rows)
    return diff


def _result(
    request: RewriteRequest, state: TableState, placed: Sequence[str], doubtful: Collection[str], known: Sequence[str]
) -> RewriteResult:
    """Returns the new state and the rows to write next: all rows, when the time zone or the columns changed."""
    removed = {key for key, row in request.rows.items() if row.removed}
    fields = [column.field for column in request.columns]
    changed = state.zone not in {"", request.zone} or (known and not set(fields) <= set(known))
    again = {*(state.rows.keys() - state.deleted if changed else ()), *doubtful} - request.rows.keys()
    state = state.without(removed)
    state = replace(state, zone=request.zone, columns=fields, removed=(state.removed - request.rows.keys()) | removed)
    return RewriteResult(state, placed, again)


def _update(tab: _Table, request: RewriteRequest, lost: Collection[str]) -> set[str]:
    """Writes the due cells of existing rows. Returns the interviews whose row changed."""
    columns = {column.field: column for column in request.columns}
    written: set[str] = set()
    for key, row in request.rows.items():
        place = None if row.removed else _row_of(tab, key)
        if place:
            due = (replace(row, applied=None) if key in lost else row).due(tab.columns)
            for name in due:
                tab.write(place, columns[name], row.values[name])
            written |= {key} if due else set()
    return written


def _append(tab: _Table, request: RewriteRequest, deleted: Collection[str]) -> set[str]:
    """Adds the missing rows. Returns their interviews."""
    wanted = (key for key, row in request.rows.items() if not row.removed and key not in deleted)
    missing = [key for key in wanted if not _row_of(tab, key)]
    if len(tab.rows) + len(missing) > ROWS_MAX:
        raise SinkBroken(
            f"a workbook holds at most {ROWS_MAX} interviews",
            "split by position with routes to several workbooks, or use a google_sheets sink",
        )
    first = tab.make_room(len(missing)) if missing else 0
    for place, key in enumerate(missing, start=first):
        for column in request.columns:
            if column.field in tab.columns:
                tab.write(place, column, request.rows[key].values[column.field])
    return set(missing)


def _remove(tab: _Table, request: RewriteRequest) -> set[str]:
    """Removes the rows of interviews that must not have one. Returns these interviews."""
    gone = {key: key_text(key) for key, row in request.rows.items() if row.removed and _row_of(tab, key)}
    if gone:
        tab.remove(gone.values())
    return set(gone)


def _row_of(tab: _Table, key: str) -> int | None:
    return tab.rows.get(key_text(key))
