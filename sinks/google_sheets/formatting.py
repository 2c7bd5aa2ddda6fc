"""Formatting: tabs that the sink made, their place, and date cells without a number format.

Each tab is formatted once, as the last step of a flush. The write that makes a tab adds a mark, and the write that
formats it adds another one. The marks survive a crash, and Google refuses a second formatting write as a whole, so that
rules are not added twice. Formatting never delays a delivery: after a failure a later flush tries again, three times at
most. Ranges have no last row, so that they include later rows.

New tabs are the first ones. The blank tab that Google adds to a new spreadsheet is hidden and not deleted, so that a
user who types into it at that moment loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from connector.languages import Language, gettext_noop
from connector.sink import STAGE_WORDS, RateLimited, Stage
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import Formats, SpreadsheetObjects, UnreadCells
from sinks.google_sheets.api_requests import Request, colour, freeze, header_look, warn
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import CallFailed, FailureMeaning
from sinks.google_sheets.repair import slices
from sinks.google_sheets.sheet_view import TabView
from sinks.google_sheets.sheets_client import LIST_OBJECTS, Calls, read_everything, read_formats, read_values
from sinks.google_sheets.summary import Source, known_summary, summarize
from sinks.google_sheets.tabs import IdAllocator, Layout, TabSnapshot, hold_requests
from sinks.google_sheets.write_planner import FixedTag, RowChange
from sinks.spreadsheet.columns import SPECS
from sinks.spreadsheet.values import CELL_COLOURS, CellKind

FORMATS: Mapping[CellKind, Request] = {
    CellKind.TEXT: {"type": "TEXT"},
    CellKind.NUMBER: {"type": "NUMBER", "pattern": "0.0"},
    CellKind.DATETIME: api_requests.DATE_FORMAT,
    CellKind.DAYS_SINCE: {"type": "NUMBER", "pattern": "0"},
}
"""Number formats by kind of column. In a text column typed digits stay text, including leading zeros."""
FROZEN_MAX = 3
"""Most frozen columns: more would fill a small screen."""
FAILURES_MAX = 3
"""After this number of failures a process stops formatting. The last try leaves out the Summary."""
_SINGLE_ROWS_MAX = 50
"""Up to this number rows are read one by one; otherwise the block that contains them all."""
BLANK_ID = 0
"""Id of the tab that Google adds to a new spreadsheet."""
BLANK_ROWS = 1000
BLANK_COLUMNS = 26
"""Size of that tab, unless a user changed it."""


class FilterView(NamedTuple):
    """A filter view: the stage that it shows (`None` = all), and the field that it sorts by."""

    title: str
    stage: Stage | None
    order: str
    descending: bool = False


FILTERS = (
    FilterView(gettext_noop("Newest first"), None, "updated_at", descending=True),
    FilterView(gettext_noop("To review"), Stage.TO_EVALUATE, "completed_at"),
    FilterView(gettext_noop("Shortlisted"), Stage.SHORTLISTED, "candidate_name"),
)


def format_tab(view: TabView, layout: Layout, allocator: IdAllocator, words: Language) -> list[Request]:
    """Returns the requests that format a tab once."""
    sheet_id = view.sheet_id
    runs = [
        warn(sheet_id, allocator.id(f"{sheet_id}:owned:{start}"), (start, end), words) for start, end in _runs(layout)
    ]
    return [
        freeze(sheet_id, view.header_row + 1, _frozen(view, layout)),
        header_look(sheet_id, view.header_row),
        *_formats(view, layout),
        *_colours(view, layout, words),
        *_filters(view, layout, allocator, words),
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


def _colours(view: TabView, layout: Layout, words: Language) -> Iterator[Request]:
    """Returns one colour rule per stage. A rule moves with its column and survives sorting."""
    if (column := layout.at.get("stage")) is None:
        return
    for index, (stage, rgb) in enumerate(CELL_COLOURS.items()):
        rule = {"condition": _is(stage, words), "format": {"backgroundColorStyle": colour(rgb)}}
        ranges = [_below_header(view, column)]
        yield {"addConditionalFormatRule": {"index": index, "rule": {"ranges": ranges, "booleanRule": rule}}}


def _is(stage: Stage, words: Language) -> Request:
    return {"type": "TEXT_EQ", "values": [{"userEnteredValue": words.gettext(STAGE_WORDS[stage])}]}


def _filters(view: TabView, layout: Layout, allocator: IdAllocator, words: Language) -> Iterator[Request]:
    """Returns the filter views, in which users sort and filter without moving rows."""
    for each in FILTERS:
        if (each.order if each.stage is None else "stage") not in layout.at:
            continue
        shown: Request = {
            "filterViewId": allocator.id(f"{view.sheet_id}:filter:{each.title}"),
            "title": words.gettext(each.title),
            "range": {"sheetId": view.sheet_id, "startRowIndex": view.header_row},
        }
        if each.stage is not None:
            criteria = {"condition": _is(each.stage, words)}
            shown["filterSpecs"] = [{"columnIndex": layout.at["stage"], "filterCriteria": criteria}]
        if each.order in layout.at:
            direction = "DESCENDING" if each.descending else "ASCENDING"
            shown["sortSpecs"] = [{"dimensionIndex": layout.at[each.order], "sortOrder": direction}]
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


TabAndLayout: TypeAlias = tuple[TabView, Layout]


@dataclass(slots=True)
class FormattingState:
    """The progress of the formatting in this process. A restart may lose it."""

    formatted: set[int] = field(default_factory=set)
    failures: int = 0

    def due(self, tabs: Sequence[TabAndLayout]) -> list[TabAndLayout]:
        """Returns the tabs that the sink made and has not formatted yet, and whose columns are complete."""
        if self.failures >= FAILURES_MAX:
            return []
        return [
            (view, layout)
            for view, layout in tabs
            if view.unformatted and layout.settled and not layout.missing and view.sheet_id not in self.formatted
        ]


async def format_new_tabs(
    calls: Calls, tabs: Sequence[TabAndLayout], config: GoogleSheetsConfig, formatting: FormattingState
) -> None:
    """Formats new tabs with one write for all of them. Raises only `LeaseLost`."""
    due = formatting.due(tabs) if config.style else []
    if not due:
        return
    try:
        await calls.ready_to_write()
        objects = await calls.fetch(LIST_OBJECTS)
        summary = formatting.failures < FAILURES_MAX - 1
        hidden = await hide_blank_tab(objects, [view.sheet_id for view, _ in due], calls)
        body = formatting_body(due, objects, config.words, hidden, per_position=config.per_position, summary=summary)
        await calls.write(body, lambda _: None)
    except RateLimited:
        return
    except CallFailed as error:
        formatting.failures += error.failure.meaning is not FailureMeaning.THROTTLED
        return
    formatting.failures = 0
    formatting.formatted.update(view.sheet_id for view, _ in due)


def formatting_body(
    due: Sequence[TabAndLayout],
    objects: SpreadsheetObjects,
    words: Language,
    others: Sequence[Request] = (),
    *,
    per_position: bool,
    summary: bool = True,
) -> Mapping[str, Any]:
    """Returns the body of the write, with the requests for `others` tabs. Google refuses it when a tab was formatted
    already, or a column was moved since.
    """
    allocator = IdAllocator(objects)
    batch: list[Request] = []
    for view, layout in due:
        batch.append(api_requests.mark_formatted(view.sheet_id, FixedTag.FORMATTED.number(view.sheet_id)))
        batch += hold_requests(view, layout, FixedTag.WIDTH.number(view.sheet_id))
        batch += format_tab(view, layout, allocator, words)
    if not per_position or known_summary(objects) is None:  # tabs of later positions are added behind
        batch += [*bring_to_front([view.sheet_id for view, _ in due]), *others]
    if summary:
        sources = [Source(view, layout) for view, layout in due]
        batch += summarize(sources, objects, allocator, words, per_position=per_position)
    return api_requests.batch_body(batch, [api_requests.cell_range(due[0][0].title, 0, 0)])


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
    return await calls.fetch_and(
        read_formats([each for query in asked.values() for each in query.filters]),
        lambda reply: {name: _unformatted(reply, query) for name, query in asked.items()},
    )


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


_BLANK_TITLE = re.compile(r"\D+1")  # "Sheet1", "Hoja 1", "Tabellenblatt1", by the language of the account


def bring_to_front(sheet_ids: Sequence[int]) -> list[Request]:
    """Returns the requests that make these tabs the first ones, in this order."""
    return [_update({"sheetId": sheet_id, "index": index}, "index") for index, sheet_id in enumerate(sheet_ids)]


async def hide_blank_tab(objects: SpreadsheetObjects, ours: Collection[int], calls: Calls) -> list[Request]:
    """Returns the request that hides the blank tab of a new spreadsheet, if it is unused. Makes one read if there may
    be such a tab. Raises the exceptions of `Calls.fetch`.
    """
    if BLANK_ID in ours or not _may_be_blank(objects):
        return []
    area = api_requests.area_filter(BLANK_ID, 0, BLANK_ROWS, 0, BLANK_COLUMNS)
    if not _is_unused(await calls.fetch(read_everything([area]))):
        return []
    return [_update({"sheetId": BLANK_ID, "hidden": True}, "hidden")]


def _may_be_blank(objects: SpreadsheetObjects) -> bool:
    for tab in objects.sheets:
        properties = tab.properties
        if properties.sheet_id == BLANK_ID:
            size = properties.grid_properties.row_count, properties.grid_properties.column_count
            is_new = size == (BLANK_ROWS, BLANK_COLUMNS) and _BLANK_TITLE.fullmatch(properties.title) is not None
            return is_new and not properties.hidden and not tab.has_objects()
    return False


def _is_unused(reply: UnreadCells) -> bool:
    """Whether no cell has a value, a format, a note or a rule."""
    return not any(cell for tab in reply.sheets for grid in tab.data for row in grid.row_data for cell in row.values)


def _update(properties: Request, fields: str) -> Request:
    return {"updateSheetProperties": {"properties": properties, "fields": fields}}
