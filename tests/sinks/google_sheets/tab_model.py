"""A tab in memory: the emulator's cells without HTTP, so that rules can be tested with thousands of examples."""

from __future__ import annotations

import msgspec

from connector.emulators.google.calls import Call, apply_all, get_by_data_filter
from connector.emulators.google.cells import value_of
from connector.emulators.google.model import Book, Tab
from connector.emulators.google.schema import discovery, read_body, read_mask
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import READ_FIELDS
from sinks.google_sheets.api_replies import Spreadsheet as Reply
from sinks.google_sheets.sheet_view import TOP_ROWS, read_view
from sinks.spreadsheet.columns import KEY, titles_of

SHEET = 7
READ = discovery().method("spreadsheets.getByDataFilter")
WRITE = discovery().method("spreadsheets.batchUpdate")


class TabModel:
    """One tab; `apply` takes a body as it goes over the wire, all or nothing. `columns` are those of the sink."""

    def __init__(self, columns, rows=30, width=3):
        self.columns = columns
        self.book = Book("model", "TabModel", "Europe/Madrid", set(), tabs=[Tab.blank(SHEET, "It's", rows, width)])

    @property
    def tab(self):
        return self.book.tabs[0]

    def view(self):
        filters = [api_requests.top_filter(SHEET, TOP_ROWS), api_requests.tagged_filter(SHEET, KEY)]
        call = Call({}, {}, {"dataFilters": filters}, read_mask(READ, READ_FIELDS), fields=True)
        reply = msgspec.json.encode(get_by_data_filter(self.book, call))
        return read_view(msgspec.json.decode(reply, type=Reply), SHEET, titles=titles_of(self.columns))

    def apply(self, body):
        checked = read_body(WRITE, msgspec.json.encode(body))
        draft = self.book.copy()
        apply_all(draft, checked["requests"])
        self.book = draft

    def cells(self):
        width = self.tab.column_count
        return [[value_of(each) for each in row] + [None] * (width - len(row)) for row in self.tab.rows]

    def records(self):
        header, *rows = self.cells()
        return [dict(zip(header, row, strict=True)) for row in rows]
