"""`connector explain` shows the cells that would change in the present sheet."""

from __future__ import annotations

import pytest

from connector.capabilities import CellPreview, Preview
from connector.testing import START, make_batch, make_delivery
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
    [found] = await harness.sink.preview(batch, harness.context)
    return found


async def test_a_change_is_previewed_cell_by_cell_against_the_present_cells(one):
    one.person.edit(TAB, 1, one.place("Score"), 2)
    found = await preview(one, scored(person_of(1), 4))
    assert found.text == "row 2 in the tab Interviews"
    assert CellPreview("Score", "4", before="2") in found.cells
    assert len(found.cells) == 2


async def test_a_cell_that_is_empty_now_has_an_empty_text_before(one):
    found = await preview(one, scored(person_of(1), 4))
    assert CellPreview("Score", "4", before="") in found.cells


async def test_a_changed_link_is_previewed_with_its_address(one):
    url = "https://admin.hireflix.com/interview/another"
    found = await preview(one, person_of(1, review_url=url, updated_at=START + 60_000))
    assert CellPreview("Review", f"Open ({url})", before="Open") in found.cells


async def test_a_new_interview_is_previewed_as_a_new_row(one):
    found = await preview(one, person_of(2))
    assert found.text == "a new row in the tab Interviews"
    assert found.cells[0] == CellPreview("Candidate", "Wayne Knight 2")


async def test_a_preview_says_that_users_deleted_the_row(one):
    one.person.delete_rows(TAB, 1)
    assert await preview(one, scored(person_of(1), 4)) == Preview(
        "nothing: users deleted its row in the tab Interviews"
    )


async def test_a_preview_says_that_nothing_changes(one):
    assert await preview(one, person_of(1)) == Preview("nothing changes in the tab Interviews")


async def test_nothing_is_written(one):
    await preview(one, scored(person_of(1), 4))
    assert "write" not in one.counts()


async def test_a_sheet_that_cannot_be_read_is_no_obstacle(one):
    one.person.unshare("connector@emulated-project.iam.gserviceaccount.com")
    found = await preview(one, person_of(1))
    row, why = found.text.splitlines()
    assert row.startswith("row 643e972db7d39e63cf000001")
    assert why == "the sheet cannot be read now: the spreadsheet is not shared with the service account"
    assert found.cells[0] == CellPreview("Candidate", "Wayne Knight 1")
