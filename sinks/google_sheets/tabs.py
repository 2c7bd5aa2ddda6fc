"""The tabs of a sink and their columns: which tab an interview goes to, and the read that finds tabs and columns.

A column is found by its tag, then by the text of its header. Missing columns are added at the right. A column with a
tag belongs to the sink, with any title and at any place. A column without a tag or a known header belongs to users.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

from connector.sink import Interview
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import Spreadsheet, SpreadsheetObjects, TabProperties
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.config import POSITION, TITLE_MAX, GoogleSheetsConfig, is_per_position
from sinks.google_sheets.errors import CallFailed, FailureMeaning, SheetsFailure, key_gone, tab_gone, tab_replaced
from sinks.google_sheets.sheet_view import TOP_ROWS, TabView, new_tab_view, read_view
from sinks.google_sheets.sheets_client import LIST_TABS, Calls, read_cells
from sinks.google_sheets.state import TabNote
from sinks.spreadsheet.columns import KEY, Column, header_key, titles_of, usual_header_keys
from sinks.spreadsheet.values import CellKind, clean_text

_PIXELS: Mapping[CellKind, int] = {
    CellKind.TEXT: 180,
    CellKind.NUMBER: 80,
    CellKind.DATETIME: 140,
    CellKind.DAYS_SINCE: 110,
    CellKind.LINK: 80,
}
_FIELD_PIXELS: Mapping[str, int] = {
    "candidate_email": 230,
    "position_name": 210,
    "stage": 110,
    "interview_id": 210,
}
"""Widths of columns that differ from the width of their kind."""
_CHARACTER_PIXELS = 8
"""Width of a character of a bold header."""
_PADDING_PIXELS = 20
_TITLE_PIXELS_MAX = 260
"""A longer title is cut."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The owned columns of a tab. `at` maps a field to its column, and `tags` to its tag; a field in `at` without a tag
    was found by its header. `missing` fields have no column yet. `gone` fields had one that users deleted. `wrong` are
    tags to remove. `renamed` maps columns whose header is the usual title in another language to their titles; titles
    that users chose stay.
    """

    at: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    missing: Sequence[Column] = ()
    gone: Sequence[str] = ()
    wrong: Sequence[int] = ()
    renamed: Mapping[int, str] = field(default_factory=dict)

    @property
    def untagged(self) -> Sequence[str]:
        return [name for name in self.at if name not in self.tags]

    @property
    def settled(self) -> bool:
        """Whether every column has a tag, so that rows may be written."""
        return not self.untagged and not self.wrong


def find_columns(
    view: TabView, columns: Sequence[Column], known: Collection[str] = (), doubtful: Collection[str] = ()
) -> Layout:
    """Returns the layout of a tab. `known` are the fields that had a tag before; if the tag is missing now, users
    deleted the column. The tag of a `doubtful` field may be on a wrong column; it is correct only with the sink's
    header.
    """
    tagged, wrong = _by_tag(view, columns, doubtful)
    at = {name: index for name, (index, _) in tagged.items()}
    at |= _by_header(view, [column for column in columns if column.field not in at])
    left = [column for column in columns if column.field not in at]
    return Layout(
        at=at,
        tags={name: tag for name, (_, tag) in tagged.items()},
        missing=[column for column in left if column.field not in known],
        gone=[column.field for column in left if column.field in known],
        wrong=wrong,
        renamed=_translated(view, [column for column in columns if column.field in tagged], at),
    )


def _translated(view: TabView, columns: Sequence[Column], at: Mapping[str, int]) -> Mapping[int, str]:
    """Returns the titles of the columns whose header is the usual title of their field in another language."""
    renamed = {}
    for column in columns:
        text = view.header[at[column.field]]
        if text != column.title:
            found, own = header_key(text), header_key(column.title)
            if found != own and {found, own} <= usual_header_keys(column.field):
                renamed[at[column.field]] = column.title
    return renamed


def _by_tag(
    view: TabView, columns: Sequence[Column], doubtful: Collection[str]
) -> tuple[Mapping[str, tuple[int, int]], Sequence[int]]:
    """Returns the column and the tag of each field with a tag, and the tags that are on wrong columns."""
    fields = {column.field for column in columns}
    found: dict[str, tuple[int, int]] = {}
    wrong = []
    for index, tags in sorted(view.tags.items()):
        for tag in tags:
            if tag.field not in fields or tag.field in found:
                continue
            if tag.field not in doubtful or titles_of(columns).get(header_key(view.header[index])) == tag.field:
                found[tag.field] = (index, tag.id)
            else:
                wrong.append(tag.id)
            break  # a column shows one field
    return found, wrong


def _by_header(view: TabView, columns: Sequence[Column]) -> Mapping[str, int]:
    """Returns the leftmost column with this header and without a tag of the sink."""
    places = {
        header_key(text): index
        for index, text in reversed(list(enumerate(view.header)))
        if text.strip() and index not in view.tags
    }
    fields = {column.field for column in columns}
    found = [(field, places[title]) for title, field in titles_of(columns).items() if title in places]
    return {field: index for field, index in found if field in fields}  # the configured title is the last of a field


def tag_requests(view: TabView, layout: Layout) -> list[Request]:
    """Returns the requests that add tags to columns found by their header, and remove wrong tags."""
    put = [api_requests.tag_column(view.sheet_id, layout.at[name], name) for name in layout.untagged]
    return [api_requests.prune(tag) for tag in layout.wrong] + put


def hold_requests(view: TabView, layout: Layout, width_tag: int) -> list[Request]:
    """Returns the requests that make the batch fail unless every owned column is where the view shows it."""
    held = [
        request
        for name, tag in layout.tags.items()
        for request in api_requests.hold_column(view.sheet_id, layout.at[name], name, tag)
    ]
    return held + api_requests.prove_width(view.sheet_id, view.width, width_tag) if held else []


def add_columns(view: TabView, layout: Layout) -> tuple[Layout, list[Request]]:
    """Returns the requests that add the missing columns to the right of all headers, and the layout after them."""
    if not layout.missing or cannot_add(view, layout):
        return layout, []
    start = _right_of_headers(view, layout)
    end = start + len(layout.missing)
    made = []
    if view.exists:
        made.append(api_requests.insert_columns(view.sheet_id, start, end, inherit=start == view.width))
    made += _header_requests(view, layout.missing, start)
    places = {column.field: index for index, column in enumerate(layout.missing, start)}
    return replace(layout, at={**layout.at, **places}, missing=()), made


def rename_headers(view: TabView, layout: Layout) -> list[Request]:
    """Returns the requests that give columns of the sink their titles in the present language."""
    titles = {
        index: title for index, title in layout.renamed.items() if not view.protected.covers(view.header_row, index)
    }
    return [
        api_requests.header_cells(view.sheet_id, view.header_row, index, [title]) for index, title in titles.items()
    ]


def cannot_add(view: TabView, layout: Layout) -> bool:
    """Whether the header is protected at the place of the missing columns."""
    return bool(layout.missing) and view.protected.covers(view.header_row, _right_of_headers(view, layout))


def _right_of_headers(view: TabView, layout: Layout) -> int:
    filled = [index for index, text in enumerate(view.header) if text.strip()]
    return max([*filled, *layout.at.values()], default=-1) + 1


def _header_requests(view: TabView, columns: Sequence[Column], start: int) -> list[Request]:
    sheet_id = view.sheet_id
    made = [
        api_requests.header_cells(sheet_id, view.header_row, start, [column.title for column in columns]),
        api_requests.bold_header(sheet_id, view.header_row, start, start + len(columns)),
    ]
    has_rows = view.rows > view.header_row + 1
    for index, column in enumerate(columns, start):
        made.append(api_requests.tag_column(sheet_id, index, column.field))
        made.append(api_requests.column_width(sheet_id, index, _pixels(column)))
        if column.kind is CellKind.DATETIME and (not view.exists or (has_rows and not view.protected)):
            made.append(api_requests.date_format(sheet_id, view.header_row + 1, None, index))
    return made


def _pixels(column: Column) -> int:
    """Returns the width of a new column: its title fits, in every language."""
    title = min(len(column.title) * _CHARACTER_PIXELS + _PADDING_PIXELS, _TITLE_PIXELS_MAX)
    return max(title, _FIELD_PIXELS.get(column.field, _PIXELS[column.kind]))


_ID_MAX = 0x7FFF_FFFF
"""Ids of Google are positive 32-bit integers."""
OTHER = "Other"
"""Title of the tab for interviews without a position."""


def tab_of(interview: Interview, worksheet: str) -> str:
    """Returns the name of a tab in notes: the position's id, or `""` when there is one tab for all."""
    return interview.position_id if is_per_position(worksheet) else ""


def title_of(interview: Interview, worksheet: str) -> str:
    """Returns the title of a new tab. The position's name is text from outside."""
    position = clean_text(interview.position_name).strip() or interview.position_id or OTHER
    position = position if interview.position_id else OTHER
    room = TITLE_MAX - _units(worksheet.replace(POSITION, ""))
    return worksheet.replace(POSITION, _cut(position, max(1, room))).strip()


def free_title(title: str, used: Collection[str]) -> str:
    """Returns the title, with a number when it is in use. Google compares titles without letter case."""
    folded = {each.casefold() for each in used}
    free, number = title, 2
    while free.casefold() in folded:
        mark = f" ({number})"
        free, number = _cut(title, TITLE_MAX - len(mark)) + mark, number + 1
    return free


def new_id(name: str, used: Collection[int]) -> int:
    """Returns an id for the object called `name`, the same in every process, so that Google refuses the second one."""
    found = preferred_id(name)
    while found in used:
        found = found % _ID_MAX + 1
    return found


def preferred_id(name: str) -> int:
    """Returns the id for a name, without regard to ids in use."""
    return crc32(name.encode("utf-8", "replace")) & _ID_MAX or 1


class IdAllocator:
    """Allocates ids and titles that are not in use; the same for every process that reads the same spreadsheet."""

    def __init__(self, objects: SpreadsheetObjects) -> None:
        self._ids = {number for tab in objects.sheets for number in tab.ids()}
        self._titles = {tab.properties.title for tab in objects.sheets}

    def id(self, name: str) -> int:
        """Returns an id for the object called `name`."""
        found = new_id(name, self._ids)
        self._ids.add(found)
        return found

    def title(self, preferred: str) -> str:
        """Returns the title, with a number when a tab has it."""
        found = free_title(preferred, self._titles)
        self._titles.add(found)
        return found


def _cut(text: str, units: int) -> str:
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore").strip()


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


_READS_MAX = 3
"""Most reads to find the columns, while users move them."""


@dataclass(frozen=True, slots=True)
class TabSnapshot:
    """The view of a tab, the layout of its owned columns, and its note."""

    view: TabView
    layout: Layout
    tab: TabNote


def snapshot_of(view: TabView, config: GoogleSheetsConfig, tab: TabNote) -> TabSnapshot:
    """Combines a view with the note of the tab. Raises `CallFailed` when users deleted the key column."""
    layout = find_columns(view, config.columns, tab.fields, tab.doubtful)
    if KEY in layout.gone:
        raise CallFailed(key_gone(next(column.title for column in config.columns if column.field == KEY)))
    now = replace(
        tab,
        seen=view.exists,
        fields=tab.fields.intersection(column.field for column in config.columns) | frozenset(layout.tags),
        doubtful=tab.doubtful if layout.wrong else frozenset(),
        header=view.header_row,
        protected=view.protected,
        title=view.title,
    )
    return TabSnapshot(view, layout, now)


async def read_tabs(
    calls: Calls,
    config: GoogleSheetsConfig,
    wanted: Mapping[str, str],
    notes: Mapping[str, TabNote],
    unavailable: dict[str, SheetsFailure],
) -> dict[str, TabSnapshot]:
    """Reads all known tabs at once, with a second read at the first contact. Writes nothing.

    `wanted` maps the names of tabs to the titles of new ones. A tab that an operator must restore is added to
    `unavailable` with the reason, and is not in the result. Raises `CallFailed`, with that reason when all interviews
    share one tab.
    """
    known = {name: notes[name] for name in wanted if notes[name].seen}
    snapshots: dict[str, TabSnapshot] = {}
    if len(known) < len(wanted):
        book = await calls.fetch(LIST_TABS)
        for name in [name for name in wanted if name not in known]:
            found, view = _first_contact(book, config, name, wanted[name], notes[name], made=snapshots)
            if view is None:
                known[name] = found
            else:
                snapshots[name] = snapshot_of(view, config, found)
    if known:
        snapshots |= await _read_known(calls, config, known, wanted, unavailable)
    if unavailable and not config.per_position:
        raise CallFailed(next(iter(unavailable.values())))
    return snapshots


def _first_contact(
    book: Spreadsheet,
    config: GoogleSheetsConfig,
    name: str,
    title: str,
    note: TabNote,
    *,
    made: Mapping[str, TabSnapshot],
) -> tuple[TabNote, TabView | None]:
    """Returns the tab's id, and an empty view when the tab has to be made."""
    tabs = [each.properties for each in book.sheets]
    name_of_id = title if not config.per_position else f"{config.worksheet}/{name}"
    adopt = note.adopt or not config.per_position
    found = _find(tabs, note.title or title, note.sheet_id, preferred_id(name_of_id), adopt=adopt)
    if found is not None:
        return (note if found.sheet_id == note.sheet_id else note.restarted(found.sheet_id)), None
    coming = [each.view for each in made.values()]
    sheet_id = new_id(name_of_id, {*(each.sheet_id for each in tabs), *(each.sheet_id for each in coming)})
    free = free_title(title, [*(each.title for each in tabs), *(each.title for each in coming)])
    return note.restarted(sheet_id), new_tab_view(sheet_id, free, book.properties.time_zone)


def _find(
    tabs: Sequence[TabProperties], title: str, sheet_id: int | None, preferred: int, *, adopt: bool
) -> TabProperties | None:
    """Returns the tab by its id, or by the id that it would get. With `adopt` it returns the tab by its id, else by its
    title, else by its title without regard to case.
    """
    found = [tab for tab in tabs if tab.sheet_id == sheet_id] or [tab for tab in tabs if tab.sheet_id == preferred]
    if adopt:
        found = [tab for tab in tabs if tab.sheet_id == sheet_id]
        found += [tab for tab in tabs if tab.title == title]
        found += [tab for tab in tabs if tab.title.casefold() == title.casefold()]
    return next(iter(found), None)


async def _read_known(
    calls: Calls,
    config: GoogleSheetsConfig,
    known: Mapping[str, TabNote],
    wanted: Mapping[str, str],
    unavailable: dict[str, SheetsFailure],
) -> dict[str, TabSnapshot]:
    places: dict[str, int | None] = dict.fromkeys(known)
    for _ in range(_READS_MAX):
        left = {name: tab for name, tab in known.items() if name not in unavailable}
        views = await _read(calls, config, left, places, wanted, unavailable) if left else {}
        snapshots = _snapshots_of(views, config, known, unavailable)
        blind = [name for name, each in snapshots.items() if KEY in each.layout.at and each.view.keys is None]
        if not blind:
            return snapshots
        places = {
            name: snapshots[name].layout.at[KEY] if name in blind else None for name in known if name in snapshots
        }
    raise CallFailed(SheetsFailure(FailureMeaning.UNCLEAR, "the columns are being moved"))


def _snapshots_of(
    views: Mapping[str, TabView],
    config: GoogleSheetsConfig,
    known: Mapping[str, TabNote],
    unavailable: dict[str, SheetsFailure],
) -> dict[str, TabSnapshot]:
    snapshots = {}
    for name, view in views.items():
        try:
            snapshots[name] = snapshot_of(view, config, known[name])
        except CallFailed as error:
            unavailable[name] = error.failure
    return snapshots


async def _read(  # noqa: PLR0917 - what is known of the tabs, and what becomes known
    calls: Calls,
    config: GoogleSheetsConfig,
    known: Mapping[str, TabNote],
    places: Mapping[str, int | None],
    wanted: Mapping[str, str],
    unavailable: dict[str, SheetsFailure],
) -> dict[str, TabView]:
    """Reads the tabs. `places` are key columns without a tag. Missing tabs are added to `unavailable`."""
    filters = [each for name, tab in known.items() for each in _filters(tab, places[name])]

    def views(book: Spreadsheet) -> dict[str, TabView | None]:
        return {
            name: read_view(book, tab.sheet_id or 0, places[name], config.titles, tab.header)
            for name, tab in known.items()
        }

    try:
        found = await calls.fetch_and(read_cells(filters), views)
    except CallFailed as error:
        if error.failure.meaning not in {FailureMeaning.REFUSED, FailureMeaning.CONFLICT}:
            raise
        found, why = {}, error.failure
    else:
        why = SheetsFailure(FailureMeaning.UNCLEAR, "an answer of Google lacks the tab")
    there = {name: view for name, view in found.items() if view is not None}
    if len(there) == len(known):
        return there
    gone = _missing(await calls.fetch(LIST_TABS), known, wanted, calls.sink)
    if not gone:
        raise CallFailed(why)
    unavailable |= gone
    left = {name: tab for name, tab in known.items() if name not in gone}
    return await _read(calls, config, left, places, wanted, unavailable) if left else {}


def _filters(tab: TabNote, place: int | None) -> list[Request]:
    assert tab.sheet_id is not None
    key = (
        api_requests.tagged_filter(tab.sheet_id, KEY)
        if place is None
        else api_requests.column_filter(tab.sheet_id, place)
    )
    return [api_requests.top_filter(tab.sheet_id, TOP_ROWS), key]


def _missing(
    book: Spreadsheet, known: Mapping[str, TabNote], wanted: Mapping[str, str], sink: str
) -> dict[str, SheetsFailure]:
    """Returns the tabs that are missing, or whose title another tab has."""
    there = {tab.properties.sheet_id for tab in book.sheets}
    titles = {tab.properties.title.casefold() for tab in book.sheets}
    gone = {name: tab.title or wanted[name] for name, tab in known.items() if tab.sheet_id not in there}
    return {
        name: tab_replaced(sink, title) if title.casefold() in titles else tab_gone(sink, title)
        for name, title in gone.items()
    }


def has_shrunk(note: TabNote, view: TabView) -> bool:
    """Whether so many ids disappeared at once that a user may have emptied the tab."""
    gone = note.count - len(view.key_rows)
    return gone > 10 and gone > note.count / 5  # noqa: PLR2004 - more than 10 and more than 20 %
