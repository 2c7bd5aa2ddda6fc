"""A change of cells in the XML gives the same workbook as a rewrite with openpyxl."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.spreadsheet.columns import DEFAULT_COLUMNS
from sinks.workbook.package import Package
from sinks.workbook.patch import NotPatchable, PatchedTab
from sinks.workbook.rewrite import rewrite
from sinks.workbook.state import RewriteRequest, Row, TableState

LINK = "https://admin.hireflix.com/x?a=1&b=%22"
texts = st.none() | st.sampled_from(["Ana", "=1+1", " <b>&amp;\"' ", "_x0041_", "李雷", "0012"])
times = st.none() | st.sampled_from(["2025-09-10T12:26:40", "2024-02-29T00:00:00"])
changes = st.fixed_dictionaries(
    {
        "candidate_name": texts,
        "stage": st.sampled_from(["Invited", "To evaluate"]),
        "score": st.none() | st.sampled_from([1, 4.5, 0.1]),
        "completed_at": times,
        "external_id": texts,
    }
)
histories = st.lists(st.dictionaries(st.sampled_from("abcd"), changes, min_size=1), min_size=2, max_size=4)


def row(key, change):
    values = {column.field: None for column in DEFAULT_COLUMNS}
    return {**values, "review_url": LINK, "position_name": "Chef", **change, "interview_id": f"id<{key}>"}


class File:
    """A workbook file, and the sink's notes about it."""

    def __init__(self, path):
        self.path = path
        self.state = TableState()
        self.applied = {}

    def request(self, rows, **settings):
        wanted = {values["interview_id"]: Row(values, self.applied.get(values["interview_id"])) for values in rows}
        return RewriteRequest("hiring", self.path, "Interviews", DEFAULT_COLUMNS, "UTC", self.state, wanted, **settings)

    def write(self, rows, *, patched=True):
        if not patched:
            self.state = replace(self.state, digest="")  # as if a program had saved the file
        done = rewrite(self.request(rows))
        self.state = done.state
        self.applied |= {values["interview_id"]: values for values in rows}
        assert done.again == set()

    def sheets(self):
        """The visible content of all cells."""
        book = openpyxl.load_workbook(self.path)
        return [
            (
                sheet.title,
                sheet.auto_filter.ref,
                sheet.dimensions,
                sorted((name, each.attr_text) for name, each in sheet.defined_names.items()),
                [[shown(cell) for cell in cells] for cells in sheet.iter_rows()],
            )
            for sheet in book
        ], [prop.value for prop in book.custom_doc_props.props]


def shown(cell):
    link = cell.hyperlink and (cell.hyperlink.ref, cell.hyperlink.target)
    font = cell.font.name, cell.font.sz, cell.font.b, cell.font.u, cell.font.color.rgb
    return cell.value, cell.data_type, cell.number_format, link, font


@settings(max_examples=15, deadline=None)
@given(histories)
def test_the_same_cells_and_names_as_with_openpyxl(history):
    with tempfile.TemporaryDirectory() as folder:
        patched, whole = File(Path(folder) / "patched.xlsx"), File(Path(folder) / "whole.xlsx")
        for batch in history:
            rows = [row(key, change) for key, change in batch.items()]
            patched.write(rows)
            whole.write(rows, patched=False)
            assert patched.sheets() == whole.sheets()


@pytest.fixture
def file(tmp_path):
    made = File(tmp_path / "interviews.xlsx")
    made.write([row("a", {"stage": "Invited"}), row("b", {"stage": "Invited"})])
    return made


def test_every_other_part_of_the_file_stays_byte_by_byte(file):
    def parts():
        with zipfile.ZipFile(file.path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    before = parts()
    file.write([row("a", {"stage": "To evaluate"})])
    changed = {name for name, content in parts().items() if before[name] != content}
    assert changed == {"xl/worksheets/sheet1.xml", "docProps/custom.xml"}
    file.write([row("c", {"stage": "Invited"})])
    changed = {name for name, content in parts().items() if before[name] != content}
    links, filtered = "xl/worksheets/_rels/sheet1.xml.rels", "xl/workbook.xml"
    assert changed == {"xl/worksheets/sheet1.xml", "docProps/custom.xml", links, filtered}


def edited(file, edit):
    """A user edits the file, and the sink rewrites it, so that it is the sink's version again."""
    book = openpyxl.load_workbook(file.path)
    edit(book.worksheets[0])
    book.save(file.path)
    file.write([row("a", {"stage": "To evaluate"})])
    return file


def merge(sheet):
    sheet.merge_cells("N2:N3")


def write_below(sheet):
    sheet["A9"] = "legend"


def add_table(sheet):
    sheet.auto_filter.ref = None
    sheet.add_table(openpyxl.worksheet.table.Table(displayName="T", ref="A1:L3"))


@pytest.mark.parametrize("edit", [merge, write_below, add_table])
def test_new_rows_below_content_of_users_are_left_to_openpyxl(file, edit):
    edited(file, edit)
    with Package(file.path.read_bytes()) as package, pytest.raises(NotPatchable):
        PatchedTab(package, file.request([row("c", {})])).make_room(1)
    file.write([row("c", {"stage": "Invited"})])
    assert "id<c>" in {cell.value for cell in openpyxl.load_workbook(file.path)["Interviews"]["L"]}


def test_cells_and_formats_of_users_stay(file):
    def edit(sheet):
        sheet["M2"], sheet["N1"] = "my note", "=COUNTA(L:L)"
        sheet["H2"].number_format = "dd/mm/yyyy"
        sheet["A2"].font = openpyxl.styles.Font(name="Arial", bold=True)

    edited(file, edit)
    before = file.path.stat().st_ino
    file.write([row("a", {"stage": "To evaluate", "candidate_name": "Zoë", "completed_at": "2025-09-10T12:26:40"})])
    sheet = openpyxl.load_workbook(file.path)["Interviews"]
    assert file.path.stat().st_ino != before
    assert (sheet["M2"].value, sheet["N1"].value, sheet["A2"].value) == ("my note", "=COUNTA(L:L)", "Zoë")
    assert (sheet["A2"].font.name, sheet["H2"].number_format) == ("Arial", "dd/mm/yyyy")


def test_a_file_that_a_user_saved_is_compared_with_the_state_first(file):
    book = openpyxl.load_workbook(file.path)
    book.worksheets[0].delete_rows(3)
    book.save(file.path)
    file.write([row("a", {"stage": "To evaluate"})])
    assert file.state.deleted == {"id<b>"}


def test_an_error_leaves_the_former_file(file, monkeypatch):
    before = file.path.read_bytes()
    monkeypatch.setattr(shutil, "copymode", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(Exception, match="no room left"):
        file.write([row("a", {"stage": "To evaluate"})])
    assert file.path.read_bytes() == before
    assert [each.name for each in file.path.parent.iterdir()] == ["interviews.xlsx"]
