"""Describes what a delivery would change in the present sheet. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from connector.http import utc
from connector.sink import Batch, Interview
from sinks.google_sheets import api_requests
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import SheetsFailure
from sinks.google_sheets.outcomes import BatchOutcomes
from sinks.google_sheets.repair import rows_of, shown
from sinks.google_sheets.sheets_client import Calls, read_values
from sinks.google_sheets.tabs import TabSnapshot, add_columns, read_tabs
from sinks.google_sheets.write_planner import RowChange, TabChanges, plan_rows, zone_of
from sinks.spreadsheet.columns import SPECS, cell_values
from sinks.spreadsheet.values import LINK_TEXT, CellKind, CellValue, from_serial


async def changes(config: GoogleSheetsConfig, batch: Batch, calls: Calls) -> Sequence[str]:
    """Returns one text per delivery: the cells that would change, with their old and new values. Raises
    `CallFailed`.
    """
    outcomes = BatchOutcomes(batch, config)
    outcomes.load(batch.notes)
    texts: dict[str, str] = {}
    unavailable: dict[str, SheetsFailure] = {}
    for name, snapshot in (await read_tabs(calls, config, outcomes.titles(), outcomes.tabs, unavailable)).items():
        after, _ = add_columns(snapshot.view, snapshot.layout)
        due = plan_rows(snapshot.view, after, outcomes.wanted(name, zone_of(snapshot.view.zone)))
        texts |= _without_a_change(snapshot, due)
        for change in due.changes:
            texts[change.key] = await _changed(calls, snapshot, change, config)
    return [_text(texts, delivery.interview, config) for delivery in batch.deliveries]


def _without_a_change(snapshot: TabSnapshot, due: TabChanges) -> dict[str, str]:
    title = snapshot.view.title
    new = {each.key: f"a new row in the tab {title}" for each in due.inserts}
    idle = {each.key: f"nothing changes in the tab {title}" for each in due.idle}
    gone = {each.key: f"nothing: users deleted its row in the tab {title}" for each in [*due.deleted, *due.absent]}
    protected = {each.key: f"nothing: protected cells in the tab {title} do not allow it" for each in due.blocked}
    return new | idle | gone | protected


async def _changed(calls: Calls, snapshot: TabSnapshot, change: RowChange, config: GoogleSheetsConfig) -> str:
    view, layout, row = snapshot.view, snapshot.layout, change.row
    places = sorted(set(layout.at.values()))
    reply = await calls.fetch(
        read_values([api_requests.cells_filter(view.sheet_id, place, row, row + 1) for place in places])
    )
    now = next((found.cells for found in rows_of(reply, view.sheet_id, layout, row)), {})
    titles = {column.field: column.title for column in config.columns}
    lines = [
        f"  {titles[name]}: {_cell(name, now.get(name))} → {_cell(name, shown(name, value))}"
        for name, value in change.cells.items()
    ]
    return "\n".join([f"row {row + 1} in the tab {view.title}", *lines])


def _cell(name: str, value: CellValue) -> str:
    if isinstance(value, int | float):
        is_date = SPECS[name].kind is CellKind.DATETIME
        return f"{from_serial(value):%Y-%m-%d %H:%M:%S}" if is_date else f"{value:g}"
    return "(empty)" if value is None else value


def _text(texts: dict[str, str], interview: Interview | None, config: GoogleSheetsConfig) -> str:
    if interview is None or interview.id.strip() not in texts:
        return describe(interview, config)
    text = texts[interview.id.strip()]
    return "\n".join([text, *_lines(interview, config)]) if text.startswith("a new row") else text


def describe(interview: Interview | None, config: GoogleSheetsConfig) -> str:
    """Returns one line per column with a value. Times are in UTC; the sheet shows them in its time zone."""
    if interview is None:
        return "no row: nothing is known of this interview"
    return "\n".join([f"row {interview.id} in the tab {config.worksheet}", *_lines(interview, config)])


def _lines(interview: Interview, config: GoogleSheetsConfig) -> list[str]:
    values = zip(config.columns, cell_values(interview, config.columns), strict=True)
    return [f"  {column.title}: {_shown(value, column.kind)}" for column, value in values if value is not None]


def _shown(value: CellValue, kind: CellKind) -> str:
    if kind is CellKind.DATETIME and isinstance(value, int):
        return f"{utc(value):%Y-%m-%d %H:%M} UTC"
    if kind is CellKind.LINK:
        return f"{LINK_TEXT} ({value})"
    return str(value)
