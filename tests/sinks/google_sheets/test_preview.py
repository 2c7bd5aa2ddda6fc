"""`connector explain` shows the cells that would change in the present sheet."""

from __future__ import annotations

import pytest

from connector.testing import make_batch, make_delivery
from connector.testing.context import notes_for
from tests.sinks.google_sheets.conftest import TAB, person_of, scored


@pytest.fixture
async def one(harness):
    await harness.show(person_of(1))
    harness.google.forget_calls()
    return harness


async def preview(harness, interview):
    delivery = make_delivery(interview=interview, state=True)
    batch = make_batch(delivery, notes=notes_for(harness.sink, [delivery], harness.context))
    [text] = await harness.sink.preview(batch, harness.context)
    return text.splitlines()


async def test_a_change_is_previewed_cell_by_cell_against_the_present_cells(one):
    one.person.edit(TAB, 1, one.place("Score"), 2)
    first, *lines = await preview(one, scored(person_of(1), 4))
    assert first == "row 2 in the tab Interviews"
    assert "  Score: 2 → 4" in lines
    assert len(lines) == 2


async def test_a_new_interview_is_previewed_as_a_new_row(one):
    lines = await preview(one, person_of(2))
    assert lines[:2] == ["a new row in the tab Interviews", "  Candidate: Wayne Knight 2"]


async def test_a_preview_says_that_users_deleted_the_row(one):
    one.person.delete_rows(TAB, 1)
    assert await preview(one, scored(person_of(1), 4)) == ["nothing: users deleted its row in the tab Interviews"]


async def test_a_preview_says_that_nothing_changes(one):
    assert await preview(one, person_of(1)) == ["nothing changes in the tab Interviews"]


async def test_nothing_is_written(one):
    await preview(one, scored(person_of(1), 4))
    assert "write" not in one.counts()


async def test_a_sheet_that_cannot_be_read_is_no_obstacle(one):
    one.person.unshare("connector@emulated-project.iam.gserviceaccount.com")
    lines = await preview(one, person_of(1))
    assert lines[0].startswith("row 643e972db7d39e63cf000001")
    assert lines[-1] == "(the sheet cannot be read now: the spreadsheet is not shared with the service account)"
