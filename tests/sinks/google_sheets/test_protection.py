"""Cells that users protected against the sink: only these are skipped and reported, until they can be written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.capabilities import VERIFY, Difference
from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.google.model import Area
from connector.emulators.google.people import once
from connector.interview import Stage
from connector.sink import Delivered, Delivery, FollowUp, RetryLater
from connector.testing import make_erase, run_batch
from sinks.google_sheets.errors import PROTECTED
from tests.sinks.google_sheets.conftest import TAB, TITLES, SheetHarness, person_of, scored

WAITS = RetryLater(PROTECTED, after=300.0, counts=False)


def shortlisted(interview):
    return replace(scored(interview, 4), stage=Stage.SHORTLISTED)


async def show_later(harness, *interviews):
    """A call that has to read the sheet again."""
    harness.context.clock.advance(60)
    return await harness.show(*interviews)


async def asked_again(harness):
    """Makes the calls that the sink asked for, like the dispatcher."""
    await harness._until_nothing_is_due([VERIFY], 60, is_edited=False)


def complete(harness, interview):
    """Whether the row of an interview has the same cells as the others."""
    row = harness.records()[interview.id]
    return all(
        row.get(title) is not None for title in ("Candidate", "Email", "Position", "Stage", "Invited", "Updated")
    )


async def test_a_protected_row_is_skipped_and_every_other_row_is_written(harness):
    await harness.show(person_of(1), person_of(2))
    harness.person.protect_rows(TAB, 1)
    await show_later(harness, shortlisted(person_of(1)), shortlisted(person_of(2)), person_of(3))
    records = harness.records()
    assert (records[person_of(1).id]["Stage"], records[person_of(2).id]["Stage"]) == ("To evaluate", "Shortlisted")
    assert complete(harness, person_of(3))


async def test_what_could_not_be_written_is_reported_with_tab_row_column_and_what_to_do(harness):
    await harness.show(person_of(1), person_of(2))
    harness.person.protect_rows(TAB, 1)
    await show_later(harness, shortlisted(person_of(1)))
    report = await harness.verify()
    assert not report.in_sync
    detail = "Interviews, row 2: Stage, Score, Updated"
    assert report.differences == [Difference("protected", person_of(1).id, detail)]
    assert report.remarks == ["Interviews: protected against the sink: 2:2"]
    assert report.asks == [
        f"Interviews: in the sheet, Data, Protect sheets and ranges: add {EMAIL} to those who may edit"
    ]


async def test_a_report_is_kept_soon_after_a_cell_was_skipped(harness):
    await harness.show(person_of(1))
    harness.person.protect_rows(TAB, 1)
    await harness.settle(shortlisted(person_of(1)))
    assert not harness.context.notes["verify"]["in_sync"]


async def test_nothing_is_reported_while_protected_cells_hold_what_they_should(harness):
    await harness.show(person_of(1))
    harness.person.protect_rows(TAB, 1)
    await show_later(harness, person_of(1), person_of(2))
    assert (await harness.verify()).in_sync


@pytest.mark.parametrize(
    "protect",
    [
        lambda harness: harness.person.protect_columns(TAB, harness.place("Score")),
        lambda harness: harness.person.protect_cells(
            TAB, Area(1, 2, harness.place("Score"), harness.place("Score") + 1)
        ),
    ],
    ids=["column", "cell"],
)
async def test_a_protected_column_or_cell_is_left_alone_and_its_neighbours_are_written(harness, protect):
    await harness.show(person_of(1))
    protect(harness)
    await show_later(harness, shortlisted(person_of(1)), person_of(2))
    row = harness.records()[person_of(1).id]
    assert (row["Stage"], row["Score"]) == ("Shortlisted", None)
    assert complete(harness, person_of(2))
    [difference] = (await harness.verify()).differences
    assert difference == Difference("protected", person_of(1).id, "Interviews, row 2: Score")


async def test_a_new_row_in_a_protected_column_has_everything_else(harness):
    await harness.show(person_of(1))
    harness.person.protect_columns(TAB, harness.place("Invited"), 2)
    await show_later(harness, scored(person_of(2), 4))
    row = harness.records()[person_of(2).id]
    assert (row["Score"], row["Stage"], row.get("Invited")) == (4, "To evaluate", None)
    [difference] = (await harness.verify()).differences
    assert (difference.kind, difference.key) == ("protected", person_of(2).id)


@pytest.mark.parametrize("columns", [3, 26])
async def test_new_rows_go_below_a_protected_range_that_they_would_become_a_part_of(harness, columns):
    await harness.show(person_of(1))
    harness.person.protect_cells(TAB, Area(1, 10, 0, min(columns, len(TITLES))))
    await show_later(harness, person_of(2), person_of(3))
    assert complete(harness, person_of(2))
    assert complete(harness, person_of(3))
    assert (await harness.verify()).in_sync


async def test_new_rows_go_below_a_range_that_ends_with_the_last_row(harness):
    await harness.show(person_of(1))
    harness.person.protect_rows(TAB, 1, len(harness.google.tab(harness.id, TAB).rows) - 1)
    await show_later(harness, person_of(2))
    assert complete(harness, person_of(2))


async def test_a_protected_tab_gets_no_row_and_loses_none(harness):
    await harness.show(person_of(1))
    harness.person.protect_tab(TAB)
    harness.context.clock.advance(60)
    result = await harness.deliver(shortlisted(person_of(1)), person_of(2))
    assert result.outcomes == [Delivered(), WAITS]
    report = await harness.verify()
    assert {(each.kind, each.key) for each in report.differences} == {
        ("protected", person_of(1).id),
        ("protected", person_of(2).id),
    }
    harness.person.unprotect(TAB)
    await harness.settle(person_of(2))
    await asked_again(harness)
    assert harness.records()[person_of(1).id]["Stage"] == "Shortlisted"
    assert complete(harness, person_of(2))
    assert (await harness.verify()).in_sync


async def test_the_exceptions_of_a_protected_tab_are_written(harness):
    await harness.show(person_of(1))
    stage = harness.place("Stage")
    harness.person.protect_tab(TAB, Area(0, 100, stage, stage + 1))
    await show_later(harness, shortlisted(person_of(1)))
    row = harness.records()[person_of(1).id]
    assert (row["Stage"], row["Score"]) == ("Shortlisted", None)


async def test_a_protected_column_of_ids_stops_new_rows_only(harness):
    await harness.show(person_of(1))
    harness.person.protect_columns(TAB, harness.place("Interview ID"))
    harness.context.clock.advance(60)
    result = await harness.deliver(shortlisted(person_of(1)), person_of(2))
    assert result.outcomes == [Delivered(), WAITS]
    assert harness.records()[person_of(1).id]["Stage"] == "Shortlisted"
    assert not (await harness.verify()).in_sync


async def test_the_next_event_after_the_protection_went_has_everything_written(harness):
    await harness.show(person_of(1), person_of(2))
    harness.person.protect_rows(TAB, 1)
    await harness.settle(shortlisted(person_of(1)))
    harness.person.unprotect(TAB)
    await harness.settle(scored(person_of(2), 5))
    assert harness.records()[person_of(1).id]["Score"] == 4
    assert harness.context.notes["verify"]["in_sync"]


async def test_without_an_event_it_is_written_within_minutes(harness):
    await harness.show(person_of(1))
    harness.person.protect_rows(TAB, 1)
    await harness.settle(shortlisted(person_of(1)))
    harness.person.unprotect(TAB)
    harness.context.clock.advance(300)
    await asked_again(harness)
    assert harness.records()[person_of(1).id]["Score"] == 4


async def test_looking_whether_it_is_still_protected_costs_one_read(harness):
    await harness.show(person_of(1))
    harness.person.protect_rows(TAB, 1)
    await harness.settle(shortlisted(person_of(1)))
    harness.context.clock.advance(300)
    harness.google.forget_calls()
    await asked_again(harness)
    assert harness.counts() == {"read": 1}


async def test_cells_that_are_protected_between_read_and_write_are_skipped_as_well(harness):
    await harness.show(person_of(1), person_of(2))
    harness.google.before_write = once(lambda: harness.person.protect_rows(TAB, 1))
    await show_later(harness, shortlisted(person_of(1)), shortlisted(person_of(2)), person_of(3))
    assert [record["Stage"] for record in harness.records().values()] == ["To evaluate", "Shortlisted", "To evaluate"]
    assert not (await harness.verify()).in_sync


async def test_a_row_that_is_to_be_removed_waits_until_it_may_be_emptied(make_harness):
    harness = make_harness(on_delete="remove")
    await harness.show(person_of(1))
    harness.person.protect_rows(TAB, 1)
    harness.context.clock.advance(60)
    deleted = replace(person_of(1), stage=Stage.DELETED, updated_at=person_of(1).updated_at + 1)
    cells = ", ".join(f"{letter}2" for letter in "ABCDEFGHIJKL")
    assert (await harness.deliver(deleted)).outcomes == [replace(WAITS, reason=f"protected cells: {cells}")]
    assert not (await harness.verify()).in_sync
    harness.person.unprotect(TAB)
    await harness.settle(deleted)
    assert harness.records() == {}


async def test_a_protected_header_keeps_a_new_column_out_and_is_reported(harness):
    await harness.show(person_of(1))
    harness.person.protect_rows(TAB, 0)
    columns = (*harness.config.columns, type(harness.config.columns[0])(field="status", title="Status"))
    harness.config = harness.config.model_copy(update={"columns": columns})
    await harness.restart()
    await show_later(harness, shortlisted(person_of(1)))
    report = await harness.verify()
    assert report.differences == [
        Difference("protected", "column Status", "Interviews, row 1: the header is protected")
    ]


class Silent(GoogleEmulator):
    """An emulator that refuses protected cells and does not report protected ranges."""

    def _perform(self, request, method, action, raw):
        reply = super()._perform(request, method, action, raw)
        for sheet in [*reply.get("sheets", ()), *reply.get("updatedSpreadsheet", {}).get("sheets", ())]:
            sheet.pop("protectedRanges", None)
        return reply


async def test_a_refusal_that_no_range_explains_singles_the_row_out(tmp_path):
    with Silent() as google:
        harness = SheetHarness(google, google.service_account_file(tmp_path / "key.json"))
        await harness.show(*[person_of(number) for number in range(1, 6)])
        harness.person.protect_rows(TAB, 3)
        harness.context.clock.advance(60)
        result = await harness.deliver(*[shortlisted(person_of(number)) for number in range(1, 6)], person_of(6))
        assert result.outcomes == [Delivered(), Delivered(), WAITS, Delivered(), Delivered(), Delivered()]
        stages = [record["Stage"] for record in harness.records().values()]
        assert stages.count("Shortlisted") == 4
        await harness.sink.close()


async def test_an_erase_names_the_protected_cells_that_it_cannot_clear_and_clears_the_others(harness):
    """The row is cleared when the protection is gone."""
    ada = replace(person_of(1), values={**person_of(1).values, "candidate_phone": "+34600123456"})
    await harness.show(ada, person_of(2))
    harness.person.protect_cells(TAB, Area(1, 2, 1, 3))
    asked_to_erase = make_erase(ada)
    harness.context.clock.advance(60)
    result = await run_batch(harness.sink, [asked_to_erase], harness.context)
    assert result.outcomes == [RetryLater("protected cells: B2, C2", after=300.0, counts=False)]
    left = harness.records()[ada.id]
    assert {title for title, value in left.items() if value is not None} == {"Email", "Phone", "Interview ID"}
    harness.person.unprotect(TAB)
    harness.context.clock.advance(300)
    result = await run_batch(harness.sink, [asked_to_erase], harness.context)
    assert result.outcomes == [Delivered()]
    assert ada.id not in harness.records()


async def test_without_quota_for_a_look_at_the_protection_what_was_written_is_delivered(harness):
    await harness.show(person_of(1), person_of(2))
    harness.person.protect_rows(TAB, 1)
    await show_later(harness, shortlisted(person_of(1)))
    await asked_again(harness)
    harness.context.clock.advance(301)
    harness.google.before_write = once(lambda: harness.context.refuse("sheets:read"))
    changed = shortlisted(person_of(2))
    harness.know([changed])
    follow_up = Delivery(id="v", key="", event=None, interview=None, follow_up=FollowUp(VERIFY))
    row = Delivery(id="r", key=changed.id, event=None, interview=changed)
    result = await run_batch(harness.sink, [row, follow_up], harness.context)
    assert result.outcomes == [Delivered(), Delivered()]
    assert harness.records()[changed.id]["Stage"] == "Shortlisted"
