"""The usual flush, over real HTTP."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from connector.sink import Delivered
from connector.testing import interview_id
from tests.sinks.google_sheets.conftest import TAB, TITLES, discarded, person_of, scored


async def test_a_missing_tab_is_made_with_its_header_and_the_row_in_one_read_and_one_write(harness):
    await harness.show(person_of(1))
    assert harness.google.header(harness.id, TAB) == TITLES
    assert harness.records()[interview_id(1)]["Candidate"] == "Wayne Knight 1"
    assert (harness.counts()["read"], harness.counts()["write"]) == (1, 1)


async def test_any_number_of_interviews_is_one_read_and_one_write(harness):
    await harness.show(person_of(1))
    harness.google.forget_calls()
    people = [person_of(number) for number in range(1, 301)]
    await harness.show(scored(people[0], 4.5), *people[1:])
    assert harness.counts() == {"read": 1, "write": 1}
    assert len(harness.records()) == 300


async def test_a_score_writes_only_the_cells_that_changed(harness):
    await harness.show(person_of(1))
    harness.person.edit(TAB, 1, harness.place("Candidate"), "Wayne K. (corrected)")
    await harness.show(scored(person_of(1), 4.5))
    row = harness.records()[interview_id(1)]
    assert (row["Candidate"], row["Score"]) == ("Wayne K. (corrected)", 4.5)


async def test_times_are_serial_numbers_in_the_time_zone_of_the_spreadsheet(make_harness):
    harness = make_harness(timezone="America/New_York")
    at = int(datetime(2025, 7, 1, 16, 30, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)
    await harness.show(person_of(1, created_at=at))
    serial = harness.records()[interview_id(1)]["Invited"]
    assert abs(serial - (45839 + 12.5 / 24)) < 1e-9
    cell = harness.google.cell(harness.id, TAB, 1, harness.place("Invited"))
    assert cell["userEnteredFormat"]["numberFormat"]["type"] == "DATE_TIME"


async def test_the_review_is_a_word_with_a_link_on_the_cell(harness):
    await harness.show(person_of(1))
    cell = harness.google.cell(harness.id, TAB, 1, harness.place("Review"))
    assert cell["userEnteredValue"] == {"stringValue": "Open"}
    assert cell["userEnteredFormat"]["textFormat"]["link"]["uri"].endswith(interview_id(1))


async def test_a_value_that_vanished_empties_its_cell(harness):
    await harness.show(scored(person_of(1), 3.5))
    await harness.show(person_of(1, score=None))
    assert harness.records()[interview_id(1)]["Score"] is None


async def test_a_discarded_interview_keeps_its_row_and_shows_its_stage(harness):
    await harness.show(person_of(1))
    await harness.show(discarded(person_of(1)))
    assert harness.records()[interview_id(1)]["Stage"] == "Discarded"


async def test_new_rows_follow_the_last_one_in_order(harness):
    await harness.show(person_of(1))
    await harness.show(person_of(2), person_of(3))
    assert harness.column("Candidate") == ["Wayne Knight 1", "Wayne Knight 2", "Wayne Knight 3"]


async def test_an_unchanged_interview_costs_no_write(harness):
    await harness.show(person_of(1))
    harness.google.forget_calls()
    await harness.show(person_of(1))
    assert harness.counts() == {"read": 1}


async def test_a_reply_of_a_moment_ago_is_read_enough_for_new_rows(harness):
    await harness.show(person_of(1))
    harness.google.forget_calls()
    await harness.show(person_of(2))
    assert harness.counts() == {"write": 1}


async def test_an_older_reply_is_not(harness):
    await harness.show(person_of(1))
    harness.google.forget_calls()
    harness.context.clock.advance(5.1)
    await harness.show(person_of(2))
    assert harness.counts() == {"read": 1, "write": 1}


async def test_a_restart_continues_the_work(harness):
    await harness.show(person_of(1))
    await harness.restart()
    await harness.show(scored(person_of(1), 5), person_of(2))
    assert harness.records()[interview_id(1)]["Score"] == 5
    assert len(harness.records()) == 2


async def test_lost_notes_double_nothing(harness):
    await harness.show(person_of(1), person_of(2))
    harness.context.notes.clear()
    await harness.restart()
    await harness.show(person_of(1), person_of(2), person_of(3))
    assert len(harness.records()) == 3
    assert harness.google.header(harness.id, TAB) == TITLES


async def test_a_call_for_a_key_that_is_no_interview_is_done_and_forgotten(harness):
    harness.context.notes["row:zzz"] = {"v": {}, "force": True}
    await harness.settle(person_of(1))
    assert await harness._round(["zzz"]) == []
    assert harness.outcomes[-1] == Delivered()
    assert "row:zzz" not in harness.context.notes
