"""The read before a write: finds the tab, by its id once that is known, and its owned columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from sinks.google_sheets import requests
from sinks.google_sheets.calls import Calls
from sinks.google_sheets.columns import Layout, find_columns
from sinks.google_sheets.errors import CallFailed, Failure, Trouble, key_gone, tab_gone
from sinks.google_sheets.notes import TabNote
from sinks.google_sheets.reading import HEADER_ROW, View, absent, read_view
from sinks.google_sheets.replies import Book, TabProperties
from sinks.table import KEY, Column

_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Look:
    """The tab as it is now, where its owned columns are, and what there is to remember of it."""

    view: View
    layout: Layout
    tab: TabNote


def understand(view: View, columns: Sequence[Column], tab: TabNote) -> Look:
    """Reads a view in the light of what is remembered. Raises `CallFailed` when people deleted the key column."""
    layout = find_columns(view, columns, tab.fields, tab.doubtful)
    if KEY in layout.gone:
        raise CallFailed(key_gone(next(column.title for column in columns if column.field == KEY)))
    doubtful = tab.doubtful if layout.wrong else frozenset[str]()
    fields = tab.fields | frozenset(layout.tags)
    return Look(view, layout, replace(tab, seen=view.exists, fields=fields, doubtful=doubtful))


async def look(calls: Calls, title: str, columns: Sequence[Column], tab: TabNote) -> Look:
    """One read of a tab that is known, two or three at the first contact. Writes nothing."""
    if not tab.seen:
        tab, found = await _first_contact(calls, title, tab)
        if found is not None:
            return understand(found, columns, tab)
    assert tab.sheet_id is not None
    place: int | None = None
    for _ in range(_LOOKS):
        seen = understand(await _read(calls, tab.sheet_id, title, place), columns, tab)
        place = seen.layout.at.get(KEY)
        if place is None or seen.view.keys is not None:
            return seen
    raise CallFailed(Failure(Trouble.UNCLEAR, "the columns are being moved"))


async def _first_contact(calls: Calls, title: str, tab: TabNote) -> tuple[TabNote, View | None]:
    """The tab's id, and a view of nothing when the tab has still to be made."""
    book = await calls.tabs()
    tabs = [each.properties for each in book.sheets]
    found = _find(tabs, title, tab.sheet_id)
    if found is not None:
        return replace(tab, sheet_id=found.sheet_id), None
    sheet_id = _new_id(title, {each.sheet_id for each in tabs})
    return replace(tab, sheet_id=sheet_id), absent(sheet_id, title, book.properties.time_zone)


def _find(tabs: Sequence[TabProperties], title: str, sheet_id: int | None) -> TabProperties | None:
    """By id, else by title, else by a title that differs in letter case only: Google takes no second one of those."""
    by_id = [tab for tab in tabs if tab.sheet_id == sheet_id]
    by_title = [tab for tab in tabs if tab.title == title]
    alike = [tab for tab in tabs if tab.title.casefold() == title.casefold()]
    return next(iter([*by_id, *by_title, *alike]), None)


def _new_id(title: str, used: set[int]) -> int:
    """The same for everybody who wants this tab: of two who make it at once, one is refused."""
    wish = crc32(title.encode()) & 0x7FFF_FFFF or 1
    while wish in used:
        wish = wish % 0x7FFF_FFFF + 1
    return wish


async def _read(calls: Calls, sheet_id: int, title: str, place: int | None) -> View:
    """`place`: where the key column is when it has no tag yet."""
    key = requests.tagged_filter(sheet_id, KEY) if place is None else requests.column_filter(sheet_id, place)
    try:
        book = await calls.read([requests.header_filter(sheet_id, HEADER_ROW), key])
        view = await calls.think(lambda: read_view(book, sheet_id, place))
    except CallFailed as error:
        if error.failure.trouble not in {Trouble.REFUSED, Trouble.CONFLICT}:
            raise
        view, why = None, error.failure
    else:
        why = Failure(Trouble.UNCLEAR, "an answer of Google lacks the tab")
    if view is None:
        raise CallFailed(why if _holds(await calls.tabs(), sheet_id) else tab_gone(title))
    return view


def _holds(book: Book, sheet_id: int) -> bool:
    return any(tab.properties.sheet_id == sheet_id for tab in book.sheets)
