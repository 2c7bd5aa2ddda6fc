"""Dates are shown as dates, also in rows that another program made. A format that users chose stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.capabilities import Difference
from connector.emulators.google.cells import cell, rest_of, value_of
from connector.testing import interview_id, make_interview
from sinks.google_sheets.api_requests import DATE_FORMAT
from sinks.google_sheets.state import row_name
from sinks.spreadsheet.columns import Column
from tests.sinks.google_sheets.conftest import TAB, person_of, scored

ANA = interview_id(1)
EARLIER = [
    ["Candidate", "Notes", "Email", "Stage", "Invited", "Completed", "Updated", "Interview ID"],
    ["Ana Prueba", "called", "ana@example.com", "Invited", "", "", "", ANA],
]
"""A tab of another tool: text and no number format."""
FINISHED_MS = 1_761_566_430_000


def finished():
    return make_interview(
        number=1, candidate_name="Ana Prueba", candidate_email="ana@example.com", completed=FINISHED_MS
    )


@pytest.fixture
def earlier(make_harness):
    harness = make_harness(tabs=[TAB])
    harness.person.write(TAB, EARLIER)
    return harness


def stored(harness, title, row=1):
    return harness.google.tab(harness.id, TAB).at(row, harness.place(title))


def number_format(harness, title, row=1):
    return rest_of(stored(harness, title, row)).get("userEnteredFormat", {}).get("numberFormat")


def set_format(harness, title, wanted, row=1):
    """Sets a format as a user does with Format, Number."""
    tab, place = harness.google.tab(harness.id, TAB), harness.place(title)
    rest = {} if wanted is None else {"userEnteredFormat": {"numberFormat": wanted}}
    tab.put(row, place, [cell(value_of(tab.at(row, place)), rest)])


async def test_a_date_in_a_row_of_an_earlier_tool_gets_a_format_with_the_value(earlier):
    await earlier.show(finished())
    for title in ("Invited", "Completed", "Updated"):
        assert isinstance(value_of(stored(earlier, title)), float)
        assert number_format(earlier, title) == DATE_FORMAT
    assert earlier.records()[ANA]["Notes"] == "called"
    assert (await earlier.verify()).in_sync


async def test_a_format_of_users_stays(earlier):
    mine = {"type": "DATE", "pattern": "d mmm"}
    set_format(earlier, "Completed", mine)
    await earlier.show(finished())
    assert number_format(earlier, "Completed") == mine
    assert number_format(earlier, "Updated") == DATE_FORMAT


async def test_a_number_format_of_users_on_a_date_stays(earlier):
    mine = {"type": "NUMBER", "pattern": "0.0"}
    set_format(earlier, "Completed", mine)
    await earlier.show(finished())
    assert number_format(earlier, "Completed") == mine
    assert (await earlier.verify()).in_sync


async def test_the_formats_of_a_row_are_looked_at_once(earlier):
    await earlier.show(finished())
    earlier.context.clock.advance(60)
    earlier.google.forget_calls()
    await earlier.show(scored(finished(), 4))
    assert earlier.counts() == {"read": 1, "write": 1}


async def test_the_formats_of_our_own_rows_are_not_looked_at(harness):
    await harness.show(person_of(1))
    harness.context.clock.advance(60)
    harness.google.forget_calls()
    await harness.show(replace(scored(person_of(1), 4), values={**person_of(1).values, "completed": FINISHED_MS}))
    assert harness.counts() == {"read": 1, "write": 1}
    assert number_format(harness, "Completed") == DATE_FORMAT


async def test_verify_finds_a_date_that_shows_as_a_bare_number_and_has_it_mended(harness):
    await harness.show(person_of(1), person_of(2))
    set_format(harness, "Invited", None)
    report = await harness.verify()
    assert not report.in_sync
    assert report.differences == [Difference("different", ANA, "Interviews, row 2: Invited")]
    await harness.verify_and_repair()
    assert number_format(harness, "Invited") == DATE_FORMAT
    assert (await harness.verify()).in_sync


async def test_a_row_written_by_an_earlier_version_gets_its_formats(harness):
    await harness.show(person_of(1))
    for title in ("Invited", "Updated"):
        set_format(harness, title, None)
    note = harness.context.notes[row_name(ANA)]
    harness.context.notes[row_name(ANA)] = {name: value for name, value in note.items() if name != "dated"}
    harness.context.clock.advance(60)
    await harness.show(scored(person_of(1), 4))
    assert number_format(harness, "Updated") == DATE_FORMAT
    assert number_format(harness, "Invited") == DATE_FORMAT


async def test_a_date_column_that_is_added_later_shows_dates_in_rows_that_are_there(harness):
    await harness.show(person_of(1))
    columns = (*harness.config.columns, Column(field="shortlisted_at"))
    harness.config = harness.config.model_copy(update={"columns": columns})
    await harness.restart()
    harness.context.clock.advance(60)
    await harness.show(replace(scored(person_of(1), 4), values={**person_of(1).values, "finalist": FINISHED_MS}))
    assert number_format(harness, "Shortlisted") == DATE_FORMAT


async def test_many_rows_of_an_earlier_tool_cost_one_more_read(make_harness):
    harness = make_harness(tabs=[TAB])
    people = [person_of(number) for number in range(1, 201)]
    harness.google.fill(harness.id, TAB, [EARLIER[0], *[["", "", "", "", "", "", "", each.id] for each in people]])
    await harness.show(person_of(201))
    harness.context.clock.advance(60)
    harness.google.forget_calls()
    await harness.show(*people)
    assert harness.counts() == {"read": 2, "write": 1}
    assert number_format(harness, "Updated", 200) == DATE_FORMAT
    assert (await harness.verify()).in_sync
