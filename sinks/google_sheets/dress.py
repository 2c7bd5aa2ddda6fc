"""The looks of a tab that we made: what helps people to read it, and nothing they cannot take off again. Pure.

Ranges have no last row, so that they hold for every row to come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connector.sink import STAGE_WORDS, Stage
from sinks.google_sheets import requests
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.ground import Free
from sinks.google_sheets.reading import View
from sinks.google_sheets.requests import Request
from sinks.spreadsheet.colours import HEADER_COLOUR, STAGE_COLOURS
from sinks.spreadsheet.columns import SPECS
from sinks.spreadsheet.values import CellKind

PIXELS: Mapping[str, int] = {
    "candidate_email": 230,
    "position_name": 210,
    "stage": 110,
    "score": 70,
    "interview_id": 210,
}
"""Widths of columns whose kind alone does not say how wide they are."""
FORMATS: Mapping[CellKind, Request] = {
    CellKind.TEXT: {"type": "TEXT"},
    CellKind.NUMBER: {"type": "NUMBER", "pattern": "0.0"},
    CellKind.DATETIME: requests.DATE_FORMAT,
}
"""How the cells of a column show what they hold; a text that a person types stays text, zeros and all."""
FILTERS: Sequence[tuple[str, Stage, str]] = (
    ("To review", Stage.TO_EVALUATE, "completed_at"),
    ("Shortlisted", Stage.SHORTLISTED, "candidate_name"),
)
"""Filter views: title, the stage they show, and the field they sort by."""
PROTECTED = "Filled from Hireflix. A correction stays until Hireflix changes that very value."
FROZEN_MAX = 3
"""Most columns that stay in place: more would leave no room on a small screen."""


def colour(rgb: str) -> Request:
    """RRGGBB as Google has it: parts from 0 to 1."""
    parts = (int(rgb[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return {"rgbColor": dict(zip(("red", "green", "blue"), parts, strict=True))}


def header_look(sheet_id: int, row: int) -> Request:
    """A bold header on a light ground, across the whole row: also over columns that people add."""
    look = {
        "textFormat": {"bold": True},
        "backgroundColorStyle": colour(HEADER_COLOUR),
        "wrapStrategy": "WRAP",
        "verticalAlignment": "MIDDLE",
    }
    area = {"sheetId": sheet_id, "startRowIndex": row, "endRowIndex": row + 1}
    fields = "userEnteredFormat(textFormat.bold,backgroundColorStyle,wrapStrategy,verticalAlignment)"
    return {"repeatCell": {"range": area, "cell": {"userEnteredFormat": look}, "fields": fields}}


def freeze(sheet_id: int, rows: int, columns: int) -> Request:
    grid = {"frozenRowCount": rows, "frozenColumnCount": columns}
    fields = "gridProperties.frozenRowCount,gridProperties.frozenColumnCount"
    return {"updateSheetProperties": {"properties": {"sheetId": sheet_id, "gridProperties": grid}, "fields": fields}}


def warn(sheet_id: int, protected_id: int, span: tuple[int, int] | None) -> Request:
    """Asks people whether they mean it before they edit; forbids nothing. `span`: columns, `None` = the whole tab."""
    area = {"sheetId": sheet_id}
    if span is not None:
        area |= {"startColumnIndex": span[0], "endColumnIndex": span[1]}
    protected: dict[str, Any] = {"protectedRangeId": protected_id, "range": area, "description": PROTECTED}
    return {"addProtectedRange": {"protectedRange": {**protected, "warningOnly": True}}}


def dress(view: View, layout: Layout, free: Free) -> list[Request]:
    """Everything that a tab gets once."""
    sheet_id = view.sheet_id
    runs = [warn(sheet_id, free.id(f"{sheet_id}:owned:{start}"), (start, end)) for start, end in _runs(layout)]
    return [
        freeze(sheet_id, view.header_row + 1, _frozen(view, layout)),
        header_look(sheet_id, view.header_row),
        *_formats(view, layout),
        *_widths(sheet_id, layout),
        *_colours(view, layout),
        *_filters(view, layout, free),
        *runs,
    ]


def _frozen(view: View, layout: Layout) -> int:
    """So many columns that the name stays in sight; none when that were too many, or all there are."""
    frozen = layout.at.get("candidate_name", FROZEN_MAX) + 1
    return frozen if frozen <= min(FROZEN_MAX, view.width - 1) else 0


def _below_header(view: View, column: int) -> Request:
    rows = {"sheetId": view.sheet_id, "startRowIndex": view.header_row + 1}
    return {**rows, "startColumnIndex": column, "endColumnIndex": column + 1}


def _formats(view: View, layout: Layout) -> Iterator[Request]:
    for name, column in layout.at.items():
        if number_format := FORMATS.get(SPECS[name].kind):
            cell = {"userEnteredFormat": {"numberFormat": number_format}}
            area = _below_header(view, column)
            yield {"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.numberFormat"}}


def _widths(sheet_id: int, layout: Layout) -> list[Request]:
    return [
        requests.column_width(sheet_id, column, PIXELS[name]) for name, column in layout.at.items() if name in PIXELS
    ]


def _colours(view: View, layout: Layout) -> Iterator[Request]:
    """One rule per stage, by its word; a rule moves with its column and survives sorting."""
    if (column := layout.at.get("stage")) is None:
        return
    for index, (stage, rgb) in enumerate(STAGE_COLOURS.items()):
        rule = {"condition": _is(stage), "format": {"backgroundColorStyle": colour(rgb)}}
        ranges = [_below_header(view, column)]
        yield {"addConditionalFormatRule": {"index": index, "rule": {"ranges": ranges, "booleanRule": rule}}}


def _is(stage: Stage) -> Request:
    return {"type": "TEXT_EQ", "values": [{"userEnteredValue": STAGE_WORDS[stage]}]}


def _filters(view: View, layout: Layout, free: Free) -> Iterator[Request]:
    """Filter views: each person sorts and filters for themselves, and the rows stay where they are."""
    if (column := layout.at.get("stage")) is None:
        return
    for title, stage, order in FILTERS:
        spec = {"columnIndex": column, "filterCriteria": {"condition": _is(stage)}}
        shown: Request = {
            "filterViewId": free.id(f"{view.sheet_id}:filter:{title}"),
            "title": title,
            "range": {"sheetId": view.sheet_id, "startRowIndex": view.header_row},
            "filterSpecs": [spec],
        }
        if order in layout.at:
            shown["sortSpecs"] = [{"dimensionIndex": layout.at[order], "sortOrder": "ASCENDING"}]
        yield {"addFilterView": {"filter": shown}}


def _runs(layout: Layout) -> list[tuple[int, int]]:
    """Owned columns that stand beside each other: start and end."""
    runs: list[tuple[int, int]] = []
    for column in sorted(layout.at.values()):
        if runs and runs[-1][1] == column:
            runs[-1] = (runs[-1][0], column + 1)
        else:
            runs.append((column, column + 1))
    return runs
