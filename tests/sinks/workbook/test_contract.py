"""The conformance suite of the contract for the workbook."""

from __future__ import annotations

import openpyxl
import pytest

from connector.testing.contract import SinkContract
from sinks.workbook import Workbook, WorkbookConfig


class TestWorkbook(SinkContract):
    capabilities = frozenset({"counts_calls", "erases", "previews", "state", "verifies"})

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        self.path = tmp_path / "interviews.xlsx"
        self.good = b""

    def make_sink(self):
        return Workbook("hiring", WorkbookConfig(path=self.path))

    def delivered(self):
        if not self.path.exists():
            return []
        return list(openpyxl.load_workbook(self.path).worksheets[0].iter_rows(min_row=2, values_only=True))

    def break_destination(self):
        self.good = self.path.read_bytes() if self.path.exists() else b""
        self.path.write_bytes(b"broken")

    def mend_destination(self):
        self.path.write_bytes(self.good) if self.good else self.path.unlink()
