"""Users edit the sheet: their rows, columns and cells do not change, and owned cells stay correct."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from connector.emulators import faults
from connector.emulators.google import Tab, once
from connector.emulators.google.model import Area
from connector.sink import Delivered, RetryLater
from connector.testing import interview_id
from tests.sinks.follow_ups import asked
from tests.sinks.google_sheets.conftest import TAB, TITLES, discarded, person_of, scored

INTERVIEWS = [person_of(number) for number in range(1, 7)]


@pytest.fixture
async def busy(harness):
    """Six interviews, and a column of users with a text in each row."""
    await harness.show(*INTERVIEWS)
    harness.person.insert_columns(TAB, 2)
    harness.person.edit(TAB, 0, 2, "Notes")
    for row in range(1, 7):
        harness.person.edit(TAB, row, 2, f"about {harness.rows()[row][0]}")
    harness.context.clock.advance(60)
    return harness


def right(harness, scores):
    """Asserts that each interview has one row with its name, its score and the note of users."""
    records = harness.records()
    for number, score in scores.items():
        record = records[interview_id(number)]
        assert (record["Candidate"], record["Score"]) == (f"Wayne Knight {number}", score)
        assert record["Notes"] == f"about Wayne Knight {number}"
    return True


SHIFTS = {
    "sort": lambda person: person.sort(TAB, 0, descending=True),
    "insert above": lambda person: person.insert_rows(TAB, 1, 2),
    "delete a row above": lambda person: person.delete_rows(TAB, 1),
    "move": lambda person: person.move_rows(TAB, 1, 5),
    "shuffle": lambda person: person.shuffle(TAB, random.Random(3), 6),
}


@pytest.mark.parametrize("moment", ["after_read", "before_write"])
@pytest.mark.parametrize("name", SHIFTS)
async def test_rows_that_move_between_read_and_write_are_right_in_the_end(busy, name, moment):
    setattr(busy.google, moment, once(lambda: SHIFTS[name](busy.person)))
    await busy.settle(*[scored(each, 4) for each in INTERVIEWS[2:4]], person_of(7))
    gone = {1} if name == "delete a row above" else set()
    scores = {1: None, 2: None, 3: 4, 4: 4, 5: None, 6: None}
    assert right(busy, {number: score for number, score in scores.items() if number not in gone})
    assert interview_id(7) in busy.records()


def sort_with_header(person, last_row=7):
    """Sorts from the first row on, as a user who selected the whole table; the header becomes the last row."""
    person.sort(TAB, 12, area=Area(0, last_row, 0, 13))


LOST_HEADERS = {
    "sorted to the end": sort_with_header,
    "sorted into the middle": lambda person: person.move_rows(TAB, 0, 4),
    "deleted": lambda person: person.delete_rows(TAB, 0),
}


@pytest.mark.parametrize("name", LOST_HEADERS)
async def test_every_row_is_found_where_the_header_is_not_the_first_row(busy, name):
    LOST_HEADERS[name](busy.person)
    await busy.settle(*[scored(each, 4) for each in INTERVIEWS], person_of(7))
    rows = {row[12]: (row[0], row[6], row[2]) for row in busy.rows()}
    for number in range(1, 7):
        assert rows[interview_id(number)] == (f"Wayne Knight {number}", 4, f"about Wayne Knight {number}")
    assert len(busy.rows()) == (7 if name == "deleted" else 8)
    report = await busy.verify()
    assert report.counts == {"in sync": 7}
    assert ("the header is missing" in str(report.remarks)) is (name == "deleted")


async def test_a_header_that_was_sorted_far_down_does_not_hide_the_first_interview(harness):
    interviews = [person_of(number) for number in range(1, 41)]
    await harness.show(*interviews)
    harness.person.sort(TAB, 11, area=Area(0, 41, 0, 12))
    await harness.settle(*[scored(each, 4) for each in interviews])
    assert [row[5] for row in harness.rows()] == [*[4] * 40, "Score"]
    report = await harness.verify()
    assert report.counts == {"in sync": 40}
    assert "the header is missing at the top" in report.remarks[0]
    assert "Wayne" not in str(report.remarks)


async def test_a_damaged_id_above_the_header_is_restored(busy):
    busy.person.move_rows(TAB, 0, 4)
    busy.person.edit(TAB, 1, 12, "Interview ID")
    await busy.settle(*[scored(each, 4) for each in INTERVIEWS])
    assert [row[12] for row in busy.rows()] == [
        *[interview_id(n) for n in (1, 2, 3)],
        "Interview ID",
        *[interview_id(n) for n in (4, 5, 6)],
    ]


async def test_a_row_that_was_hit_by_mistake_asks_for_its_interview_again(busy):
    busy.google.before_write = once(lambda: busy.person.sort(TAB, 0, descending=True))
    result = await busy.deliver(scored(INTERVIEWS[0], 4))
    assert result.outcomes == [RetryLater("rows moved", after=1.0, counts=False, destination_works=True)]
    assert interview_id(6) in asked(result)
    assert busy.context.notes[f"row:{interview_id(6)}"]["force"] is True
    assert busy.context.notes["tab"]["moving"] is True


async def test_while_rows_move_one_is_updated_at_a_time_and_then_all(busy):
    busy.google.before_write = once(lambda: busy.person.sort(TAB, 0, descending=True))
    await busy.deliver(scored(INTERVIEWS[0], 4))
    busy.google.forget_calls()
    await busy.show(*[scored(each, 5) for each in INTERVIEWS])
    assert busy.counts() == {"read": 2, "write": 2}
    assert right(busy, dict.fromkeys(range(1, 7), 5))


async def test_a_new_row_needs_no_repair_when_rows_move(busy):
    busy.google.before_write = once(lambda: busy.person.sort(TAB, 0, descending=True))
    await busy.settle(person_of(7))
    assert busy.outcomes == [Delivered()]
    assert right(busy, dict.fromkeys(range(1, 7)))


async def test_a_crash_after_a_shifted_write_leaves_no_wrong_row(busy):
    busy.google.before_write = once(lambda: busy.person.sort(TAB, 0, descending=True))
    kept = dict(busy.context.notes)
    await busy.deliver(scored(INTERVIEWS[0], 4))
    busy.context.notes = {**kept, "intent": busy.context.saved[-1]["intent"]}
    await busy.restart()
    await busy.settle(scored(INTERVIEWS[0], 4))
    assert right(busy, {1: 4, 2: None, 3: None, 4: None, 5: None, 6: None})


@pytest.mark.parametrize("spoilt", ["zzz", None, 17])
async def test_wrong_ids_after_a_crash_lose_no_row_and_no_value(busy, spoilt):
    """The new row has its own values, which may be stray ones elsewhere. The planned row still belongs to its
    interview.
    """
    kept = dict(busy.context.notes)
    news = [scored(INTERVIEWS[0], 4), scored(person_of(7), 4)]
    await busy.deliver(*news)
    busy.context.notes = {**kept, "intent": busy.context.saved[-1]["intent"]}
    for row in (1, 2):
        busy.person.edit(TAB, row, busy.place("Interview ID"), spoilt)
    await busy.restart()
    await busy.settle(*news, INTERVIEWS[1])
    scores = {key: row["Score"] for key, row in busy.records().items()}
    assert scores == dict.fromkeys([each.id for each in INTERVIEWS]) | {each.id: 4 for each in news}


@pytest.mark.parametrize("spoilt", ["zzz", None, 17])
async def test_a_damaged_id_of_a_new_row_is_restored_after_a_lost_answer(busy, spoilt):
    kept, new = dict(busy.context.notes), scored(person_of(7), 4)
    await busy.deliver(new)
    busy.context.notes = {**kept, "intent": busy.context.saved[-1]["intent"]}
    busy.person.edit(TAB, 7, busy.place("Interview ID"), spoilt)
    await busy.restart()
    await busy.settle(new)
    assert right(busy, dict.fromkeys(range(1, 7)))
    assert busy.records()[new.id]["Score"] == 4
    assert len([row for row in busy.google.rows(busy.id, TAB) if any(row)]) == 8


async def test_a_stray_value_is_replaced_with_the_other_changes_of_the_row(busy):
    busy.google.before_write = once(lambda: busy.person.move_rows(TAB, 1, 2))
    await busy.deliver(scored(INTERVIEWS[0], 4))
    news = discarded(INTERVIEWS[1])
    await busy.settle(scored(INTERVIEWS[0], 4), news)
    assert right(busy, {1: 4, 2: None})
    assert busy.records()[news.id]["Stage"] == "Discarded"


async def test_a_stray_value_in_a_copy_of_a_row_is_not_repaired(busy):
    """The copy belongs to users. Of two rows with one id the sink updates the first."""
    busy.google.before_write = once(lambda: busy.person.copy_row(TAB, 1, 3))
    await busy.settle(scored(INTERVIEWS[2], 4))
    scores = [(row["Candidate"], row["Score"]) for row in busy.google.records(busy.id, TAB)[:4]]
    assert scores == [(f"Wayne Knight {number}", score) for number, score in ((1, None), (2, None), (1, 4), (3, 4))]


async def test_cleared_values_of_a_row_without_id_are_restored_with_the_id(busy):
    """They looked like stray values, because the row had no id."""
    await busy.settle(scored(INTERVIEWS[1], 4))
    busy.person.edit(TAB, 2, busy.place("Interview ID"), None)
    busy.google.before_write = once(lambda: busy.person.insert_rows(TAB, 1))
    await busy.settle(scored(INTERVIEWS[0], 4))
    assert [row["Score"] for row in busy.google.records(busy.id, TAB) if row["Candidate"] == "Wayne Knight 2"] == [None]
    await busy.settle(discarded(scored(INTERVIEWS[1], 4)))
    assert right(busy, {1: 4, 2: 4})


async def test_an_overwritten_id_is_restored_first(busy):
    """A blank cell can only be found by its row, and rows may move."""
    busy.person.edit(TAB, 1, busy.place("Interview ID"), None)
    busy.google.before_write = once(lambda: busy.person.move_rows(TAB, 1, 3))
    await busy.settle(scored(INTERVIEWS[0], 4))
    assert right(busy, {1: 4} | dict.fromkeys(range(2, 7)))


async def test_a_row_that_users_deleted_stays_deleted(busy):
    busy.person.delete_rows(TAB, 3)
    await busy.show(scored(INTERVIEWS[2], 4))
    assert interview_id(3) not in busy.records()
    assert busy.context.notes[f"row:{interview_id(3)}"]["gone"] is True
    await busy.show(scored(INTERVIEWS[2], 5))
    assert interview_id(3) not in busy.records()


async def test_a_restored_row_is_updated(busy):
    row = busy.rows()[3]
    busy.person.delete_rows(TAB, 3)
    await busy.show(scored(INTERVIEWS[2], 4))
    busy.person.insert_rows(TAB, 3)
    busy.person.write(TAB, [row], 3)
    await busy.show(scored(INTERVIEWS[2], 5))
    assert right(busy, {3: 5})


async def test_a_new_row_that_users_deleted_after_a_lost_answer_stays_deleted(busy):
    busy.google.faults.add(replace(faults.APPLY_503, match="write"))
    await busy.deliver(person_of(7))
    busy.person.delete_rows(TAB, busy.column("Interview ID").index(interview_id(7)) + 1)
    await busy.settle(person_of(7))
    assert interview_id(7) not in busy.records()


async def overwrite_the_row_of_the_fourth(busy):
    """Has the sink overwrite the row of interview 4, because rows move between its reads and writes: the id with that
    of interview 3, which it restores by the number of the row before it crashes, and the values with those of
    interview 2.
    """
    kept = dict(busy.context.notes)
    busy.person.edit(TAB, 3, busy.place("Interview ID"), 17)
    busy.google.before_write = once(lambda: busy.person.delete_rows(TAB, 1))
    await busy.deliver(scored(INTERVIEWS[2], 4))
    busy.context.notes = {**kept, "intent": busy.context.saved[-1]["intent"]}
    await busy.restart()
    await busy.deliver(scored(INTERVIEWS[2], 4))
    assert busy.column("Interview ID") == [interview_id(2), interview_id(3), None, *map(interview_id, (5, 6))]
    text = {"candidate_name": "Cosmo Kramer", "candidate_email": "kramer@example.com", "candidate_phone": "+1 555"}
    second = scored(INTERVIEWS[1], 4)
    busy.google.before_write = once(lambda: busy.person.move_rows(TAB, 3, 1))
    await busy.deliver(replace(second, values={**second.values, **text}))
    assert busy.rows()[1][0] == "Cosmo Kramer"


async def test_a_row_that_the_sink_overwrote_does_not_count_as_deleted_by_users(busy):
    await overwrite_the_row_of_the_fourth(busy)
    await busy.settle(busy.interviews[interview_id(2)])
    assert busy.records()[interview_id(4)]["Candidate"] == "Wayne Knight 4"
    assert (await busy.verify()).counts == {"in sync": 6}


async def test_a_row_deleted_after_the_repair_of_an_overwritten_one_stays_deleted(busy):
    await overwrite_the_row_of_the_fourth(busy)
    await busy.settle(busy.interviews[interview_id(2)])
    busy.person.delete_rows(TAB, busy.column("Interview ID").index(interview_id(6)) + 1)
    await busy.settle(scored(INTERVIEWS[5], 4))
    assert interview_id(6) not in busy.records()


async def test_of_a_copied_row_the_first_is_updated(busy):
    busy.person.copy_row(TAB, 2, 5)
    await busy.show(scored(INTERVIEWS[1], 4))
    scores = [r["Score"] for r in busy.google.records(busy.id, TAB) if r["Interview ID"] == interview_id(2)]
    assert scores == [4, None]


async def test_an_id_with_spaces_around_it_is_still_found(busy):
    busy.person.edit(TAB, 2, busy.place("Interview ID"), f" {interview_id(2)} ")
    await busy.show(scored(INTERVIEWS[1], 4))
    assert [record["Score"] for record in busy.google.records(busy.id, TAB)] == [None, 4, None, None, None, None]


@pytest.mark.parametrize("value", ["zzz", 17, "=A1", True, None, " "])
async def test_a_damaged_id_is_restored_by_the_rest_of_the_row(busy, value):
    busy.person.edit(TAB, 2, busy.place("Interview ID"), value)
    await busy.settle(scored(INTERVIEWS[1], 4))
    assert len(busy.rows()) == 7
    assert right(busy, {1: None, 2: 4, 3: None, 4: None, 5: None, 6: None})


@pytest.mark.parametrize("value", ["zzz", 17])
async def test_a_damaged_id_in_a_row_with_other_data_is_not_restored(busy, value):
    busy.person.edit(TAB, 2, busy.place("Interview ID"), value)
    busy.person.edit(TAB, 2, busy.place("Email"), "somebody@example.com")
    busy.person.edit(TAB, 2, busy.place("Candidate"), "Somebody Else")
    await busy.settle(scored(INTERVIEWS[1], 4))
    assert len(busy.rows()) == 7
    assert busy.column("Score") == [None] * 6


@pytest.mark.parametrize("value", ["zzz", None, 17])
async def test_a_damaged_id_is_restored_in_a_row_with_a_corrected_address(busy, value):
    busy.person.edit(TAB, 2, busy.place("Interview ID"), value)
    busy.person.edit(TAB, 2, busy.place("Email"), "kramer@example.com")
    await busy.settle(scored(INTERVIEWS[1], 4))
    assert right(busy, {1: None, 2: 4, 3: None, 4: None, 5: None, 6: None})
    assert busy.records()[INTERVIEWS[1].id]["Email"] == "kramer@example.com"


async def test_one_wrong_id_in_several_rows_loses_no_id_when_rows_move(busy):
    """It is replaced in its own row only, so that no other id is overwritten."""
    for row in (1, 2):
        busy.person.edit(TAB, row, busy.place("Interview ID"), "zzz")
    busy.google.before_write = once(lambda: busy.person.move_rows(TAB, 1, 5))
    await busy.deliver(scored(INTERVIEWS[0], 4), scored(INTERVIEWS[1], 4))
    assert set(busy.column("Interview ID")) >= {interview_id(number) for number in range(3, 7)}
    await busy.settle(scored(INTERVIEWS[0], 4), scored(INTERVIEWS[1], 4))
    assert right(busy, {1: 4, 2: 4, 3: None, 4: None, 5: None, 6: None})


async def test_notes_and_totals_below_stay_below(busy):
    busy.person.edit(TAB, 9, 0, "Total")
    await busy.show(person_of(7), person_of(8))
    names = busy.column("Candidate")
    assert names[6:8] == ["Wayne Knight 7", "Wayne Knight 8"]
    assert names[-1] == "Total"


async def test_blank_rows_between_rows_of_the_sink_stay(busy):
    busy.person.insert_rows(TAB, 4)
    await busy.show(scored(INTERVIEWS[5], 4), person_of(7))
    assert busy.rows()[4] == [None] * len(busy.rows()[4])
    assert right(busy, {6: 4})


async def test_a_renamed_tab_is_followed_after_a_restart_too(busy):
    busy.person.rename_tab(TAB, "Ada's list")
    await busy.restart()
    await busy.show(scored(INTERVIEWS[0], 4), person_of(7))
    assert len(busy.records("Ada's list")) == 7
    assert busy.google.titles(busy.id) == ["Sheet1", "Ada's list"]


async def test_a_tab_renamed_between_read_and_write_is_followed_in_the_same_call(busy):
    busy.google.before_write = once(lambda: busy.person.rename_tab(TAB, "Renamed"))
    await busy.show(scored(INTERVIEWS[0], 4))
    assert busy.records("Renamed")[interview_id(1)]["Score"] == 4


async def test_an_existing_tab_with_other_columns_gets_ours_at_the_right(make_harness):
    harness = make_harness(tabs=["Interviews"])
    harness.person.write(TAB, [["Owner", "email", "Deadline"], ["Ada", "x@example.com", "soon"]])
    await harness.show(person_of(1), person_of(2))
    added = [title for title in TITLES if title != "Email"]
    assert harness.google.header(harness.id, TAB) == ["Owner", "email", "Deadline", *added]
    assert harness.records()[interview_id(2)]["email"] == "wayne.knight.2@example.com"
    assert [record["Owner"] for record in harness.google.records(harness.id, TAB)] == [None, None, "Ada"]


async def test_an_empty_tab_with_the_right_name_gets_the_header(make_harness):
    harness = make_harness(tabs=["Interviews"])
    await harness.show(person_of(1))
    assert harness.google.header(harness.id, TAB) == TITLES
    assert len(harness.records()) == 1


async def test_rows_with_our_ids_that_were_there_before_are_taken_over(make_harness):
    harness = make_harness(tabs=["Interviews"])
    harness.person.write(TAB, [["Candidate", "Interview ID", "Notes"], ["Old", interview_id(1), "mine"]])
    await harness.show(person_of(1), person_of(2))
    record = harness.records()[interview_id(1)]
    assert (record["Candidate"], record["Notes"]) == ("Wayne Knight 1", "mine")
    assert len(harness.records()) == 2


@pytest.mark.parametrize("rows", [1, 2, 3])
async def test_the_first_rows_do_not_look_like_the_header_in_the_smallest_grids(make_harness, rows):
    harness = make_harness(tabs=[Tab.blank(0, TAB, rows, 3)])
    await harness.show(person_of(1), person_of(2))
    look = harness.google.cell(harness.id, TAB, 1, 0).get("userEnteredFormat", {})
    assert "bold" not in look.get("textFormat", {})
    assert len(harness.records()) == 2


async def test_news_that_undo_what_a_lost_answer_wrote_are_written(busy):
    busy.google.faults.add(replace(faults.APPLY_503, match="write"))
    await busy.deliver(scored(INTERVIEWS[0], 4))
    await busy.settle(INTERVIEWS[0])
    assert right(busy, dict.fromkeys(range(1, 7)))


async def test_people_between_a_lost_answer_and_the_next_flush_do_no_harm(busy):
    busy.google.faults.add(replace(faults.APPLY_503, match="write"))
    await busy.deliver(scored(INTERVIEWS[0], 4), person_of(7))
    busy.person.sort(TAB, 0, descending=True)
    await busy.settle(scored(INTERVIEWS[0], 4), person_of(7))
    assert right(busy, {1: 4, 2: None, 3: None, 4: None, 5: None, 6: None})
    assert len(busy.records()) == 7
