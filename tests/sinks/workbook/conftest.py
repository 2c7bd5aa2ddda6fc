from __future__ import annotations

import contextlib

import openpyxl
import pytest
from openpyxl.utils import column_index_from_string, get_column_letter

from connector.capabilities import VERIFY
from connector.sink import Delivered, Interview
from connector.testing import FakeContext, make_delivery, run_batch
from sinks.workbook import Workbook, WorkbookConfig
from tests.sinks import follow_ups


def asked(result):
    """The follow-ups of a result, without the next regular verification."""
    return {key: after for key, after in follow_ups.asked(result).items() if key != VERIFY}


def without_zone(title):
    """The title in a header that may name the time zone of dates."""
    return title.partition(" (")[0] if isinstance(title, str) else title


class WorkbookFile:
    """A workbook sink, its file, and the users who edit the file."""

    def __init__(self, path, **settings):
        self.path = path
        self.context = FakeContext()
        self.sink = Workbook("hiring", WorkbookConfig(path=path, **settings))

    async def deliver(self, *interviews: Interview):
        """One batch, after the pause that the sink keeps between rewrites."""
        self.context.clock.advance(2)
        return await run_batch(self.sink, [make_delivery(interview=i, state=True) for i in interviews], self.context)

    async def show(self, *interviews: Interview):
        result = await self.deliver(*interviews)
        assert result.outcomes == [Delivered()] * len(interviews)
        return result

    @contextlib.contextmanager
    def edit(self):
        """A user opens the file, changes it and saves it."""
        book = openpyxl.load_workbook(self.path, rich_text=True)
        yield book.worksheets[0]
        for cell in (cell for sheet in book if sheet.max_row < 10_000 for row in sheet.iter_rows() for cell in row):
            if cell.hyperlink:
                cell.hyperlink.ref = cell.coordinate  # an office program moves links along with their rows
        book.save(self.path)

    def insert_column(self, sheet, at):
        """As an office program does: names move along with the cells that they are on."""
        sheet.insert_cols(at)
        for defined in sheet.defined_names.values():
            start, column, row = defined.attr_text.rsplit("$", 2)
            place = column_index_from_string(column)
            defined.attr_text = f"{start}${get_column_letter(place + (place >= at))}${row}"

    def sheet(self, name=None):
        book = openpyxl.load_workbook(self.path)
        return book[name] if name else book.worksheets[0]

    def grid(self):
        """The values of all cells."""
        return [list(row) for row in self.sheet().iter_rows(values_only=True)]

    def column(self, title):
        """The cells below a title."""
        sheet = self.sheet()
        header = next(row for row in sheet.iter_rows() if any(cell.value == "Interview ID" for cell in row))
        at = next(cell.column for cell in header if without_zone(cell.value) == title)
        return [sheet.cell(row, at).value for row in range(header[0].row + 1, sheet.max_row + 1)]

    def cell(self, row, title):
        sheet = self.sheet()
        at = next(cell.column for cell in sheet[1] if without_zone(cell.value) == title)
        return sheet.cell(row, at)

    def use(self, **settings):
        """The same file and notes with other settings."""
        self.sink = Workbook("hiring", WorkbookConfig(path=self.path, **settings))


@pytest.fixture
def workbook(tmp_path):
    return WorkbookFile(tmp_path / "interviews.xlsx")


@pytest.fixture
def make_workbook(tmp_path):
    return lambda **settings: WorkbookFile(tmp_path / "interviews.xlsx", **settings)
