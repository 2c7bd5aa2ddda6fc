"""Cells that people protected against us: those alone are skipped, reported until they can be written, then written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.capabilities import VERIFY, Difference
from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.google.model import Area
from connector.emulators.google.people import once
from connector.interview import Stage
from connector.sink import Delivered, RetryLater
from connector.testing import make_erase, run_batch
from sinks.google_sheets.errors import PROTECTED
from tests.sinks.google_sheets.conftest import TAB, TITLES, Desk, person_of, scored

WAITS = RetryLater(PROTECTED, after=300.0, counts=False)


def shortlisted(interview):
    return replace(scored(interview, 4), stage=Stage.SHORTLISTED)


async def show_later(desk, *interviews):
    """A call that has to read the sheet again."""
    desk.context.clock.advance(60)
    return await desk.show(*interviews)


async def asked_again(desk):
    """What the sink asks to be called for, as the dispatcher does it."""
    await desk._until_nothing_is_due([VERIFY], 60, calm=True)


def complete(desk, interview):
    """Whether the row of an interview has all that its neighbours have."""
    row = desk.records()[interview.id]
    return all(
        row.get(title) is not None for title in ("Candidate", "Email", "Position", "Stage", "Invited", "Updated")
    )


async def test_a_protected_row_is_skipped_and_every_other_row_is_written(desk):
    await desk.show(person_of(1), person_of(2))
    desk.person.protect_rows(TAB, 1)
    await show_later(desk, shortlisted(person_of(1)), shortlisted(person_of(2)), person_of(3))
    records = desk.records()
    assert (records[person_of(1).id]["Stage"], records[person_of(2).id]["Stage"]) == ("To evaluate", "Shortlisted")
    assert complete(desk, person_of(3))


async def test_what_could_not_be_written_is_reported_with_tab_row_column_and_what_to_do(desk):
    await desk.show(person_of(1), person_of(2))
    desk.person.protect_rows(TAB, 1)
    await show_later(desk, shortlisted(person_of(1)))
    report = await desk.verify()
    assert not report.in_sync
    detail = "Interviews, row 2: Stage, Score, Updated"
    assert report.differences == [Difference("protected", person_of(1).id, detail)]
    assert report.remarks == ["Interviews: protected against the sink: 2:2"]
    assert report.asks == [
        f"Interviews: in the sheet, Data, Protect sheets and ranges: add {EMAIL} to those who may edit"
    ]


async def test_a_report_is_kept_soon_after_a_cell_was_skipped(desk):
    await desk.show(person_of(1))
    desk.person.protect_rows(TAB, 1)
    await desk.settle(shortlisted(person_of(1)))
    assert not desk.context.notes["verify"]["in_sync"]


async def test_nothing_is_reported_while_protected_cells_hold_what_they_should(desk):
    await desk.show(person_of(1))
    desk.person.protect_rows(TAB, 1)
    await show_later(desk, person_of(1), person_of(2))
    assert (await desk.verify()).in_sync


@pytest.mark.parametrize(
    "protect",
    [
        lambda desk: desk.person.protect_columns(TAB, desk.place("Score")),
        lambda desk: desk.person.protect_cells(TAB, Area(1, 2, desk.place("Score"), desk.place("Score") + 1)),
    ],
    ids=["column", "cell"],
)
async def test_a_protected_column_or_cell_is_left_alone_and_its_neighbours_are_written(desk, protect):
    await desk.show(person_of(1))
    protect(desk)
    await show_later(desk, shortlisted(person_of(1)), person_of(2))
    row = desk.records()[person_of(1).id]
    assert (row["Stage"], row["Score"]) == ("Shortlisted", None)
    assert complete(desk, person_of(2))
    [difference] = (await desk.verify()).differences
    assert difference == Difference("protected", person_of(1).id, "Interviews, row 2: Score")


async def test_a_new_row_in_a_protected_column_has_everything_else(desk):
    await desk.show(person_of(1))
    desk.person.protect_columns(TAB, desk.place("Invited"), 2)
    await show_later(desk, scored(person_of(2), 4))
    row = desk.records()[person_of(2).id]
    assert (row["Score"], row["Stage"], row.get("Invited")) == (4, "To evaluate", None)
    [difference] = (await desk.verify()).differences
    assert (difference.kind, difference.key) == ("protected", person_of(2).id)


@pytest.mark.parametrize("columns", [3, 26])
async def test_new_rows_go_below_a_protected_range_that_they_would_become_a_part_of(desk, columns):
    await desk.show(person_of(1))
    desk.person.protect_cells(TAB, Area(1, 10, 0, min(columns, len(TITLES))))
    await show_later(desk, person_of(2), person_of(3))
    assert complete(desk, person_of(2))
    assert complete(desk, person_of(3))
    assert (await desk.verify()).in_sync


async def test_new_rows_go_below_a_range_that_ends_with_the_last_row(desk):
    await desk.show(person_of(1))
    desk.person.protect_rows(TAB, 1, len(desk.google.tab(desk.id, TAB).rows) - 1)
    await show_later(desk, person_of(2))
    assert complete(desk, person_of(2))


async def test_a_protected_tab_gets_no_row_and_loses_none(desk):
    await desk.show(person_of(1))
    desk.person.protect_tab(TAB)
    desk.context.clock.advance(60)
    result = await desk.deliver(shortlisted(person_of(1)), person_of(2))
    assert result.outcomes == [Delivered(), WAITS]
    report = await desk.verify()
    assert {(each.kind, each.key) for each in report.differences} == {
        ("protected", person_of(1).id),
        ("protected", person_of(2).id),
    }
    desk.person.unprotect(TAB)
    await desk.settle(person_of(2))
    await asked_again(desk)
    assert desk.records()[person_of(1).id]["Stage"] == "Shortlisted"
    assert complete(desk, person_of(2))
    assert (await desk.verify()).in_sync


async def test_the_exceptions_of_a_protected_tab_are_written(desk):
    await desk.show(person_of(1))
    stage = desk.place("Stage")
    desk.person.protect_tab(TAB, Area(0, 100, stage, stage + 1))
    await show_later(desk, shortlisted(person_of(1)))
    row = desk.records()[person_of(1).id]
    assert (row["Stage"], row["Score"]) == ("Shortlisted", None)


async def test_a_protected_column_of_ids_stops_new_rows_only(desk):
    await desk.show(person_of(1))
    desk.person.protect_columns(TAB, desk.place("Interview ID"))
    desk.context.clock.advance(60)
    result = await desk.deliver(shortlisted(person_of(1)), person_of(2))
    assert result.outcomes == [Delivered(), WAITS]
    assert desk.records()[person_of(1).id]["Stage"] == "Shortlisted"
    assert not (await desk.verify()).in_sync


async def test_the_next_event_after_the_protection_went_has_everything_written(desk):
    await desk.show(person_of(1), person_of(2))
    desk.person.protect_rows(TAB, 1)
    await desk.settle(shortlisted(person_of(1)))
    desk.person.unprotect(TAB)
    await desk.settle(scored(person_of(2), 5))
    assert desk.records()[person_of(1).id]["Score"] == 4
    assert desk.context.notes["verify"]["in_sync"]


async def test_without_an_event_it_is_written_within_minutes(desk):
    await desk.show(person_of(1))
    desk.person.protect_rows(TAB, 1)
    await desk.settle(shortlisted(person_of(1)))
    desk.person.unprotect(TAB)
    desk.context.clock.advance(300)
    await asked_again(desk)
    assert desk.records()[person_of(1).id]["Score"] == 4


async def test_looking_whether_it_is_still_protected_costs_one_read(desk):
    await desk.show(person_of(1))
    desk.person.protect_rows(TAB, 1)
    await desk.settle(shortlisted(person_of(1)))
    desk.context.clock.advance(300)
    desk.google.forget_calls()
    await asked_again(desk)
    assert desk.counts() == {"read": 1}


async def test_cells_that_are_protected_between_read_and_write_are_skipped_as_well(desk):
    await desk.show(person_of(1), person_of(2))
    desk.google.before_write = once(lambda: desk.person.protect_rows(TAB, 1))
    await show_later(desk, shortlisted(person_of(1)), shortlisted(person_of(2)), person_of(3))
    assert [record["Stage"] for record in desk.records().values()] == ["To evaluate", "Shortlisted", "To evaluate"]
    assert not (await desk.verify()).in_sync


async def test_a_row_that_is_to_be_removed_waits_until_it_may_be_emptied(make_desk):
    desk = make_desk(on_delete="remove")
    await desk.show(person_of(1))
    desk.person.protect_rows(TAB, 1)
    desk.context.clock.advance(60)
    deleted = replace(person_of(1), stage=Stage.DELETED, updated_at=person_of(1).updated_at + 1)
    cells = ", ".join(f"{letter}2" for letter in "ABCDEFGHIJKL")
    assert (await desk.deliver(deleted)).outcomes == [replace(WAITS, reason=f"protected cells: {cells}")]
    assert not (await desk.verify()).in_sync
    desk.person.unprotect(TAB)
    await desk.settle(deleted)
    assert desk.records() == {}


async def test_a_protected_header_keeps_a_new_column_out_and_is_reported(desk):
    await desk.show(person_of(1))
    desk.person.protect_rows(TAB, 0)
    columns = (*desk.config.columns, type(desk.config.columns[0])(field="status", title="Status"))
    desk.config = desk.config.model_copy(update={"columns": columns})
    await desk.restart()
    await show_later(desk, shortlisted(person_of(1)))
    report = await desk.verify()
    assert report.differences == [
        Difference("protected", "column Status", "Interviews, row 1: the header is protected")
    ]


class Silent(GoogleEmulator):
    """Refuses protected cells, and shows no protected range."""

    def _perform(self, request, method, action, raw):
        reply = super()._perform(request, method, action, raw)
        for sheet in [*reply.get("sheets", ()), *reply.get("updatedSpreadsheet", {}).get("sheets", ())]:
            sheet.pop("protectedRanges", None)
        return reply


async def test_a_refusal_that_no_range_explains_singles_the_row_out(tmp_path):
    with Silent() as google:
        desk = Desk(google, google.service_account_file(tmp_path / "key.json"))
        await desk.show(*[person_of(number) for number in range(1, 6)])
        desk.person.protect_rows(TAB, 3)
        desk.context.clock.advance(60)
        result = await desk.deliver(*[shortlisted(person_of(number)) for number in range(1, 6)], person_of(6))
        assert result.outcomes == [Delivered(), Delivered(), WAITS, Delivered(), Delivered(), Delivered()]
        stages = [record["Stage"] for record in desk.records().values()]
        assert stages.count("Shortlisted") == 4
        await desk.sink.close()


async def test_an_erase_names_the_protected_cells_that_it_cannot_clear_and_clears_the_others(desk):
    """The row is cleared when the protection is gone."""
    ada = replace(person_of(1), values={**person_of(1).values, "candidate_phone": "+34600123456"})
    await desk.show(ada, person_of(2))
    desk.person.protect_cells(TAB, Area(1, 2, 1, 3))
    asked_to_erase = make_erase(ada)
    desk.context.clock.advance(60)
    result = await run_batch(desk.sink, [asked_to_erase], desk.context)
    assert result.outcomes == [RetryLater("protected cells: B2, C2", after=300.0, counts=False)]
    left = desk.records()[ada.id]
    assert {title for title, value in left.items() if value is not None} == {"Email", "Phone", "Interview ID"}
    desk.person.unprotect(TAB)
    desk.context.clock.advance(300)
    result = await run_batch(desk.sink, [asked_to_erase], desk.context)
    assert result.outcomes == [Delivered()]
    assert ada.id not in desk.records()
