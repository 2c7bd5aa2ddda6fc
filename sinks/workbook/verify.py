"""Verification: reads the cells of the table, compares them with the store, and reports what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from connector.capabilities import Difference, Report
from connector.sink import SinkBroken
from sinks.spreadsheet.columns import KEY, Column
from sinks.spreadsheet.comparison import IDENTIFYING_FIELDS, WRONG, ComparisonResult, moved_rows, report_of
from sinks.spreadsheet.values import CellKind
from sinks.workbook import file
from sinks.workbook.state import FileDiff, RewriteRequest, Row, TableState, Written, emptied
from sinks.workbook.tab import cell_text, key_text, open_tab, same_value

_REPAIR = "connector verify {sink} --repair writes it again"
FIXES: Mapping[ComparisonResult, str] = {
    ComparisonResult.MISSING: _REPAIR,
    ComparisonResult.DIFFERENT: _REPAIR,
    ComparisonResult.DOUBLED: "delete one of the rows in the file; the first one is kept up to date",
}
"""What an operator can do about a difference."""

REPAIRABLE = frozenset({ComparisonResult.MISSING, ComparisonResult.DIFFERENT})

RowContent = tuple[int, Mapping[str, Written]]
"""A row: its number, and its cells by field."""


@dataclass(frozen=True, slots=True)
class TableContent:
    """The table in the file: the title of its tab, the number of the last rewrite, and its rows by the text of their
    key. `is_missing`: there is no file.
    """

    title: str
    flush: int | None = None
    rows: Mapping[str, Sequence[RowContent]] = field(default_factory=dict)
    is_missing: bool = False

    def keys_of(self, ids: Collection[str]) -> set[str]:
        """Returns those of the interviews that have a row."""
        return {each for each in ids if key_text(each) in self.rows}


def read_table(request: RewriteRequest) -> TableContent:
    """Reads the table of the file. Raises `SinkBroken` when it cannot be read, or when the tab or the column of the ids
    is gone. Writes nothing; blocks.
    """
    try:
        path = request.path.resolve()
        if file.file_version(path) is None:
            return TableContent(request.worksheet, is_missing=True)
        book = file.load(path.read_bytes(), is_own=True)  # nothing is rewritten, so nothing can be lost
    except OSError as error:
        raise file.broken_by(error) from error
    tab = open_tab(book, request)
    return TableContent(tab.sheet.title, file.flush_number(book.book), tab.content(request.columns))


@dataclass(slots=True)
class Findings:
    """The findings of one comparison, by interview id."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: dict[str, Difference] = field(default_factory=dict)
    emptied: SinkBroken | None = None
    """The question to an operator when many rows disappeared at once. They are not written again before the answer."""
    asked: frozenset[str] = frozenset()
    """The interviews of these rows."""

    def add(self, kind: ComparisonResult, key: str, detail: str = "") -> None:
        self.counts[kind] += 1
        if kind is not ComparisonResult.IN_SYNC:
            self.differences[key] = Difference(kind, key, detail)

    def keys(self, kinds: Collection[ComparisonResult]) -> set[str]:
        """Returns the interviews with a difference of these kinds."""
        return {key for key, each in self.differences.items() if each.kind in kinds}

    def unless_confirmed(self, earlier: Findings) -> None:
        """Counts what an earlier comparison did not show as pending, because it is a change in progress."""
        for key in self.keys(WRONG) - earlier.keys(WRONG):
            self.counts[self.differences.pop(key).kind] -= 1
            self.counts[ComparisonResult.PENDING] += 1

    def report(self, at: int, sink: str) -> Report:
        if self.emptied is None:
            return report_of(at, sink, self.counts, self.differences.values(), FIXES)
        left_to_operator = {ComparisonResult.MISSING}
        fixes = {kind: fix for kind, fix in FIXES.items() if kind not in left_to_operator}
        report = report_of(at, sink, self.counts, self.differences.values(), fixes)
        return replace(report, asks=[f"{self.emptied.reason}: {self.emptied.fix}"])


class Comparison:
    """Compares the interviews that the sink shows with the content of the file."""

    def __init__(
        self, state: TableState, content: TableContent, columns: Sequence[Column], *, sink: str, recreate: bool
    ) -> None:
        known = state if not content.is_missing else TableState(rows=state.rows)
        self._content = content
        self._columns = {column.field: column for column in columns}
        self._changes: FileDiff = known.compare(content.keys_of(known.rows), content.flush)
        self._recreate = recreate
        self._corrections: dict[str, dict[str, tuple[Written, Written]]] = {}
        self.findings = Findings()
        rows = len(known.rows.keys() - known.deleted)
        if self._changes.is_mass_deletion(rows) and not recreate:
            self.findings.emptied = emptied(sink, len(self._changes.newly_deleted), rows)
            self.findings.asked = frozenset(self._changes.newly_deleted)

    def add(self, key: str, row: Row | None, *, pending: bool) -> None:
        """Adds an interview: the row that it has to have, `None` for one that no longer exists."""
        if pending:
            self.findings.add(ComparisonResult.PENDING, key)
            return
        rows = self._content.rows.get(key_text(key), ())
        if row is None or row.removed:
            self._add_removed(key, rows)
        elif not rows:
            is_deleted = key in self._changes.deleted - self.findings.asked and not self._recreate
            kind = ComparisonResult.DELETED if is_deleted else ComparisonResult.MISSING
            self.findings.add(kind, key, self._content.title)
        elif len(rows) > 1:
            places = " and ".join(str(number) for number, _ in rows)
            self.findings.add(ComparisonResult.DOUBLED, key, f"{self._content.title}, rows {places}")
        else:
            self._compare(key, row, rows[0])

    def _add_removed(self, key: str, rows: Sequence[RowContent]) -> None:
        if not rows:
            self.findings.add(ComparisonResult.IN_SYNC, key)
            return
        self.findings.add(ComparisonResult.DIFFERENT, key, f"{self._content.title}, row {rows[0][0]}: still there")

    def _compare(self, key: str, row: Row, shown: RowContent) -> None:
        """Compares the cells of a row. A value that users changed after the last write is a correction, until Hireflix
        changes the field.
        """
        number, cells = shown
        applied = {} if row.applied is None or key in self._changes.lost else row.applied
        other = [
            name
            for name, value in cells.items()
            if name != KEY and not same_value(self._columns[name].kind, value, row.values[name])
        ]
        wrong = [name for name in other if name not in applied or applied[name] != row.values[name]]
        corrected = IDENTIFYING_FIELDS.intersection(other).difference(wrong)
        self._corrections[key] = {name: (self._text(name, cells), self._text(name, row.values)) for name in corrected}
        kind = ComparisonResult.DIFFERENT if wrong else ComparisonResult.CORRECTED
        if not other:
            kind = ComparisonResult.IN_SYNC
        titles = ", ".join(self._columns[name].title for name in wrong or other)
        self.findings.add(kind, key, f"{self._content.title}, row {number}: {titles}")

    def _text(self, name: str, cells: Mapping[str, Written]) -> Written:
        """Returns a cell in the form in which shown and due values are compared."""
        value = cells[name]
        return cell_text(str(value)) if self._columns[name].kind is CellKind.TEXT and value is not None else value

    def finish(self) -> Findings:
        """Returns the findings after the last interview. Rows with cells of others are different, and not corrected."""
        for key in moved_rows(self._corrections):
            found = self.findings.differences[key]
            self.findings.counts[found.kind] -= 1
            self.findings.add(ComparisonResult.DIFFERENT, key, found.detail)
        return self.findings
