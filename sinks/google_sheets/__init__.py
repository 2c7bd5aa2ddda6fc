"""The google_sheets sink: one correct row per interview in a shared sheet, without changes to cells of users."""

from importlib.util import find_spec

for _needed in ("cryptography", "google.auth", "gspread"):
    # loaded only when used, to keep commands fast; a missing one has to be reported when the type is configured
    if find_spec(_needed) is None:
        raise ModuleNotFoundError(f"No module named {_needed!r}", name=_needed)

from sinks.google_sheets.sink import GoogleSheetsSink as GoogleSheetsSink  # noqa: E402 - after the check, whose message is the better one
