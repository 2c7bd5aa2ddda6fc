"""Reads a tab from a reply: header, tags, key column, guards and protected cells. Pure functions. A protected range
blocks only its own cells: all other cells are written, and the sink reports the blocked ones. (Google Sheets API,
ProtectedRange.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from sinks.google_sheets.api_replies import Block, Grid, Metadata, Protection, Row, Spreadsheet, Tab, UserValue
from sinks.google_sheets.api_requests import COLUMN_TAG, GUARD_TAG, MADE_TAG, SETUP_TAG, column_letters
from sinks.spreadsheet.columns import header_key


@dataclass(frozen=True, slots=True)
class ProtectedBlock:
    """A protected block, and its parts that every user may edit."""

    block: Block
    exceptions: tuple[Block, ...] = ()

    def holds(self, row: int, column: int) -> bool:
        return _holds(self.block, row, column) and not any(_holds(each, row, column) for each in self.exceptions)

    def holds_new(self, row: int, column: int) -> bool:
        """Whether a row that is inserted before `row` becomes part of the block."""
        block = self.block
        if block.is_whole:
            return True  # no rows can be inserted into a tab that is protected as a whole
        return _spans(block, row) and block.start_column_index <= column < _end(block.end_column_index)


@dataclass(frozen=True, slots=True)
class ProtectedCells:
    """All cells of a tab that the sink may not edit."""

    blocks: tuple[ProtectedBlock, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.blocks)

    def covers(self, row: int, column: int) -> bool:
        return any(each.holds(row, column) for each in self.blocks)

    def covers_new(self, row: int, column: int) -> bool:
        """Whether the cell of a row that is inserted before `row` becomes protected."""
        return any(each.holds_new(row, column) for each in self.blocks)

    def below(self, row: int) -> int:
        """Returns the first place from `row` on where a new row is not inserted into a protected block."""
        while ends := [end for each in self.blocks if (end := each.block.end_row_index) and _spans(each.block, row)]:
            row = max(ends)
        return row

    def ends_at(self, row: int) -> bool:
        """Whether a block ends directly above `row`, so that a new row must not inherit from the row above."""
        return any(each.block.end_row_index == row for each in self.blocks)

    def names(self) -> list[str]:
        """Returns the blocks in A1 notation."""
        return [_name(each.block) for each in self.blocks]

    def encode(self) -> list[list[list[int | None]]]:
        return [[_numbers(block) for block in (each.block, *each.exceptions)] for each in self.blocks]


NOTHING_PROTECTED = ProtectedCells()


def read_protected_cells(protections: Iterable[Protection]) -> ProtectedCells:
    """Returns the cells that the sink may not edit. A protection that only warns does not count."""
    protected = [each for each in protections if not each.warning_only and not each.requesting_user_can_edit]
    return ProtectedCells(tuple(ProtectedBlock(each.range, tuple(each.unprotected_ranges)) for each in protected))


def decode_protected_cells(note: Mapping[str, Any]) -> ProtectedCells:
    """Decodes `ProtectedCells.encode` in the note of a tab."""
    blocks = [[Block(*numbers) for numbers in each] for each in note.get("protected", ())]
    return ProtectedCells(tuple(ProtectedBlock(first, tuple(others)) for first, *others in blocks))


def _holds(block: Block, row: int, column: int) -> bool:
    rows = block.start_row_index <= row < _end(block.end_row_index)
    return rows and block.start_column_index <= column < _end(block.end_column_index)


def _spans(block: Block, row: int) -> bool:
    return block.start_row_index < row < _end(block.end_row_index)


def _end(index: int | None) -> float:
    return float("inf") if index is None else index


def _numbers(block: Block) -> list[int | None]:
    return [block.start_row_index, block.end_row_index, block.start_column_index, block.end_column_index]


def _name(block: Block) -> str:
    if block.is_whole:
        return "the whole tab"
    first = "" if block.end_column_index is None else column_letters(block.start_column_index)
    last = "" if block.end_column_index is None else column_letters(block.end_column_index - 1)
    if block.end_row_index is None and not block.start_row_index:
        return f"{first}:{last}"
    bottom = "" if block.end_row_index is None else str(block.end_row_index)
    return f"{first}{block.start_row_index + 1}:{last}{bottom}"


TOP_ROWS = 20
"""Rows at the top of a tab among which the header is looked for."""
_SURE = 2
"""A row with the titles of this number of fields is the header, even if another row was the header before."""
NOT_TEXT = "\0"
"""First character of the key of a cell that is not text; interview ids do not contain it."""


class Tag(NamedTuple):
    """The mark of an owned column."""

    id: int
    field: str


class Guard(NamedTuple):
    """The mark of one write: its number in the tab's sequence, and a nonce that only its sender knows."""

    number: int
    nonce: str


@dataclass(frozen=True)
class TabView:
    """A tab as one reply shows it. `header` has one text per column of the grid, and `tags` are those of the columns.
    `keys` is the key column by row of the grid without trailing blanks; it has `""` for blank cells and for the header.
    It is `None` when the reply does not contain it. `has_header`: `header_row` has titles of the sink; without them the
    row may be that of an interview, because users deleted the header or sorted it away. `unformatted`: the sink made
    the tab and has not formatted it yet. `protected`: cells that the sink may not edit.
    """

    sheet_id: int
    title: str
    zone: str
    rows: int
    width: int
    header: Sequence[str]
    tags: Mapping[int, Sequence[Tag]]
    guards: Sequence[Guard]
    keys: Sequence[str] | None
    exists: bool = True
    header_row: int = 0
    has_header: bool = True
    unformatted: bool = False
    protected: ProtectedCells = NOTHING_PROTECTED

    @property
    def newest_guard(self) -> int:
        """The highest number of a write to this tab, 0 before the first."""
        return max((guard.number for guard in self.guards), default=0)

    @property
    def end(self) -> int:
        """The place of new rows: below the last row with a key, and below protected rows."""
        end = max(len(self.keys or ()), self.header_row + 1)
        return min(self.protected.below(end), self.rows) if self.protected else end

    @cached_property
    def key_rows(self) -> Mapping[str, int]:
        """Key without outer spaces -> first row. Computed once, because there may be 100,000."""
        keys = [*map(str.strip, self.keys or ())]
        rows = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        rows.pop("", None)
        return rows

    def is_same_as(self, other: TabView) -> bool:
        """Whether everything that a write relies on is equal, so that a refusal has another cause."""
        return (
            (self.sheet_id, self.title, self.width, self.rows) == (other.sheet_id, other.title, other.width, other.rows)
            and self.tags == other.tags
            and self.newest_guard == other.newest_guard
            and self.protected == other.protected
        )


def new_tab_view(sheet_id: int, title: str, zone: str) -> TabView:
    """Returns the view of a tab that does not exist yet."""
    return TabView(sheet_id, title, zone, 0, 0, (), {}, (), (), exists=False)


def read_view(
    book: Spreadsheet,
    sheet_id: int,
    key_column: int | None = None,
    titles: Mapping[str, str] = MappingProxyType({}),
    header_row: int = 0,
) -> TabView | None:
    """Returns the tab in a reply, `None` when it is missing. `key_column` is the requested key column when it has no
    tag yet. The header is the row at the top with the titles of most fields; `titles` maps titles, in the form of
    `header_key`, to fields, and `header_row` is its previous row.
    """
    tab = next((tab for tab in book.sheets if tab.properties.sheet_id == sheet_id), None)
    if tab is None:
        return None
    size = tab.properties.grid_properties
    top, narrow = _blocks(tab, size.column_count)
    tags = _tags(top)
    row, is_found = _header_row(top, titles, header_row, sure=_SURE if tags else 1)
    header = _texts(top, row, size.column_count)
    has_header = is_found or _has_own_title(header, tags, titles)
    return TabView(
        sheet_id=sheet_id,
        title=tab.properties.title,
        zone=book.properties.time_zone,
        rows=size.row_count,
        width=size.column_count,
        header=header,
        tags=tags,
        guards=_guards(tab.developer_metadata),
        keys=_keys(narrow, key_column, row if has_header else None),
        header_row=row,
        has_header=has_header,
        unformatted=_is_unformatted(tab.developer_metadata),
        protected=read_protected_cells(tab.protected_ranges),
    )


def _blocks(tab: Tab, width: int) -> tuple[Grid, Sequence[Grid]]:
    """Returns the block at the top and those of single columns. Both may lack coordinates, but not the number of
    columns.
    """
    if width > 1:
        wide = [block for block in tab.data if len(block.column_metadata) > 1]
        narrow = [block for block in tab.data if len(block.column_metadata) == 1]
        return wide[0] if wide else Grid(), narrow
    return tab.data[0] if tab.data else Grid(), tab.data[1:]


def _header_row(block: Grid, titles: Mapping[str, str], before: int, *, sure: int) -> tuple[int, bool]:
    """Returns the first row with the titles of most fields, or the previous header row if these are too few, and
    whether it was found by titles.
    """
    fields = len({*titles.values()})
    found, most = before, sure - 1
    for row, line in enumerate(block.lines[:TOP_ROWS]):
        count = len({titles[key] for text in _cells(line) if (key := header_key(text)) in titles})
        if count > most:
            found, most = row, count
        if most >= fields:
            break  # later rows cannot have more
    return found, most >= sure


def _has_own_title(header: Sequence[str], tags: Mapping[int, Sequence[Tag]], titles: Mapping[str, str]) -> bool:
    """Whether a column of the sink has a title of its field. The stage of an interview may be the title of another
    field, such as "Invited".
    """
    return any(titles.get(header_key(header[index])) == tag.field for index, found in tags.items() for tag in found)


def _texts(block: Grid, row: int, width: int) -> Sequence[str]:
    cells = _cells(block.lines[row]) if row < len(block.lines) else []
    texts = [""] * block.start_column + cells
    return texts + [""] * (width - len(texts))


def _tags(block: Grid) -> Mapping[int, Sequence[Tag]]:
    tags: dict[int, list[Tag]] = {}
    for index, column in enumerate(block.column_metadata, block.start_column):
        for each in column.developer_metadata:
            if each.metadata_key == COLUMN_TAG:
                tags.setdefault(index, []).append(Tag(each.metadata_id, each.metadata_value))
    return tags


def _guards(metadata: Iterable[Metadata]) -> Sequence[Guard]:
    guards = (Guard(each.metadata_id, each.metadata_value) for each in metadata if each.metadata_key == GUARD_TAG)
    return tuple(sorted(guards))


def _is_unformatted(metadata: Iterable[Metadata]) -> bool:
    marks = {each.metadata_key for each in metadata}
    return MADE_TAG in marks and SETUP_TAG not in marks


def _keys(blocks: Sequence[Grid], column: int | None, header_row: int | None) -> Sequence[str] | None:
    """Returns the leftmost key column, or the one that was requested by its place. Rows above the header count too,
    because users may sort the header into the table.
    """
    blocks = [block for block in blocks if column is None or block.start_column == column]
    if not blocks:
        return None
    block = min(blocks, key=lambda each: each.start_column)
    keys = column_texts(block)
    if header_row is not None and header_row < len(keys):
        keys[header_row] = ""
    while keys and not keys[-1].strip():
        keys.pop()
    return keys


def column_texts(block: Grid) -> list[str]:
    """Returns the texts of a block of one column, by row of the grid."""
    texts = [line if isinstance(line, str) else next(iter(_cells(line)), "") for line in block.lines]
    return [""] * block.start_row + texts


def _cells(line: str | Row) -> list[str]:
    if isinstance(line, str):
        return [line]
    values = [cell.user_entered_value for cell in line.values]
    return ["" if value is None else value.string_value or _key_of(value) for value in values]


def _key_of(value: UserValue) -> str:
    """Returns the key of a cell that is not text. It is not blank and never equals an id."""
    values = (value.formula_value, value.number_value, value.bool_value)
    found = next((each for each in values if each is not None), None)
    return "" if found is None else f"{NOT_TEXT}{found}"
