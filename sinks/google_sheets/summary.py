"""The tab Summary: interviews per position and stage, and how long those to evaluate wait.

Its formulas are fixed text around references to cells; they contain nothing that a candidate or Hireflix sent.
Arguments are separated by semicolons, which Google accepts in every language. Whole columns are counted, and Google
updates references when users move columns or rename tabs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connector.languages import Language
from connector.sink import STAGE_WORDS
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import SpreadsheetObjects
from sinks.google_sheets.api_requests import Request, colour, column_letters, freeze, header_look, warn
from sinks.google_sheets.sheet_view import TabView
from sinks.google_sheets.tabs import IdAllocator, Layout
from sinks.spreadsheet.columns import KEY
from sinks.spreadsheet.summary import ALL, STAGES, TITLE, WAITING, differs, equals, waiting_titles
from sinks.spreadsheet.values import CELL_COLOURS, HEADER_COLOUR

SUMMARY_TAG = "hf.summary"
"""Key of the developer metadata of a spreadsheet with the id of the tab Summary."""
WAITING_TAG = "hf.summary.waiting"
"""Key of the developer metadata of a spreadsheet whose Summary of all positions has the columns of waiting times."""
ROWS = 1000
"""Rows of a new tab, as many as Google gives one. The list of positions expands downwards, and needs blank rows."""
WIDTH = 18
"""Columns of the Summary, with room for the chart."""
_SEPARATOR = ";"
"""Between arguments."""
_HEADER = 0
"""Row of the header."""
_TOTAL = 1
"""Row of the total of all positions."""
_FIRST = 2
"""First row of a position."""
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
        return f'{key};"?*";{key};{differs(self.header(KEY), _SEPARATOR)}'


def summarize(
    sources: Sequence[Source],
    objects: SpreadsheetObjects,
    allocator: IdAllocator,
    words: Language,
    *,
    per_position: bool,
) -> list[Request]:
    """Returns the requests that add the tabs to a Summary: one Summary per tab, or that of all positions, which is made
    first. A Summary that users deleted stays deleted.
    """
    sources = [source for source in sources if source.counts]
    if not per_position:
        return [request for source in sources for request in _of_one_tab(source, allocator, words)]
    if not sources:
        return []
    made: list[Request] = []
    if (sheet_id := known_summary(objects)) is None:
        sheet_id = allocator.id(f"{TITLE}:positions")
        tags = [api_requests.tag_spreadsheet(key, str(sheet_id)) for key in (SUMMARY_TAG, WAITING_TAG)]
        made = [*_blank(sheet_id, allocator, words, _totals(), len(sources)), *tags]
    elif not objects.holds(sheet_id):
        return []
    waits = bool(made) or _tagged(objects, WAITING_TAG) == sheet_id
    rows = [{"values": [_text(source.view.title), *_row(source, waits=waits)]} for source in sources]
    return [*made, {"appendCells": {"sheetId": sheet_id, "rows": rows, "fields": "userEnteredValue"}}]


def known_summary(objects: SpreadsheetObjects) -> int | None:
    """Returns the id of the Summary of all positions, once it was made."""
    return _tagged(objects, SUMMARY_TAG)


def _tagged(objects: SpreadsheetObjects, key: str) -> int | None:
    found = [tag.metadata_value for tag in objects.developer_metadata if tag.metadata_key == key]
    return int(found[0]) if found and found[0].isdecimal() else None


def _row(source: Source, *, waits: bool) -> list[Request]:
    """Returns the cells of a tab in the Summary of all positions."""
    waiting = _waiting(source, "") if waits else []
    return [_formula(formula) for formula in [*_counts(source, ""), *waiting]]


def _totals() -> list[str]:
    """Returns the formulas of all positions together: sums, the average of all interviews, and the longest time."""
    columns = [f"{letters}{_FIRST + 1}:{letters}" for letters in _count_letters()]
    number = columns[STAGES.index(WAITING)]
    average, longest = (f"{letters}{_FIRST + 1}:{letters}" for letters in _waiting_letters())
    sums = [f"=SUM({column})" for column in columns]
    return [
        *sums,
        f'=IF(SUM({number})=0;"";SUMPRODUCT({number};{average})/SUM({number}))',
        f'=IF(COUNT({longest})=0;"";MAX({longest}))',
    ]


def _waiting(source: Source, criteria: str) -> list[str]:
    """Returns the formulas of the average and the longest time, in days, since the interviews to evaluate were
    completed; nothing without the column of that date. `criteria` come first, each followed by `;`.
    """
    if "completed_at" not in source.layout.at:
        return []
    word = f"{column_letters(STAGES.index(WAITING) + 1)}${_HEADER + 1}"
    completed = source.column("completed_at")
    chosen = f'{criteria}{source.column("stage")};{word};{completed};">0"'
    times = (f"{function}({completed};{chosen})" for function in ("AVERAGEIFS", "MINIFS"))
    return [f'=IF(COUNTIFS({chosen})=0;"";NOW()-{time})' for time in times]


def _waiting_letters() -> list[str]:
    return [column_letters(place) for place in range(len(STAGES) + 2, len(STAGES) + 4)]


def _of_one_tab(source: Source, allocator: IdAllocator, words: Language) -> list[Request]:
    """Returns the requests for the Summary of one tab. A formula lists the positions, so that new ones appear."""
    sheet_id = allocator.id(f"{TITLE}:{source.view.sheet_id}")
    made = _blank(sheet_id, allocator, words, [*_counts(source, ""), *_waiting(source, "")], 1)
    if "position_name" in source.layout.at:
        position, key = source.column("position_name"), source.column(KEY)
        listed = f'{position};{position}<>"";{key}<>"";{key}<>{source.header(KEY)}'
        names = f"$A{_FIRST + 1}:$A"
        this_position = f"{source.column('position_name')};{equals(names, _SEPARATOR)};"
        counted = [f'=ARRAYFORMULA(IF({names}="";"";{formula[1:]}))' for formula in _counts(source, this_position)]
        each = f"{position};{equals('position', _SEPARATOR)};"
        waiting = [f'=MAP({names};LAMBDA(position;IF(position="";"";{it[1:]})))' for it in _waiting(source, each)]
        cells = [f'=IFERROR(SORT(UNIQUE(FILTER({listed})));"")', *counted, *waiting]
        made.append(_write(sheet_id, _FIRST, [_formula(each) for each in cells], "userEnteredValue"))
    return made


def _counts(source: Source, criteria: str) -> list[str]:
    """Returns one formula per stage, and one for all rows. `criteria` come first, each followed by `;`."""
    words = [f"{letters}${_HEADER + 1}" for letters in _count_letters()[:-1]]
    stages = [f"{source.column('stage')};{word};" for word in words]
    return [f"=COUNTIFS({criteria}{stage}{source.rows})" for stage in [*stages, ""]]


def _count_letters() -> list[str]:
    return [column_letters(place) for place in range(1, len(STAGES) + 2)]


def _blank(sheet_id: int, allocator: IdAllocator, words: Language, totals: Sequence[str], place: int) -> list[Request]:
    """Returns the requests for the tab with its header, the total row and the chart. `place` is its index."""
    gettext = words.gettext
    stages = [_text(gettext(STAGE_WORDS[stage]), CELL_COLOURS[stage]) for stage in STAGES]
    others = [gettext("All"), *waiting_titles(words)]
    header = [_text(gettext("Position"), HEADER_COLOUR), *stages, *(_text(each, HEADER_COLOUR) for each in others)]
    grid = {"rowCount": ROWS, "columnCount": WIDTH, "hideGridlines": True}
    properties = {"sheetId": sheet_id, "title": allocator.title(gettext(TITLE)), "index": place, "gridProperties": grid}
    return [
        {"addSheet": {"properties": properties}},
        header_look(sheet_id, _HEADER),
        freeze(sheet_id, _FIRST, 1),
        api_requests.column_width(sheet_id, 0, 240),
        _write(sheet_id, _HEADER, header, _FIELDS),
        _write(sheet_id, _TOTAL, [_bold(_text(gettext(ALL))), *(_bold(_formula(each)) for each in totals)], _FIELDS),
        _days(sheet_id),
        warn(sheet_id, allocator.id(f"{sheet_id}:owned"), None, words),
        _chart(sheet_id, allocator.id(f"{sheet_id}:chart"), words),
    ]


def _days(sheet_id: int) -> Request:
    """Shows waiting times with one decimal place."""
    area = {"sheetId": sheet_id, "startRowIndex": _TOTAL}
    area |= {"startColumnIndex": len(STAGES) + 2, "endColumnIndex": len(STAGES) + 4}
    cell = {"userEnteredFormat": {"numberFormat": {"type": "NUMBER", "pattern": "0.0"}}}
    return {"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.numberFormat"}}


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


def _chart(sheet_id: int, chart_id: int, words: Language) -> Request:
    """Returns a column chart of the total row, one column per stage."""
    axes = [{"position": "BOTTOM_AXIS"}, {"position": "LEFT_AXIS", "title": words.gettext("Interviews")}]
    basic = {
        "chartType": "COLUMN",
        "legendPosition": "NO_LEGEND",
        "axis": axes,
        "domains": [{"domain": _line(sheet_id, _HEADER)}],
        "series": [{"series": _line(sheet_id, _TOTAL), "targetAxis": "LEFT_AXIS"}],
        "headerCount": 0,
    }
    anchor = {"sheetId": sheet_id, "rowIndex": _FIRST, "columnIndex": len(STAGES) + 5}
    place = {"anchorCell": anchor, "widthPixels": 520, "heightPixels": 320}
    spec: Mapping[str, object] = {"title": words.gettext("Interviews by stage"), "basicChart": basic}
    return {"addChart": {"chart": {"chartId": chart_id, "spec": spec, "position": {"overlayPosition": place}}}}


def _line(sheet_id: int, row: int) -> Request:
    area = {"sheetId": sheet_id, "startRowIndex": row, "endRowIndex": row + 1}
    area |= {"startColumnIndex": 1, "endColumnIndex": len(STAGES) + 1}
    return {"sourceRange": {"sources": [area]}}
