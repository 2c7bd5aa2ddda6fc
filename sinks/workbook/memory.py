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

RESUME_NOTE = "resume"
"""Name of the note with the word of the person who resumed the sink."""

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
    been given a column, `zone` the time zone of the dates. `deleted` are rows that people took out, `removed` those
    that we took out because their interviews were deleted. `digest` is the SHA-256 of the file as it was written.
    """

    flush: int = 0
    zone: str = ""
    columns: Sequence[str] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    digest: str = ""

    @classmethod
    def from_note(cls, note: Note | None) -> Memory:
        note = note or {}
        rows, deleted, removed = note.get("rows", {}), note.get("deleted", ()), note.get("removed", ())
        columns = note.get("columns", ())
        return cls(
            note.get("flush", 0),
            note.get("zone", ""),
            columns,
            rows,
            frozenset(deleted),
            frozenset(removed),
            note.get("digest", ""),
        )

    def to_note(self) -> Note:
        table = {"flush": self.flush, "zone": self.zone, "columns": list(self.columns), "rows": dict(self.rows)}
        return {**table, "deleted": sorted(self.deleted), "removed": sorted(self.removed), "digest": self.digest}

    def size_with(self, keys: Iterable[str]) -> int:
        """About how many rows the table has with these."""
        return len(self.rows.keys() | set(keys))

    def without(self, keys: Collection[str]) -> Memory:
        """The same, not knowing these rows any more."""
        rows = {key: flush for key, flush in self.rows.items() if key not in keys}
        return replace(self, rows=rows, deleted=self.deleted.difference(keys), removed=self.removed.difference(keys))

    def compare(self, present: Collection[str], file_flush: int | None) -> Sight:
        """What became of the rows since: `file_flush` is the number found in the file, `None` when it has none.

        A row that was in the version that people saved, and is not there now, was deleted by them. One that is newer
        than that version was lost with it. Without a number nobody can tell, and what is missing counts as lost.
        """
        older = self.flush if file_flush is None else file_flush
        stale = {key for key, flush in self.rows.items() if flush > older}
        absent = self.rows.keys() - present
        deleted = absent - stale if file_flush is not None else set()
        still = self.deleted & absent
        lost = (stale | absent) - deleted - still
        return Sight(frozenset(lost), still.union(deleted), frozenset(deleted - still))

    def after(self, flush: int, written: Iterable[str], lost: Iterable[str]) -> Mapping[str, int]:
        """`rows` after rewrite number `flush`; what is lost counts as newer than the file until it is written."""
        return {**self.rows, **dict.fromkeys(lost, flush + 1), **dict.fromkeys(written, flush)}


FUSE_ROWS, FUSE_SHARE = 10, 0.2
"""More than both at once is no tidying up: somebody emptied the tab."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at the file says of the rows that are remembered.

    `lost` vanished, or fell back to what an older copy held, and have to be written again. `deleted` were taken out by
    people, `newly` those of them just now.
    """

    lost: frozenset[str]
    deleted: frozenset[str]
    newly: frozenset[str] = frozenset()

    def emptied(self, rows: int) -> bool:
        """Whether so many of the `rows` are gone at once that a person has to say whether that was meant."""
        return len(self.newly) > max(FUSE_ROWS, FUSE_SHARE * rows)

    def recreated(self) -> Sight:
        """The same, with everything that people deleted to be written again."""
        return Sight(self.lost | self.deleted, frozenset())


@dataclass(frozen=True, slots=True)
class Row:
    """What one interview's row has to show, and what was last written to it (`None`: nobody remembers).

    `removed`: there shall be no row.
    """

    values: Mapping[str, Written]
    applied: Mapping[str, Written] | None = None
    removed: bool = False

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
    """What one rewrite has to do: `rows` by interview id, into the tab `worksheet` of the file at `path`.

    `recreate`: rows that people deleted are written again. `accept`: a person said that many of them were meant to be
    deleted.
    """

    path: Path
    worksheet: str
    columns: Sequence[Column]
    zone: str
    memory: Memory
    rows: Mapping[str, Row]
    recreate: bool = False
    accept: bool = False


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
