"""What an audit finds in the owned cells of a tab, and what to do about it. Pure.

Order of repair: what strayed into rows without an id is cleared, rows that hold values of others are written again,
and ids that people spoilt are put back where the rest of the row shows whose it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sinks.google_sheets.columns import Layout
from sinks.google_sheets.likeness import WHO, best_pairs
from sinks.google_sheets.notes import RowNote, Suspect
from sinks.google_sheets.plan import Change, Restore
from sinks.google_sheets.protection import Closed
from sinks.google_sheets.reading import NOT_TEXT
from sinks.google_sheets.replies import Columns
from sinks.spreadsheet.columns import KEY, SPECS
from sinks.spreadsheet.values import LINK_TEXT, CellKind, CellValue

NOTHING = frozenset((name, None) for name in WHO)


def shown(name: str, value: CellValue) -> CellValue:
    """A value as two reads of it compare: a link by its word, a number without its last digits, nothing as nothing."""
    if value is None or value == "":
        return None
    if SPECS[name].kind is CellKind.LINK:
        return LINK_TEXT
    if isinstance(value, float | int) and not isinstance(value, bool):
        return round(float(value), 6)
    return value


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the grid: its id as the key column shows it, and its owned cells as they compare."""

    row: int
    key: str
    cells: Mapping[str, CellValue]


def rows_of(reply: Columns, sheet_id: int, layout: Layout, first: int) -> Iterator[Row]:
    """The rows of the slice of a tab that begins at row `first`; blank ones are left out."""
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
            yield Row(first + row, key, cells)


def _key_text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{NOT_TEXT}{value}"


@dataclass(slots=True)
class Sieve:
    """Keeps of a tab's rows those that a repair may be about: rows with suspects, and rows that may be a lost one's.

    `marks` are cells that tell who the lost are. `copies` are rows whose id stands further up already.
    """

    suspects: Collection[Suspect] = ()
    marks: frozenset[tuple[str, CellValue]] = frozenset()
    strays: list[Row] = field(default_factory=list)
    orphans: list[Row] = field(default_factory=list)
    copies: set[int] = field(default_factory=set)
    _ids: set[str] = field(default_factory=set)

    def sift(self, rows: Iterable[Row]) -> None:
        suspects = frozenset(Suspect(name, shown(name, value)) for name, value in self.suspects)
        for row in rows:
            if (key := row.key.strip()) in self._ids:
                self.copies.add(row.row)
            elif key:
                self._ids.add(key)
            if suspects and not suspects.isdisjoint(Suspect(*cell) for cell in row.cells.items()):
                self.strays.append(row)
            if self.marks and not self.marks.isdisjoint(row.cells.items()):
                self.orphans.append(row)


@dataclass(slots=True)
class Repairs:
    """What is to be written: cells to clear, ids to put back; and rows to write again. `gone` have no
    row any more.
    """

    clears: list[Change] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    force: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)

    def leave_closed(self, closed: Closed, at: Mapping[str, int]) -> None:
        """Takes out what protected cells do not allow; ids that cannot be put back are `stuck`."""
        if not closed:
            return
        self.stuck |= {each.key for each in self.restores if closed.covers(each.row, at[KEY])}
        self.restores = [each for each in self.restores if each.key not in self.stuck]
        clears = [
            each._replace(cells={name: None for name in each.cells if not closed.covers(each.row, at[name])})
            for each in self.clears
        ]
        self.clears = [each for each in clears if each.cells]

    @property
    def is_clean(self) -> bool:
        """Whether nothing strayed."""
        return not self.clears and not self.force


def find_repairs(
    sieve: Sieve, lost: Mapping[str, RowNote], notes: Mapping[str, RowNote], keys: Sequence[str]
) -> Repairs:
    """What the sifted rows need. `lost` are absent ids with what their rows held, `notes` what is known of the ids of
    sifted rows, `keys` the key column as the write will rely on it.
    """
    repairs = Repairs()
    suspects = frozenset(Suspect(name, shown(name, value)) for name, value in sieve.suspects)
    for row in sieve.strays:
        note = notes.get(row.key.strip())
        if note is None or row.row not in sieve.copies:  # a copy is people's: only the first row is kept right
            _repair_stray(repairs, row, suspects, note)
    free = {row.row: row for row in sieve.orphans if row.key.strip() not in notes}
    written = {key: written_cells(note) for key, note in lost.items()}
    pairs = best_pairs(written, {row: found.cells for row, found in free.items()})
    repairs.gone |= lost.keys() - pairs.keys()
    for key, at in pairs.items():
        if (restore := _restore(key, free[at], keys)) is not None:
            repairs.restores.append(restore)
            repairs.force |= {key} if _has_gaps(free[at], lost[key]) else set()
    return repairs


def written_cells(note: RowNote) -> Mapping[str, CellValue]:
    """What was last written to a row, as it compares."""
    return {name: shown(name, value) for name, value in (note.applied or {}).items()}


def marks_of(lost: Iterable[RowNote]) -> frozenset[tuple[str, CellValue]]:
    """The cells that tell who they are."""
    return frozenset(cell for note in lost for cell in written_cells(note).items() if cell[0] in WHO) - NOTHING


def _has_gaps(found: Row, note: RowNote) -> bool:
    """Whether cells that were written are empty: without its id the row was nobody's, and we may have cleared them."""
    applied = (note.applied or {}).items()
    return any(value is not None and name in found.cells and found.cells[name] is None for name, value in applied)


def _repair_stray(repairs: Repairs, row: Row, suspects: Collection[Suspect], note: RowNote | None) -> None:
    bad = {name: value for name, value in row.cells.items() if Suspect(name, value) in suspects}
    if note is None:
        cells = {name: None for name, value in bad.items() if value is not None}
        if cells:
            repairs.clears.append(Change(row.row, None, cells))
        return
    applied = note.applied or {}
    if any(name in applied and shown(name, applied[name]) != value for name, value in bad.items()):
        repairs.force.add(row.key.strip())


def _restore(key: str, found: Row, keys: Sequence[str]) -> Restore | None:
    """How the id is put back, if the row still is where the write will expect it. What is shown in several cells is
    looked for in this one; something that is no text cannot be looked for.
    """
    at = keys[found.row] if found.row < len(keys) else ""
    if at != found.key and not at.startswith(NOT_TEXT):
        return None
    return Restore(found.row, key, at, alone=sum(other == at for other in keys) == 1)
