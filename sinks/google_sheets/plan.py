"""Which interviews need which cells, and how much of that goes into one write. Pure.

Only owned cells that differ from what was last applied are written, and never the key of a row that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from connector.sink import Interview, Stage
from sinks.google_sheets import requests
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.notes import RowNote
from sinks.google_sheets.reading import NOT_TEXT, View
from sinks.spreadsheet.columns import KEY, SPECS, Column, cell_values
from sinks.spreadsheet.values import CellKind, CellValue, clean_text, serial_number

REQUEST_SIZE = 200
"""Bytes to allow for what stands around the cells of one request."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An interview that is due: the key of its row, its cells by field, and what is remembered of its row.

    With `remove` all cells are empty, and once they are the id goes too. `closed` are fields whose cells in its row we
    may not edit. `dated`: the date cells of its row have a number format, or get one with this write.
    """

    key: str
    cells: Mapping[str, CellValue]
    note: RowNote | None = None
    remove: bool = False
    closed: frozenset[str] = frozenset()
    dated: bool = False

    @property
    def in_full(self) -> bool:
        """Whether every owned cell is to be written: what the row holds is unknown, or no longer counts."""
        return self.note is None or self.note.force or self.note.applied is None


def row_key(interview_id: str) -> str:
    """What the key column shows for an interview; keys are compared without outer spaces."""
    return clean_text(interview_id).strip()


def zone_of(name: str) -> tzinfo:
    """The spreadsheet's time zone; UTC when its name says nothing to this machine."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def sheet_cells(
    interview: Interview, columns: Sequence[Column], zone: tzinfo, *, clear: bool = False, empty: bool = False
) -> Mapping[str, CellValue]:
    """The interview's cells by field, as a spreadsheet in `zone` holds them: dates are serial numbers.

    With `clear` those of a deleted interview are empty, but for its stage; with `empty` all are.
    """
    if empty:
        return {**{column.field: None for column in columns}, KEY: row_key(interview.id)}
    cells: dict[str, CellValue] = {}
    for column, value in zip(columns, cell_values(interview, columns), strict=True):
        dated = column.kind is CellKind.DATETIME and isinstance(value, int)
        cells[column.field] = serial_number(int(value), zone) if dated and value is not None else value
    if clear and interview.stage is Stage.DELETED:
        cells = {name: value if name == "stage" else None for name, value in cells.items()}
    return {**cells, KEY: row_key(interview.id)}


class Change(NamedTuple):
    """An update of the row that holds an interview, or of one without an id; `cells` are those to write."""

    row: int
    wanted: Wanted | None
    cells: Mapping[str, CellValue]

    @property
    def key(self) -> str:
        """The id that the row must have; `""` for a row that is nobody's."""
        return "" if self.wanted is None else self.wanted.key


class Restore(NamedTuple):
    """An id to be put back: the row it belongs to, and what its key cell shows now; `alone`: no other cell does."""

    row: int
    key: str
    shown: str
    alone: bool = False

    @property
    def is_found(self) -> bool:
        """Whether the cell can be looked for by what it shows, so that no other id can be hit by mistake."""
        return bool(self.shown) and not self.shown.startswith(NOT_TEXT)

    @property
    def by_content(self) -> bool:
        """Whether it is found wherever it is by then."""
        return self.alone and self.is_found


@dataclass(slots=True)
class Due:
    """What a view makes of the interviews that are due.

    `absent` had a row that is not there: people took it out, or spoilt its id. `deleted` are known to be taken out.
    `idle` need no write. `removals` have a row of which only the id is left. `blocked` need a new row or an empty one,
    which protected cells do not allow.
    """

    changes: list[Change] = field(default_factory=list)
    inserts: list[Wanted] = field(default_factory=list)
    idle: list[Wanted] = field(default_factory=list)
    deleted: list[Wanted] = field(default_factory=list)
    absent: list[Wanted] = field(default_factory=list)
    removals: list[Wanted] = field(default_factory=list)
    blocked: list[Wanted] = field(default_factory=list)


def sort_out(view: View, layout: Layout, wanted: Sequence[Wanted]) -> Due:
    """Compares what is due with the keys in the sheet and with what was last applied. Of rows with one key the first
    counts.
    """
    rows = view.key_rows
    due = Due()
    for each in _closed(view, layout, wanted):
        row = rows.get(each.key)
        if row is None:
            _without_row(due, each)
        elif cells := changed_cells(each, layout):
            due.changes.append(Change(row, each, cells))
        elif each.remove:
            (due.blocked if each.closed else due.removals).append(each)
        else:
            due.idle.append(each)
    due.blocked += [each for each in due.inserts if KEY in each.closed]
    due.inserts = [each for each in due.inserts if KEY not in each.closed]
    return due


def _closed(view: View, layout: Layout, wanted: Sequence[Wanted]) -> Sequence[Wanted]:
    """The same with the fields that may not be written in their rows."""
    if not view.closed:
        return wanted
    rows, new = view.key_rows, closed_when_new(view, layout)
    return [
        replace(each, closed=new if (row := rows.get(each.key)) is None else closed_in(view, layout, row))
        for each in wanted
    ]


def closed_in(view: View, layout: Layout, row: int) -> frozenset[str]:
    """The fields whose cells in a row may not be written."""
    return frozenset(name for name, place in layout.at.items() if view.closed.covers(row, place))


def closed_when_new(view: View, layout: Layout) -> frozenset[str]:
    """The fields whose cells in new rows may not be written."""
    return frozenset(name for name, place in layout.at.items() if view.closed.covers_new(view.end, place))


def _without_row(due: Due, wanted: Wanted) -> None:
    if wanted.remove:
        due.idle.append(wanted)
    elif wanted.note is None:
        due.inserts.append(replace(wanted, dated=True))
    elif wanted.note.gone:
        due.deleted.append(wanted)
    else:
        due.absent.append(wanted)


def changed_cells(wanted: Wanted, layout: Layout) -> Mapping[str, CellValue]:
    """The owned cells that differ from what was last applied, or all of them."""
    not_ours = wanted.closed | {KEY}
    owned = {name: value for name, value in wanted.cells.items() if name in layout.at and name not in not_ours}
    if wanted.in_full or wanted.note is None:
        return owned
    applied = wanted.note.applied or {}
    return {name: value for name, value in owned.items() if name not in applied or applied[name] != value}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one write may hold: bytes of the cells, requests, rows in all, and rows updated."""

    size: int = 1_800_000
    requests: int = 10_000
    rows: int = 10_000
    updates: int = 10_000


class Run(NamedTuple):
    """Cells beside each other in one row, encoded."""

    row: int
    column: int
    width: int
    link: bool
    cells: msgspec.Raw


@dataclass(slots=True)
class Part:
    """What goes into one write to one tab: updates and new rows, with the cells of both. Rows of `new` count from the
    first. `restores` and `undo` put ids back and take them out again; they go alone. `removals` are interviews whose
    ids are among `undo`. `formats` are cells, by row and column, that get a date format.
    """

    changes: list[Change] = field(default_factory=list)
    inserts: list[Wanted] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    new: list[Run] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)
    removals: list[Wanted] = field(default_factory=list)
    formats: list[tuple[int, int]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.changes) + len(self.inserts) + len(self.restores) + len(self.undo)

    @property
    def written(self) -> list[Wanted]:
        """The interviews that cells are written for."""
        return [*(change.wanted for change in self.changes if change.wanted is not None), *self.inserts]

    @property
    def everybody(self) -> list[Wanted]:
        return [*self.written, *self.removals]


@dataclass(slots=True)
class Spent:
    """What the parts of one write take up together."""

    size: int = 0
    requests: int = 0
    rows: int = 0

    def takes(self, size: int, requests: int, limits: Limits) -> bool:
        """Adds a row if it fits; a single one always does."""
        full = self.rows >= limits.rows or self.requests + requests > limits.requests
        if self.rows and (full or self.size + size > limits.size):
            return False
        self.size, self.requests, self.rows = self.size + size, self.requests + requests, self.rows + 1
        return True


def take_part(due: Due, layout: Layout, limits: Limits, spent: Spent | None = None) -> Part:
    """As much of what is due as fits into one write, updates first; `spent` is what other tabs take up in it."""
    part, spent = Part(), spent or Spent()
    for change in due.changes[: limits.updates]:
        runs = list(_runs(change.row, change.cells, layout, apart=True))
        if not spent.takes(_size(runs) + REQUEST_SIZE * len(runs), len(runs), limits):
            return part
        part.changes.append(change)
        part.runs += runs
    for wanted in due.inserts:
        cells = {name: value for name, value in wanted.cells.items() if name not in wanted.closed}
        runs = list(_runs(len(part.inserts), cells, layout, apart=False))
        if not spent.takes(_size(runs), 0, limits):
            return part
        part.inserts.append(wanted)
        part.new += runs
    return part


def _size(runs: Sequence[Run]) -> int:
    return sum(len(bytes(run.cells)) for run in runs)


def _runs(row: int, cells: Mapping[str, CellValue], layout: Layout, *, apart: bool) -> Iterator[Run]:
    """The runs of neighbouring cells. `apart`: a link is its own run, or the others of its run would lose theirs."""
    places = sorted((layout.at[name], name) for name in cells if name in layout.at)
    run: list[tuple[int, str]] = []
    for place, name in places:
        if run and (place != run[-1][0] + 1 or (apart and CellKind.LINK in {_kind(name), _kind(run[-1][1])})):
            yield _run(row, run, cells)
            run = []
        run.append((place, name))
    if run:
        yield _run(row, run, cells)


def _run(row: int, places: Sequence[tuple[int, str]], cells: Mapping[str, CellValue]) -> Run:
    link = any(_kind(name) is CellKind.LINK for _, name in places)
    encoded = requests.row_cells([requests.cell(cells[name], _kind(name)) for _, name in places])
    return Run(row, places[0][0], len(places), link, encoded)


def _kind(name: str) -> CellKind:
    return SPECS[name].kind
