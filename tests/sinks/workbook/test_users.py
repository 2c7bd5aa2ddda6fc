"""What users may do with the file, and what the sink does then."""

from __future__ import annotations

import openpyxl
import pytest
from openpyxl.comments import Comment
from openpyxl.packaging.custom import FloatProperty
from openpyxl.worksheet.table import Table

from connector.sink import Delivered, Delivery, FollowUp, SinkBroken, Stage
from connector.testing import START, interview_id, make_interview, run_batch
from sinks.spreadsheet.columns import DEFAULT_COLUMNS
from tests.sinks.workbook.conftest import asked

LATER = START + 60_000


async def test_columns_and_cells_of_users_stay(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet["M1"], sheet["M2"] = "Notes", "call back"
        sheet["N2"] = "=F2*2"
        sheet["B2"].comment = Comment("checked", "Ana")
    await workbook.show(make_interview(stage=Stage.SHORTLISTED), make_interview(number=2))
    sheet = workbook.sheet()
    assert (sheet["M1"].value, sheet["M2"].value, sheet["N2"].value) == ("Notes", "call back", "=F2*2")
    assert sheet["B2"].comment.text == "checked"
    assert workbook.column("Stage") == ["Shortlisted", "To evaluate"]


async def test_moved_columns_are_followed(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet.insert_cols(1)
        sheet["A1"] = "Mine"
        sheet["F1"] = "  sTaGe "
    await workbook.show(make_interview(stage=Stage.DISCARDED))
    assert workbook.sheet()["F2"].value == "Discarded"
    assert workbook.sheet()["A1"].value == "Mine"


async def test_a_column_that_users_deleted_stays_away(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet.delete_cols(3)
    await workbook.show(make_interview(candidate_phone="+1", stage=Stage.SHORTLISTED))
    header, row = workbook.grid()
    assert "Phone" not in header
    assert row[3] == "Shortlisted"


async def test_a_renamed_column_is_followed(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet["C1"] = "Mobile"
    await workbook.show(make_interview(candidate_phone="+1"))
    await workbook.show(make_interview(candidate_phone="+1", stage=Stage.SHORTLISTED), make_interview(number=2))
    assert workbook.column("Mobile") == ["+1", None]
    assert "Phone" not in workbook.grid()[0]


async def test_a_column_renamed_and_moved_in_an_office_program_is_followed(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        workbook.insert_column(sheet, 2)
        sheet["B1"], sheet["B2"] = "Notes", "mine"
        sheet["F1"] = "Where it stands"
    await workbook.show(make_interview(stage=Stage.DISCARDED))
    assert (workbook.sheet()["F2"].value, workbook.sheet()["B2"].value) == ("Discarded", "mine")


async def test_names_that_a_program_did_not_move_are_ignored(workbook):
    """The names refer to the old places, where columns of users are now."""
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet["C1"] = "Mobile"
        sheet.insert_cols(3)
        sheet["C1"], sheet["C2"] = "Notes", "mine"
    await workbook.show(make_interview(candidate_phone="+1"))
    assert (workbook.sheet()["C2"].value, workbook.sheet()["D2"].value) == ("mine", None)


async def test_a_renamed_key_column_is_followed(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet["L1"] = "Key"
        sheet.title = "Hiring"
    await workbook.show(make_interview(score=3), make_interview(number=2))
    assert [row[11] for row in workbook.grid()] == ["Key", interview_id(1), interview_id(2)]
    assert workbook.grid()[1][5] == 3


async def test_a_new_title_in_the_settings_leaves_the_column_where_it_is(workbook):
    await workbook.show(make_interview())
    columns = [{"field": column.field} for column in DEFAULT_COLUMNS]
    columns[5]["title"] = "Stars"
    workbook.use(columns=columns)
    await workbook.show(make_interview(score=4))
    header, row = workbook.grid()
    assert (header[5], row[5], len(header)) == ("Score", 4, 12)


async def test_without_its_key_column_the_table_is_left_alone(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet.delete_cols(12)
    before = workbook.grid()
    with pytest.raises(SinkBroken, match="column") as broken:
        await workbook.deliver(make_interview(stage=Stage.SHORTLISTED))
    assert "Interview ID" in broken.value.fix
    assert workbook.grid() == before


async def test_a_new_column_of_the_settings_is_added_at_the_right_and_filled(make_workbook):
    workbook = make_workbook(columns=[{"field": "candidate_name"}])
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        sheet["D1"] = "Notes"
    workbook.use(columns=[{"field": "candidate_name"}, {"field": "stage"}])
    result = await workbook.show(make_interview(number=1))
    assert set(asked(result)) == {interview_id(2)}
    await workbook.show(make_interview(number=2))
    assert [row[4] for row in workbook.grid()] == ["Stage", "To evaluate", "To evaluate"]


async def test_the_order_of_rows_is_kept(workbook):
    await workbook.show(*(make_interview(number=number) for number in (1, 2, 3)))
    with workbook.edit() as sheet:
        rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
        for place, row in enumerate(reversed(rows), start=2):
            for column, value in enumerate(row, start=1):
                sheet.cell(place, column).value = value
    await workbook.show(make_interview(number=1, score=5), make_interview(number=4))
    assert workbook.column("Interview ID") == [interview_id(number) for number in (3, 2, 1, 4)]
    assert workbook.column("Score") == [None, None, 5, None]


async def test_a_correction_stays_until_that_very_field_changes(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet["A2"] = "Wayne W. Knight"
    await workbook.show(make_interview(stage=Stage.SHORTLISTED, updated_at=LATER))
    assert workbook.column("Candidate") == ["Wayne W. Knight"]
    await workbook.show(make_interview(candidate_name="Wayne Xavier Knight", updated_at=LATER))
    assert workbook.column("Candidate") == ["Wayne Xavier Knight"]


async def test_new_rows_come_below_the_table_and_notes_below_move_down(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        sheet["A4"] = "Ask Ana before inviting"
        sheet["A4"].hyperlink = "https://wiki.example.com/"
        sheet.row_dimensions[4].height = 40
    await workbook.show(make_interview(number=2), make_interview(number=3))
    sheet = workbook.sheet()
    assert [cell.value for cell in sheet["A"]][3:] == ["Wayne Knight 3", None, "Ask Ana before inviting"]
    assert sheet["A6"].hyperlink.target == "https://wiki.example.com/"
    assert sheet["A4"].hyperlink is None
    assert sheet.row_dimensions[6].height == 40


async def test_notes_below_stay_where_they_are_when_a_formula_could_refer_to_them(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        sheet["A4"] = "=COUNTA(A2:A2)"
    await workbook.show(make_interview(number=2))
    sheet = workbook.sheet()
    assert sheet["A4"].value == "=COUNTA(A2:A2)"
    assert sheet["A5"].value == "Wayne Knight 2"


async def test_merged_cells_below_stay_where_they_are(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        sheet["A4"] = "Legend"
        sheet.merge_cells("A4:C4")
    await workbook.show(make_interview(number=2))
    assert str(next(iter(workbook.sheet().merged_cells.ranges))) == "A4:C4"
    assert workbook.sheet()["A5"].value == "Wayne Knight 2"


async def test_a_note_in_the_very_last_row_costs_no_memory_and_is_kept(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        sheet["A1048576"] = "the end"
    with pytest.raises(SinkBroken, match="room"):
        await workbook.deliver(make_interview(number=2))
    await workbook.show(make_interview(number=1, score=1))
    assert workbook.sheet()["A1048576"].value == "the end"


async def test_filters_and_tables_of_the_office_program_take_in_new_rows(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        sheet.auto_filter.ref = None
        sheet.add_table(Table(displayName="Interviews", ref="A1:L2"))
    await workbook.show(make_interview(number=2))
    table = workbook.sheet().tables["Interviews"]
    assert (table.ref, table.autoFilter.ref) == ("A1:L3", "A1:L3")


async def test_a_header_may_stand_below_a_heading(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        sheet.insert_rows(1, 2)
        sheet["A1"] = "Hiring 2025"
    await workbook.show(make_interview(number=1, score=2), make_interview(number=2))
    assert workbook.column("Score") == [2, None]


def sort_header_to(sheet, to):
    """Moves the header to another row, as a sort of the whole table does. Names do not move with sorted cells."""
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    rows.insert(to - 1, rows.pop(0))
    for number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            sheet.cell(number, column).value = value


@pytest.mark.parametrize(("rows", "to"), [(5, 3), (5, 6), (30, 31)])
async def test_rows_above_a_header_that_users_sorted_into_the_table_are_updated(workbook, rows, to):
    known = [make_interview(number=number) for number in range(1, rows + 1)]
    await workbook.show(*known)
    with workbook.edit() as sheet:
        sort_header_to(sheet, to)
    for score in (2, 3):  # the file is of users, then of the sink
        await workbook.show(*[make_interview(number=number, score=score) for number in range(1, rows + 1)])
        scores = [row[5] for row in workbook.grid()]
        assert scores == [*[score] * (to - 1), "Score", *[score] * (rows + 1 - to)]
    await workbook.show(make_interview(number=rows + 1))
    assert workbook.grid()[-1][11] == interview_id(rows + 1)


async def test_a_row_above_the_header_is_removed(make_workbook):
    workbook = make_workbook(on_delete="remove")
    await workbook.show(*[make_interview(number=number) for number in range(1, 6)])
    with workbook.edit() as sheet:
        sort_header_to(sheet, 4)
    await workbook.show(make_interview(number=2, stage=Stage.DELETED))
    await workbook.show(make_interview(number=1, score=4))
    ids = [row[11] for row in workbook.grid()]
    assert ids == [interview_id(1), interview_id(3), "Interview ID", interview_id(4), interview_id(5)]
    assert workbook.grid()[0][5] == 4


async def test_of_a_copied_row_the_first_is_kept_right(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet.append([cell.value for cell in sheet[2]])
    await workbook.show(make_interview(score=3))
    assert workbook.column("Score") == [3, None]


async def test_a_row_that_users_deleted_stays_deleted(workbook):
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        sheet.delete_rows(2)
    result = await workbook.show(make_interview(number=2, score=1))
    assert asked(result) == {}
    await workbook.show(make_interview(number=1, score=5), make_interview(number=3))
    assert workbook.column("Interview ID") == [interview_id(2), interview_id(3)]


async def test_a_restored_row_is_updated(workbook):
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        row = [cell.value for cell in sheet[2]]
        sheet.delete_rows(2)
    await workbook.show(make_interview(number=1, score=5))
    with workbook.edit() as sheet:
        sheet.append(row)
    result = await workbook.show(make_interview(number=2, score=1))
    assert set(asked(result)) == {interview_id(1)}
    await workbook.show(make_interview(number=1, score=5))
    assert workbook.column("Score") == [1, 5]


async def test_deleted_rows_are_written_again_where_that_is_wanted(make_workbook):
    workbook = make_workbook(recreate=True)
    await workbook.show(*(make_interview(number=number) for number in (1, 2, 3)))
    with workbook.edit() as sheet:
        sheet.delete_rows(2, 2)
    result = await workbook.show(make_interview(number=3, score=1))
    assert set(asked(result)) == {interview_id(1), interview_id(2)}
    await workbook.show(make_interview(number=1), make_interview(number=2))
    assert sorted(workbook.column("Interview ID")) == [interview_id(number) for number in (1, 2, 3)]


async def test_rows_that_vanished_from_a_file_without_our_number_are_written_again(workbook):
    """Some programs drop properties. Then a deleted row looks like an older copy."""
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        sheet.delete_rows(2)
        del sheet.parent.custom_doc_props["connector_flush"]
    result = await workbook.show(make_interview(number=2, score=1))
    assert set(asked(result)) == {interview_id(1)}


async def test_the_number_is_known_again_after_libreoffice_made_a_fraction_of_it(workbook):
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        sheet.delete_rows(2)
        properties = sheet.parent.custom_doc_props
        number = properties["connector_flush"].value
        del properties["connector_flush"]
        properties.append(FloatProperty(name="connector_flush", value=float(number)))
    await workbook.show(make_interview(number=1, score=1))
    assert workbook.column("Interview ID") == [interview_id(2)]


@pytest.fixture
async def emptied(workbook):
    """A file without twelve of thirteen rows."""
    await workbook.show(*(make_interview(number=number) for number in range(1, 14)))
    with workbook.edit() as sheet:
        sheet.delete_rows(2, 12)
    return workbook


async def test_an_emptied_tab_pauses_the_sink_until_the_operator_decides(emptied):
    before = emptied.path.read_bytes()
    with pytest.raises(SinkBroken, match="12 of 13") as broken:
        await emptied.deliver(make_interview(number=20))
    assert broken.value.until_resumed
    assert "connector resume hiring --accept" in broken.value.fix
    assert emptied.path.read_bytes() == before


async def test_accepting_leaves_them_deleted(emptied):
    emptied.context.notes["resume"] = {"mode": "accept"}
    result = await emptied.show(make_interview(number=20))
    assert asked(result) == {}
    assert "resume" not in emptied.context.notes
    await emptied.show(make_interview(number=1, score=1))
    assert emptied.column("Interview ID") == [interview_id(13), interview_id(20)]


async def test_refilling_writes_them_again_even_when_nothing_else_is_due(emptied):
    emptied.context.notes["resume"] = {"mode": "refill"}
    result = await emptied.show(make_interview(number=13))
    assert len(asked(result)) == 12
    result = await emptied.show(make_interview(number=1))
    assert len(asked(result)) == 11
    await emptied.show(*(make_interview(number=number) for number in range(1, 14)))
    assert len(emptied.column("Interview ID")) == 13


async def test_undoing_it_needs_no_decision(emptied):
    with emptied.edit() as sheet:
        for number in range(1, 13):
            sheet.append([None] * 11 + [interview_id(number)])
    await emptied.show(make_interview(number=20))
    assert len(emptied.column("Interview ID")) == 14


async def test_a_large_table_that_was_emptied_stops_the_sink_as_well(workbook):
    """Large tables are rewritten in a child process."""
    await workbook.show(*(make_interview(number=number) for number in range(1, 602)))
    with workbook.edit() as sheet:
        sheet.delete_rows(2, 300)
    with pytest.raises(SinkBroken) as broken:
        await workbook.deliver(make_interview(number=1))
    assert broken.value.until_resumed


async def test_an_older_copy_saved_over_ours_is_brought_up_to_date(workbook):
    await workbook.show(make_interview(number=1), make_interview(number=2))
    older = workbook.path.read_bytes()
    await workbook.show(make_interview(number=1, stage=Stage.SHORTLISTED), make_interview(number=3))
    workbook.path.write_bytes(older)
    result = await workbook.show(make_interview(number=2, score=4))
    assert set(asked(result)) == {interview_id(1), interview_id(3)}
    # another rewrite comes first: what was lost is not forgotten
    result = await workbook.show(make_interview(number=2, score=5))
    assert set(asked(result)) == {interview_id(1), interview_id(3)}
    result = await workbook.show(make_interview(number=1, stage=Stage.SHORTLISTED), make_interview(number=3))
    assert asked(result) == {}
    assert workbook.column("Stage") == ["Shortlisted", "To evaluate", "To evaluate"]
    assert len(workbook.column("Interview ID")) == 3


async def test_a_file_moved_away_is_made_and_filled_again(workbook):
    await workbook.show(make_interview(number=1), make_interview(number=2))
    workbook.path.unlink()
    result = await workbook.show(make_interview(number=2))
    assert set(asked(result)) == {interview_id(1)}
    await workbook.show(make_interview(number=1))
    assert workbook.column("Interview ID") == [interview_id(2), interview_id(1)]


async def test_a_renamed_tab_is_followed(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet.title = "Hiring"
    await workbook.show(make_interview(score=1))
    assert workbook.column("Score") == [1]
    assert openpyxl.load_workbook(workbook.path).sheetnames == ["Hiring", "Summary"]


async def test_a_deleted_tab_is_not_restored_silently(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet.parent.create_sheet("Other")
        sheet.parent.remove(sheet)
    with pytest.raises(SinkBroken, match="tab"):
        await workbook.deliver(make_interview(score=1))
    assert openpyxl.load_workbook(workbook.path).sheetnames == ["Summary", "Other"]


async def test_a_file_of_users_gets_a_tab_of_its_own(workbook):
    book = openpyxl.Workbook()
    book.active.title = "Budget"
    book.active["A1"] = "ours"
    book.save(workbook.path)
    await workbook.show(make_interview())
    assert workbook.sheet("Budget")["A1"].value == "ours"
    assert workbook.sheet("Interviews")["A2"].value == "Wayne Knight 1"


async def test_a_table_of_users_is_joined_by_its_titles(workbook):
    book = openpyxl.Workbook()
    book.active.title = "Interviews"
    book.active.append(["All of 2025"])
    book.active.append(["Candidate", "Salary", "Stage"])
    book.active.append(["Typed by hand", 100, "?"])
    book.save(workbook.path)
    await workbook.show(make_interview())
    grid = workbook.grid()
    assert grid[1][:3] == ["Candidate", "Salary", "Stage"]
    assert grid[2][:3] == ["Typed by hand", 100, "?"]
    assert grid[3][:3] == ["Wayne Knight 1", None, "To evaluate"]
    assert "Interview ID" in grid[1][3:]


async def test_rich_text_of_users_stays_rich(workbook):
    from openpyxl.cell.rich_text import CellRichText, TextBlock
    from openpyxl.cell.text import InlineFont

    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet["M2"] = CellRichText("very ", TextBlock(InlineFont(b=True), "good"))
    await workbook.show(make_interview(score=1))
    cell = openpyxl.load_workbook(workbook.path, rich_text=True).worksheets[0]["M2"].value
    assert isinstance(cell, CellRichText)
    assert str(cell) == "very good"


async def test_a_merged_owned_cell_belongs_to_users(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet.merge_cells("E2:F2")
    await workbook.show(make_interview(stage=Stage.SHORTLISTED, score=3))
    assert workbook.cell(2, "Stage").value == "Shortlisted"
    assert workbook.cell(2, "Score").value is None


async def test_a_lost_row_of_an_interview_that_exists_no_more_is_forgotten(make_workbook):
    workbook = make_workbook(recreate=True)
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        sheet.delete_rows(2)
    result = await workbook.show(make_interview(number=2, score=1))
    assert set(asked(result)) == {interview_id(1)}
    rewrite = FollowUp("rewrite", interview=interview_id(1))
    unknown = Delivery("d-1", interview_id(1), None, None, follow_up=rewrite)
    workbook.context.clock.advance(2)
    result = await run_batch(workbook.sink, [unknown], workbook.context)
    assert (result.outcomes, asked(result)) == ([Delivered()], {})
    assert workbook.column("Interview ID") == [interview_id(2)]
    assert f"row:{interview_id(1)}" not in workbook.context.notes
