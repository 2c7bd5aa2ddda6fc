"""A shared Google Sheet that is always right: one row per interview, people's own cells untouched."""

from sinks.google_sheets.sink import GoogleSheetsSink

SINK = GoogleSheetsSink
