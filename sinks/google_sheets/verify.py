"""Verification: reads every owned cell of every tab, compares it with the store, and reports what differs.

Cells are kept as hashes, so that a tab of 100,000 rows fits into memory.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from connector.capabilities import Difference, Progress, Report
from connector.sink import Context, Interview, Subscription
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import SheetsFailure, cells_protected, emptied
from sinks.google_sheets.formatting import UnformattedDates, unformatted_dates
from sinks.google_sheets.repair import (
    GridRow,
    best_pairs,
    owned_rows,
    recall_rows,
    shown,
    written_cells,
)
from sinks.google_sheets.sheet_view import ProtectedCells, TabView
from sinks.google_sheets.sheets_client import Calls
from sinks.google_sheets.state import RowNote, StrayValue, TabNote, read_tab_note, tab_name
from sinks.google_sheets.tabs import TabSnapshot, cannot_add, has_shrunk, read_tabs, tab_of, title_of
from sinks.google_sheets.write_planner import protected_fields, protected_fields_when_new, row_key, sheet_cells, zone_of
from sinks.spreadsheet.columns import KEY, header_key
from sinks.spreadsheet.comparison import IDENTIFYING_FIELDS, WRONG, ComparisonResult, moved_rows, report_of
from sinks.spreadsheet.values import CellValue

_REPAIR = "connector verify {sink} --repair writes it again"
FIXES: Mapping[ComparisonResult, str] = {
    ComparisonResult.MISSING: _REPAIR,
    ComparisonResult.DIFFERENT: _REPAIR,
    ComparisonResult.BROKEN_KEY: "connector verify {sink} --repair writes the id again",
    ComparisonResult.DOUBLED: "delete one of the rows in the sheet; the first one is kept up to date",
    ComparisonResult.STRAY: "connector verify {sink} --repair clears it; or delete the row in the sheet",
}
"""What an operator can do about a difference. Of the other kinds, the finding says it in `Report.asks`."""


@dataclass(frozen=True, slots=True)
class RowHash:
    """A row for comparisons: its place, and one hash per cell."""

    row: int
    cells: array[int]


@dataclass(slots=True)
class RowHashes:
    """The rows of a tab: by id, without an id, and repeats of an id."""

    fields: Sequence[str]
    stray_values: frozenset[StrayValue] = frozenset()
    by_key: dict[str, RowHash] = field(default_factory=dict)
    without: list[RowHash] = field(default_factory=list)
    doubled: dict[str, list[int]] = field(default_factory=dict)
    """Ids of several rows -> these rows."""
    rows_with_strays: dict[int, str] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)

    def add(self, rows: Iterable[GridRow]) -> None:
        stray_values = frozenset(
            StrayValue(name, shown(name, value)) for name, value in self.stray_values if value is not None
        )
        for row in rows:
            key, found = row.key.strip(), self._row_hash(row)
            if stray_values and not stray_values.isdisjoint(StrayValue(*cell) for cell in row.cells.items()):
                self.rows_with_strays[row.row] = key
            if not key:
                self.without.append(found)
            elif key in self.by_key:
                self.doubled.setdefault(key, [self.by_key[key].row]).append(row.row)
            else:
                self.by_key[key] = found

    def _row_hash(self, row: GridRow) -> RowHash:
        return RowHash(row.row, array("q", [hash(row.cells.get(name)) for name in self.fields]))

    def has_interview_in_header(self, view: TabView) -> bool:
        """Whether the row of the header is that of an interview, because users deleted the header or sorted it away."""
        return not view.has_header and any(
            found.row == view.header_row and key in self.matched for key, found in self.by_key.items()
        )

    def strays(self) -> Iterator[int]:
        """Returns rows without an interview that contain a value of one."""
        return (row for row, key in self.rows_with_strays.items() if key not in self.matched)

    def find_row_like(self, note: RowNote) -> int | None:
        """Returns the row without a known id that is most similar to what was written for the interview."""
        hashes = {name: None if value is None else hash(value) for name, value in written_cells(note).items()}
        identifying = [
            (place, hashes[name])
            for place, name in enumerate(self.fields)
            if name in IDENTIFYING_FIELDS and hashes.get(name) is not None
        ]
        near = [found for found in self._free() if any(found.cells[place] == value for place, value in identifying)]
        rows = {found.row: dict(zip(self.fields, found.cells, strict=True)) for found in near}
        return best_pairs({"": hashes}, rows).get("")

    def _free(self) -> Iterator[RowHash]:
        yield from self.without
        yield from (found for key, found in self.by_key.items() if key not in self.matched)


def differing(
    found: RowHash, fields: Sequence[str], due: Mapping[str, CellValue], note: RowNote | None
) -> tuple[ComparisonResult, list[str]]:
    """Returns the kind of a row with the right id, and the fields that differ. A value that users changed after the
    last write is a correction, until Hireflix changes the field.
    """
    applied = (note.applied or {}) if note is not None else {}
    wrong: list[str] = []
    corrected: list[str] = []
    for place, name in enumerate(fields):
        wanted = shown(name, due.get(name))
        if found.cells[place] == hash(wanted):
            continue
        is_correction = name in applied and shown(name, applied[name]) == wanted
        (corrected if is_correction else wrong).append(name)
    if wrong:
        return ComparisonResult.DIFFERENT, wrong
    return (ComparisonResult.CORRECTED, corrected) if corrected else (ComparisonResult.IN_SYNC, [])


def identifying_corrections(
    found: RowHash, fields: Sequence[str], due: Mapping[str, CellValue], note: RowNote | None
) -> dict[str, tuple[int, int]]:
    """Returns the identifying cells that users changed: field -> hashes of the shown and the due value."""
    applied = (note.applied or {}) if note is not None else {}
    cells = {}
    for place, name in enumerate(fields):
        wanted = shown(name, due.get(name))
        is_known = name in IDENTIFYING_FIELDS and name in applied and shown(name, applied[name]) == wanted
        if is_known and found.cells[place] != hash(wanted):
            cells[name] = (found.cells[place], hash(wanted))
    return cells


SLICE_ROWS = 2_000
"""Interviews that are read at once."""


@dataclass(slots=True)
class Findings:
    """The findings of one comparison. `kinds` are those of everything that is not in sync, by tab and key."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: dict[tuple[str, str], Difference] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    protected: dict[str, ProtectedCells] = field(default_factory=dict)
    unavailable: dict[str, SheetsFailure] = field(default_factory=dict)
    emptied: dict[str, SheetsFailure] = field(default_factory=dict)
    """Tabs from which many rows disappeared at once. They are not written again before an operator answered."""
    undated: dict[str, frozenset[str]] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    """Interviews whose row shows cells of others, because users moved cells without the rest of the row."""

    def add(self, kind: ComparisonResult, tab: str, key: str, detail: str = "") -> None:
        self.counts[kind] += 1
        if kind is not ComparisonResult.IN_SYNC:
            self.kinds[tab, key] = Difference(kind, key, detail)

    def only(self, kinds: Collection[ComparisonResult]) -> dict[tuple[str, str], Difference]:
        return {place: each for place, each in self.kinds.items() if each.kind in kinds}

    def add_moved(self, tab: str, keys: Iterable[str]) -> None:
        """Counts rows that seemed to be corrected by users as different, because their cells are those of others."""
        for key in keys:
            found = self.kinds.get((tab, key))
            if found is not None and found.kind in {ComparisonResult.CORRECTED, ComparisonResult.DIFFERENT}:
                self.counts[found.kind] -= 1
                self.add(ComparisonResult.DIFFERENT, tab, key, found.detail)
                self.moved.add(key)

    def unless_confirmed(self, earlier: Findings) -> None:
        """Counts what an earlier comparison did not show as pending, because it is a change in progress."""
        before = earlier.only(WRONG).keys()
        for place, each in self.only(WRONG).items():
            if place not in before:
                del self.kinds[place]
                self.counts[each.kind] -= 1
                self.counts[ComparisonResult.PENDING] += 1

    def report(self, at: int, sink: str) -> Report:
        left_to_operator = {ComparisonResult.MISSING} if self.emptied else set()
        fixes = {kind: fix for kind, fix in FIXES.items() if kind not in left_to_operator}
        report = report_of(at, sink, self.counts, self.kinds.values(), fixes)
        asks = [f"{each.reason}: {each.fix}" for each in (*self.unavailable.values(), *self.emptied.values())]
        return replace(report, remarks=self.remarks, asks=[*asks, *self.asks])


class Verification:
    """One verification. Raises `CallFailed`, and `RateLimited` when the quota has no token."""

    def __init__(self, config: GoogleSheetsConfig, calls: Calls, context: Context, progress: Progress) -> None:
        self._config = config
        self._calls = calls
        self._context = context
        self._progress = progress
        self._unformatted: Mapping[str, UnformattedDates] | None = None
        self._undated: dict[str, frozenset[str]] = {}
        self._corrections: dict[str, dict[str, dict[str, tuple[int, int]]]] = {}

    async def run(self) -> Findings:
        """Compares once, and again when something differs. Only what both comparisons show is a difference."""
        first = await self._compare_once()
        if not first.only(WRONG):
            return first
        second = await self._compare_once()
        second.unless_confirmed(first)
        return second

    async def _compare_once(self) -> Findings:
        findings = Findings()
        titles = await self._titles()
        if not titles:
            return findings
        notes = await self._context.get_notes([tab_name(name) for name in titles])
        tabs = {name: read_tab_note(notes.get(tab_name(name))) for name in titles}
        snapshots = await read_tabs(self._calls, self._config, titles, tabs, findings.unavailable)
        findings.protected = {name: snapshot.view.protected for name, snapshot in snapshots.items()}
        row_hashes = await self._row_hashes(snapshots, tabs)
        there = {
            name: snapshot for name, snapshot in snapshots.items() if snapshot.view.exists and KEY in snapshot.layout.at
        }
        if self._unformatted is None:  # the second comparison does not need this read again
            self._unformatted = await unformatted_dates(self._calls, there)
        self._undated, self._corrections = findings.undated, {}
        lost: list[tuple[str, str, RowNote]] = []
        async for expected in self._expected():
            lost += await self._compare(expected, snapshots, tabs, row_hashes, findings)
        for name, key, note in lost:
            view, before = snapshots[name].view, tabs[name]
            kind, detail = self._compare_lost(note, before, snapshots[name], row_hashes[name])
            findings.add(kind, name, key, detail)
            if kind is ComparisonResult.MISSING and has_shrunk(before, view):
                gone = before.count - len(view.key_rows)
                findings.emptied[name] = emptied(self._calls.sink, view.title, gone, before.count)
        for name, corrections in self._corrections.items():
            findings.add_moved(name, moved_rows(corrections))
        for name, snapshot in snapshots.items():
            self._compare_tab(name, snapshot, row_hashes[name], findings)
        return findings

    async def _titles(self) -> dict[str, str]:
        """Returns the expected tabs and their titles."""
        if not self._config.per_position:
            return {"": self._config.worksheet}
        titles: dict[str, str] = {}
        async for slice_ in self._expected():
            notes = await recall_rows(self._context, [each.interview.id for each in slice_])
            for each in slice_:
                name = self._tab(each.interview, notes.get(each.interview.id))
                titles.setdefault(name, title_of(each.interview, self._config.worksheet))
        return titles

    def _tab(self, interview: Interview, note: RowNote | None) -> str:
        return tab_of(interview, self._config.worksheet) if note is None else note.tab

    async def _expected(self) -> AsyncIterator[Sequence[Subscription]]:
        after = ""
        while slice_ := await self._context.interviews(after, SLICE_ROWS):
            yield slice_
            after = slice_[-1].interview.id

    async def _row_hashes(
        self, snapshots: Mapping[str, TabSnapshot], tabs: Mapping[str, TabNote]
    ) -> dict[str, RowHashes]:
        fields = {name: [each for each in snapshot.layout.at if each != KEY] for name, snapshot in snapshots.items()}
        row_hashes = {name: RowHashes(fields[name], tabs[name].stray_values) for name in snapshots}
        done, total = 0, sum(len(snapshot.view.keys or ()) for snapshot in snapshots.values())
        there = {name: snapshot for name, snapshot in snapshots.items() if snapshot.view.exists}
        async for name, rows in owned_rows(self._calls, there):
            await self._calls.run(partial(row_hashes[name].add, rows))
            done += len(rows)
            self._progress(done, max(done, total))
        return row_hashes

    async def _compare(
        self,
        expected: Sequence[Subscription],
        snapshots: Mapping[str, TabSnapshot],
        tabs: Mapping[str, TabNote],
        row_hashes: Mapping[str, RowHashes],
        findings: Findings,
    ) -> list[tuple[str, str, RowNote]]:
        """Compares the interviews that have a row. Returns those whose row was not found by its id."""
        notes = await recall_rows(self._context, [each.interview.id for each in expected])
        lost = []
        for each in expected:
            note, key = notes.get(each.interview.id), row_key(each.interview.id)
            name = self._tab(each.interview, note)
            if name in findings.unavailable:
                findings.add(ComparisonResult.NO_TAB, name, key, findings.unavailable[name].reason)
            if name not in snapshots:
                continue
            if note is not None and note.refills != tabs[name].refills:
                note = replace(note, applied=None)  # written to an earlier tab
            row_hashes[name].matched.add(key)
            compared = self._compare_interview(each, name, snapshots[name], row_hashes[name].by_key.get(key), note)
            if compared is not None:
                findings.add(*compared)
            elif note is not None:
                lost.append((name, key, note))
        return lost

    def _compare_interview(
        self, each: Subscription, name: str, snapshot: TabSnapshot, found: RowHash | None, note: RowNote | None
    ) -> ComparedRow | None:
        """Returns the kind of an interview; `None` when its row was not found by its id."""
        key = row_key(each.interview.id)
        if each.pending:
            return self._compare_pending(each, name, snapshot, found, note)
        if self._config.removes(each.interview, unrouted=each.unrouted):
            return self._compare_removed(name, key, snapshot, found)
        if found is not None:
            return self._compare_row(each.interview, name, snapshot, found, note)
        return self._compare_missing(name, key, snapshot) if note is None else None

    def _compare_pending(
        self, each: Subscription, name: str, snapshot: TabSnapshot, found: RowHash | None, note: RowNote | None
    ) -> ComparedRow:
        """Returns the kind of an interview with a pending delivery. It is a difference only if it waits for protected
        cells.
        """
        key = row_key(each.interview.id)
        compared: ComparedRow = (ComparisonResult.PENDING, name, key, "")
        if self._config.removes(each.interview, unrouted=each.unrouted):
            compared = self._compare_removed(name, key, snapshot, found)
        elif found is not None:
            compared = self._compare_row(each.interview, name, snapshot, found, note)
        elif note is None:
            compared = self._compare_missing(name, key, snapshot)
        return compared if compared[0] is ComparisonResult.PROTECTED else (ComparisonResult.PENDING, name, key, "")

    def _compare_removed(self, name: str, key: str, snapshot: TabSnapshot, found: RowHash | None) -> ComparedRow:
        if found is None:
            return ComparisonResult.IN_SYNC, name, key, ""
        if protected := protected_fields(snapshot.view, snapshot.layout, found.row):
            return ComparisonResult.PROTECTED, name, key, _where(snapshot, found.row, self._titles_of(protected))
        return ComparisonResult.DIFFERENT, name, key, f"{snapshot.view.title}, row {found.row + 1}: still there"

    def _compare_row(
        self, interview: Interview, name: str, snapshot: TabSnapshot, found: RowHash, note: RowNote | None
    ) -> ComparedRow:
        fields = [each for each in snapshot.layout.at if each != KEY]
        due = self._due(interview, snapshot)
        kind, wrong = differing(found, fields, due, note)
        if kind is not ComparisonResult.IN_SYNC:
            corrections = identifying_corrections(found, fields, due, note)
            self._corrections.setdefault(name, {})[row_key(interview.id)] = corrections
        unformatted = (self._unformatted or {}).get(name, {}).get(found.row, frozenset()).difference(wrong)
        if undated := {each for each in unformatted if due.get(each) is not None}:
            self._undated[row_key(interview.id)] = frozenset(undated)
            wrong = [*wrong, *undated] if kind is ComparisonResult.DIFFERENT else [*undated]
            kind = ComparisonResult.DIFFERENT
        protected = (
            protected_fields(snapshot.view, snapshot.layout, found.row)
            if kind is ComparisonResult.DIFFERENT
            else frozenset()
        )
        if protected.issuperset(wrong) and protected:
            kind = ComparisonResult.PROTECTED
        detail = _where(snapshot, found.row, self._titles_of(wrong)) if wrong else ""
        return kind, name, row_key(interview.id), detail

    def _compare_missing(self, name: str, key: str, snapshot: TabSnapshot) -> ComparedRow:
        if KEY in protected_fields_when_new(snapshot.view, snapshot.layout):
            return ComparisonResult.PROTECTED, name, key, f"{snapshot.view.title}: protected against new rows"
        return ComparisonResult.MISSING, name, key, snapshot.view.title

    def _titles_of(self, fields: Collection[str]) -> list[str]:
        return [column.title for column in self._config.columns if column.field in fields]

    def _due(self, interview: Interview, snapshot: TabSnapshot) -> Mapping[str, str | int | float | None]:
        zone, clear = zone_of(snapshot.view.zone), self._config.on_delete == "clear"
        return sheet_cells(interview, self._config.columns, zone, self._config.words, clear=clear)

    def _compare_lost(
        self, note: RowNote, tab: TabNote, snapshot: TabSnapshot, row_hashes: RowHashes
    ) -> tuple[ComparisonResult, str]:
        """Returns the kind of an interview whose row existed and is not found by its id. Where many rows disappeared
        at once, their repair asks the operator what to do.
        """
        row = None if note.gone else row_hashes.find_row_like(note)
        if row is not None:
            return ComparisonResult.BROKEN_KEY, f"{snapshot.view.title}, row {row + 1}"
        is_asked = not note.gone and has_shrunk(tab, snapshot.view)
        wanted_back = self._config.recreate or tab.is_wanted_back(note) or is_asked
        return (ComparisonResult.MISSING if wanted_back else ComparisonResult.DELETED), snapshot.view.title

    def _compare_tab(self, name: str, snapshot: TabSnapshot, row_hashes: RowHashes, findings: Findings) -> None:
        for key, rows in row_hashes.doubled.items():
            if key in row_hashes.matched:
                findings.kinds.pop((name, key), None)
                places = " and ".join(str(row + 1) for row in rows)
                findings.add(ComparisonResult.DOUBLED, name, key, f"{snapshot.view.title}, rows {places}")
        for row in row_hashes.strays():
            findings.add(ComparisonResult.STRAY, name, f"row {row + 1}", snapshot.view.title)
        if cannot_add(snapshot.view, snapshot.layout):
            for column in snapshot.layout.missing:
                detail = f"{snapshot.view.title}, row {snapshot.view.header_row + 1}: the header is protected"
                findings.add(ComparisonResult.PROTECTED, name, f"column {column.title}", detail)
        findings.remarks += remarks_on(
            self._config, snapshot, lost_header=row_hashes.has_interview_in_header(snapshot.view)
        )
        if any(each.kind is ComparisonResult.PROTECTED for (tab, _), each in findings.kinds.items() if tab == name):
            findings.asks.append(f"{snapshot.view.title}: {cells_protected(self._calls.account.email).fix}")


ComparedRow: TypeAlias = tuple[ComparisonResult, str, str, str]
"""Kind, tab, key, and place."""


def _where(snapshot: TabSnapshot, row: int, titles: Sequence[str]) -> str:
    return f"{snapshot.view.title}, row {row + 1}: {', '.join(titles)}"


LOST_HEADER = "the header is missing at the top: undo its deletion or the sort, or enter titles in a new first row"


def remarks_on(config: GoogleSheetsConfig, snapshot: TabSnapshot, *, lost_header: bool) -> list[str]:
    """Returns remarks for users about the columns of a tab. `lost_header`: the header is not where it was, so that
    other columns have no titles.
    """
    if not snapshot.view.exists:
        return []
    titles = {column.field: column.title for column in config.columns}
    ours = {header_key(title) for title in titles.values()} | {
        header_key(snapshot.view.header[place]) for place in snapshot.layout.at.values()
    }
    header = () if lost_header else snapshot.view.header
    theirs = [text for text in header if text.strip() and header_key(text) not in ours]
    lines = (
        ("other columns", theirs),
        ("columns that users deleted", [titles[name] for name in snapshot.layout.gone]),
        ("protected against the sink", snapshot.view.protected.names()),
    )
    remarks = [f"{snapshot.view.title}: {what}: {', '.join(names)}" for what, names in lines if names]
    return [f"{snapshot.view.title}: {LOST_HEADER}", *remarks] if lost_header else remarks
