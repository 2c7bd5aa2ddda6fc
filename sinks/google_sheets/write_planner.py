"""Plans one atomic write: the cells of each interview, and the requests for them. Pure. Only owned cells that differ
from the last applied values are written, and never the key of an existing row. Requests for each tab, in order: guard,
compare-and-swap of the columns, set-up, updates by the rows of the view, new rows, deletion of old guards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from enum import IntEnum, unique
from itertools import groupby
from math import floor
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from connector.languages import Language
from connector.sink import Interview, Stage
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.sheet_view import NOT_TEXT, TOP_ROWS, Guard, TabView
from sinks.google_sheets.state import Intent, PlannedUpdate, RowNote, digest
from sinks.google_sheets.tabs import Layout, add_columns, hold_requests, rename_headers, tag_requests
from sinks.spreadsheet.columns import KEY, SPECS, Column, cell_values
from sinks.spreadsheet.values import LINK_TEXT, CellKind, CellValue, clean_text, serial_number

REQUEST_SIZE = 200
"""Bytes of one request without its cells."""


@dataclass(frozen=True, slots=True)
class DueInterview:
    """A due interview: the key of its row, its cells by field, and the note of its row.

    With `remove` all cells are emptied, and then the id too. `protected` are fields whose cells in its row the sink may
    not edit. `dated`: the date cells of its row have a number format, or get one with this write.
    """

    key: str
    cells: Mapping[str, CellValue]
    note: RowNote | None = None
    remove: bool = False
    protected: frozenset[str] = frozenset()
    dated: bool = False

    @property
    def in_full(self) -> bool:
        """Whether every owned cell has to be written, because the content of the row is unknown or outdated."""
        return self.note is None or self.note.force or self.note.applied is None


def row_key(interview_id: str) -> str:
    """Returns the key of an interview's row. Keys are compared without outer spaces."""
    return clean_text(interview_id).strip()


def zone_of(name: str) -> tzinfo:
    """Returns the spreadsheet's time zone; UTC when this machine does not know its name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def sheet_cells(
    interview: Interview,
    columns: Sequence[Column],
    zone: tzinfo,
    words: Language,
    *,
    clear: bool = False,
    empty: bool = False,
) -> Mapping[str, CellValue]:
    """Returns the interview's cells by field for a spreadsheet in `zone`: dates are serial numbers. With `clear` the
    cells of a deleted interview are empty except for its stage; with `empty` all are.
    """
    if empty:
        return {**{column.field: None for column in columns}, KEY: row_key(interview.id)}
    cells: dict[str, CellValue] = {}
    for column, value in zip(columns, cell_values(interview, columns, words), strict=True):
        cells[column.field] = _serial(column.kind, value, zone)
    if clear and interview.stage is Stage.DELETED:
        cells = {name: value if name == "stage" else None for name, value in cells.items()}
    return {**cells, KEY: row_key(interview.id)}


def _serial(kind: CellKind, value: CellValue, zone: tzinfo) -> CellValue:
    """Returns the value of a cell with dates as serial numbers; of the days since a time, the day."""
    if not isinstance(value, int) or kind not in {CellKind.DATETIME, CellKind.DAYS_SINCE}:
        return value
    number = serial_number(value, zone)
    return floor(number) if kind is CellKind.DAYS_SINCE else number


class RowChange(NamedTuple):
    """An update of the row of an interview, or of a row without an id. `cells` are those to write."""

    row: int
    wanted: DueInterview | None
    cells: Mapping[str, CellValue]

    @property
    def key(self) -> str:
        """The id that the row must have; `""` for a row without an interview."""
        return "" if self.wanted is None else self.wanted.key


class Restore(NamedTuple):
    """An id to restore: its row, and the present text of the key cell. `alone`: no other cell has this text."""

    row: int
    key: str
    shown: str
    alone: bool = False

    @property
    def is_found(self) -> bool:
        """Whether the cell can be found by its text, so that no other id can be replaced by mistake."""
        return bool(self.shown) and not self.shown.startswith(NOT_TEXT)

    @property
    def by_content(self) -> bool:
        """Whether the cell is found even if its row moves."""
        return self.alone and self.is_found


@dataclass(slots=True)
class TabChanges:
    """The changes of a tab for its due interviews. `absent` ones had a row that is missing: users deleted it or damaged
    its id. `deleted` ones are known to be deleted by users. `idle` ones need no write. `removals` have a row with only
    the id. `blocked` ones need a new or an empty row, which protected cells do not allow.
    """

    changes: list[RowChange] = field(default_factory=list)
    inserts: list[DueInterview] = field(default_factory=list)
    idle: list[DueInterview] = field(default_factory=list)
    deleted: list[DueInterview] = field(default_factory=list)
    absent: list[DueInterview] = field(default_factory=list)
    removals: list[DueInterview] = field(default_factory=list)
    blocked: list[DueInterview] = field(default_factory=list)


def plan_rows(view: TabView, layout: Layout, wanted: Sequence[DueInterview]) -> TabChanges:
    """Compares the due interviews with the keys in the sheet and with the last applied values. Of rows with the same
    key the first counts.
    """
    rows = view.key_rows
    due = TabChanges()
    for each in _with_protection(view, layout, wanted):
        row = rows.get(each.key)
        if row is None:
            _without_row(due, each)
        elif cells := changed_cells(each, layout):
            due.changes.append(RowChange(row, each, cells))
        elif each.remove:
            (due.blocked if each.protected else due.removals).append(each)
        else:
            due.idle.append(each)
    due.blocked += [each for each in due.inserts if KEY in each.protected]
    due.inserts = [each for each in due.inserts if KEY not in each.protected]
    return due


def _with_protection(view: TabView, layout: Layout, wanted: Sequence[DueInterview]) -> Sequence[DueInterview]:
    """Returns the interviews with the fields that may not be written in their rows."""
    if not view.protected:
        return wanted
    rows, new = view.key_rows, protected_fields_when_new(view, layout)
    return [
        replace(each, protected=new if (row := rows.get(each.key)) is None else protected_fields(view, layout, row))
        for each in wanted
    ]


def protected_fields(view: TabView, layout: Layout, row: int) -> frozenset[str]:
    """Returns the fields whose cells in a row may not be written."""
    return frozenset(name for name, place in layout.at.items() if view.protected.covers(row, place))


def protected_fields_when_new(view: TabView, layout: Layout) -> frozenset[str]:
    """Returns the fields whose cells in new rows may not be written."""
    return frozenset(name for name, place in layout.at.items() if view.protected.covers_new(view.end, place))


def _without_row(due: TabChanges, wanted: DueInterview) -> None:
    if wanted.remove:
        due.idle.append(wanted)
    elif wanted.note is None:
        due.inserts.append(replace(wanted, dated=True))
    elif wanted.note.gone:
        due.deleted.append(wanted)
    else:
        due.absent.append(wanted)


def changed_cells(wanted: DueInterview, layout: Layout) -> Mapping[str, CellValue]:
    """Returns the owned cells that differ from the last applied values, or all of them."""
    not_ours = wanted.protected | {KEY}
    owned = {name: value for name, value in wanted.cells.items() if name in layout.at and name not in not_ours}
    if wanted.in_full or wanted.note is None:
        return owned
    applied = wanted.note.applied or {}
    return {name: value for name, value in owned.items() if name not in applied or applied[name] != value}


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """Limits of one write: bytes of the cells, requests, all rows, and updated rows."""

    size: int = 1_800_000
    requests: int = 10_000
    rows: int = 10_000
    updates: int = 10_000


class CellRun(NamedTuple):
    """Adjacent cells of one row, encoded."""

    row: int
    column: int
    width: int
    link: bool
    cells: msgspec.Raw


@dataclass(slots=True)
class WriteChunk:
    """The content of one write to one tab: updates and new rows, with the cells of both. Rows of `new` count from the
    first one. `restores` are ids to restore and `undo` are ids to remove; these are written alone. `removals` are
    interviews whose ids are among `undo`. `formats` are cells, by row and column, that get a date format.
    """

    changes: list[RowChange] = field(default_factory=list)
    inserts: list[DueInterview] = field(default_factory=list)
    runs: list[CellRun] = field(default_factory=list)
    new: list[CellRun] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)
    removals: list[DueInterview] = field(default_factory=list)
    formats: list[tuple[int, int]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.changes) + len(self.inserts) + len(self.restores) + len(self.undo)

    @property
    def written(self) -> list[DueInterview]:
        """The interviews whose cells are written."""
        return [*(change.wanted for change in self.changes if change.wanted is not None), *self.inserts]

    @property
    def interviews(self) -> list[DueInterview]:
        return [*self.written, *self.removals]


@dataclass(slots=True)
class WriteBudget:
    """The size of all parts of one write."""

    size: int = 0
    requests: int = 0
    rows: int = 0

    def takes(self, size: int, requests: int, limits: WriteLimits) -> bool:
        """Adds a row if it fits; a single row always fits."""
        full = self.rows >= limits.rows or self.requests + requests > limits.requests
        if self.rows and (full or self.size + size > limits.size):
            return False
        self.size, self.requests, self.rows = self.size + size, self.requests + requests, self.rows + 1
        return True


def take_chunk(
    due: TabChanges,
    layout: Layout,
    limits: WriteLimits,
    budget: WriteBudget | None = None,
    *,
    link_text: str = LINK_TEXT,
) -> WriteChunk:
    """Returns as many due changes as fit into one write, updates first. `budget` contains the size of other tabs."""
    chunk, budget = WriteChunk(), budget or WriteBudget()
    for change in due.changes[: limits.updates]:
        runs = list(_runs(change.row, change.cells, layout, link_text, apart=True))
        if not budget.takes(_size(runs) + REQUEST_SIZE * len(runs), len(runs), limits):
            return chunk
        chunk.changes.append(change)
        chunk.runs += runs
    for wanted in due.inserts:
        cells = {name: value for name, value in wanted.cells.items() if name not in wanted.protected}
        runs = list(_runs(len(chunk.inserts), cells, layout, link_text, apart=False))
        if not budget.takes(_size(runs), 0, limits):
            return chunk
        chunk.inserts.append(wanted)
        chunk.new += runs
    return chunk


def _size(runs: Sequence[CellRun]) -> int:
    return sum(len(bytes(run.cells)) for run in runs)


def _runs(
    row: int, cells: Mapping[str, CellValue], layout: Layout, link_text: str, *, apart: bool
) -> Iterator[CellRun]:
    """Returns the runs of adjacent cells. `apart`: a link is a run of its own, because writing links removes those of
    other cells of the run.
    """
    places = sorted((layout.at[name], name) for name in cells if name in layout.at)
    run: list[tuple[int, str]] = []
    for place, name in places:
        if run and (place != run[-1][0] + 1 or (apart and CellKind.LINK in {_kind(name), _kind(run[-1][1])})):
            yield _run(row, run, cells, link_text)
            run = []
        run.append((place, name))
    if run:
        yield _run(row, run, cells, link_text)


def _run(row: int, places: Sequence[tuple[int, str]], cells: Mapping[str, CellValue], link_text: str) -> CellRun:
    link = any(_kind(name) is CellKind.LINK for _, name in places)
    encoded = api_requests.row_cells([api_requests.cell(cells[name], _kind(name), link_text) for _, name in places])
    return CellRun(row, places[0][0], len(places), link, encoded)


def _kind(name: str) -> CellKind:
    return SPECS[name].kind


NEW_ROWS = 100
"""Rows of a new tab, with room for rows of users."""
MIN_WIDTH = 2
"""Least columns of a new tab: in a reply a grid of one column cannot be distinguished from its key column."""
GUARDS_KEPT = 50
"""Guards of the last writes that are kept. Google would not refuse a request that arrives more writes late."""


@dataclass(frozen=True, slots=True)
class TabWrite:
    """One write to one tab, with the layout and the key column after it."""

    tab: str
    requests: Sequence[Request]
    guard: Guard
    view: TabView
    layout: Layout
    chunk: WriteChunk
    keys: Sequence[str]
    intent: Intent

    @property
    def ranges(self) -> Sequence[str]:
        """The ranges of the tab in the reply."""
        top = api_requests.top_range(self.view.title, min(TOP_ROWS, self.view.rows) if self.view.exists else TOP_ROWS)
        at = self.layout.at
        return [top, api_requests.column_range(self.view.title, at[KEY])] if KEY in at else [top]


@dataclass(frozen=True, slots=True)
class SheetWrite:
    """One atomic write to any number of tabs."""

    tab_writes: Sequence[TabWrite]

    @property
    def body(self) -> Mapping[str, Any]:
        batch = [request for tab_write in self.tab_writes for request in tab_write.requests]
        return api_requests.batch_body(batch, [each for tab_write in self.tab_writes for each in tab_write.ranges])

    @property
    def rows(self) -> int:
        return sum(tab_write.chunk.rows for tab_write in self.tab_writes)

    @property
    def interviews(self) -> Sequence[DueInterview]:
        """The interviews that the write is about."""
        return [wanted for tab_write in self.tab_writes for wanted in tab_write.chunk.interviews]


def first_guard_number(sheet_id: int) -> int:
    """Returns the first number of a tab's guards. The ranges of two tabs do not overlap; each has 500 million
    numbers.
    """
    return 1_000_000 + sheet_id * 2_654_435_761 % 1_600_000_000


@unique
class FixedTag(IntEnum):
    """Tags whose numbers stay the same for a tab: how far each is below the first number of the tab's guards."""

    WIDTH = 1
    FORMATTED = 2
    DECISIONS = 3

    def number(self, sheet_id: int) -> int:
        """Returns the id of this tag in a tab. Google refuses a second tag with the same id in a spreadsheet."""
        return first_guard_number(sheet_id) - self


def next_guard(view: TabView, nonce: str) -> Guard:
    """Returns the number after the highest one. Of several writes that are planned from the same view, one is
    applied.
    """
    return Guard(max(view.newest_guard + 1, first_guard_number(view.sheet_id)), nonce)


def tagging(tab: str, view: TabView, layout: Layout, nonce: str) -> TabWrite:
    """Returns the write that adds tags to columns found by their header. It writes no rows, because the tags are
    checked first.
    """
    return _tab_write(tab, view, layout, WriteChunk(), nonce=nonce, work=tag_requests(view, layout))


def row_write(tab: str, view: TabView, layout: Layout, chunk: WriteChunk, nonce: str) -> TabWrite:
    """Returns the write that adds missing columns and writes the chunk. `layout` is the one that `chunk` was
    made for.
    """
    after, added = add_columns(view, layout)
    keys = _key_requests(view, after, chunk)
    work = [
        *added,
        *rename_headers(view, layout),
        *keys,
        *_updates(view, chunk),
        *_formats(view, chunk),
        *_inserts(view, after, chunk),
    ]
    return _tab_write(tab, view, after, chunk, nonce=nonce, work=work)


def _tab_write(
    tab: str, view: TabView, layout: Layout, chunk: WriteChunk, *, nonce: str, work: Sequence[Request]
) -> TabWrite:
    guard = next_guard(view, nonce)
    made = [] if view.exists else [_new_tab(view, layout), api_requests.mark_made(view.sheet_id)]
    hold = hold_requests(view, layout, FixedTag.WIDTH.number(view.sheet_id))
    batch = [*made, api_requests.guard(view.sheet_id, *guard), *hold, *work, *_prunes(view)]
    keys = _expected_keys(view, chunk)
    return TabWrite(tab, batch, guard, view, layout, chunk, keys, _intent(tab, guard, chunk, keys))


def _expected_keys(view: TabView, chunk: WriteChunk) -> list[str]:
    """Returns the key column after the write, if no row moves."""
    undone = set(chunk.undo)
    keys = ["" if key in undone else key for key in view.keys or ()]
    for restore in chunk.restores:
        keys += [""] * (restore.row + 1 - len(keys))
        keys[restore.row] = restore.key
    if chunk.inserts:
        keys += [""] * (view.end - len(keys)) + [wanted.key for wanted in chunk.inserts]
    while keys and not keys[-1].strip():
        keys.pop()
    return keys


def _intent(tab: str, guard: Guard, chunk: WriteChunk, keys: Sequence[str]) -> Intent:
    updates = tuple(PlannedUpdate(change.row, change.key, change.cells) for change in chunk.changes)
    inserts, restores = [wanted.key for wanted in chunk.inserts], [restore.key for restore in chunk.restores]
    return Intent(guard, digest(keys), updates, tuple(inserts), 0, tab, tuple(restores))


def _key_requests(view: TabView, layout: Layout, chunk: WriteChunk) -> list[Request]:
    """Returns the requests that restore ids, by the text of the cell if it has one, and remove wrong ids."""
    if not chunk.restores and not chunk.undo:
        return []
    column, below = layout.at[KEY], (view.header_row + 1, None)  # a damaged id may be the title of the column
    made = [api_requests.replace_key(view.sheet_id, column, (0, None), key, "") for key in chunk.undo]
    for restore in chunk.restores:
        if restore.is_found:
            is_below = restore.alone and restore.row > view.header_row
            rows = below if is_below else (restore.row, restore.row + 1)
            made.append(api_requests.replace_key(view.sheet_id, column, rows, restore.shown, restore.key))
        else:
            cell = [api_requests.row_cells([api_requests.cell(restore.key, CellKind.TEXT)])]
            made.append(api_requests.update_cells(view.sheet_id, restore.row, column, cell, link=False))
    return made


def _new_tab(view: TabView, layout: Layout) -> Request:
    return api_requests.add_sheet(view.sheet_id, view.title, NEW_ROWS, max(MIN_WIDTH, len(layout.at)))


def _prunes(view: TabView) -> list[Request]:
    return [api_requests.prune(guard.number) for guard in sorted(view.guards)[: 1 - GUARDS_KEPT]]


def _updates(view: TabView, chunk: WriteChunk) -> list[Request]:
    return _merged(view.sheet_id, chunk.runs, 0)


def _formats(view: TabView, chunk: WriteChunk) -> list[Request]:
    """Returns date formats for cells without one; one request for cells below each other."""
    ordered = sorted(chunk.formats, key=lambda cell: (cell[1], cell[0]))
    groups = groupby(enumerate(ordered), lambda each: (each[1][1], each[1][0] - each[0]))
    made = []
    for (column, _), group in groups:
        rows = [cell[0] for _, cell in group]
        made.append(api_requests.date_format(view.sheet_id, rows[0], rows[-1] + 1, column))
    return made


def _merged(sheet_id: int, runs: Sequence[CellRun], first_row: int) -> list[Request]:
    """Merges runs below each other in the same columns into one request."""
    ordered = sorted(runs, key=lambda run: (run.column, run.width, run.link, run.row))
    groups = groupby(enumerate(ordered), lambda each: (*each[1][1:4], each[1].row - each[0]))
    merged = []
    for _, group in groups:
        block = [run for _, run in group]
        head = block[0]
        row, cells = first_row + head.row, [run.cells for run in block]
        merged.append(api_requests.update_cells(sheet_id, row, head.column, cells, link=head.link))
    return merged


def _inserts(view: TabView, layout: Layout, chunk: WriteChunk) -> list[Request]:
    """Returns the requests for new rows below the last key. They inherit the format of the row above, but not that of
    the header, and get date formats.
    """
    if not chunk.inserts:
        return []
    sheet_id, start = view.sheet_id, view.end
    end = start + len(chunk.inserts)
    below_header = start == view.header_row + 1
    rows = view.rows if view.exists else NEW_ROWS
    inherit = start == rows or not (below_header or view.protected.ends_at(start))
    made = [api_requests.insert_rows(sheet_id, start, end, inherit=inherit)]
    if inherit and below_header and not any(view.protected.covers_new(start, place) for place in range(view.width)):
        made.append(api_requests.plain_format(sheet_id, start, end))
    dates = [place for name, place in layout.at.items() if SPECS[name].kind is CellKind.DATETIME]
    dates = [place for place in dates if not view.protected.covers_new(start, place)]
    made += [api_requests.date_format(sheet_id, start, end, place) for place in dates]
    return made + _merged(sheet_id, chunk.new, start)
