"""Rows and typed cells of the workbook."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connector.capabilities import Preview
from connector.sink import Delivered, Stage
from connector.testing import START, interview_id, make_batch, make_delivery, make_interview, run_batch
from sinks.spreadsheet.columns import DEFAULT_COLUMNS
from sinks.workbook import Workbook
from tests.sinks.workbook.conftest import asked


def wall(*parts):
    """A time as a cell holds it, without a zone."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)


DATES = {"Invited", "Completed", "Updated"}
TITLES = [column.title + (" (UTC)" if column.title in DATES else "") for column in DEFAULT_COLUMNS]


async def test_a_new_file_has_a_header_and_one_row_per_interview(workbook):
    await workbook.show(make_interview(number=1, score=4.5, candidate_phone="+44 020"), make_interview(number=2))
    header, first, second = workbook.grid()
    assert header == TITLES
    assert first == [
        "Wayne Knight 1",
        "wayne.knight.1@example.com",
        "+44 020",
        "Graduate Program",
        "To evaluate",
        4.5,
        wall(2025, 9, 9, 10, 26, 40),
        wall(2025, 9, 10, 10, 26, 40),
        wall(2025, 9, 10, 10, 26, 40),
        "Open",
        "EXT-1",
        interview_id(1),
    ]
    assert second[-1] == interview_id(2)


async def test_dates_are_wall_time_in_the_configured_zone(make_workbook):
    workbook = make_workbook(timezone="Europe/Madrid")
    await workbook.show(make_interview())
    cell = workbook.cell(2, "Completed")
    assert cell.value == wall(2025, 9, 10, 12, 26, 40)
    assert cell.number_format == "yyyy-mm-dd hh:mm_)"


async def test_another_zone_rewrites_every_date(make_workbook):
    workbook = make_workbook(timezone="UTC")
    await workbook.show(make_interview(number=1), make_interview(number=2))
    workbook.use(timezone="Asia/Tokyo")
    result = await workbook.show(make_interview(number=1))
    assert set(asked(result)) == {interview_id(2)}
    await workbook.show(make_interview(number=2))
    assert workbook.column("Completed") == [wall(2025, 9, 10, 19, 26, 40)] * 2


async def test_an_update_changes_its_row_and_adds_none(workbook):
    await workbook.show(make_interview(number=1), make_interview(number=2))
    await workbook.show(make_interview(number=1, stage=Stage.SHORTLISTED, updated_at=START + 60_000))
    assert workbook.column("Stage") == ["Shortlisted", "To evaluate"]
    assert len(workbook.grid()) == 3


async def test_a_value_that_became_null_empties_its_cell(workbook):
    await workbook.show(make_interview(score=3))
    await workbook.show(make_interview(score=None, review_url=None))
    assert workbook.cell(2, "Score").value is None
    assert workbook.cell(2, "Review").value is None
    assert workbook.cell(2, "Review").hyperlink is None


@pytest.mark.parametrize(
    "hostile",
    ["=1+1", '=HYPERLINK("http://evil.example")', "+1", "-1", "@SUM(A1)", "#N/A", "0012", "1e5", "TRUE", "2025-01-01"],
)
async def test_text_stays_text_whatever_it_looks_like(workbook, hostile):
    await workbook.show(make_interview(candidate_name=hostile, external_id=hostile))
    for title in ("Candidate", "External ID"):
        cell = workbook.cell(2, title)
        assert (cell.value, cell.data_type, cell.number_format) == (hostile, "s", "@")


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [("a\x00b\x1bc", "abc"), ("a\r\nb", "a b"), ("_x000D_", "＿x000D_"), ("\ud800x\uffff", "x")],
)
async def test_characters_that_a_file_cannot_hold_are_removed_or_escaped(workbook, hostile, shown):
    await workbook.show(make_interview(candidate_name=hostile))
    assert workbook.cell(2, "Candidate").value == shown


async def test_a_text_longer_than_a_cell_is_cut_with_a_mark(workbook):
    await workbook.show(make_interview(candidate_name="𝒳" * 40_000))
    value = workbook.cell(2, "Candidate").value
    assert len(value.encode("utf-16-le")) // 2 <= 32_767
    assert value.endswith("… [cut]")


async def test_the_review_link_opens_the_reviewers_page(workbook):
    await workbook.show(make_interview(review_url="https://admin.hireflix.com/x?a=1&b=2"))
    cell = workbook.cell(2, "Review")
    assert (cell.value, cell.hyperlink.target) == ("Open", "https://admin.hireflix.com/x?a=1&b=2")


async def test_a_link_that_is_no_web_address_is_not_written(workbook):
    await workbook.show(make_interview(review_url="javascript:alert(1)"))
    assert workbook.cell(2, "Review").value is None


async def test_a_deleted_interview_is_marked_and_its_row_stays(workbook):
    await workbook.show(make_interview())
    await workbook.show(make_interview(stage=Stage.DELETED, deleted=START))
    assert workbook.cell(2, "Stage").value == "Deleted"
    assert workbook.cell(2, "Email").value == "wayne.knight.1@example.com"


async def test_a_deleted_interview_keeps_only_id_and_stage_when_so_configured(make_workbook):
    workbook = make_workbook(on_delete="clear")
    await workbook.show(make_interview())
    await workbook.show(make_interview(stage=Stage.DELETED, deleted=START))
    kept = {title: value for title, value in zip(*workbook.grid(), strict=True) if value is not None}
    assert kept == {"Stage": "Deleted", "Interview ID": interview_id()}


async def test_a_deleted_interview_loses_its_row_when_so_configured(make_workbook):
    workbook = make_workbook(on_delete="remove")
    await workbook.show(*(make_interview(number=number) for number in (1, 2, 3)))
    with workbook.edit() as sheet:
        sheet["M4"], sheet["A6"] = "note on 3", "below"
    await workbook.show(make_interview(number=2, stage=Stage.DELETED, deleted=START), make_interview(number=4))
    assert workbook.column("Interview ID")[:3] == [interview_id(number) for number in (1, 3, 4)]
    assert workbook.sheet()["M3"].value == "note on 3"
    assert [cell.value for cell in workbook.sheet()["A"]][-1] == "below"
    assert workbook.cell(3, "Review").hyperlink.ref == "J3"
    assert workbook.sheet().auto_filter.ref == "A1:L4"


async def test_with_on_leave_a_row_is_removed_and_restored_with_its_route(make_workbook):
    workbook = make_workbook(on_leave="remove")
    await workbook.show(make_interview(number=1), make_interview(number=2))
    workbook.context.clock.advance(2)
    left = make_delivery(interview=make_interview(number=1), state=True, unrouted=True)
    await run_batch(workbook.sink, [left], workbook.context)
    assert workbook.column("Interview ID") == [interview_id(2)]
    await workbook.show(make_interview(number=1))
    assert workbook.column("Interview ID") == [interview_id(2), interview_id(1)]


async def test_an_interview_without_a_route_is_still_updated_by_default(workbook):
    left = make_delivery(interview=make_interview(number=1), state=True, unrouted=True)
    await run_batch(workbook.sink, [left], workbook.context)
    assert workbook.column("Interview ID") == [interview_id(1)]


async def test_a_removed_row_stays_removed_and_no_note_has_it(make_workbook):
    workbook = make_workbook(on_delete="remove")
    await workbook.show(make_interview(number=1), make_interview(number=2))
    gone = make_interview(number=1, stage=Stage.DELETED, deleted=START)
    await workbook.show(gone)
    await workbook.show(gone, make_interview(number=3, stage=Stage.DELETED))
    assert workbook.column("Interview ID") == [interview_id(2)]
    assert not [name for name in workbook.context.notes if name.endswith((interview_id(1), interview_id(3)))]


async def test_a_removed_row_that_an_older_copy_brings_back_is_removed_again(make_workbook):
    workbook = make_workbook(on_delete="remove")
    await workbook.show(make_interview(number=1), make_interview(number=2))
    older = workbook.path.read_bytes()
    gone = make_interview(number=1, stage=Stage.DELETED, deleted=START)
    await workbook.show(gone)
    workbook.path.write_bytes(older)
    result = await workbook.show(make_interview(number=2))
    assert set(asked(result)) == {interview_id(1)}
    result = await workbook.show(gone)
    assert asked(result) == {}
    assert workbook.column("Interview ID") == [interview_id(2)]


async def test_where_a_formula_may_refer_to_rows_a_removed_row_is_only_emptied(make_workbook):
    workbook = make_workbook(on_delete="remove")
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        sheet["N1"], sheet["M2"] = "=COUNTA(L2:L3)", "mine"
    await workbook.show(make_interview(number=1, stage=Stage.DELETED, deleted=START))
    assert workbook.column("Interview ID") == [None, interview_id(2)]
    assert [cell.value for cell in workbook.sheet()[2] if cell.value is not None] == ["mine"]
    assert workbook.cell(2, "Review").hyperlink is None


async def test_a_deleted_interview_whose_row_is_to_stay_after_all_is_shown_again(make_workbook):
    workbook = make_workbook(on_delete="remove")
    gone = make_interview(number=1, stage=Stage.DELETED, deleted=START)
    await workbook.show(make_interview(number=1), make_interview(number=2))
    await workbook.show(gone)
    workbook.use(on_delete="mark")
    result = await workbook.show(gone)
    assert asked(result) == {}
    result = await workbook.show(make_interview(number=2, score=1))
    assert asked(result) == {}
    assert workbook.column("Stage") == ["To evaluate", "Deleted"]


async def test_the_preview_says_that_a_row_is_removed(make_workbook):
    workbook = make_workbook(on_delete="remove")
    gone = make_delivery(interview=make_interview(stage=Stage.DELETED))
    [found] = await workbook.sink.preview(make_batch(gone), workbook.context)
    assert found == Preview("no row: the interview was deleted")


async def test_the_configured_columns_are_shown_with_their_titles(make_workbook):
    workbook = make_workbook(columns=[{"field": "candidate_name", "title": "Who"}, {"field": "hash"}])
    await workbook.show(make_interview(hash="00ab"))
    assert workbook.grid() == [["Who", "Hash", "Interview ID"], ["Wayne Knight 1", "00ab", interview_id()]]


async def test_a_value_at_the_right_of_its_column_does_not_touch_the_text_beside_it(make_workbook):
    """A waiting time of 0 days was read as the first digit of the id. The second row is added without a rewrite."""
    workbook = make_workbook(columns=[{"field": "completed_at"}, {"field": "waiting_days"}])
    await workbook.show(make_interview(number=1))
    await workbook.show(make_interview(number=2))
    rows = workbook.sheet("Interviews").iter_rows(min_row=2, max_col=2)
    assert [[cell.number_format for cell in row] for row in rows] == [["yyyy-mm-dd hh:mm_)", "0_)"]] * 2


async def test_a_new_file_is_formatted(workbook):
    await workbook.show(make_interview())
    sheet = workbook.sheet("Interviews")
    assert sheet.freeze_panes == "B2"
    assert sheet["A1"].font.bold
    assert sheet.auto_filter.ref == "A1:L2"
    assert sheet.column_dimensions["B"].width == 30
    [colours] = sheet.conditional_formatting
    assert str(colours.sqref) == "E2:E20000"
    assert {rule.formula[0] for rule in colours.rules} >= {'"Shortlisted"', '"Deleted"'}


async def test_nothing_new_means_no_rewrite(workbook):
    await workbook.show(make_interview())
    before = workbook.path.stat().st_ino
    await workbook.show(make_interview())
    assert workbook.path.stat().st_ino == before


async def test_an_interview_twice_in_a_batch_is_one_row(workbook):
    result = await workbook.deliver(make_interview(), make_interview(score=2))
    assert result.outcomes == [Delivered(), Delivered()]
    assert workbook.column("Score") == [2]


async def test_the_preview_is_the_row_as_a_user_sees_it(workbook):
    interview = make_interview(score=4, candidate_phone=None, created_at=1_761_566_424_331)
    [found] = await workbook.sink.preview(make_batch(make_delivery(interview=interview)), workbook.context)
    cells = {cell.title: cell.after for cell in found.cells}
    assert found.text == "the row in the tab Interviews"
    assert (cells["Candidate"], cells["Score"], cells["Invited"]) == ("Wayne Knight 1", "4", "2025-10-27 12:00")
    assert cells["Review"].startswith("Open (https://")
    assert "Phone" not in cells
    assert not workbook.path.exists()


def test_it_is_a_state_sink_named_by_its_file_and_tab(workbook):
    assert Workbook.state
    assert workbook.sink.destination == f"{workbook.path}#Interviews"


@pytest.mark.parametrize("key", ["a_x0041_b", " spaces around ", "=1+1", "0012", "#N/A", "x" * 200])
async def test_a_row_is_found_again_whatever_its_id_looks_like(workbook, key):
    await workbook.show(make_interview(id=key))
    result = await workbook.show(make_interview(id=key, score=1), make_interview(number=2))
    assert asked(result) == {}
    assert workbook.column("Score") == [1, None]
