"""The place of new tabs: in front of all others, and without the blank tab that Google adds to a new spreadsheet.

The blank tab is hidden, not deleted: a user who types into it at that moment loses nothing, and can show it again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import SpreadsheetObjects, UnreadCells
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.sheets_client import Calls, read_everything

BLANK_ID = 0
"""Id of the tab that Google adds to a new spreadsheet."""
BLANK_ROWS = 1000
BLANK_COLUMNS = 26
"""Size of that tab, unless a user changed it."""
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
