"""Verification: reads every owned cell of every tab, compares it with the store, and reports what differs.

Cells are kept as hashes, so that a tab of 100,000 rows fits into memory.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TypeAlias

from connector.sink import Context, Difference, Interview, Report, Subscription
from sinks.google_sheets.columns import cannot_add
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.date_formats import Bare, bare_dates
from sinks.google_sheets.errors import Failure, protected
from sinks.google_sheets.protection import Closed
from sinks.google_sheets.repair import WHO, Row, best_pairs, owned_rows, recall_rows, shown, written_cells
from sinks.google_sheets.sheets_client import Calls
from sinks.google_sheets.state import RowNote, Suspect, TabNote, read_tab_note, tab_name
from sinks.google_sheets.tabs import Look, look, tab_of, title_of
from sinks.google_sheets.write_planner import closed_in, closed_when_new, row_key, sheet_cells, zone_of
from sinks.spreadsheet.columns import KEY, header_key
from sinks.spreadsheet.values import CellValue


class Kind(StrEnum):
    """What a comparison comes to, one word per interview or row."""

    IN_SYNC = "in sync"
    MISSING = "missing"
    DIFFERENT = "different"
    BROKEN_KEY = "broken key"
    DOUBLED = "doubled"
    STRAY = "stray"
    PROTECTED = "protected"
    NO_TAB = "no tab"
    CORRECTED = "corrected by people"
    DELETED = "deleted by people"
    PENDING = "pending"


WRONG = (Kind.MISSING, Kind.DIFFERENT, Kind.BROKEN_KEY, Kind.DOUBLED, Kind.STRAY, Kind.PROTECTED, Kind.NO_TAB)
"""The kinds that a sheet in sync has none of."""


@dataclass(frozen=True, slots=True)
class Print:
    """A row as it compares: its place, and one number per cell."""

    row: int
    cells: array[int]


@dataclass(slots=True)
class Prints:
    """The rows of a tab: by id, without an id, and those whose id is there already."""

    fields: Sequence[str]
    suspects: frozenset[Suspect] = frozenset()
    by_key: dict[str, Print] = field(default_factory=dict)
    without: list[Print] = field(default_factory=list)
    doubled: dict[str, list[int]] = field(default_factory=dict)
    suspicious: dict[int, str] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)

    def add(self, rows: Iterable[Row]) -> None:
        suspects = frozenset(Suspect(name, shown(name, value)) for name, value in self.suspects if value is not None)
        for row in rows:
            key, found = row.key.strip(), self._print(row)
            if suspects and not suspects.isdisjoint(Suspect(*cell) for cell in row.cells.items()):
                self.suspicious[row.row] = key
            if not key:
                self.without.append(found)
            elif key in self.by_key:
                self.doubled.setdefault(key, []).append(row.row)
            else:
                self.by_key[key] = found

    def _print(self, row: Row) -> Print:
        return Print(row.row, array("q", [hash(row.cells.get(name)) for name in self.fields]))

    def strays(self) -> Iterator[int]:
        """Rows that are nobody's and hold what was meant for somebody."""
        return (row for row, key in self.suspicious.items() if key not in self.matched)

    def row_like(self, note: RowNote) -> int | None:
        """The row without a known id that most of all still holds what was written for the interview."""
        hashes = {name: None if value is None else hash(value) for name, value in written_cells(note).items()}
        who = [
            (place, hashes[name])
            for place, name in enumerate(self.fields)
            if name in WHO and hashes.get(name) is not None
        ]
        near = [found for found in self._free() if any(found.cells[place] == value for place, value in who)]
        rows = {found.row: dict(zip(self.fields, found.cells, strict=True)) for found in near}
        return best_pairs({"": hashes}, rows).get("")

    def _free(self) -> Iterator[Print]:
        yield from self.without
        yield from (found for key, found in self.by_key.items() if key not in self.matched)


def differing(
    found: Print, fields: Sequence[str], due: Mapping[str, CellValue], note: RowNote | None
) -> tuple[Kind, list[str]]:
    """What a row with the right id comes to, and in which fields. A value that people put in place of what was last
    applied is a correction, until Hireflix changes that very field.
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
        return Kind.DIFFERENT, wrong
    return (Kind.CORRECTED, corrected) if corrected else (Kind.IN_SYNC, [])


SLICE = 2_000
"""Interviews at once."""
TOLD = 1_000
"""Differences that a report tells one by one."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Findings:
    """What one look at everything found. `kinds` holds all that is not simply in sync, by tab and key."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: dict[tuple[str, str], Difference] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    closed: dict[str, Closed] = field(default_factory=dict)
    shut: dict[str, Failure] = field(default_factory=dict)
    undated: dict[str, frozenset[str]] = field(default_factory=dict)

    def add(self, kind: Kind, tab: str, key: str, detail: str = "") -> None:
        self.counts[kind] += 1
        if kind is not Kind.IN_SYNC:
            self.kinds[tab, key] = Difference(kind, key, detail)

    def only(self, kinds: Collection[Kind]) -> dict[tuple[str, str], Difference]:
        return {place: each for place, each in self.kinds.items() if each.kind in kinds}

    def unless_confirmed(self, earlier: Findings) -> None:
        """Takes out what an earlier look did not show: it was only passing by."""
        before = earlier.only(WRONG).keys()
        for place, each in self.only(WRONG).items():
            if place not in before:
                del self.kinds[place]
                self.counts[each.kind] -= 1
                self.counts[Kind.PENDING] += 1

    def report(self, at: int) -> Report:
        told = sorted(self.kinds.values(), key=lambda each: (each.kind not in WRONG, each.kind, each.key))
        counts = {str(kind): self.counts[kind] for kind in Kind if self.counts[kind] or kind is Kind.IN_SYNC}
        asks = [f"{each.reason}: {each.fix}" for each in self.shut.values()]
        return Report(at, counts, [str(kind) for kind in WRONG], told[:TOLD], self.remarks, [*asks, *self.asks])


class Verification:
    """One verification. Raises `CallFailed`, and `RateLimited` when the quota has no token."""

    def __init__(self, config: GoogleSheetsConfig, calls: Calls, context: Context, progress: Progress) -> None:
        self._config = config
        self._calls = calls
        self._context = context
        self._progress = progress
        self._bare: Mapping[str, Bare] | None = None
        self._undated: dict[str, frozenset[str]] = {}

    async def run(self) -> Findings:
        """Looks once, and once more when something is wrong: only what both looks show is a difference."""
        first = await self._look()
        if not first.only(WRONG):
            return first
        second = await self._look()
        second.unless_confirmed(first)
        return second

    async def _look(self) -> Findings:
        findings = Findings()
        titles = await self._titles()
        if not titles:
            return findings
        notes = await self._context.get_notes([tab_name(name) for name in titles])
        tabs = {name: read_tab_note(notes.get(tab_name(name))) for name in titles}
        looks = await look(self._calls, self._config, titles, tabs, findings.shut)
        findings.closed = {name: seen.view.closed for name, seen in looks.items()}
        prints = await self._prints(looks, tabs)
        there = {name: seen for name, seen in looks.items() if seen.view.exists and KEY in seen.layout.at}
        if self._bare is None:  # a second look compares values again, and spares the quota this read
            self._bare = await bare_dates(self._calls, there)
        self._undated = findings.undated
        lost: list[tuple[str, str, RowNote]] = []
        async for expected in self._expected():
            lost += await self._compare(expected, looks, tabs, prints, findings)
        for name, key, note in lost:
            kind, detail = self._judge_lost(note, tabs[name], prints[name])
            findings.add(kind, name, key, detail)
        for name, seen in looks.items():
            self._judge_tab(name, seen, prints[name], findings)
        return findings

    async def _titles(self) -> dict[str, str]:
        """The tabs that there should be, and what they would be called."""
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
        while slice_ := await self._context.interviews(after, SLICE):
            yield slice_
            after = slice_[-1].interview.id

    async def _prints(self, looks: Mapping[str, Look], tabs: Mapping[str, TabNote]) -> dict[str, Prints]:
        fields = {name: [each for each in seen.layout.at if each != KEY] for name, seen in looks.items()}
        prints = {name: Prints(fields[name], tabs[name].suspects) for name in looks}
        done, total = 0, sum(len(seen.view.keys or ()) for seen in looks.values())
        there = {name: seen for name, seen in looks.items() if seen.view.exists}
        async for name, rows in owned_rows(self._calls, there):
            await self._calls.think(partial(prints[name].add, rows))
            done += len(rows)
            self._progress(done, max(done, total))
        return prints

    async def _compare(
        self,
        expected: Sequence[Subscription],
        looks: Mapping[str, Look],
        tabs: Mapping[str, TabNote],
        prints: Mapping[str, Prints],
        findings: Findings,
    ) -> list[tuple[str, str, RowNote]]:
        """Judges the interviews that have a row; gives those that had one."""
        notes = await recall_rows(self._context, [each.interview.id for each in expected])
        lost = []
        for each in expected:
            note, key = notes.get(each.interview.id), row_key(each.interview.id)
            name = self._tab(each.interview, note)
            if name in findings.shut:
                findings.add(Kind.NO_TAB, name, key, findings.shut[name].reason)
            if name not in looks:
                continue
            if note is not None and note.era != tabs[name].era:
                note = replace(note, applied=None)  # written to the tab that was there before
            prints[name].matched.add(key)
            verdict = self._judge(each, name, looks[name], prints[name].by_key.get(key), note)
            if verdict is not None:
                findings.add(*verdict)
            elif note is not None:
                lost.append((name, key, note))
        return lost

    def _judge(
        self, each: Subscription, name: str, seen: Look, found: Print | None, note: RowNote | None
    ) -> Verdict | None:
        """What an interview comes to; `None` when it had a row that is not found by its id."""
        key = row_key(each.interview.id)
        if each.pending:
            return self._judge_pending(each, name, seen, found, note)
        if self._config.removes(each.interview, left=each.left):
            return self._judge_removed(name, key, seen, found)
        if found is not None:
            return self._judge_row(each.interview, name, seen, found, note)
        return self._judge_missing(name, key, seen) if note is None else None

    def _judge_pending(
        self, each: Subscription, name: str, seen: Look, found: Print | None, note: RowNote | None
    ) -> Verdict:
        """What waits to be delivered is no difference, unless it waits for protected cells."""
        key = row_key(each.interview.id)
        verdict: Verdict = (Kind.PENDING, name, key, "")
        if self._config.removes(each.interview, left=each.left):
            verdict = self._judge_removed(name, key, seen, found)
        elif found is not None:
            verdict = self._judge_row(each.interview, name, seen, found, note)
        elif note is None:
            verdict = self._judge_missing(name, key, seen)
        return verdict if verdict[0] is Kind.PROTECTED else (Kind.PENDING, name, key, "")

    def _judge_removed(self, name: str, key: str, seen: Look, found: Print | None) -> Verdict:
        if found is None:
            return Kind.IN_SYNC, name, key, ""
        if closed := closed_in(seen.view, seen.layout, found.row):
            return Kind.PROTECTED, name, key, _where(seen, found.row, self._titles_of(closed))
        return Kind.DIFFERENT, name, key, "still there"

    def _judge_row(self, interview: Interview, name: str, seen: Look, found: Print, note: RowNote | None) -> Verdict:
        fields = [each for each in seen.layout.at if each != KEY]
        due = self._due(interview, seen)
        kind, wrong = differing(found, fields, due, note)
        bare = (self._bare or {}).get(name, {}).get(found.row, frozenset()).difference(wrong)
        if undated := {each for each in bare if due.get(each) is not None}:
            self._undated[row_key(interview.id)] = frozenset(undated)
            wrong = [*wrong, *undated] if kind is Kind.DIFFERENT else [*undated]
            kind = Kind.DIFFERENT
        closed = closed_in(seen.view, seen.layout, found.row) if kind is Kind.DIFFERENT else frozenset()
        if closed.issuperset(wrong) and closed:
            kind = Kind.PROTECTED
        detail = _where(seen, found.row, self._titles_of(wrong)) if wrong else ""
        return kind, name, row_key(interview.id), detail

    def _judge_missing(self, name: str, key: str, seen: Look) -> Verdict:
        if KEY in closed_when_new(seen.view, seen.layout):
            return Kind.PROTECTED, name, key, f"{seen.view.title}: protected against new rows"
        return Kind.MISSING, name, key, ""

    def _titles_of(self, fields: Collection[str]) -> list[str]:
        return [column.title for column in self._config.columns if column.field in fields]

    def _due(self, interview: Interview, seen: Look) -> Mapping[str, str | int | float | None]:
        zone, clear = zone_of(seen.view.zone), self._config.on_delete == "clear"
        return sheet_cells(interview, self._config.columns, zone, clear=clear)

    def _judge_lost(self, note: RowNote, tab: TabNote, prints: Prints) -> tuple[Kind, str]:
        """A row that was there and is not found by its id."""
        row = None if note.gone else prints.row_like(note)
        if row is not None:
            return Kind.BROKEN_KEY, f"row {row + 1}"
        wanted_back = self._config.recreate or tab.is_wanted_back(note)
        return (Kind.MISSING if wanted_back else Kind.DELETED), ""

    def _judge_tab(self, name: str, seen: Look, prints: Prints, findings: Findings) -> None:
        for key, rows in prints.doubled.items():
            if key in prints.matched:
                findings.kinds.pop((name, key), None)
                findings.add(Kind.DOUBLED, name, key, "rows " + ", ".join(str(row + 1) for row in rows))
        for row in prints.strays():
            findings.add(Kind.STRAY, name, f"row {row + 1}")
        if cannot_add(seen.view, seen.layout):
            for column in seen.layout.missing:
                detail = f"{seen.view.title}, row {seen.view.header_row + 1}: the header is protected"
                findings.add(Kind.PROTECTED, name, f"column {column.title}", detail)
        findings.remarks += remarks_on(self._config, seen)
        if any(each.kind is Kind.PROTECTED for (tab, _), each in findings.kinds.items() if tab == name):
            findings.asks.append(f"{seen.view.title}: {protected(self._calls.account.email).fix}")


Verdict: TypeAlias = tuple[Kind, str, str, str]
"""Kind, tab, key, and where."""


def _where(seen: Look, row: int, titles: Sequence[str]) -> str:
    return f"{seen.view.title}, row {row + 1}: {', '.join(titles)}"


def remarks_on(config: GoogleSheetsConfig, seen: Look) -> list[str]:
    """What people should know about a tab's columns."""
    if not seen.view.exists:
        return []
    titles = {column.field: column.title for column in config.columns}
    ours = {header_key(title) for title in titles.values()} | {
        header_key(seen.view.header[place]) for place in seen.layout.at.values()
    }
    theirs = [text for text in seen.view.header if text.strip() and header_key(text) not in ours]
    lines = (
        ("columns of people", theirs),
        ("columns that people deleted", [titles[name] for name in seen.layout.gone]),
        ("protected against us", seen.view.closed.names()),
    )
    return [f"{seen.view.title}: {what}: {', '.join(names)}" for what, names in lines if names]
