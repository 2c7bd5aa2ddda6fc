"""A spreadsheet in memory: tabs of rows, and the data that moves with rows and columns.

Rows are tuples and are replaced, never changed. So a copy of a spreadsheet shares all of them: a batch works on a
copy, which then takes the place of the original or is thrown away.

Every row and column has a *line*, a number that never changes. Tags, sizes and protection are kept by line: what moves
a line moves them, and what sorts cells does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from connector.emulators.google.cells import Row, Stored, inherited, trimmed
from connector.emulators.google.errors import Refusal

Dimension: TypeAlias = Literal["ROWS", "COLUMNS"]
ItemT = TypeVar("ItemT")
CELL_LIMIT = 10_000_000
METADATA_CHARACTERS = 30_000
_lines = itertools.count(1)


def new_lines(count: int) -> list[int]:
    return list(itertools.islice(_lines, count))


def moved(items: Sequence[ItemT], start: int, end: int, to: int) -> list[ItemT]:
    """Returns the items with `start:end` moved before the item at index `to` (Sheets API, MoveDimensionRequest)."""
    block, rest = list(items[start:end]), [*items[:start], *items[end:]]
    at = to if to <= start else max(start, to - len(block))
    return [*rest[:at], *block, *rest[at:]]


@dataclass(frozen=True, slots=True)
class Area:
    """A block of cells; ends are exclusive."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Tag:
    """One developer metadata. Without `sheet_id` it belongs to the spreadsheet, without `line` to the tab."""

    id: int
    key: str
    value: str
    visibility: str
    sheet_id: int | None = None
    dimension: Dimension | None = None
    line: int | None = None

    @property
    def characters(self) -> int:
        return len(self.key) + len(self.value)


@dataclass(frozen=True, slots=True)
class Lines:
    """A block of cells by its lines; `None` is all of a dimension."""

    rows: frozenset[int] | None = None
    columns: frozenset[int] | None = None

    def holds(self, row: int, column: int) -> bool:
        return (self.rows is None or row in self.rows) and (self.columns is None or column in self.columns)

    def widened(self, dimension: Dimension, before: int, after: int, new: Iterable[int]) -> Lines:
        """Returns the block with the new lines that are inserted between two of its lines."""
        own = self.rows if dimension == "ROWS" else self.columns
        if own is None or not {before, after} <= own:
            return self
        grown = own.union(new)
        return Lines(grown, self.columns) if dimension == "ROWS" else Lines(self.rows, grown)


@dataclass(frozen=True, slots=True)
class Protection:
    """Cells that only the user who protected them may edit, with exceptions."""

    block: Lines
    exceptions: tuple[Lines, ...] = ()

    @property
    def is_whole(self) -> bool:
        return self.block == Lines()

    def closes(self, row: int, column: int) -> bool:
        return self.block.holds(row, column) and not any(each.holds(row, column) for each in self.exceptions)

    def widened(self, dimension: Dimension, before: int, after: int, new: Sequence[int]) -> Protection:
        exceptions = tuple(each.widened(dimension, before, after, new) for each in self.exceptions)
        return Protection(self.block.widened(dimension, before, after, new), exceptions)


@dataclass(slots=True)
class Tab:
    """One tab. `properties` are those of `SheetProperties` beyond id, title, position and size."""

    id: int
    title: str
    rows: list[Row]
    row_lines: list[int]
    column_lines: list[int]
    properties: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    line_properties: dict[int, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    protected: tuple[Protection, ...] = ()

    @classmethod
    def blank(cls, sheet_id: int, title: str, rows: int = 1000, columns: int = 26) -> Tab:
        return cls(sheet_id, title, [()] * rows, new_lines(rows), new_lines(columns))

    def copy(self) -> Tab:
        return Tab(
            self.id,
            self.title,
            self.rows.copy(),
            self.row_lines.copy(),
            self.column_lines.copy(),
            dict(self.properties),
            dict(self.grid),
            dict(self.line_properties),
            {name: list(items) for name, items in self.objects.items()},
            self.protected,
        )

    @property
    def row_count(self) -> int:
        return len(self.rows)

    @property
    def column_count(self) -> int:
        return len(self.column_lines)

    @property
    def area(self) -> Area:
        return Area(0, self.row_count, 0, self.column_count)

    def lines(self, dimension: Dimension) -> list[int]:
        return self.row_lines if dimension == "ROWS" else self.column_lines

    def index_of(self, dimension: Dimension, line: int) -> int:
        return self.lines(dimension).index(line)

    def at(self, row: int, column: int) -> Stored:
        cells = self.rows[row]
        return cells[column] if column < len(cells) else None

    def put(self, row: int, left: int, cells: Iterable[Stored]) -> None:
        """Replaces adjacent cells of a row."""
        new, old = list(cells), self.rows[row]
        start = [*old[:left], *[None] * (left - len(old))]
        self.rows[row] = trimmed([*start, *new, *old[left + len(new) :]])

    def insert(self, dimension: Dimension, at: int, count: int, model: int | None = None) -> None:
        """Inserts empty lines before `at` with the format of the line at `model`."""
        if dimension == "ROWS":
            look = trimmed([inherited(stored) for stored in self.rows[model]]) if model is not None else ()
            self.rows[at:at] = [look] * count
        else:
            self.rows = [_widened(row, at, count, model) for row in self.rows]
        lines, new = self.lines(dimension), new_lines(count)
        if self.protected and 0 < at < len(lines):
            before, after = lines[at - 1], lines[at]
            self.protected = tuple(each.widened(dimension, before, after, new) for each in self.protected)
        lines[at:at] = new

    def delete(self, dimension: Dimension, start: int, end: int) -> set[int]:
        """Deletes lines and returns them."""
        lines = self.lines(dimension)
        gone = set(lines[start:end])
        del lines[start:end]
        if dimension == "ROWS":
            del self.rows[start:end]
        else:
            self.rows = [trimmed([*row[:start], *row[end:]]) if len(row) > start else row for row in self.rows]
        self.line_properties = {line: item for line, item in self.line_properties.items() if line not in gone}
        return gone

    def move(self, dimension: Dimension, start: int, end: int, to: int) -> None:
        if dimension == "ROWS":
            self.rows = moved(self.rows, start, end, to)
            self.row_lines = moved(self.row_lines, start, end, to)
            return
        width, blank = max(end, to), (None,)
        self.rows = [
            trimmed(moved([*row, *blank * (width - len(row))], start, end, to)) if row else row for row in self.rows
        ]
        self.column_lines = moved(self.column_lines, start, end, to)


def _widened(row: Row, at: int, count: int, model: int | None) -> Row:
    look = inherited(row[model]) if model is not None and model < len(row) else None
    if look is None and len(row) <= at:
        return row
    start = [*row[:at], *[None] * (at - len(row))]
    return trimmed([*start, *[look] * count, *row[at:]])


@dataclass(slots=True)
class Book:
    """One spreadsheet. `editors` and `viewers` are the e-mail addresses it is shared with; copies share these sets.
    `office`: an Excel file in Drive, which the Sheets API does not open.
    """

    id: str
    title: str
    timezone: str
    editors: set[str]
    locale: str = "en_US"
    auto_recalc: str = "ON_CHANGE"
    tabs: list[Tab] = field(default_factory=list)
    tags: dict[int, Tag] = field(default_factory=dict)
    named_ranges: list[dict[str, Any]] = field(default_factory=list)
    viewers: set[str] = field(default_factory=set)
    office: bool = False

    def copy(self) -> Book:
        tabs = [tab.copy() for tab in self.tabs]
        return Book(
            self.id,
            self.title,
            self.timezone,
            self.editors,
            self.locale,
            self.auto_recalc,
            tabs,
            dict(self.tags),
            list(self.named_ranges),
            self.viewers,
        )

    def tab(self, sheet_id: int) -> Tab | None:
        return next((tab for tab in self.tabs if tab.id == sheet_id), None)

    def titled(self, title: str) -> Tab | None:
        return next((tab for tab in self.tabs if tab.title == title), None)

    def grow(self, cells: int) -> None:
        """Raises when `count` more cells exceed the limit (Google Drive Help, Files you can store: 10 million)."""
        if sum(tab.row_count * tab.column_count for tab in self.tabs) + cells > CELL_LIMIT:
            raise Refusal(
                f"This action would increase the number of cells in the workbook above the limit of {CELL_LIMIT} cells."
            )

    def delete_lines(self, tab: Tab, dimension: Dimension, start: int, end: int) -> None:
        """Deletes lines together with their tags."""
        gone = tab.delete(dimension, start, end)
        self.tags = {key: tag for key, tag in self.tags.items() if tag.line is None or tag.line not in gone}

    def delete_tab(self, tab: Tab) -> None:
        self.tabs.remove(tab)
        self.tags = {key: tag for key, tag in self.tags.items() if tag.sheet_id != tab.id}

    def add_tag(self, tag: Tag) -> None:
        """Raises for an id in use, and when a tab or spreadsheet has too many characters (Sheets API, Metadata)."""
        if tag.id in self.tags:
            reason = "because developer metadata with that ID already exists."
            raise Refusal(f"Cannot add developer metadata with ID [{tag.id}] {reason}")
        used = sum(other.characters for other in self.tags.values() if other.sheet_id == tag.sheet_id)
        if used + tag.characters > METADATA_CHARACTERS:
            raise Refusal(f"Developer metadata exceeds the limit of {METADATA_CHARACTERS} characters.")
        self.tags[tag.id] = tag

    def tags_of(self, tab: Tab, dimension: Dimension | None) -> list[Tag]:
        return [tag for tag in self.tags.values() if tag.sheet_id == tab.id and tag.dimension == dimension]
