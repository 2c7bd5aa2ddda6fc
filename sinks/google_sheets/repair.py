"""Repairs: finds stray values and lost ids in the owned cells of a tab, and plans the writes. Order of repair: stray
values in rows without an id are cleared, rows with values of others are written again, and damaged ids are restored
where the rest of the row identifies the interview. A tab is read in slices, so that a tab of any size fits into memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from connector.sink import Context
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import Columns
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.sheet_view import NOT_TEXT, ProtectedCells
from sinks.google_sheets.sheets_client import Calls, read_values
from sinks.google_sheets.state import RowNote, StrayValue, TabNote, read_row_note, row_name
from sinks.google_sheets.tabs import Layout, TabSnapshot
from sinks.google_sheets.write_planner import DueInterview, Restore, RowChange, TabChanges
from sinks.spreadsheet.columns import KEY, SPECS
from sinks.spreadsheet.comparison import IDENTIFYING_FIELDS
from sinks.spreadsheet.values import LINK_TEXT, CellKind, CellValue

EMAIL = "candidate_email"
MIN_IDENTIFYING = 2
"""Identifying fields that must be equal when the e-mail address is not."""
MIN_CELLS = 4
"""Cells that must be equal: fewer are equal by chance."""
MIN_SHARE = 0.6
"""Share of the written cells that must be equal, because users may have changed the others."""


def similarity(written: Mapping[str, Hashable], cells: Mapping[str, Hashable]) -> int:
    """Returns how many cells of a row equal the values written for an interview, without empty values and missing
    columns; 0 when the row is not that of the interview. The row is that of the interview when at least four cells and
    60 % of them are equal, and the identifying fields match: the e-mail or two others, and all of them but one, because
    users correct an address too.
    """
    equal = {name: cells[name] == value for name, value in written.items() if value is not None and name in cells}
    count = sum(equal.values())
    identifying = [each for name, each in equal.items() if name in IDENTIFYING_FIELDS]
    are_most = sum(identifying) >= MIN_IDENTIFYING and sum(identifying) >= len(identifying) - 1
    is_identified = equal.get(EMAIL, False) or are_most
    return count if is_identified and count >= MIN_CELLS and count >= MIN_SHARE * len(equal) else 0


def best_pairs(
    lost: Mapping[str, Mapping[str, Hashable]], rows: Mapping[int, Mapping[str, Hashable]]
) -> Mapping[str, int]:
    """Returns the most similar row for each lost id; each row at most once."""
    scores = [(similarity(written, cells), key, row) for key, written in lost.items() for row, cells in rows.items()]
    pairs: dict[str, int] = {}
    for score, key, row in sorted(scores, key=lambda each: (-each[0], each[1:])):
        if score and key not in pairs and row not in pairs.values():
            pairs[key] = row
    return pairs


NOTHING = frozenset((name, None) for name in IDENTIFYING_FIELDS)


DAYS_TEXT = "days"
"""The form for comparisons of a number of days."""


def shown(name: str, value: CellValue) -> CellValue:
    """Returns a value in the form for comparisons: a link by its text, a number rounded, an empty text as `None`."""
    if value is None or value == "":
        return None
    if SPECS[name].kind is CellKind.LINK:
        return LINK_TEXT
    if SPECS[name].kind is CellKind.DAYS_SINCE:
        return DAYS_TEXT  # the number changes every day
    if isinstance(value, float | int) and not isinstance(value, bool):
        return round(float(value), 6)
    return value


@dataclass(frozen=True, slots=True)
class GridRow:
    """One row of the grid: its id in the key column, and its owned cells in the form for comparisons."""

    row: int
    key: str
    cells: Mapping[str, CellValue]


def rows_of(reply: Columns, sheet_id: int, layout: Layout, first: int) -> Iterator[GridRow]:
    """Yields the rows of a slice that begins at row `first`, without blank ones."""
    found: dict[int, list[str | float | bool]] = {}
    for matched in reply.value_ranges:
        grid = matched.data_filters[0].grid_range
        if (grid.sheet_id, grid.start_row_index) == (sheet_id, first):
            found[grid.start_column_index] = matched.value_range.values[0] if matched.value_range.values else []
    keys = found.get(layout.at[KEY], [])
    named = [(name, found.get(place, [])) for name, place in layout.at.items() if name != KEY]
    for row in range(max((len(cells) for cells in found.values()), default=0)):
        cells = {name: shown(name, cells[row] if row < len(cells) else None) for name, cells in named}
        key = _key_text(keys[row]) if row < len(keys) else ""
        if key or any(value is not None for value in cells.values()):
            yield GridRow(first + row, key, cells)


def _key_text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{NOT_TEXT}{value}"


@dataclass(slots=True)
class RowFilter:
    """Selects the rows that may need a repair: rows with stray values, and rows that may be those of lost interviews.
    `marks` are cells that identify the lost interviews. `copies` are rows whose id is also in a row above.
    """

    stray_values: Collection[StrayValue] = ()
    marks: frozenset[tuple[str, CellValue]] = frozenset()
    strays: list[GridRow] = field(default_factory=list)
    orphans: list[GridRow] = field(default_factory=list)
    copies: set[int] = field(default_factory=set)
    _ids: set[str] = field(default_factory=set)

    def add(self, rows: Iterable[GridRow]) -> None:
        stray_values = frozenset(StrayValue(name, shown(name, value)) for name, value in self.stray_values)
        for row in rows:
            if (key := row.key.strip()) in self._ids:
                self.copies.add(row.row)
            elif key:
                self._ids.add(key)
            if stray_values and not stray_values.isdisjoint(StrayValue(*cell) for cell in row.cells.items()):
                self.strays.append(row)
            if self.marks and not self.marks.isdisjoint(row.cells.items()):
                self.orphans.append(row)


@dataclass(slots=True)
class Repairs:
    """The repairs: cells to clear, ids to restore, and rows to write again. `gone` interviews have no row any more."""

    clears: list[RowChange] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    force: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)

    def skip_protected(self, protected: ProtectedCells, at: Mapping[str, int]) -> None:
        """Drops the repairs that protected cells do not allow. Ids that cannot be restored are `stuck`."""
        if not protected:
            return
        self.stuck |= {each.key for each in self.restores if protected.covers(each.row, at[KEY])}
        self.restores = [each for each in self.restores if each.key not in self.stuck]
        clears = [
            each._replace(cells={name: None for name in each.cells if not protected.covers(each.row, at[name])})
            for each in self.clears
        ]
        self.clears = [each for each in clears if each.cells]

    @property
    def is_clean(self) -> bool:
        """Whether there are no stray values."""
        return not self.clears and not self.force


def find_repairs(
    row_filter: RowFilter, lost: Mapping[str, RowNote], notes: Mapping[str, RowNote], keys: Sequence[str]
) -> Repairs:
    """Returns the repairs of the examined rows. `lost` maps missing ids to the values of their rows, `notes` are those
    of the ids in the examined rows, and `keys` is the key column that the write relies on.
    """
    repairs = Repairs()
    stray_values = frozenset(StrayValue(name, shown(name, value)) for name, value in row_filter.stray_values)
    for row in row_filter.strays:
        note = notes.get(row.key.strip())
        if note is None or row.row not in row_filter.copies:  # only the first row of an id is kept correct
            _repair_stray(repairs, row, stray_values, note)
    free = {row.row: row for row in row_filter.orphans if row.key.strip() not in notes}
    written = {key: written_cells(note) for key, note in lost.items()}
    pairs = best_pairs(written, {row: found.cells for row, found in free.items()})
    repairs.gone |= lost.keys() - pairs.keys()
    for key, at in pairs.items():
        if (restore := _restore(key, free[at], keys)) is not None:
            repairs.restores.append(restore)
            repairs.force |= {key} if _has_gaps(free[at], lost[key]) else set()
    return repairs


def written_cells(note: RowNote) -> Mapping[str, CellValue]:
    """Returns the values last written to a row, in the form for comparisons."""
    return {name: shown(name, value) for name, value in (note.applied or {}).items()}


def identifying_cells(lost: Iterable[RowNote]) -> frozenset[tuple[str, CellValue]]:
    """Returns the cells that identify the interviews."""
    return (
        frozenset(cell for note in lost for cell in written_cells(note).items() if cell[0] in IDENTIFYING_FIELDS)
        - NOTHING
    )


def _has_gaps(found: GridRow, note: RowNote) -> bool:
    """Whether written cells are empty. The sink may have cleared them while the row had no id."""
    applied = (note.applied or {}).items()
    return any(value is not None and name in found.cells and found.cells[name] is None for name, value in applied)


def _repair_stray(repairs: Repairs, row: GridRow, stray_values: Collection[StrayValue], note: RowNote | None) -> None:
    bad = {name: value for name, value in row.cells.items() if StrayValue(name, value) in stray_values}
    if note is None:
        cells = {name: None for name, value in bad.items() if value is not None}
        if cells:
            repairs.clears.append(RowChange(row.row, None, cells))
        return
    applied = note.applied or {}
    if any(name in applied and shown(name, applied[name]) != value for name, value in bad.items()):
        repairs.force.add(row.key.strip())


def _restore(key: str, found: GridRow, keys: Sequence[str]) -> Restore | None:
    """Returns how the id is restored, if the row is still at the place that the write relies on. Text that several
    cells show is replaced in this cell only; a value that is not text cannot be searched.
    """
    at = keys[found.row] if found.row < len(keys) else ""
    if at != found.key and not at.startswith(NOT_TEXT):
        return None
    return Restore(found.row, key, at, alone=sum(other == at for other in keys) == 1)


SLICE_ROWS = 50_000
"""Most rows in one read, of all tabs together: about 8 MB."""


@dataclass(frozen=True, slots=True)
class TabSlice:
    """Some rows of a tab."""

    tab: str
    snapshot: TabSnapshot
    first: int
    end: int

    @property
    def filters(self) -> list[Request]:
        columns = sorted(set(self.snapshot.layout.at.values()))
        return [
            api_requests.cells_filter(self.snapshot.view.sheet_id, place, self.first, self.end) for place in columns
        ]

    def rows(self, reply: Columns) -> Iterator[GridRow]:
        """Yields its rows in a reply, without blank ones and the header."""
        view = self.snapshot.view
        for row in rows_of(reply, view.sheet_id, self.snapshot.layout, self.first):
            if not (view.has_header and row.row == view.header_row):
                yield row


def slices(snapshots: Mapping[str, TabSnapshot]) -> list[list[TabSlice]]:
    """Returns the rows of the tabs, divided into reads."""
    reads: list[list[TabSlice]] = []
    room = 0
    for name, snapshot in snapshots.items():
        first, rows = 0, snapshot.view.rows if KEY in snapshot.layout.at else 0
        while first < rows:
            if not room:
                reads.append([])
                room = SLICE_ROWS
            end = min(rows, first + room)
            reads[-1].append(TabSlice(name, snapshot, first, end))
            room, first = room - (end - first), end
    return reads


async def owned_rows(
    calls: Calls, snapshots: Mapping[str, TabSnapshot]
) -> AsyncIterator[tuple[str, Sequence[GridRow]]]:
    """Yields all rows with owned cells except the header, by tab. The rows of one read are consistent with each
    other.
    """
    for read in slices(snapshots):
        query = read_values([each for part in read for each in part.filters])
        for name, rows in await calls.fetch_and(query, partial(_rows, read)):
            yield name, rows


def _rows(read: Sequence[TabSlice], reply: Columns) -> list[tuple[str, Sequence[GridRow]]]:
    return [(part.tab, list(part.rows(reply))) for part in read]


async def audit(
    calls: Calls, context: Context, snapshot: TabSnapshot, tab: TabNote, due: TabChanges
) -> tuple[Repairs, TabNote]:
    """Searches a tab for stray values and for rows without their id. Returns the repairs, and the tab's note with what
    is still to be found. A stray value is dropped only when a read no longer finds it.
    """
    there = snapshot.view.key_rows
    lost = {key: note for key, note in (await recall_rows(context, tab.lost)).items() if key not in there}
    lost |= {each.key: _note_of(each) for each in due.absent}
    row_filter = RowFilter(tab.stray_values, identifying_cells(lost.values()))
    if tab.stray_values or row_filter.marks:
        async for _, rows in owned_rows(calls, {"": snapshot}):
            row_filter.add(rows)
    known = await recall_rows(context, {row.key.strip() for row in [*row_filter.strays, *row_filter.orphans]} - {""})
    # rows that are due in full are overwritten anyway; clearing them in the same write could leave them empty
    in_full = {change.key for change in due.changes if change.wanted is not None and change.wanted.in_full}
    row_filter.strays = [row for row in row_filter.strays if row.key.strip() not in in_full]
    repairs = find_repairs(row_filter, lost, known, snapshot.view.keys or ())
    repairs.skip_protected(snapshot.view.protected, snapshot.layout.at)
    found = frozenset(restore.key for restore in repairs.restores)
    stray_values = frozenset() if repairs.is_clean else tab.stray_values
    return repairs, replace(tab, stray_values=stray_values, lost=tab.lost & found)


def _note_of(absent: DueInterview) -> RowNote:
    """Returns the assumed values of a missing interview's row: those of its note, else the due ones."""
    note = absent.note or RowNote()
    return note if note.applied else replace(note, applied=absent.cells)


async def recall_rows(context: Context, keys: Collection[str]) -> dict[str, RowNote]:
    """Returns the notes of these rows."""
    if not keys:
        return {}
    notes = await context.get_notes([row_name(key) for key in keys])
    read = {key: read_row_note(notes.get(row_name(key))) for key in keys}
    return {key: note for key, note in read.items() if note is not None}
