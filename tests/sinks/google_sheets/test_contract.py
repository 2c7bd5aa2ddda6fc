"""The conformance suite of the contract for the Google sheet."""

from __future__ import annotations

import pytest

from connector.emulators.google import EMAIL
from connector.testing.contract import SinkContract
from sinks.google_sheets import GoogleSheetsSink
from sinks.google_sheets.config import GoogleSheetsConfig
from tests.sinks.google_sheets.conftest import TAB


class TestGoogleSheets(SinkContract):
    capabilities = frozenset({"counts_calls", "erases", "previews", "state", "verifies"})

    @pytest.fixture(autouse=True)
    def _spreadsheet(self, google, key_file):
        self.google = google
        self.id = google.add_spreadsheet()
        self.key = key_file.read_text()

    def make_sink(self):
        return GoogleSheetsSink(
            "hiring", GoogleSheetsConfig(spreadsheet=self.id, credentials=self.key, api_url=self.google.url)
        )

    def delivered(self):
        return self.google.rows(self.id, TAB)[1:] if TAB in self.google.titles(self.id) else []

    def break_destination(self):
        self.google.person(self.id).unshare(EMAIL)

    def mend_destination(self):
        self.google.person(self.id).share(EMAIL)
