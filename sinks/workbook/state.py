"""The state that the workbook sink stores about its file, and its comparison with the file. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from math import floor
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from connector.languages import ENGLISH, Language, language
from connector.sink import Interview, Note, SinkBroken, Stage
from sinks.spreadsheet.columns import KEY, Column, cell_values
from sinks.spreadsheet.values import CellKind, serial_number, wall_time

TABLE_NOTE = "table"
"""Name of the note about the table as a whole."""
ROWS_NOTES = tuple(f"rows:{number:02x}" for number in range(64))
"""Names of the notes about the rows: many small ones, so that a change of one row rewrites a few kilobytes."""
RESUME_NOTE = "resume"
"""Name of the note with the choice of the operator who resumed the sink."""
NOTE_VERSION = 2
"""Version of the documents in these notes. In version 1 the note about the table held the rows, too."""

MASS_DELETION_ROWS = 10
"""Up to this number of rows deleted at once needs no decision: a user removes old rows."""
MASS_DELETION_SHARE = 0.2
"""Up to this share of rows deleted at once needs no decision. When both limits are exceeded, the sink pauses."""

Written: TypeAlias = str | int | float | None
"""A cell as it is written and remembered: text, a number, a URL, or wall time as ISO 8601 text."""

_KEPT_WHEN_CLEARED = {KEY, "stage"}


def changed_notes(before: Mapping[str, Note], state: TableState) -> dict[str, Note | None]:
    """Returns the notes of a state that differ from those `before`; `None` for one that is no longer needed."""
    after = state.to_notes()
    changed: dict[str, Note | None] = {name: note for name, note in after.items() if before.get(name) != note}
    return changed | {name: None for name in before if name in ROWS_NOTES and name not in after}


def _rows_note(interview_id: str) -> str:
    """Returns the name of the note about the rows to which the row of an interview belongs."""
    return ROWS_NOTES[crc32(interview_id.encode()) % len(ROWS_NOTES)]


def row_note(interview_id: str) -> str:
    """Returns the name of the note about a row."""
    return f"row:{interview_id}"


@dataclass(frozen=True, slots=True)
class TableState:
    """The table as the sink wrote it last.

    `flush` numbers the rewrites. The file holds the number too: a smaller number in the file means that a user saved an
    older copy over ours. `rows` maps an interview to the number of the rewrite that wrote its row last. `columns` are
    the fields that were given a column, `zone` is the time zone of the dates. Users deleted the rows in `deleted`; the
    sink removed those in `removed`. `digest` is the SHA-256 of the file as the sink wrote it.
    """

    flush: int = 0
    zone: str = ""
    columns: Sequence[str] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    digest: str = ""

    @classmethod
    def from_notes(cls, notes: Mapping[str, Note]) -> TableState:
        """Returns the state from notes of this or an earlier version. Missing values get their defaults."""
        table = notes.get(TABLE_NOTE, {})
        parts = [table, *(notes[name] for name in ROWS_NOTES if name in notes)]
        return cls(
            flush=table.get("flush", 0),
            zone=table.get("zone", ""),
            columns=table.get("columns", ()),
            rows={key: flush for part in parts for key, flush in part.get("rows", {}).items()},
            deleted=frozenset(key for part in parts for key in part.get("deleted", ())),
            removed=frozenset(key for part in parts for key in part.get("removed", ())),
            digest=table.get("digest", ""),
        )

    def to_notes(self) -> dict[str, Note]:
        """Returns the state as JSON: the note about the table, and those about rows that have any."""
        table = {"flush": self.flush, "zone": self.zone, "columns": list(self.columns), "digest": self.digest}
        parts: dict[str, dict[str, Any]] = {}
        for key, flush in self.rows.items():
            parts.setdefault(_rows_note(key), {}).setdefault("rows", {})[key] = flush
        for name, keys in (("deleted", self.deleted), ("removed", self.removed)):
            for key in sorted(keys):
                parts.setdefault(_rows_note(key), {}).setdefault(name, []).append(key)
        return {name: {"version": NOTE_VERSION, **part} for name, part in {TABLE_NOTE: table, **parts}.items()}

    def size_with(self, keys: Iterable[str]) -> int:
        """Returns the approximate number of rows of the table with these interviews."""
        return len(self.rows.keys() | set(keys))

    def without(self, keys: Collection[str]) -> TableState:
        """Returns the state without these rows."""
        rows = {key: flush for key, flush in self.rows.items() if key not in keys}
        return replace(self, rows=rows, deleted=self.deleted.difference(keys), removed=self.removed.difference(keys))

    def compare(self, present: Collection[str], file_flush: int | None) -> FileDiff:
        """Returns what happened to the rows; `file_flush` is the number in the file, `None` when it has none.

        A row was deleted by a user when the version that the user saved had it and the file has not. A row that is
        newer than that version was lost with it. Without a number the two cannot be distinguished, and what is missing
        counts as lost.
        """
        older = self.flush if file_flush is None else file_flush
        stale = {key for key, flush in self.rows.items() if flush > older}
        absent = self.rows.keys() - present
        deleted = absent - stale if file_flush is not None else set()
        still = self.deleted & absent
        lost = (stale | absent) - deleted - still
        return FileDiff(frozenset(lost), still.union(deleted), frozenset(deleted - still))

    def rows_after(self, flush: int, written: Iterable[str], lost: Iterable[str]) -> Mapping[str, int]:
        """Returns `rows` after rewrite number `flush`; a lost row counts as newer than the file until it is written."""
        return {**self.rows, **dict.fromkeys(lost, flush + 1), **dict.fromkeys(written, flush)}


@dataclass(frozen=True, slots=True)
class FileDiff:
    """How the rows in the file differ from those that are remembered.

    `lost` rows are missing, or as old as the copy that was saved over ours: they have to be written again. `deleted`
    rows were deleted by users, `newly_deleted` since the last rewrite.
    """

    lost: frozenset[str]
    deleted: frozenset[str]
    newly_deleted: frozenset[str] = frozenset()

    def is_mass_deletion(self, rows: int) -> bool:
        """Whether so many of the `rows` were deleted at once that the operator has to decide."""
        return len(self.newly_deleted) > max(MASS_DELETION_ROWS, MASS_DELETION_SHARE * rows)

    def with_deleted_as_lost(self) -> FileDiff:
        """Returns the same, with the deleted rows to be written again."""
        return FileDiff(self.lost | self.deleted, frozenset())


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one interview's row, and those that were written last (`None`: unknown).

    `removed`: the interview has no row.
    """

    values: Mapping[str, Written]
    applied: Mapping[str, Written] | None = None
    removed: bool = False

    def due(self, placed: Iterable[str]) -> list[str]:
        """Returns the fields that changed since they were written last.

        A cell that a user corrected stays until its field changes. The key is never written to a row that has it.
        """
        fields = [name for name in placed if name != KEY]
        applied = self.applied
        if applied is None:
            return fields
        return [name for name in fields if name not in applied or applied[name] != self.values.get(name)]


@dataclass(frozen=True, slots=True)
class RewriteRequest:
    """The input of one rewrite: `rows`, by interview id, for the tab `worksheet` of the file at `path`.

    `recreate`: rows that users deleted are written again. `accept`: the operator decided that many deleted rows stay
    deleted. `sink` is the sink's name.
    """

    sink: str
    path: Path
    worksheet: str
    columns: Sequence[Column]
    zone: str
    state: TableState
    rows: Mapping[str, Row]
    recreate: bool = False
    accept: bool = False
    style: bool = True
    language: str = ENGLISH

    @property
    def words(self) -> Language:
        """The language of headers, stages and labels."""
        return language(self.language)


@dataclass(frozen=True, slots=True)
class RewriteResult:
    """The result of one rewrite: the state of the table, and the fields that have a column.

    `again`: further interviews whose rows have to be written, because they were lost or because dates or columns
    changed.
    """

    state: TableState
    placed: Sequence[str]
    again: Collection[str]


def row_values(
    interview: Interview, columns: Sequence[Column], zone: tzinfo, words: Language, *, clear_deleted: bool
) -> dict[str, Written]:
    """Returns the cells of an interview by field; with `clear_deleted` a deleted one keeps only its key and stage."""
    values: dict[str, Written] = {}
    for column, value in zip(columns, cell_values(interview, columns, words), strict=True):
        cleared = clear_deleted and interview.stage is Stage.DELETED and column.field not in _KEPT_WHEN_CLEARED
        values[column.field] = None if cleared else _written(column.kind, value, zone)
    return values


def _written(kind: CellKind, value: Written, zone: tzinfo) -> Written:
    if kind is CellKind.DATETIME and isinstance(value, int):
        return wall_time(value, zone).isoformat(timespec="seconds")
    if kind is CellKind.DAYS_SINCE and isinstance(value, int):
        return floor(serial_number(value, zone))
    return value


def emptied(sink: str, gone: int, rows: int) -> SinkBroken:
    """Returns the question to an operator about many rows that disappeared at once."""
    return SinkBroken(
        f"{gone} of {rows} rows are gone from the workbook at once",
        f"connector resume {sink} --accept leaves them deleted, connector resume {sink} --refill writes them again",
        until_resumed=True,
    )
