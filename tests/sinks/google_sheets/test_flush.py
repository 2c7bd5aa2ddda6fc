"""The usual way of an interview into the sheet, over real HTTP."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from connector.sink import Delivered
from connector.testing import interview_id
from tests.sinks.google_sheets.conftest import TAB, TITLES, discarded, person_of, scored


async def test_a_missing_tab_is_made_with_its_header_and_the_row_in_one_read_and_one_write(desk):
    await desk.show(person_of(1))
    assert desk.google.header(desk.id, TAB) == TITLES
    assert desk.records()[interview_id(1)]["Candidate"] == "Wayne Knight 1"
    assert (desk.counts()["read"], desk.counts()["write"]) == (1, 1)


async def test_any_number_of_interviews_is_one_read_and_one_write(desk):
    await desk.show(person_of(1))
    desk.google.forget_calls()
    people = [person_of(number) for number in range(1, 301)]
    await desk.show(scored(people[0], 4.5), *people[1:])
    assert desk.counts() == {"read": 1, "write": 1}
    assert len(desk.records()) == 300


async def test_a_score_writes_only_the_cells_that_changed(desk):
    await desk.show(person_of(1))
    desk.person.edit(TAB, 1, desk.place("Candidate"), "Wayne K. (corrected)")
    await desk.show(scored(person_of(1), 4.5))
    row = desk.records()[interview_id(1)]
    assert (row["Candidate"], row["Score"]) == ("Wayne K. (corrected)", 4.5)


async def test_times_are_serial_numbers_in_the_time_zone_of_the_spreadsheet(make_desk):
    desk = make_desk(timezone="America/New_York")
    at = int(datetime(2025, 7, 1, 16, 30, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)
    await desk.show(person_of(1, created_at=at))
    serial = desk.records()[interview_id(1)]["Invited"]
    assert abs(serial - (45839 + 12.5 / 24)) < 1e-9
    cell = desk.google.cell(desk.id, TAB, 1, desk.place("Invited"))
    assert cell["userEnteredFormat"]["numberFormat"]["type"] == "DATE_TIME"


async def test_the_review_is_a_word_with_a_link_on_the_cell(desk):
    await desk.show(person_of(1))
    cell = desk.google.cell(desk.id, TAB, 1, desk.place("Review"))
    assert cell["userEnteredValue"] == {"stringValue": "Open"}
    assert cell["userEnteredFormat"]["textFormat"]["link"]["uri"].endswith(interview_id(1))


async def test_a_value_that_vanished_empties_its_cell(desk):
    await desk.show(scored(person_of(1), 3.5))
    await desk.show(person_of(1, score=None))
    assert desk.records()[interview_id(1)]["Score"] is None


async def test_a_deleted_interview_keeps_its_row_and_says_so(desk):
    await desk.show(person_of(1))
    await desk.show(discarded(person_of(1)))
    assert desk.records()[interview_id(1)]["Stage"] == "Discarded"


async def test_new_rows_follow_the_last_one_in_order(desk):
    await desk.show(person_of(1))
    await desk.show(person_of(2), person_of(3))
    assert desk.column("Candidate") == ["Wayne Knight 1", "Wayne Knight 2", "Wayne Knight 3"]


async def test_an_unchanged_interview_costs_no_write(desk):
    await desk.show(person_of(1))
    desk.google.forget_calls()
    await desk.show(person_of(1))
    assert desk.counts() == {"read": 1}


async def test_a_reply_of_a_moment_ago_is_read_enough_for_new_rows(desk):
    await desk.show(person_of(1))
    desk.google.forget_calls()
    await desk.show(person_of(2))
    assert desk.counts() == {"write": 1}


async def test_an_older_reply_is_not(desk):
    await desk.show(person_of(1))
    desk.google.forget_calls()
    desk.context.clock.advance(5.1)
    await desk.show(person_of(2))
    assert desk.counts() == {"read": 1, "write": 1}


async def test_a_restart_goes_on_where_it_was(desk):
    await desk.show(person_of(1))
    await desk.restart()
    await desk.show(scored(person_of(1), 5), person_of(2))
    assert desk.records()[interview_id(1)]["Score"] == 5
    assert len(desk.records()) == 2


async def test_lost_notes_double_nothing(desk):
    await desk.show(person_of(1), person_of(2))
    desk.context.notes.clear()
    await desk.restart()
    await desk.show(person_of(1), person_of(2), person_of(3))
    assert len(desk.records()) == 3
    assert desk.google.header(desk.id, TAB) == TITLES


async def test_a_call_for_a_key_that_is_no_interview_is_done_and_forgotten(desk):
    desk.context.notes["row:zzz"] = {"v": {}, "force": True}
    await desk.settle(person_of(1))
    assert await desk._round(["zzz"]) == []
    assert desk.outcomes[-1] == Delivered()
    assert "row:zzz" not in desk.context.notes
