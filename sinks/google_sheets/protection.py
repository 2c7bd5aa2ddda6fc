"""Which cells of a tab users protected against us. Pure.

A protected range concerns its cells alone: everything else is written, and what cannot be written is reported.
(Google Sheets API, ProtectedRange.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sinks.google_sheets.api_replies import Block, Protection
from sinks.google_sheets.api_requests import column_letters


@dataclass(frozen=True, slots=True)
class ProtectedBlock:
    """A protected block with the parts of it that every user may edit."""

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
    """All cells of a tab that we may not edit."""

    blocks: tuple[ProtectedBlock, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.blocks)

    def covers(self, row: int, column: int) -> bool:
        return any(each.holds(row, column) for each in self.blocks)

    def covers_new(self, row: int, column: int) -> bool:
        """Whether the cell of a row that is inserted before `row` will be closed."""
        return any(each.holds_new(row, column) for each in self.blocks)

    def below(self, row: int) -> int:
        """The first place from `row` on where a new row is not inserted into a block that ends further down."""
        while ends := [end for each in self.blocks if (end := each.block.end_row_index) and _spans(each.block, row)]:
            row = max(ends)
        return row

    def ends_at(self, row: int) -> bool:
        """Whether a block ends right above `row`: a new row must not take after the one above it."""
        return any(each.block.end_row_index == row for each in self.blocks)

    def names(self) -> list[str]:
        """The blocks in A1 notation."""
        return [_name(each.block) for each in self.blocks]

    def encode(self) -> list[list[list[int | None]]]:
        return [[_numbers(block) for block in (each.block, *each.exceptions)] for each in self.blocks]


NOTHING_PROTECTED = ProtectedCells()


def read_protected_cells(protections: Iterable[Protection]) -> ProtectedCells:
    """The cells that we may not edit. A protection that only warns does not count."""
    protected = [each for each in protections if not each.warning_only and not each.requesting_user_can_edit]
    return ProtectedCells(tuple(ProtectedBlock(each.range, tuple(each.unprotected_ranges)) for each in protected))


def decode_protected_cells(note: Mapping[str, Any]) -> ProtectedCells:
    """From the note of a tab, as `Closed.encode` made it."""
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
