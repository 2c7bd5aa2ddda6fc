"""Formatting: tabs that the sink made, date cells without a number format, and the tab Summary.

Each tab is formatted once, as the last step of a flush. The write that makes a tab adds a mark, and the write that
formats it adds another one. The marks survive a crash, and Google refuses a second formatting write as a whole, so that
rules are not added twice. Formatting never delays a delivery: after a failure a later flush tries again, three times at
most. Ranges have no last row, so that they hold for every later row.

The formulas of the Summary are fixed text around references to cells; they contain nothing that a candidate or Hireflix
sent. Arguments are separated by semicolons, which Google accepts in every language. Whole columns are counted, and
Google updates references when users move columns or rename tabs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from connector.sink import STAGE_WORDS, RateLimited, Stage
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import Formats, SpreadsheetObjects
from sinks.google_sheets.api_requests import Request, column_letters
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import CallFailed, FailureMeaning
from sinks.google_sheets.repair import slices
from sinks.google_sheets.sheet_view import TabView
from sinks.google_sheets.sheets_client import LIST_OBJECTS, Calls, read_formats, read_values
from sinks.google_sheets.tabs import Layout, TabSnapshot, hold_requests
from sinks.google_sheets.write_planner import RowChange, first_guard_number
from sinks.spreadsheet.columns import KEY, SPECS
from sinks.spreadsheet.values import HEADER_COLOUR, STAGE_COLOURS, CellKind

_MOST = 0x7FFF_FFFF


class IdAllocator:
    """Allocates ids and titles that are not in use; the same for every process that reads the same spreadsheet."""

    def __init__(self, objects: SpreadsheetObjects) -> None:
        self._ids = {number for tab in objects.sheets for number in tab.ids()}
        self._titles = {tab.properties.title.casefold() for tab in objects.sheets}

    def id(self, name: str) -> int:
        """Returns an id for the object called `name`."""
        wish = crc32(name.encode()) & _MOST or 1
        while wish in self._ids:
            wish = wish % _MOST + 1
        self._ids.add(wish)
        return wish

    def title(self, wish: str) -> str:
        """Returns the title, with a number when a tab has it. Google compares titles without letter case."""
        title, number = wish, 1
        while title.casefold() in self._titles:
            number += 1
            title = f"{wish} ({number})"
        self._titles.add(title.casefold())
        return title


PIXELS: Mapping[str, int] = {
    "candidate_email": 230,
    "position_name": 210,
    "stage": 110,
    "score": 70,
    "interview_id": 210,
}
"""Widths of columns that differ from the default of their kind."""
FORMATS: Mapping[CellKind, Request] = {
    CellKind.TEXT: {"type": "TEXT"},
    CellKind.NUMBER: {"type": "NUMBER", "pattern": "0.0"},
    CellKind.DATETIME: api_requests.DATE_FORMAT,
}
"""Number formats by kind of column. In a text column typed digits stay text, including leading zeros."""
FILTERS: Sequence[tuple[str, Stage, str]] = (
    ("To review", Stage.TO_EVALUATE, "completed_at"),
    ("Shortlisted", Stage.SHORTLISTED, "candidate_name"),
)
"""Filter views: title, the stage they show, and the field they sort by."""
PROTECTED = "Filled from Hireflix. A correction stays until Hireflix changes the value."
FROZEN_MAX = 3
"""Most frozen columns: more would fill a small screen."""


def colour(rgb: str) -> Request:
    """Converts RRGGBB to Google's form: parts from 0 to 1."""
    parts = (int(rgb[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return {"rgbColor": dict(zip(("red", "green", "blue"), parts, strict=True))}


def header_look(sheet_id: int, row: int) -> Request:
    """Makes the header bold with a light background, across the whole row, so that added columns have it too."""
    style = {
        "textFormat": {"bold": True},
        "backgroundColorStyle": colour(HEADER_COLOUR),
        "wrapStrategy": "WRAP",
        "verticalAlignment": "MIDDLE",
    }
    area = {"sheetId": sheet_id, "startRowIndex": row, "endRowIndex": row + 1}
    fields = "userEnteredFormat(textFormat.bold,backgroundColorStyle,wrapStrategy,verticalAlignment)"
    return {"repeatCell": {"range": area, "cell": {"userEnteredFormat": style}, "fields": fields}}


def freeze(sheet_id: int, rows: int, columns: int) -> Request:
    grid = {"frozenRowCount": rows, "frozenColumnCount": columns}
    fields = "gridProperties.frozenRowCount,gridProperties.frozenColumnCount"
    return {"updateSheetProperties": {"properties": {"sheetId": sheet_id, "gridProperties": grid}, "fields": fields}}


def warn(sheet_id: int, protected_id: int, span: tuple[int, int] | None) -> Request:
    """Adds a protection that warns users before an edit and forbids nothing. `span`: columns, `None` = the
    whole tab.
    """
    area = {"sheetId": sheet_id}
    if span is not None:
        area |= {"startColumnIndex": span[0], "endColumnIndex": span[1]}
    protected: dict[str, Any] = {"protectedRangeId": protected_id, "range": area, "description": PROTECTED}
    return {"addProtectedRange": {"protectedRange": {**protected, "warningOnly": True}}}


def format_tab(view: TabView, layout: Layout, allocator: IdAllocator) -> list[Request]:
    """Returns the requests that format a tab once."""
    sheet_id = view.sheet_id
    runs = [warn(sheet_id, allocator.id(f"{sheet_id}:owned:{start}"), (start, end)) for start, end in _runs(layout)]
    return [
        freeze(sheet_id, view.header_row + 1, _frozen(view, layout)),
        header_look(sheet_id, view.header_row),
        *_formats(view, layout),
        *_widths(sheet_id, layout),
        *_colours(view, layout),
        *_filters(view, layout, allocator),
        *runs,
    ]


def _frozen(view: TabView, layout: Layout) -> int:
    """Returns the number of frozen columns up to the name; 0 when these are too many, or all columns."""
    frozen = layout.at.get("candidate_name", FROZEN_MAX) + 1
    return frozen if frozen <= min(FROZEN_MAX, view.width - 1) else 0


def _below_header(view: TabView, column: int) -> Request:
    rows = {"sheetId": view.sheet_id, "startRowIndex": view.header_row + 1}
    return {**rows, "startColumnIndex": column, "endColumnIndex": column + 1}


def _formats(view: TabView, layout: Layout) -> Iterator[Request]:
    for name, column in layout.at.items():
        if number_format := FORMATS.get(SPECS[name].kind):
            cell = {"userEnteredFormat": {"numberFormat": number_format}}
            area = _below_header(view, column)
            yield {"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.numberFormat"}}


def _widths(sheet_id: int, layout: Layout) -> list[Request]:
    return [
        api_requests.column_width(sheet_id, column, PIXELS[name])
        for name, column in layout.at.items()
        if name in PIXELS
    ]


def _colours(view: TabView, layout: Layout) -> Iterator[Request]:
    """Returns one colour rule per stage. A rule moves with its column and survives sorting."""
    if (column := layout.at.get("stage")) is None:
        return
    for index, (stage, rgb) in enumerate(STAGE_COLOURS.items()):
        rule = {"condition": _is(stage), "format": {"backgroundColorStyle": colour(rgb)}}
        ranges = [_below_header(view, column)]
        yield {"addConditionalFormatRule": {"index": index, "rule": {"ranges": ranges, "booleanRule": rule}}}


def _is(stage: Stage) -> Request:
    return {"type": "TEXT_EQ", "values": [{"userEnteredValue": STAGE_WORDS[stage]}]}


def _filters(view: TabView, layout: Layout, allocator: IdAllocator) -> Iterator[Request]:
    """Returns the filter views, in which users sort and filter without moving rows."""
    if (column := layout.at.get("stage")) is None:
        return
    for title, stage, order in FILTERS:
        spec = {"columnIndex": column, "filterCriteria": {"condition": _is(stage)}}
        shown: Request = {
            "filterViewId": allocator.id(f"{view.sheet_id}:filter:{title}"),
            "title": title,
            "range": {"sheetId": view.sheet_id, "startRowIndex": view.header_row},
            "filterSpecs": [spec],
        }
        if order in layout.at:
            shown["sortSpecs"] = [{"dimensionIndex": layout.at[order], "sortOrder": "ASCENDING"}]
        yield {"addFilterView": {"filter": shown}}


def _runs(layout: Layout) -> list[tuple[int, int]]:
    """Returns runs of adjacent owned columns: start and end."""
    runs: list[tuple[int, int]] = []
    for column in sorted(layout.at.values()):
        if runs and runs[-1][1] == column:
            runs[-1] = (runs[-1][0], column + 1)
        else:
            runs.append((column, column + 1))
    return runs


TITLE = "Summary"
SUMMARY_TAG = "hf.summary"
"""Key of the developer metadata of a spreadsheet with the id of the tab Summary."""
ROWS, WIDTH = 100, 16
STAGES = tuple(STAGE_COLOURS)
ALL = "All positions"
_HEADER, _TOTAL, _FIRST = 0, 1, 2
"""Rows of the Summary: the header, the total of all positions, and then one row per position."""
_FIELDS = "userEnteredValue,userEnteredFormat.textFormat.bold,userEnteredFormat.backgroundColorStyle"


@dataclass(frozen=True, slots=True)
class Source:
    """A tab that the Summary counts. Each column is a reference to the whole column."""

    view: TabView
    layout: Layout

    @property
    def counts(self) -> bool:
        """Whether the tab has the columns that are counted."""
        return "stage" in self.layout.at

    def column(self, field: str) -> str:
        return api_requests.column_range(self.view.title, self.layout.at[field])

    def header(self, field: str) -> str:
        """Returns the reference to the title of a column."""
        sheet, _, column = self.column(field).rpartition("!")
        return f"{sheet}!{column.partition(':')[0]}${self.view.header_row + 1}"

    @property
    def rows(self) -> str:
        """Returns criteria for COUNTIFS: the rows with an id, without the header."""
        key = self.column(KEY)
        return f'{key};"?*";{key};{_differs(self.header(KEY))}'


def summarize(
    sources: Sequence[Source], objects: SpreadsheetObjects, allocator: IdAllocator, *, per_position: bool
) -> list[Request]:
    """Returns the requests that add the tabs to a Summary: one Summary per tab, or that of all positions, which is made
    first. A Summary that users deleted stays deleted.
    """
    sources = [source for source in sources if source.counts]
    if not per_position:
        return [request for source in sources for request in _of_one_tab(source, allocator)]
    if not sources:
        return []
    made: list[Request] = []
    if (sheet_id := _known(objects)) is None:
        sheet_id = allocator.id(f"{TITLE}:positions")
        totals = [f"=SUM({letters}{_FIRST + 1}:{letters})" for letters in _count_letters()]
        made = [*_blank(sheet_id, allocator, totals), api_requests.tag_spreadsheet(SUMMARY_TAG, str(sheet_id))]
    elif not objects.holds(sheet_id):
        return []
    rows = [{"values": [_text(source.view.title), *map(_formula, _counts(source, ""))]} for source in sources]
    return [*made, {"appendCells": {"sheetId": sheet_id, "rows": rows, "fields": "userEnteredValue"}}]


def _known(objects: SpreadsheetObjects) -> int | None:
    found = [tag.metadata_value for tag in objects.developer_metadata if tag.metadata_key == SUMMARY_TAG]
    return int(found[0]) if found and found[0].isdecimal() else None


def _of_one_tab(source: Source, allocator: IdAllocator) -> list[Request]:
    """Returns the requests for the Summary of one tab. A formula lists the positions, so that new ones appear."""
    sheet_id = allocator.id(f"{TITLE}:{source.view.sheet_id}")
    made = _blank(sheet_id, allocator, _counts(source, ""))
    if "position_name" in source.layout.at:
        position, key = source.column("position_name"), source.column(KEY)
        listed = f'{position};{position}<>"";{key}<>"";{key}<>{source.header(KEY)}'
        names = f"$A{_FIRST + 1}:$A"
        mine = f"{source.column('position_name')};{_equals(names)};"
        counted = [f'=ARRAYFORMULA(IF({names}="";"";{formula[1:]}))' for formula in _counts(source, mine)]
        cells = [f'=IFERROR(SORT(UNIQUE(FILTER({listed})));"")', *counted]
        made.append(_write(sheet_id, _FIRST, [_formula(each) for each in cells], "userEnteredValue"))
    return made


def _counts(source: Source, criteria: str) -> list[str]:
    """Returns one formula per stage, and one for all rows. `criteria` come first, each followed by `;`."""
    words = [f"{letters}${_HEADER + 1}" for letters in _count_letters()[:-1]]
    stages = [f"{source.column('stage')};{word};" for word in words]
    return [f"=COUNTIFS({criteria}{stage}{source.rows})" for stage in [*stages, ""]]


def _count_letters() -> list[str]:
    return [column_letters(place) for place in range(1, len(STAGES) + 2)]


def _exact(text: str) -> str:
    """Returns a formula for the text without wildcards: `~` escapes `~`, `*` and `?` (Google Docs Editors Help,
    COUNTIFS).
    """
    for sign in "~*?":
        text = f'SUBSTITUTE({text};"{sign}";"~{sign}")'
    return text


def _equals(cell: str) -> str:
    """Returns a criterion of COUNTIFS for exactly this text, also when it begins with a sign such as `>`."""
    return f'"="&{_exact(cell)}'


def _differs(cell: str) -> str:
    return f'"<>"&{_exact(cell)}'


def _blank(sheet_id: int, allocator: IdAllocator, totals: Sequence[str]) -> list[Request]:
    """Returns the requests for the tab with its header, the total row and the chart."""
    words = [_text(STAGE_WORDS[stage], STAGE_COLOURS[stage]) for stage in STAGES]
    header = [_text("Position", HEADER_COLOUR), *words, _text("All", HEADER_COLOUR)]
    grid = {"rowCount": ROWS, "columnCount": WIDTH, "hideGridlines": True}
    properties = {"sheetId": sheet_id, "title": allocator.title(TITLE), "gridProperties": grid}
    return [
        {"addSheet": {"properties": properties}},
        header_look(sheet_id, _HEADER),
        freeze(sheet_id, _FIRST, 1),
        api_requests.column_width(sheet_id, 0, 240),
        _write(sheet_id, _HEADER, header, _FIELDS),
        _write(sheet_id, _TOTAL, [_bold(_text(ALL)), *(_bold(_formula(each)) for each in totals)], _FIELDS),
        warn(sheet_id, allocator.id(f"{sheet_id}:owned"), None),
        _chart(sheet_id, allocator.id(f"{sheet_id}:chart")),
    ]


def _write(sheet_id: int, row: int, cells: Sequence[Request], fields: str) -> Request:
    start = {"sheetId": sheet_id, "rowIndex": row, "columnIndex": 0}
    return {"updateCells": {"start": start, "fields": fields, "rows": [{"values": list(cells)}]}}


def _text(text: str, background: str = "") -> Request:
    cell: Request = {"userEnteredValue": {"stringValue": text}}
    if background:
        style = {"textFormat": {"bold": True}, "backgroundColorStyle": colour(background)}
        cell["userEnteredFormat"] = style
    return cell


def _formula(text: str) -> Request:
    return {"userEnteredValue": {"formulaValue": text}}


def _bold(cell: Request) -> Request:
    return {**cell, "userEnteredFormat": {"textFormat": {"bold": True}}}


def _chart(sheet_id: int, chart_id: int) -> Request:
    """Returns a column chart of the total row, one column per stage."""
    axes = [{"position": "BOTTOM_AXIS"}, {"position": "LEFT_AXIS", "title": "Interviews"}]
    basic = {
        "chartType": "COLUMN",
        "legendPosition": "NO_LEGEND",
        "axis": axes,
        "domains": [{"domain": _line(sheet_id, _HEADER)}],
        "series": [{"series": _line(sheet_id, _TOTAL), "targetAxis": "LEFT_AXIS"}],
        "headerCount": 0,
    }
    anchor = {"sheetId": sheet_id, "rowIndex": _FIRST, "columnIndex": len(STAGES) + 3}
    place = {"anchorCell": anchor, "widthPixels": 520, "heightPixels": 320}
    spec: Mapping[str, object] = {"title": "Interviews by stage", "basicChart": basic}
    return {"addChart": {"chart": {"chartId": chart_id, "spec": spec, "position": {"overlayPosition": place}}}}


def _line(sheet_id: int, row: int) -> Request:
    area = {"sheetId": sheet_id, "startRowIndex": row, "endRowIndex": row + 1}
    area |= {"startColumnIndex": 1, "endColumnIndex": len(STAGES) + 1}
    return {"sourceRange": {"sources": [area]}}


FAILURES_MAX = 3
"""After this number of failures a process stops formatting. The last try leaves out the Summary."""

Seen: TypeAlias = tuple[TabView, Layout]


@dataclass(slots=True)
class FormattingState:
    """The progress of the formatting in this process. A restart may lose it."""

    formatted: set[int] = field(default_factory=set)
    failures: int = 0

    def due(self, snapshot: Sequence[Seen]) -> list[Seen]:
        """Returns the tabs that the sink made and has not formatted yet, and whose columns are complete."""
        if self.failures >= FAILURES_MAX:
            return []
        return [
            (view, layout)
            for view, layout in snapshot
            if view.unformatted and layout.settled and not layout.missing and view.sheet_id not in self.formatted
        ]


async def format_new_tabs(
    calls: Calls, snapshot: Sequence[Seen], config: GoogleSheetsConfig, formatting: FormattingState
) -> None:
    """Formats new tabs with one read and one write for all of them. Raises only `LeaseLost`."""
    due = formatting.due(snapshot) if config.style else []
    if not due:
        return
    try:
        await calls.ready_to_write()
        objects = await calls.fetch(LIST_OBJECTS)
        summary = formatting.failures < FAILURES_MAX - 1
        body = formatting_body(due, objects, per_position=config.per_position, summary=summary)
        await calls.write(body, lambda _: None)
    except RateLimited:
        return
    except CallFailed as error:
        formatting.failures += error.failure.trouble is not FailureMeaning.THROTTLED
        return
    formatting.failures = 0
    formatting.formatted.update(view.sheet_id for view, _ in due)


def formatting_body(
    due: Sequence[Seen], objects: SpreadsheetObjects, *, per_position: bool, summary: bool = True
) -> Mapping[str, Any]:
    """Returns the body of the write. Google refuses it when a tab was formatted already, or a column was moved
    since.
    """
    allocator = IdAllocator(objects)
    batch: list[Request] = []
    for view, layout in due:
        number = first_guard_number(view.sheet_id)
        batch += [api_requests.mark_formatted(view.sheet_id, number - 2), *hold_requests(view, layout, number - 1)]
        batch += format_tab(view, layout, allocator)
    if summary:
        sources = [Source(view, layout) for view, layout in due]
        batch += summarize(sources, objects, allocator, per_position=per_position)
    return api_requests.batch_body(batch, [api_requests.cell_range(due[0][0].title, 0, 0)])


_SINGLE_ROWS_MAX = 50
"""Up to this number rows are read one by one; otherwise the block that contains them all."""

UnformattedDates = Mapping[int, frozenset[str]]
"""Row -> fields whose cells have no number format."""


def is_date(name: str) -> bool:
    return SPECS[name].kind is CellKind.DATETIME


def may_lack_format(change: RowChange) -> bool:
    """Whether a change writes a date into a row that the sink did not insert, so that the cell may have no format."""
    if change.wanted is None:
        return False
    known = (change.wanted.note.applied or {}) if change.wanted.note is not None and change.wanted.dated else {}
    return any(is_date(name) and value is not None and name not in known for name, value in change.cells.items())


class FormatQuery(NamedTuple):
    """Rows of a tab whose date cells may have no number format."""

    snapshot: TabSnapshot
    layout: Layout
    rows: Collection[int]

    @property
    def places(self) -> dict[int, str]:
        return {
            place: name for name, place in self.layout.at.items() if is_date(name) and place < self.snapshot.view.width
        }

    @property
    def areas(self) -> list[tuple[int, int]]:
        rows = sorted(self.rows)
        return [(row, row + 1) for row in rows] if len(rows) <= _SINGLE_ROWS_MAX else [(rows[0], rows[-1] + 1)]

    @property
    def filters(self) -> list[Request]:
        sheet_id, columns = self.snapshot.view.sheet_id, (min(self.places), max(self.places) + 1)
        return [api_requests.area_filter(sheet_id, *area, *columns) for area in self.areas]


async def without_format(calls: Calls, queries: Mapping[str, FormatQuery]) -> dict[str, UnformattedDates]:
    """Returns the date cells of these rows without a number format, by tab. Makes one read for all tabs, or none
    without rows.
    """
    asked = {name: each for name, each in queries.items() if each.rows and each.places}
    if not asked:
        return {}
    reply = await calls.fetch(read_formats([each for query in asked.values() for each in query.filters]))
    return {name: _unformatted(reply, query) for name, query in asked.items()}


def _unformatted(reply: Formats, query: FormatQuery) -> UnformattedDates:
    """Returns the cells without a format. A reply leaves out empty cells at its ends, and cells that were not requested
    are unknown.
    """
    sheet_id, places = query.snapshot.view.sheet_id, query.places
    grids = {grid.start_row: grid for tab in reply.sheets if tab.properties.sheet_id == sheet_id for grid in tab.data}
    rows = set(query.rows)
    return {
        row: frozenset(name for place, name in places.items() if not grids[first].has_format(row, place))
        for first, end in query.areas
        if first in grids
        for row in range(first, end)
        if row in rows
    }


async def unformatted_dates(calls: Calls, snapshots: Mapping[str, TabSnapshot]) -> dict[str, UnformattedDates]:
    """Returns the cells of the sink's date columns that show a plain number, by tab. Makes one read, and a second one
    if there are any.
    """
    numbers: dict[str, set[int]] = {}
    for read in slices(snapshots):
        filters = [
            api_requests.cells_filter(part.snapshot.view.sheet_id, place, part.first, part.end)
            for part in read
            for place in _date_places(part.snapshot.layout)
        ]
        if not filters:
            continue
        reply = await calls.fetch(read_values(filters, dates_as_shown=True))
        by_sheet = {part.snapshot.view.sheet_id: part.tab for part in read}
        for matched in reply.value_ranges:
            grid = matched.data_filters[0].grid_range
            column = matched.value_range.values[0] if matched.value_range.values else []
            rows = _numbers(column, grid.start_row_index)
            numbers.setdefault(by_sheet[grid.sheet_id], set()).update(rows)
    return await without_format(
        calls, {name: FormatQuery(snapshots[name], snapshots[name].layout, rows) for name, rows in numbers.items()}
    )


def _date_places(layout: Layout) -> list[int]:
    return sorted(place for name, place in layout.at.items() if is_date(name))


def _numbers(column: Iterable[str | float | bool], first: int) -> set[int]:
    """Returns the rows whose cell is read as a number. A date with a format is read as text."""
    return {first + row for row, value in enumerate(column) if not isinstance(value, str | bool)}
