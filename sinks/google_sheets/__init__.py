"""A shared Google Sheet that is always right: one row per interview, users' own cells untouched."""

from importlib.util import find_spec

for _needed in ("cryptography", "google.auth", "gspread"):
    # they are loaded when they are used, to keep commands fast; that they are missing must show when the type is named
    if find_spec(_needed) is None:
        raise ModuleNotFoundError(f"No module named {_needed!r}", name=_needed)

from sinks.google_sheets.sink import GoogleSheetsSink as GoogleSheetsSink  # noqa: E402 - after the check, whose message is the better one
