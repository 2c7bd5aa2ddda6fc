"""A row as text, for people who want to know what would be written. Pure."""

from __future__ import annotations

from connector.http import utc
from connector.sink import Interview
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.table import LINK_TEXT, CellValue, Kind, cell_values


def describe(interview: Interview | None, config: GoogleSheetsConfig) -> str:
    """One line per column with a value. Times are told in UTC; the sheet shows them in its own time zone."""
    if interview is None:
        return "no row: nothing is known of this interview"
    values = zip(config.columns, cell_values(interview, config.columns), strict=True)
    cells = [f"  {column.title}: {_shown(value, column.kind)}" for column, value in values if value is not None]
    return "\n".join([f"row {interview.id} in the tab {config.worksheet}", *cells])


def _shown(value: CellValue, kind: Kind) -> str:
    if kind is Kind.DATETIME and isinstance(value, int):
        return f"{utc(value):%Y-%m-%d %H:%M} UTC"
    if kind is Kind.LINK:
        return f"{LINK_TEXT} ({value})"
    return str(value)
