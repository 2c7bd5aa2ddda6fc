"""What the workbook remembers of its file, and the rules that follow from it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import Path
from typing import TypeAlias

from connector.sink import Interview, Note, Stage
from sinks.table import KEY, Column, Kind, cell_values, wall_time

TABLE_NOTE = "table"
"""Name of the note about the table as a whole."""

Written: TypeAlias = str | int | float | None
"""A cell as it is written and remembered: text, a number, a URL, or wall time as ISO 8601 text."""

_KEPT_WHEN_CLEARED = {KEY, "stage"}


def row_note(interview_id: str) -> str:
    """Name of the note about one row."""
    return f"row:{interview_id}"


@dataclass(frozen=True, slots=True)
class Memory:
    """The table as this sink last wrote it.

    `flush` numbers the rewrites and stands in the file as well: a smaller number there means that somebody saved an
    older copy over ours. `rows` says in which rewrite each row was last written. `columns` are the fields that have
    been given a column, `zone` the time zone of the dates.
    """

    flush: int = 0
    zone: str = ""
    columns: Sequence[str] = ()
    rows: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_note(cls, note: Note | None) -> Memory:
        note = note or {}
        return cls(note.get("flush", 0), note.get("zone", ""), note.get("columns", ()), note.get("rows", {}))

    def to_note(self) -> Note:
        return {"flush": self.flush, "zone": self.zone, "columns": list(self.columns), "rows": dict(self.rows)}

    def size_with(self, keys: Iterable[str]) -> int:
        """About how many rows the table has with these."""
        return len(self.rows.keys() | set(keys))

    def without(self, keys: Collection[str]) -> Memory:
        """The same, not knowing these rows any more."""
        return replace(self, rows={key: flush for key, flush in self.rows.items() if key not in keys})

    def lost(self, present: Collection[str], file_flush: int | None) -> set[str]:
        """Interviews whose rows vanished, or fell back to what an older copy of the file held: `file_flush` is the
        number found in the file, `None` when it has none.
        """
        older = self.flush if file_flush is None else file_flush
        return {key for key, flush in self.rows.items() if key not in present or flush > older}

    def after(self, flush: int, written: Iterable[str], lost: Iterable[str]) -> Mapping[str, int]:
        """`rows` after rewrite number `flush`; what is lost counts as newer than the file until it is written."""
        return {**self.rows, **dict.fromkeys(lost, flush + 1), **dict.fromkeys(written, flush)}


@dataclass(frozen=True, slots=True)
class Row:
    """What one interview's row has to show, and what was last written to it (`None`: nobody remembers)."""

    values: Mapping[str, Written]
    applied: Mapping[str, Written] | None = None

    def due(self, placed: Iterable[str]) -> list[str]:
        """Fields whose cells have to be written: those that changed since they were last written. A cell that a
        person corrected stays until its field changes again. The key is never written to a row that has it.
        """
        applied = self.applied
        if applied is None:
            return [name for name in placed if name != KEY]
        return [
            name for name in placed if name != KEY and (name not in applied or applied[name] != self.values.get(name))
        ]


@dataclass(frozen=True, slots=True)
class Order:
    """What one rewrite has to do: `rows` by interview id, into the tab `worksheet` of the file at `path`."""

    path: Path
    worksheet: str
    columns: Sequence[Column]
    zone: str
    memory: Memory
    rows: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a rewrite did: the table as it is now, the fields that have a column, and the interviews besides those
    asked for whose rows have to be written too, because they were lost or because dates or columns changed.
    """

    memory: Memory
    placed: Sequence[str]
    again: Collection[str]


def wanted_values(
    interview: Interview, columns: Sequence[Column], zone: tzinfo, *, clear_deleted: bool
) -> dict[str, Written]:
    """The cells of an interview by field; a deleted one keeps only its key and stage with `clear_deleted`."""
    values: dict[str, Written] = {}
    for column, value in zip(columns, cell_values(interview, columns), strict=True):
        cleared = clear_deleted and interview.stage is Stage.DELETED and column.field not in _KEPT_WHEN_CLEARED
        values[column.field] = None if cleared else _written(column.kind, value, zone)
    return values


def _written(kind: Kind, value: Written, zone: tzinfo) -> Written:
    if kind is Kind.DATETIME and isinstance(value, int):
        return wall_time(value, zone).isoformat(timespec="seconds")
    return value
