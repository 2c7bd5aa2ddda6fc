"""The Summary tab, and the formats and print settings of a new file."""

from __future__ import annotations

import openpyxl
import pytest

from connector.sink import STAGE_WORDS, Stage
from connector.testing import START, interview_id, make_interview

TITLES = ["Position", *(STAGE_WORDS[stage] for stage in Stage if stage is not Stage.UNKNOWN), "All"]


def positions(workbook):
    return [cell.value for cell in workbook.sheet("Summary")["A"]]


async def test_a_new_file_has_a_summary_behind_the_table(workbook):
    await workbook.show(make_interview(number=1, position_name="Chef"), make_interview(number=2, position_name="Sales"))
    book = openpyxl.load_workbook(workbook.path)
    assert book.sheetnames == ["Interviews", "Summary"]
    assert [cell.value for cell in book["Summary"][1]][:-2] == TITLES
    assert positions(workbook) == ["Position", "All positions", "Chef", "Sales"]


async def test_it_counts_the_rows_with_an_id_by_position_and_stage(workbook):
    await workbook.show(make_interview(position_name="Chef"))
    formula = workbook.sheet("Summary")["B3"].value
    for part in ("'Interviews'!$D:$D,\"=\"&", "$A3", "'Interviews'!$E:$E,B$1", "'Interviews'!$L:$L,\"?*\""):
        assert part in formula


async def test_waiting_times_are_those_of_interviews_to_evaluate(workbook):
    await workbook.show(make_interview(position_name="Chef"))
    average, longest = (workbook.sheet("Summary")[place] for place in ("H3", "I3"))
    assert "NOW()-AVERAGEIFS('Interviews'!$H:$H" in average.value
    assert "NOW()-_xlfn.MINIFS('Interviews'!$H:$H" in longest.value
    assert "'Interviews'!$E:$E,C$1" in longest.value
    assert workbook.sheet("Summary")["C1"].value == STAGE_WORDS[Stage.TO_EVALUATE]
    assert average.number_format == "0.0"


async def test_positions_that_are_added_together_are_sorted_as_in_a_sheet(workbook):
    await workbook.show(make_interview(number=1, position_name="Sales"), make_interview(number=2, position_name="chef"))
    assert positions(workbook)[2:] == ["chef", "Sales"]


async def test_a_new_position_is_added_below(workbook):
    await workbook.show(make_interview(number=1, position_name="Chef"))
    await workbook.show(make_interview(number=2, position_name="Sales"), make_interview(number=3, position_name="Chef"))
    await workbook.show(make_interview(number=1, position_name="Cook", updated_at=START + 60_000))
    assert positions(workbook)[2:] == ["Chef", "Sales", "Cook"]


@pytest.mark.parametrize("hostile", ["=1+1", '=HYPERLINK("http://evil.example")', "@SUM(A1)", "Sales *"])
async def test_the_name_of_a_position_is_never_a_formula(workbook, hostile):
    await workbook.show(make_interview(position_name=hostile))
    cell = workbook.sheet("Summary")["A3"]
    assert (cell.value, cell.data_type) == (hostile, "s")


async def test_cells_of_users_in_it_stay(workbook):
    await workbook.show(make_interview(number=1, position_name="Chef"))
    with workbook.edit() as sheet:
        summary = sheet.parent["Summary"]
        summary["L3"], summary["A9"] = "our note", "legend"
    await workbook.show(make_interview(number=2, position_name="Sales"))
    summary = workbook.sheet("Summary")
    assert (summary["L3"].value, summary["A9"].value, summary["A10"].value) == ("our note", "legend", "Sales")


async def test_a_summary_that_users_deleted_is_not_made_again(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        del sheet.parent["Summary"]
    await workbook.show(make_interview(number=2, position_name="Sales"))
    assert openpyxl.load_workbook(workbook.path).sheetnames == ["Interviews"]


async def test_a_renamed_summary_is_followed(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        sheet.parent["Summary"].title = "Figures"
    await workbook.show(make_interview(number=2, position_name="Sales"))
    assert "Sales" in [cell.value for cell in workbook.sheet("Figures")["A"]]


async def test_its_formulas_do_not_keep_removed_rows_in_their_place(make_workbook):
    workbook = make_workbook(on_delete="remove")
    await workbook.show(make_interview(number=1), make_interview(number=2))
    await workbook.show(make_interview(number=1, stage=Stage.DELETED, deleted=START))
    assert workbook.column("Interview ID") == [interview_id(2)]


async def test_a_formula_that_users_add_beside_it_does(make_workbook):
    workbook = make_workbook(on_delete="remove")
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        sheet.parent["Summary"]["M1"] = "=Interviews!A2"
    await workbook.show(make_interview(number=1, stage=Stage.DELETED, deleted=START))
    assert workbook.column("Interview ID") == [None, interview_id(2)]


async def test_without_style_there_is_none(make_workbook):
    workbook = make_workbook(style=False)
    await workbook.show(make_interview())
    book = openpyxl.load_workbook(workbook.path)
    assert book.sheetnames == ["Interviews"]
    assert book["Interviews"].freeze_panes is None


async def test_both_tabs_print_in_landscape_with_the_header_on_each_page(workbook):
    await workbook.show(make_interview())
    for sheet in openpyxl.load_workbook(workbook.path):
        assert sheet.page_setup.orientation == "landscape"
        assert (sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight) == (1, 0)
        assert sheet.sheet_properties.pageSetUpPr.fitToPage
        assert sheet.print_title_rows == "$1:$1"


async def test_the_default_font_of_the_file_is_kept(workbook):
    await workbook.show(make_interview())
    sheet = workbook.sheet("Interviews")
    fonts = {(sheet[place].font.name, sheet[place].font.sz) for place in ("A1", "A2", "J2", "Z9")}
    assert len(fonts) == 1


async def test_headers_of_dates_name_the_time_zone(make_workbook):
    workbook = make_workbook(timezone="Europe/Madrid")
    await workbook.show(make_interview())
    assert [cell.value for cell in workbook.sheet()[1]][6:9] == [
        "Invited (Europe/Madrid)",
        "Completed (Europe/Madrid)",
        "Updated (Europe/Madrid)",
    ]


async def test_a_new_time_zone_is_named_unless_users_renamed_the_header(make_workbook):
    workbook = make_workbook(timezone="UTC")
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet["I1"] = "Changed"
    workbook.use(timezone="Asia/Tokyo")
    await workbook.show(make_interview())
    assert [cell.value for cell in workbook.sheet()[1]][6:9] == [
        "Invited (Asia/Tokyo)",
        "Completed (Asia/Tokyo)",
        "Changed",
    ]


async def test_headers_without_a_zone_of_earlier_files_are_found(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        for place, title in (("G1", "Invited"), ("H1", "Completed"), ("I1", "Updated")):
            sheet[place] = title
        for name in list(sheet.defined_names):
            del sheet.defined_names[name]
    await workbook.show(make_interview(number=2))
    assert [cell.value for cell in workbook.sheet()[1]][6:9] == ["Invited", "Completed", "Updated"]
    assert len(workbook.grid()[0]) == 12
