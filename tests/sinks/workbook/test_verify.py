"""`connector verify` of a workbook: what differs, where, and its repair."""

from __future__ import annotations

import pytest

from connector.capabilities import REPORT, VERIFY
from connector.errors import SinkBroken
from connector.sink import Delivered, Delivery, FollowUp, RetryLater, Stage, Subscription
from connector.testing import START, interview_id, make_delivery, make_interview, run_batch
from tests.sinks.follow_ups import asked


def some(count, **values):
    return [make_interview(number=number, **values) for number in range(1, count + 1)]


async def fill(workbook, *interviews, **settings):
    """The interviews are in the store and in the file."""
    await workbook.show(*interviews)
    workbook.context.shown = {each.id: Subscription(each, **settings) for each in interviews}


async def report_of(workbook):
    return await workbook.sink.verify(workbook.context, lambda _done, _total: None)


async def findings(workbook):
    return [(each.kind, each.key, each.detail) for each in (await report_of(workbook)).differences]


async def repair(workbook):
    """The lane verifies, and delivers the follow-ups."""
    workbook.context.clock.advance(60)
    call = Delivery(id="verify", key="", event=None, interview=None, follow_up=FollowUp(VERIFY))
    result = await run_batch(workbook.sink, [call], workbook.context)
    assert result.outcomes == [Delivered()]
    keys = set(asked(result)) - {VERIFY}
    if keys:
        await workbook.show(*(workbook.context.shown[key].interview for key in keys))
    return keys


async def test_a_correct_file_is_in_sync(workbook):
    await fill(workbook, *some(3, score=4.5))
    report = await report_of(workbook)
    assert report.in_sync
    assert report.counts == {"in sync": 3}


@pytest.mark.parametrize("name", ["=1+1", "_x0041_", " spaces ", "0012", "𝒳" * 20_000, "a\nb"])
async def test_texts_that_are_written_in_another_form_are_in_sync(workbook, name):
    await fill(workbook, make_interview(candidate_name=name, external_id=name))
    assert (await report_of(workbook)).in_sync


async def test_it_reads_without_a_change_of_the_file_also_while_a_program_has_it_open(workbook):
    await fill(workbook, *some(2))
    before = workbook.path.read_bytes()
    (workbook.path.parent / f"~${workbook.path.name}").touch()
    assert (await report_of(workbook)).in_sync
    assert workbook.path.read_bytes() == before


async def test_an_interview_that_was_never_written_is_missing(workbook):
    await fill(workbook, *some(2))
    other = make_interview(number=3)
    workbook.context.shown[other.id] = Subscription(other)
    assert await findings(workbook) == [("missing", other.id, "Interviews")]
    report = await report_of(workbook)
    assert not report.in_sync
    assert report.fixes == {"missing": "connector verify hiring --repair writes it again"}


async def test_without_a_file_everything_is_missing(workbook):
    await fill(workbook, *some(2))
    workbook.path.unlink()
    assert (await report_of(workbook)).counts == {"in sync": 0, "missing": 2}


async def test_a_wrong_value_is_named_with_tab_row_and_column(workbook):
    """The interview changed without a delivery."""
    await fill(workbook, *some(3))
    other = make_interview(number=2, stage=Stage.SHORTLISTED, score=3)
    workbook.context.shown[other.id] = Subscription(other)
    assert await findings(workbook) == [("different", other.id, "Interviews, row 3: Stage, Score")]


async def test_a_pending_interview_is_no_difference(workbook):
    await fill(workbook, *some(2))
    other = make_interview(number=2, stage=Stage.SHORTLISTED)
    workbook.context.shown[other.id] = Subscription(other, pending=True)
    report = await report_of(workbook)
    assert report.in_sync
    assert report.counts == {"in sync": 1, "pending": 1}


async def test_a_correction_of_users_is_listed_and_in_sync(workbook):
    await fill(workbook, *some(2))
    with workbook.edit() as sheet:
        sheet["A3"] = "Wayne K."
    assert (await report_of(workbook)).in_sync
    assert await findings(workbook) == [("corrected by users", interview_id(2), "Interviews, row 3: Candidate")]


async def test_a_row_that_users_deleted_is_listed_and_in_sync(workbook):
    await fill(workbook, *some(3))
    with workbook.edit() as sheet:
        sheet.delete_rows(3)
    assert (await report_of(workbook)).in_sync
    assert await findings(workbook) == [("deleted by users", interview_id(2), "Interviews")]


async def test_both_rows_of_a_double_are_named(workbook):
    await fill(workbook, *some(2))
    with workbook.edit() as sheet:
        for cell in sheet[2]:
            sheet.cell(6, cell.column).value = cell.value
    assert await findings(workbook) == [("doubled", interview_id(1), "Interviews, rows 2 and 6")]
    assert "delete one of the rows" in (await report_of(workbook)).fixes["doubled"]


async def test_rows_of_an_older_copy_are_different_not_corrected(workbook):
    await fill(workbook, *some(2))
    older = workbook.path.read_bytes()
    changed = make_interview(number=1, stage=Stage.SHORTLISTED)
    await workbook.show(changed)
    workbook.context.shown[changed.id] = Subscription(changed)
    workbook.path.write_bytes(older)
    assert await findings(workbook) == [("different", changed.id, "Interviews, row 2: Stage")]


async def test_a_row_that_should_have_been_removed_is_still_there(make_workbook):
    workbook = make_workbook(on_leave="remove")
    await fill(workbook, *some(2), unrouted=True)
    workbook.context.shown[interview_id(2)] = Subscription(make_interview(number=2))
    assert await findings(workbook) == [("different", interview_id(1), "Interviews, row 2: still there")]


async def test_a_renamed_tab_is_named_as_it_is_now(workbook):
    await fill(workbook, *some(1))
    with workbook.edit() as sheet:
        sheet.title = "Hiring"
    other = make_interview(number=2)
    workbook.context.shown[other.id] = Subscription(other)
    assert await findings(workbook) == [("missing", other.id, "Hiring")]


async def test_a_missing_tab_is_an_error_with_what_to_do(workbook):
    await fill(workbook, *some(1))
    with workbook.edit() as sheet:
        sheet.parent.create_sheet("Other")
        sheet.parent.remove(sheet)
    with pytest.raises(SinkBroken, match='the tab "Interviews" is gone'):
        await report_of(workbook)


async def test_a_repair_writes_what_is_missing_or_different_and_leaves_the_rest(workbook):
    await fill(workbook, *some(3))
    with workbook.edit() as sheet:
        sheet["A2"] = "Wayne K."
    changed, other = make_interview(number=2, stage=Stage.SHORTLISTED), make_interview(number=4)
    workbook.context.shown |= {each.id: Subscription(each) for each in (changed, other)}
    assert await repair(workbook) == {changed.id, other.id}
    report = await report_of(workbook)
    assert report.in_sync
    assert report.counts == {"in sync": 3, "corrected by users": 1}
    assert workbook.column("Stage") == ["To evaluate", "Shortlisted", "To evaluate", "To evaluate"]


async def test_a_repair_corrects_cells_whose_last_write_was_forgotten(workbook):
    """The note has the value as written, and the file does not."""
    await fill(workbook, *some(2))
    changed = make_interview(number=2, stage=Stage.SHORTLISTED)
    workbook.context.shown[changed.id] = Subscription(changed)
    await repair(workbook)
    assert workbook.column("Stage")[1] == "Shortlisted"


async def test_the_report_is_stored_without_personal_data_and_the_next_verification_is_planned(workbook):
    await fill(workbook, *some(2))
    assert await repair(workbook) == set()
    note = workbook.context.notes[REPORT]
    assert (note["in_sync"], note["counts"]) == (True, {"in sync": 2})
    assert note["at"] == workbook.context.clock.now()
    assert "Knight" not in str(note)


async def test_after_a_repair_the_next_verification_is_soon_a_few_times(workbook):
    await fill(workbook, *some(1))
    with workbook.edit() as sheet:
        for cell in sheet[2]:
            sheet.cell(6, cell.column).value = cell.value
    delays = []
    for _ in range(5):
        workbook.context.clock.advance(60)
        call = Delivery(id="verify", key="", event=None, interview=None, follow_up=FollowUp(VERIFY))
        result = await run_batch(workbook.sink, [call], workbook.context)
        delays.append(asked(result)[VERIFY].total_seconds())
    assert delays == [60, 60, 60, 21_600, 21_600]


async def test_a_verification_waits_for_the_rows_of_the_same_call(workbook):
    await fill(workbook, *some(1))
    workbook.context.clock.advance(60)
    call = Delivery(id="verify", key="", event=None, interview=None, follow_up=FollowUp(VERIFY))
    row = make_delivery(interview=make_interview(number=2, created=START), state=True)
    result = await run_batch(workbook.sink, [call, row], workbook.context)
    assert result.outcomes == [RetryLater("rows are written first", after=2.0, counts=False), Delivered()]


async def test_a_large_table_is_verified_in_a_child_process(workbook):
    await fill(workbook, *some(600))
    report = await report_of(workbook)
    assert report.counts == {"in sync": 600}


@pytest.fixture
async def emptied(workbook):
    """A file from which a user deleted twelve of thirteen rows at once."""
    await fill(workbook, *some(13))
    with workbook.edit() as sheet:
        sheet.delete_rows(2, 12)
    return workbook


async def test_many_rows_that_disappeared_at_once_are_missing_and_the_advice_is_no_repair(emptied):
    """A repair would ask the operator, and not write them again."""
    report = await report_of(emptied)
    assert (report.in_sync, report.counts["missing"], report.fixes) == (False, 12, {})
    [ask] = report.asks
    assert ask.startswith("12 of 13 rows are gone from the workbook at once: connector resume hiring --accept ")


async def test_a_repair_of_many_rows_that_disappeared_at_once_asks_the_operator(emptied):
    before = emptied.path.read_bytes()
    with pytest.raises(SinkBroken, match="12 of 13"):
        await repair(emptied)
    assert emptied.path.read_bytes() == before


@pytest.mark.parametrize(("mode", "rows"), [("accept", 1), ("refill", 13)])
async def test_the_advice_works_before_the_sink_asks(emptied, mode, rows):
    emptied.context.notes["resume"] = {"mode": mode}
    while await repair(emptied):
        pass
    assert len(emptied.column("Interview ID")) == rows
    report = await report_of(emptied)
    assert report.in_sync
    assert not report.asks


async def test_cells_that_a_sort_of_some_columns_moved_to_other_rows_are_written_again(workbook):
    """Rows that mix the cells of two candidates do not count as corrections."""
    interviews = some(5)
    await fill(workbook, *interviews)
    with workbook.edit() as sheet:
        names = [sheet.cell(row, 1).value for row in range(2, 7)]
        for row, name in enumerate(reversed(names), 2):
            sheet.cell(row, 1).value = name
    assert (await report_of(workbook)).counts == {"in sync": 1, "different": 4}
    assert len(await repair(workbook)) == 4
    assert workbook.column("Candidate") == names
    assert (await report_of(workbook)).in_sync
