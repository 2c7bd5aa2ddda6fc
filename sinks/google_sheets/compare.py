"""Compares a tab with the truth, cell by cell, with as little memory as a hundred thousand rows allow. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sinks.google_sheets.likeness import WHO, best_pairs
from sinks.google_sheets.notes import RowNote, Suspect
from sinks.google_sheets.repair import Row, shown, written_cells
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
