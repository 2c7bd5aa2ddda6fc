"""Owned columns are found by their tag when users move, rename or delete columns."""

from __future__ import annotations

import pytest

from connector.emulators.google import once
from connector.testing import interview_id
from sinks.spreadsheet.columns import Column
from tests.sinks.google_sheets.conftest import TAB, TITLES, person_of, scored

INTERVIEWS = [person_of(number) for number in range(1, 5)]


@pytest.fixture
async def busy(harness):
    """Four interviews, and columns of users on both sides of the scores and at the right."""
    await harness.show(*INTERVIEWS)
    for at, title in ((5, "Before"), (7, "After"), (14, "Last")):
        harness.person.insert_columns(TAB, at)
        harness.person.write(TAB, [[title], *[[f"{title} {row}"] for row in range(1, 5)]], 0, at)
    harness.context.clock.advance(60)
    return harness


def untouched(harness, *titles):
    return all(harness.column(title) == [f"{title} {row}" for row in range(1, 5)] for title in titles)


def scores(harness):
    return [harness.records()[interview_id(number)]["Score"] for number in range(1, 5)]


async def test_people_s_columns_between_ours_are_never_written(busy):
    await busy.show(*[scored(each, 4) for each in INTERVIEWS])
    assert scores(busy) == [4] * 4
    assert untouched(busy, "Before", "After", "Last")


MOVES = {
    "insert left": lambda person: person.insert_columns(TAB, 0),
    "insert before the scores": lambda person: person.insert_columns(TAB, 6),
    "move the scores to the left": lambda person: person.move_columns(TAB, 6, 0),
    "move the key to the left": lambda person: person.move_columns(TAB, 13, 0),
    "delete a column of people's": lambda person: person.delete_columns(TAB, 5),
    "delete an owned column": lambda person: person.delete_columns(TAB, 1),
    "rename a header": lambda person: person.rename_header(TAB, "Candidate", "Who"),
    "delete the last column": lambda person: person.delete_columns(TAB, 14),
}


@pytest.mark.parametrize("moment", ["after_read", "before_write"])
@pytest.mark.parametrize("name", MOVES)
async def test_columns_that_move_between_read_and_write_take_no_value_of_ours_elsewhere(busy, name, moment):
    setattr(busy.google, moment, once(lambda: MOVES[name](busy.person)))
    await busy.settle(*[scored(each, 4) for each in INTERVIEWS])
    assert scores(busy) == [4] * 4
    kept = {"Before", "After", "Last"} & set(busy.google.header(busy.id, TAB))
    assert len(kept) >= 2
    assert untouched(busy, *kept)


async def test_the_rightmost_owned_column_deleted_in_between_does_not_pass_its_values_on(harness):
    await harness.show(*INTERVIEWS)
    harness.person.insert_columns(TAB, 12)
    harness.person.write(TAB, [["Mine"], *[[f"Mine {row}"] for row in range(1, 5)]], 0, 12)
    harness.person.move_columns(TAB, harness.place("Score"), 12)
    harness.context.clock.advance(60)
    harness.google.before_write = once(lambda: harness.person.delete_columns(TAB, 11))
    await harness.settle(*[scored(each, 4) for each in INTERVIEWS])
    assert harness.google.header(harness.id, TAB) == [*[title for title in TITLES if title != "Score"], "Mine"]
    assert untouched(harness, "Mine")


async def test_a_renamed_column_is_still_ours(busy):
    busy.person.rename_header(TAB, "Score", "Punkte")
    await busy.show(scored(INTERVIEWS[0], 4))
    assert busy.records()[interview_id(1)]["Punkte"] == 4
    assert "Score" not in busy.google.header(busy.id, TAB)


async def test_a_deleted_column_stays_deleted_and_the_others_go_on(busy):
    busy.person.delete_columns(TAB, busy.place("Phone"))
    await busy.show(scored(INTERVIEWS[0], 4), person_of(5))
    assert "Phone" not in busy.google.header(busy.id, TAB)
    assert busy.records()[interview_id(5)]["Candidate"] == "Wayne Knight 5"


async def test_a_deleted_key_column_stops_the_sink_and_says_what_to_do(busy):
    busy.person.delete_columns(TAB, busy.place("Interview ID"))
    error = await busy.broken(scored(INTERVIEWS[0], 4))
    assert error.reason == 'the column "Interview ID" was deleted; without it no row can be found'
    assert "undo the deletion" in error.fix


async def test_a_deleted_column_is_owned_again_when_users_write_its_title(busy):
    at = busy.place("Phone")
    busy.person.delete_columns(TAB, at)
    await busy.show(scored(INTERVIEWS[0], 4))
    busy.person.insert_columns(TAB, at)
    busy.person.edit(TAB, 0, at, "phone ")
    await busy.show(person_of(5, candidate_phone="+34 600"))
    assert busy.records()[interview_id(5)]["phone "] == "+34 600"
    assert busy.column("Before") == [*[f"Before {row}" for row in range(1, 5)], None]


async def test_lost_tags_are_put_back_by_the_headers(busy):
    with busy.google.lock:
        book = busy.google.book(busy.id)
        for tag in [tag for tag in book.tags.values() if tag.key == "hf.col"]:
            del book.tags[tag.id]
    await busy.show(*[scored(each, 4) for each in INTERVIEWS])
    assert scores(busy) == [4] * 4
    assert len(busy.google.column_tags(busy.id, TAB)) == len(TITLES)


async def test_a_column_that_moves_while_it_gets_its_tag_is_found_again(make_harness):
    harness = make_harness(tabs=[TAB])
    header = ["Mine", "Candidate", "Interview ID"]
    harness.person.write(TAB, [header, *[[f"mine {n}", "Old", interview_id(n)] for n in (1, 2)]])
    harness.google.before_write = once(lambda: harness.person.insert_columns(TAB, 0))
    await harness.settle(person_of(1), person_of(2))
    assert harness.column("Mine") == ["mine 1", "mine 2"]
    assert harness.column("Candidate") == ["Wayne Knight 1", "Wayne Knight 2"]
    assert [row[0] for row in harness.rows()] == [None] * 3


async def test_configured_columns_have_their_titles_and_order(make_harness):
    columns = [{"field": "interview_id", "title": "Id"}, {"field": "candidate_last_name"}, {"field": "score"}]
    harness = make_harness(columns=columns)
    await harness.show(person_of(1, candidate_last_name="Knight", score=4))
    assert harness.rows() == [["Id", "Last name", "Score"], [interview_id(1), "Knight", 4]]


async def test_the_key_alone_makes_a_table(make_harness):
    harness = make_harness(columns=[{"field": "interview_id"}])
    await harness.show(person_of(1))
    await harness.show(person_of(2))
    assert harness.rows() == [["Interview ID"], [interview_id(1)], [interview_id(2)]]


async def test_a_column_added_to_the_configuration_is_added_at_the_right(make_harness):
    harness = make_harness(columns=[{"field": "candidate_name"}])
    await harness.show(person_of(1))
    harness.person.insert_columns(TAB, 2)
    harness.person.write(TAB, [["Mine"], ["my note"]], 0, 2)
    harness.config = harness.config.model_copy(update={"columns": (*harness.config.columns, Column(field="score"))})
    await harness.restart()
    await harness.show(scored(person_of(1), 4))
    assert harness.google.header(harness.id, TAB) == ["Candidate", "Interview ID", "Mine", "Score"]
    assert harness.rows()[1] == ["Wayne Knight 1", interview_id(1), "my note", 4]


async def test_two_tabs_of_one_spreadsheet_keep_apart(make_harness):
    one = make_harness()
    await one.show(person_of(1))
    two = make_harness(worksheet="Second")
    two.id = one.id
    two.config = two.config.model_copy(update={"spreadsheet": one.id})
    await two.restart()
    await two.show(person_of(1), person_of(2))
    await one.show(scored(person_of(1), 4))
    assert len(one.records(TAB)) == 1
    assert len(one.records("Second")) == 2
    assert one.records("Second")[interview_id(1)]["Score"] is None


async def test_of_two_processes_that_read_the_same_only_one_lands_and_the_other_looks_again(make_harness):
    one = make_harness()
    await one.show(person_of(1))
    two = make_harness()
    two.id, two.config, two.context.notes = one.id, one.config, dict(one.context.notes)
    await two.restart()
    await two.show(scored(person_of(1), 4))  # and now its reply serves as the read of what comes within 5 seconds
    people = [person_of(number) for number in range(2, 8)]
    await one.settle(*people)
    one.google.forget_calls()
    await two.settle(*people)
    # refused; the sheet, then the formats of rows that it did not write itself; written
    assert [call.status for call in one.google.calls] == [400, 200, 200, 200]
    assert len(one.records()) == 7
