"""Which of our columns somebody protected against us. Pure."""

from __future__ import annotations

from sinks.google_sheets.columns import Layout
from sinks.google_sheets.reading import View
from sinks.google_sheets.replies import Block, Book
from sinks.table import KEY


def closed_fields(book: Book, view: View, layout: Layout) -> frozenset[str]:
    """The fields whose cells we may not edit, but for the key: without that one nothing can be written at all.

    A protection that only warns stops nobody (Google Sheets API, ProtectedRange).
    """
    tab = next((tab for tab in book.sheets if tab.properties.sheet_id == view.sheet_id), None)
    if tab is None:
        return frozenset()
    closed = [
        each.range for each in tab.protected_ranges if not each.warning_only and not each.requesting_user_can_edit
    ]
    return frozenset(
        name for name, place in layout.at.items() if name != KEY and any(_holds(block, view, place) for block in closed)
    )


def _holds(block: Block, view: View, place: int) -> bool:
    """Whether a block has cells of a column below the header."""
    below = block.end_row_index is None or block.end_row_index > view.header_row + 1
    return below and block.start_column_index <= place < (block.end_column_index or view.width)
