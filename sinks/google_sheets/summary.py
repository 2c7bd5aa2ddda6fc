"""The tab Summary: counts per position and stage, and a chart of the stages. Pure.

Its formulas are texts of ours around references to cells; what a candidate or Hireflix sends is in none of them. A
formula that counts compares with the words in its own header and first column. Arguments are separated by semicolons,
which Google takes whatever the language of the spreadsheet is. Whole columns are counted, and Google lets references
follow columns that people move and tabs that they rename.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connector.sink import STAGE_WORDS
from sinks.google_sheets import requests
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.dress import colour, freeze, header_look, warn
from sinks.google_sheets.ground import Free, Ground
from sinks.google_sheets.reading import View
from sinks.google_sheets.requests import Request, column_letters
from sinks.spreadsheet.colours import HEADER_COLOUR, STAGE_COLOURS
from sinks.spreadsheet.columns import KEY

TITLE = "Summary"
SUMMARY_TAG = "hf.summary"
"""Key of the developer metadata of a spreadsheet that says which tab is the Summary of its positions."""
ROWS, WIDTH = 100, 16
STAGES = tuple(STAGE_COLOURS)
ALL = "All positions"
_HEADER, _TOTAL, _FIRST = 0, 1, 2
"""Rows: the header, all positions together, and from there on one position each."""
_FIELDS = "userEnteredValue,userEnteredFormat.textFormat.bold,userEnteredFormat.backgroundColorStyle"


@dataclass(frozen=True, slots=True)
class Source:
    """A tab that is counted. Each column is a reference to the whole of it."""

    view: View
    layout: Layout

    @property
    def counts(self) -> bool:
        """Whether there is anything to count by."""
        return "stage" in self.layout.at

    def column(self, field: str) -> str:
        return requests.column_range(self.view.title, self.layout.at[field])

    def header(self, field: str) -> str:
        """The cell with the title of a column."""
        sheet, _, column = self.column(field).rpartition("!")
        return f"{sheet}!{column.partition(':')[0]}${self.view.header_row + 1}"

    @property
    def rows(self) -> str:
        """Criteria for COUNTIFS: the rows with an id, without the header."""
        key = self.column(KEY)
        return f'{key};"?*";{key};{_differs(self.header(KEY))}'


def summarize(sources: Sequence[Source], ground: Ground, free: Free, *, per_position: bool) -> list[Request]:
    """What adds the tabs to a Summary: to one of their own each, or to that of all positions, which is made first.

    When people deleted the Summary of all positions, it stays deleted.
    """
    sources = [source for source in sources if source.counts]
    if not per_position:
        return [request for source in sources for request in _of_one_tab(source, free)]
    if not sources:
        return []
    made: list[Request] = []
    if (sheet_id := _known(ground)) is None:
        sheet_id = free.id(f"{TITLE}:positions")
        totals = [f"=SUM({letters}{_FIRST + 1}:{letters})" for letters in _count_letters()]
        made = [*_blank(sheet_id, free, totals), requests.tag_spreadsheet(SUMMARY_TAG, str(sheet_id))]
    elif not ground.holds(sheet_id):
        return []
    rows = [{"values": [_text(source.view.title), *map(_formula, _counts(source, ""))]} for source in sources]
    return [*made, {"appendCells": {"sheetId": sheet_id, "rows": rows, "fields": "userEnteredValue"}}]


def _known(ground: Ground) -> int | None:
    found = [tag.metadata_value for tag in ground.developer_metadata if tag.metadata_key == SUMMARY_TAG]
    return int(found[0]) if found and found[0].isdecimal() else None


def _of_one_tab(source: Source, free: Free) -> list[Request]:
    """The positions in the tab are listed by a formula, so that new ones come by themselves."""
    sheet_id = free.id(f"{TITLE}:{source.view.sheet_id}")
    made = _blank(sheet_id, free, _counts(source, ""))
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
    """One formula per stage, and one for all rows whatever their stage. `criteria` come first, each with its `;`."""
    words = [f"{letters}${_HEADER + 1}" for letters in _count_letters()[:-1]]
    stages = [f"{source.column('stage')};{word};" for word in words]
    return [f"=COUNTIFS({criteria}{stage}{source.rows})" for stage in [*stages, ""]]


def _count_letters() -> list[str]:
    return [column_letters(place) for place in range(1, len(STAGES) + 2)]


def _exact(text: str) -> str:
    """A formula of the text without wildcards: `~` takes the meaning of `~`, `*` and `?` (Google Docs Editors Help,
    COUNTIFS).
    """
    for sign in "~*?":
        text = f'SUBSTITUTE({text};"{sign}";"~{sign}")'
    return text


def _equals(cell: str) -> str:
    """A criterion of COUNTIFS: this very text, also when it begins with a sign such as `>`."""
    return f'"="&{_exact(cell)}'


def _differs(cell: str) -> str:
    return f'"<>"&{_exact(cell)}'


def _blank(sheet_id: int, free: Free, totals: Sequence[str]) -> list[Request]:
    """The tab with its header, the line of all positions and the chart."""
    words = [_text(STAGE_WORDS[stage], STAGE_COLOURS[stage]) for stage in STAGES]
    header = [_text("Position", HEADER_COLOUR), *words, _text("All", HEADER_COLOUR)]
    grid = {"rowCount": ROWS, "columnCount": WIDTH, "hideGridlines": True}
    properties = {"sheetId": sheet_id, "title": free.title(TITLE), "gridProperties": grid}
    return [
        {"addSheet": {"properties": properties}},
        header_look(sheet_id, _HEADER),
        freeze(sheet_id, _FIRST, 1),
        requests.column_width(sheet_id, 0, 240),
        _write(sheet_id, _HEADER, header, _FIELDS),
        _write(sheet_id, _TOTAL, [_bold(_text(ALL)), *(_bold(_formula(each)) for each in totals)], _FIELDS),
        warn(sheet_id, free.id(f"{sheet_id}:owned"), None),
        _chart(sheet_id, free.id(f"{sheet_id}:chart")),
    ]


def _write(sheet_id: int, row: int, cells: Sequence[Request], fields: str) -> Request:
    start = {"sheetId": sheet_id, "rowIndex": row, "columnIndex": 0}
    return {"updateCells": {"start": start, "fields": fields, "rows": [{"values": list(cells)}]}}


def _text(text: str, background: str = "") -> Request:
    cell: Request = {"userEnteredValue": {"stringValue": text}}
    if background:
        look = {"textFormat": {"bold": True}, "backgroundColorStyle": colour(background)}
        cell["userEnteredFormat"] = look
    return cell


def _formula(text: str) -> Request:
    return {"userEnteredValue": {"formulaValue": text}}


def _bold(cell: Request) -> Request:
    return {**cell, "userEnteredFormat": {"textFormat": {"bold": True}}}


def _chart(sheet_id: int, chart_id: int) -> Request:
    """Columns, one per stage with its word below, over the line of all positions."""
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
