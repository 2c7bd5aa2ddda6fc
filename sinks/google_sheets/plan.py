"""Which interviews need which cells, and how much of that goes into one write. Pure.

Only owned cells that differ from what was last applied are written, and never the key of a row that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from connector.sink import Interview
from sinks.google_sheets import requests
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.notes import RowNote
from sinks.google_sheets.reading import View
from sinks.table import KEY, SPECS, CellValue, Column, Kind, cell_values, clean_text, serial_number

REQUEST_SIZE = 200
"""Bytes to allow for what stands around the cells of one request."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An interview that is due: the key of its row, its cells by field, and what is remembered of its row."""

    key: str
    cells: Mapping[str, CellValue]
    note: RowNote | None = None


def row_key(interview_id: str) -> str:
    """What the key column shows for an interview; keys are compared without outer spaces."""
    return clean_text(interview_id).strip()


def zone_of(name: str) -> tzinfo:
    """The spreadsheet's time zone; UTC when its name says nothing to this machine."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def sheet_cells(interview: Interview, columns: Sequence[Column], zone: tzinfo) -> Mapping[str, CellValue]:
    """The interview's cells by field, as a spreadsheet in `zone` holds them: dates are serial numbers."""
    cells: dict[str, CellValue] = {}
    for column, value in zip(columns, cell_values(interview, columns), strict=True):
        dated = column.kind is Kind.DATETIME and isinstance(value, int)
        cells[column.field] = serial_number(int(value), zone) if dated and value is not None else value
    return {**cells, KEY: row_key(interview.id)}


class Change(NamedTuple):
    """An update of the row that holds an interview; `cells` are those to write."""

    row: int
    wanted: Wanted
    cells: Mapping[str, CellValue]


@dataclass(slots=True)
class Due:
    """What a view makes of the interviews that are due.

    `deleted` had a row that is gone: people took it out, and so it stays. `idle` need no write.
    """

    changes: list[Change] = field(default_factory=list)
    inserts: list[Wanted] = field(default_factory=list)
    idle: list[Wanted] = field(default_factory=list)
    deleted: list[Wanted] = field(default_factory=list)


def sort_out(view: View, layout: Layout, wanted: Sequence[Wanted]) -> Due:
    """Compares what is due with the keys in the sheet and with what was last applied. Of rows with one key the first
    counts.
    """
    rows = key_rows(view)
    due = Due()
    for each in wanted:
        row = rows.get(each.key)
        if row is None:
            (due.inserts if each.note is None else due.deleted).append(each)
        elif cells := changed_cells(each, layout):
            due.changes.append(Change(row, each, cells))
        else:
            due.idle.append(each)
    return due


def key_rows(view: View) -> Mapping[str, int]:
    """Key -> first row."""
    rows: dict[str, int] = {}
    for row, key in enumerate(view.keys or ()):
        if key:
            rows.setdefault(key.strip(), row)
    return rows


def changed_cells(wanted: Wanted, layout: Layout) -> Mapping[str, CellValue]:
    """The owned cells that differ from what was last applied; all of them when that is unknown or no longer counts."""
    owned = {name: value for name, value in wanted.cells.items() if name in layout.at and name != KEY}
    note = wanted.note
    if note is None or note.force or note.applied is None:
        return owned
    applied = note.applied
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
    """What goes into one write: updates and new rows, with the cells of both. Rows of `new` count from the first."""

    changes: list[Change] = field(default_factory=list)
    inserts: list[Wanted] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    new: list[Run] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.changes) + len(self.inserts)

    @property
    def everybody(self) -> list[Wanted]:
        return [*(change.wanted for change in self.changes), *self.inserts]


def take_part(due: Due, layout: Layout, limits: Limits) -> Part:
    """As much of what is due as fits into one write, updates first. A single row always fits."""
    part = Part()
    size = 0
    for change in due.changes[: limits.updates]:
        runs = list(_runs(change.row, change.cells, layout, apart=True))
        size += _size(runs) + REQUEST_SIZE * len(runs)
        if part.rows and (_full(part, size, limits) or len(part.runs) + len(runs) > limits.requests):
            return part
        part.changes.append(change)
        part.runs += runs
    for wanted in due.inserts:
        runs = list(_runs(len(part.inserts), wanted.cells, layout, apart=False))
        size += _size(runs)
        if part.rows and _full(part, size, limits):
            return part
        part.inserts.append(wanted)
        part.new += runs
    return part


def _full(part: Part, size: int, limits: Limits) -> bool:
    return size > limits.size or part.rows >= limits.rows


def _size(runs: Sequence[Run]) -> int:
    return sum(len(bytes(run.cells)) for run in runs)


def _runs(row: int, cells: Mapping[str, CellValue], layout: Layout, *, apart: bool) -> Iterator[Run]:
    """The runs of neighbouring cells. `apart`: a link is its own run, or the others of its run would lose theirs."""
    places = sorted((layout.at[name], name) for name in cells if name in layout.at)
    run: list[tuple[int, str]] = []
    for place, name in places:
        if run and (place != run[-1][0] + 1 or (apart and Kind.LINK in {_kind(name), _kind(run[-1][1])})):
            yield _run(row, run, cells)
            run = []
        run.append((place, name))
    if run:
        yield _run(row, run, cells)


def _run(row: int, places: Sequence[tuple[int, str]], cells: Mapping[str, CellValue]) -> Run:
    link = any(_kind(name) is Kind.LINK for _, name in places)
    encoded = requests.row_cells([requests.cell(cells[name], _kind(name)) for _, name in places])
    return Run(row, places[0][0], len(places), link, encoded)


def _kind(name: str) -> Kind:
    return SPECS[name].kind
