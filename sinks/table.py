"""The names of `sinks.spreadsheet` at their old place, until google_sheets imports them from there."""

from sinks.spreadsheet.columns import (
    DEFAULT_COLUMNS,
    KEY,
    SPECS,
    Column,
    Columns,
    cell_values,
    header_key,
)
from sinks.spreadsheet.values import (
    CUT_MARK,
    LINK_TEXT,
    TEXT_MAX,
    CellValue,
    clean_text,
    from_serial,
    serial_number,
    wall_time,
)
from sinks.spreadsheet.values import CellKind as Kind

__all__ = [
    "CUT_MARK",
    "DEFAULT_COLUMNS",
    "KEY",
    "LINK_TEXT",
    "SPECS",
    "TEXT_MAX",
    "CellValue",
    "Column",
    "Columns",
    "Kind",
    "cell_values",
    "clean_text",
    "from_serial",
    "header_key",
    "serial_number",
    "wall_time",
]
