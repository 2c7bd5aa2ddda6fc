"""Verification and repair of a sheet: differences, corrections of users, and problems for the operator."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.capabilities import Difference
from connector.emulators.google import once
from connector.emulators.google.model import Area
from connector.errors import SinkBroken
from connector.interview import Stage
from connector.sink import Subscription
from connector.testing import interview_id
from sinks.google_sheets.verify import WRONG
from tests.sinks.google_sheets.conftest import TAB, person_of, scored

INTERVIEWS = [person_of(number) for number in range(1, 41)]


@pytest.fixture
async def full(harness):
    """Forty interviews, all in sync."""
    await harness.show(*INTERVIEWS)
    harness.context.clock.advance(60)
    return harness


def kinds(report):
    return {each.key: str(each.kind) for each in report.differences}


async def test_a_correct_sheet_is_in_sync(full):
    report = await full.verify()
    assert report.in_sync
    assert report.counts == {"in sync": 40}
    assert report.differences == []


async def test_columns_of_users_are_reported_and_change_nothing(full):
    full.person.insert_columns(TAB, 2)
    full.person.edit(TAB, 0, 2, "Notes")
    full.person.shuffle(TAB, __import__("random").Random(1), 40)
    report = await full.verify()
    assert (report.in_sync, report.remarks) == (True, ["Interviews: other columns: Notes"])


async def test_a_correction_is_reported_and_not_changed(full):
    full.person.edit(TAB, 3, full.place("Candidate"), "Corrected")
    report = await full.verify()
    assert report.in_sync
    assert report.differences == [Difference("corrected by users", interview_id(3), "Interviews, row 4: Candidate")]
    await full.verify_and_repair()
    assert full.records()[interview_id(3)]["Candidate"] == "Corrected"


async def test_news_that_never_came_are_a_difference_and_are_made_up_for(full):
    full.know([scored(INTERVIEWS[4], 4)])
    report = await full.verify()
    assert kinds(report) == {interview_id(5): "different"}
    await full.verify_and_repair()
    assert full.records()[interview_id(5)]["Score"] == 4
    assert (await full.verify()).in_sync


async def test_what_is_pending_is_no_difference(full):
    full.know([scored(INTERVIEWS[4], 4)])
    full.context.shown[interview_id(5)] = Subscription(scored(INTERVIEWS[4], 4), pending=True)
    report = await full.verify()
    assert (report.in_sync, report.counts["pending"]) == (True, 1)


async def test_a_missing_row_is_found_and_added(full):
    full.know([person_of(41)])
    assert kinds(await full.verify()) == {interview_id(41): "missing"}
    await full.verify_and_repair()
    assert interview_id(41) in full.records()


async def test_a_difference_must_be_confirmed_by_a_second_comparison(full):
    full.know([person_of(41)])
    appear = once(lambda: full.person.write(TAB, [[interview_id(41)]], 41, full.place("Interview ID")))
    reads = []

    def after_the_third_read():
        reads.append(1)
        if len(reads) == 3:
            appear()
            cells = {"Candidate": "Wayne Knight 41"}
            for title, value in cells.items():
                full.person.edit(TAB, 41, full.place(title), value)

    full.google.after_read = after_the_third_read
    report = await full.verify()
    assert kinds(report).get(interview_id(41)) in {None, "different"}
    assert "missing" not in report.counts or report.counts["missing"] == 0


async def test_a_deleted_row_is_reported_and_stays_deleted(full):
    full.person.delete_rows(TAB, 7)
    report = await full.verify()
    assert (report.in_sync, kinds(report)) == (True, {interview_id(7): "deleted by users"})
    await full.verify_and_repair()
    assert interview_id(7) not in full.records()


async def test_with_recreate_a_deleted_row_is_written_again(make_harness):
    harness = make_harness(recreate=True)
    await harness.show(*INTERVIEWS)
    harness.person.delete_rows(TAB, 7)
    harness.context.clock.advance(60)
    assert not (await harness.verify()).in_sync
    await harness.verify_and_repair()
    assert interview_id(7) in harness.records()
    assert (await harness.verify()).in_sync


@pytest.mark.parametrize("value", ["zzz", None, 5])
async def test_a_damaged_id_is_reported_and_restored(full, value):
    full.person.edit(TAB, 9, full.place("Interview ID"), value)
    report = await full.verify()
    assert (report.in_sync, kinds(report)[interview_id(9)]) == (False, "broken key")
    await full.verify_and_repair()
    assert full.records()[interview_id(9)]["Candidate"] == "Wayne Knight 9"
    assert (await full.verify()).in_sync


async def test_ten_emptied_ids_are_all_put_back(full):
    full.person.edit(TAB, 0, full.place("Interview ID"), "Interview ID")
    for row in range(1, 11):
        full.person.edit(TAB, row, full.place("Interview ID"), None)
    await full.verify_and_repair()
    assert len(full.records()) == 40


async def test_a_doubled_id_is_reported_and_nothing_is_deleted(full):
    full.person.copy_row(TAB, 2, 5)
    report = await full.verify()
    assert (report.in_sync, kinds(report)[interview_id(2)]) == (False, "doubled")
    await full.verify_and_repair()
    assert full.column("Interview ID").count(interview_id(2)) == 2


async def test_a_new_column_is_filled_in_all_rows(make_harness, full):
    full.config = full.config.model_copy(
        update={"columns": (*full.config.columns, type(full.config.columns[0])(field="hash"))}
    )
    await full.restart()
    full.know([replace(each, values={**each.values, "hash": f"h-{each.id}"}) for each in INTERVIEWS])
    await full.settle(scored(full.interviews[INTERVIEWS[0].id], 4))
    assert full.column("Hash") == [f"h-{each.id}" for each in INTERVIEWS]


async def test_a_column_that_is_not_configured_belongs_to_users_until_it_is_configured_again(full):
    columns = full.config.columns
    without = tuple(column for column in columns if column.field != "score")
    full.config = full.config.model_copy(update={"columns": without})
    await full.restart()
    news = [scored(each, 4) for each in INTERVIEWS]
    await full.settle(*news)
    assert set(full.column("Score")) == {None}
    full.config = full.config.model_copy(update={"columns": columns})
    await full.restart()
    full.context.clock.advance(60)
    await full.settle(scored(news[0], 3))
    assert full.column("Score") == [3] + [4] * 39


async def test_another_time_zone_of_the_spreadsheet_changes_the_dates_of_all_rows(full):
    before = full.column("Invited")
    full.person.set_timezone("America/New_York")
    await full.settle(scored(INTERVIEWS[0], 4))
    assert all(abs(was - now - 6 / 24) < 1e-6 for was, now in zip(before, full.column("Invited"), strict=True))


async def test_an_emptied_tab_stops_the_sink_until_an_operator_decides(full):
    full.person.delete_rows(TAB, 1, 12)
    with pytest.raises(SinkBroken) as caught:
        await full.deliver(scored(INTERVIEWS[20], 4))
    assert caught.value.until_resumed
    assert caught.value.reason == '12 of 40 rows are gone from the tab "Interviews" at once'
    assert full.counts().get("write") == 1


@pytest.mark.parametrize(("mode", "rows"), [("accept", 28), ("refill", 40)])
async def test_the_advice_of_a_verification_works_before_the_sink_is_called_again(full, mode, rows):
    """The verification of the operator is the first one to see that rows are gone, and the sink is not paused."""
    full.person.delete_rows(TAB, 1, 12)
    assert f"--{mode}" in (await full.verify()).asks[0]
    full.context.notes["resume"] = {"mode": mode}
    await full.verify_and_repair()
    assert len(full.records()) == rows
    report = await full.verify()
    assert report.in_sync
    assert not report.asks


async def test_a_verification_of_an_emptied_tab_is_not_in_sync_and_its_repair_asks_the_operator(full):
    full.person.delete_rows(TAB, 1, 12)
    report = await full.verify()
    assert (report.in_sync, report.counts["missing"]) == (False, 12)
    [ask] = report.asks
    assert ask.startswith('12 of 40 rows are gone from the tab "Interviews" at once: connector resume ')
    assert report.fixes == {}, "a repair would not write them again"
    with pytest.raises(SinkBroken, match="12 of 40 rows are gone"):
        await full.verify_and_repair()
    full.context.notes["resume"] = {"mode": "accept"}
    await full.settle(*INTERVIEWS[:12])
    await full.verify_and_repair()
    assert (await full.verify()).counts == {"in sync": 28, "deleted by users": 12}


@pytest.mark.parametrize(("mode", "rows"), [("accept", 28), ("refill", 40)])
async def test_the_mode_of_the_operator_decides(full, mode, rows):
    full.person.delete_rows(TAB, 1, 12)
    await full.broken(scored(INTERVIEWS[20], 4))
    full.context.notes["resume"] = {"mode": mode}
    await full.settle(scored(INTERVIEWS[20], 4))
    assert len(full.records()) == rows
    assert "resume" not in full.context.notes
    assert (await full.verify()).in_sync


async def test_ten_rows_at_once_are_no_alarm(full):
    full.person.delete_rows(TAB, 1, 10)
    await full.show(scored(INTERVIEWS[20], 4))
    assert len(full.records()) == 30


async def test_a_header_below_other_rows_is_found(full):
    full.person.insert_rows(TAB, 0, 3)
    full.person.edit(TAB, 0, 0, "Hiring 2026")
    await full.show(scored(INTERVIEWS[0], 4), person_of(41))
    header, *rows = full.rows()[3:]
    records = {row[header.index("Interview ID")]: dict(zip(header, row, strict=True)) for row in rows}
    assert len(records) == 41
    assert records[interview_id(1)]["Score"] == 4
    assert (await full.verify()).in_sync


async def test_a_deleted_interview_is_cleared_where_that_is_wanted(make_harness):
    harness = make_harness(on_delete="clear")
    await harness.show(*INTERVIEWS[:2])
    await harness.show(replace(INTERVIEWS[0], stage=Stage.DELETED))
    record = harness.records()[interview_id(1)]
    assert {title: value for title, value in record.items() if value is not None} == {
        "Stage": "Deleted",
        "Interview ID": interview_id(1),
    }
    assert (await harness.verify()).in_sync


async def test_nothing_of_a_deleted_interview_stays_where_that_is_wanted_but_people_s_notes_do(make_harness):
    harness = make_harness(on_delete="remove")
    await harness.show(*INTERVIEWS[:3])
    harness.person.insert_columns(TAB, 1)
    harness.person.write(TAB, [["Notes"], ["one"], ["two"], ["three"]], 0, 1)
    harness.context.clock.advance(60)
    gone = replace(INTERVIEWS[1], stage=Stage.DELETED)
    await harness.show(gone)
    assert harness.records().keys() == {interview_id(1), interview_id(3)}
    assert [value for value in harness.rows()[2] if value is not None] == ["two"]
    assert f"row:{interview_id(2)}" not in harness.context.notes
    await harness.show(gone)
    assert (await harness.verify()).in_sync


async def test_a_row_is_removed_and_restored_with_its_route(make_harness):
    harness = make_harness(on_leave="remove")
    await harness.show(*INTERVIEWS[:3])
    harness.context.clock.advance(60)
    harness.know([INTERVIEWS[1]], unrouted=True)
    assert kinds(await harness.verify()) == {interview_id(2): "different"}
    await harness.verify_and_repair()
    assert harness.records().keys() == {interview_id(1), interview_id(3)}
    assert (await harness.verify()).in_sync
    harness.know([INTERVIEWS[1]])
    await harness.settle(INTERVIEWS[1])
    assert harness.records()[interview_id(2)]["Candidate"] == "Wayne Knight 2"


async def test_rows_that_move_while_one_is_removed_lose_nothing(make_harness):
    harness = make_harness(on_delete="remove")
    await harness.show(*INTERVIEWS[:6])
    harness.context.clock.advance(60)
    harness.google.before_write = lambda: harness.person.sort(TAB, 0, descending=len(harness.google.calls) % 2 == 0)
    await harness.settle(replace(INTERVIEWS[1], stage=Stage.DELETED), is_edited=True, rounds=200)
    harness.google.before_write = None
    await harness.settle(*harness.interviews.values())
    await harness.verify_and_repair()
    assert harness.records().keys() == {interview_id(n) for n in (1, 3, 4, 5, 6)}
    assert (await harness.verify()).in_sync


async def test_stray_values_in_a_row_without_an_interview_are_removed(full):
    full.person.insert_rows(TAB, 3)
    full.context.clock.advance(60)
    full.google.before_write = once(lambda: full.person.move_rows(TAB, 3, 2))
    await full.settle(scored(INTERVIEWS[1], 4))
    assert [row["Score"] for row in full.google.records(full.id, TAB) if row["Interview ID"] is None] == [None]
    assert full.records()[interview_id(2)]["Score"] == 4
    assert (await full.verify()).in_sync


async def test_the_result_of_a_verification_is_kept(full):
    await full.verify_and_repair()
    note = full.context.notes["verify"]
    assert (note["in_sync"], note["counts"]) == (True, {"in sync": 40})


async def test_a_verification_of_many_tabs_reads_them_all(make_harness):
    harness = make_harness(worksheet="{position}")
    people = [person_of(n, position_id=f"job-{n % 3}", position_name=f"Job {n % 3}") for n in range(1, 10)]
    await harness.show(*people)
    harness.know([scored(people[0], 4)])
    assert kinds(await harness.verify()) == {interview_id(1): "different"}
    await harness.verify_and_repair()
    assert (await harness.verify()).counts == {"in sync": 9}


def test_what_people_decided_is_never_wrong():
    assert {"corrected by users", "deleted by users", "pending", "in sync"}.isdisjoint(map(str, WRONG))


@pytest.mark.parametrize("width", [1, 3])
async def test_cells_that_a_sort_of_some_columns_moved_to_other_rows_are_written_again(harness, width):
    """Rows that mix the cells of two candidates do not count as corrections."""
    interviews = [person_of(number) for number in range(1, 7)]
    await harness.show(*interviews)
    harness.person.edit(TAB, 1, 8, 45_000)  # a correction in a row whose other cells were moved
    harness.person.sort(TAB, 0, descending=True, area=Area(1, 7, 0, width))
    assert harness.records()[interviews[0].id]["Candidate"] == "Wayne Knight 6"
    report = await harness.verify()
    assert report.counts == {"in sync": 0, "different": 6}
    await harness.verify_and_repair()
    assert [harness.records()[each.id]["Candidate"] for each in interviews] == [
        each.candidate_name for each in interviews
    ]
    assert (await harness.verify()).counts == {"in sync": 6}


async def test_corrections_are_no_moved_cells(harness):
    """Two names that were exchanged, and the name and the address of another interview of the same person."""
    interviews = [person_of(number) for number in range(1, 6)]
    await harness.show(*interviews)
    harness.person.write(TAB, [["Wayne Knight 2"], ["Wayne Knight 1"]], 1)
    harness.person.write(TAB, [["Wayne Knight 5", "wayne.knight.5@example.com"]], 4)
    report = await harness.verify()
    assert report.counts == {"in sync": 2, "corrected by users": 3}
