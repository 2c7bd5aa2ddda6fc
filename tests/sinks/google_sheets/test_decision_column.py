"""The decision column on an emulated spreadsheet: users choose, sort, copy and paste."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.capabilities import DECIDED, ERASE, Schedules, decided_key
from connector.decision import Decision
from connector.emulators.faults import APPLY_503, HTML_503
from connector.emulators.google import once
from connector.sink import Delivered, Delivery, FollowUp, RetryLater, Superseded
from connector.testing import run_batch
from sinks.google_sheets.decision_column import READ_DECISIONS
from sinks.google_sheets.state import RESUME
from tests.sinks.google_sheets.conftest import TAB, TITLES, person_of, scored

TITLE = "Decision"


class DecisionSheet:
    """A sheet with three interviews and a decision column whose baseline was read."""

    def __init__(self, harness):
        self.harness, self.person, self.google = harness, harness.person, harness.google
        self.interviews = [person_of(number) for number in range(3)]
        self.ids = [each.id for each in self.interviews]

    async def read(self, *others):
        """The next read, a minute later, with other deliveries in the same call."""
        self.harness.context.clock.advance(60)
        call = Delivery(id="read", key="", event=None, interview=None, follow_up=FollowUp(READ_DECISIONS))
        self.result = await run_batch(self.harness.sink, [call, *others], self.harness.context)
        return [(each.interview_id, each.decision, bool(each.hold)) for each in self.result.decisions]

    async def show(self, id_, **values):
        """Stores the result of a decision, and makes the call that shows it."""
        note = {"decision": "shortlist", "value": None, "actor": "sheet", "place": "", "state": "done", "reason": ""}
        note |= {"changed": True, "stage": "shortlisted", "score": None, "link": None, "at": 1_796_000_000_000}
        self.harness.context.notes[decided_key("1-done", id_)] = note | values
        return await self.show_stored(id_)

    async def show_stored(self, id_):
        """Makes the call that shows a stored result."""
        interview = self.harness.interviews[id_]
        follow_up = FollowUp(DECIDED, interview=id_, subject="1-done")
        call = Delivery(id="shown", key=id_, event=None, interview=interview, follow_up=follow_up)
        result = await run_batch(self.harness.sink, [call], self.harness.context)
        return result.outcomes[0]

    def row(self, id_):
        return self.harness.column("Interview ID").index(id_) + 1

    def choose(self, id_, choice):
        self.person.edit(TAB, self.row(id_), self.harness.place(TITLE), choice)

    def note(self, id_):
        cell = self.google.cell(self.harness.id, TAB, self.row(id_), self.harness.place(TITLE))
        return cell.get("note")


@pytest.fixture
async def sheet(make_harness):
    one = DecisionSheet(make_harness(decision_column=TITLE))
    await one.harness.settle(*one.interviews)
    assert await one.read() == []
    assert await one.read() == []
    return one


async def test_the_column_has_a_drop_down_and_stays_outside_of_the_columns_of_the_sink(sheet):
    assert sheet.google.header(sheet.harness.id, TAB) == [*TITLES, TITLE]
    [rule] = sheet.google.objects(sheet.harness.id, TAB, "dataValidations")
    assert [each["userEnteredValue"] for each in rule["rule"]["condition"]["values"]] == ["Advance", "Hold", "Reject"]
    assert "endRowIndex" not in rule["range"]
    sheet.choose(sheet.ids[0], "Advance")
    assert (await sheet.harness.verify()).in_sync


async def test_a_tab_with_a_format_and_a_summary_gets_the_column_too(make_harness):
    one = DecisionSheet(make_harness(decision_column=TITLE, style=True))
    await one.harness.settle(*one.interviews)
    await one.read()
    assert one.google.header(one.harness.id, TAB) == [*TITLES, TITLE]
    one.harness.context.clock.advance(60)
    await one.harness.settle(*(scored(each, 4) for each in one.interviews))
    assert (await one.harness.verify()).in_sync


async def test_a_choice_decides_once(sheet):
    sheet.choose(sheet.ids[1], "Reject")
    assert [await sheet.read(), await sheet.read(), await sheet.read()] == [
        [],
        [(sheet.ids[1], Decision.DISCARD, False)],
        [],
    ]


async def test_a_choice_in_a_column_that_was_just_made_decides(make_harness):
    """The service made it empty, so the choice is one of a user."""
    one = DecisionSheet(make_harness(decision_column=TITLE))
    await one.harness.settle(*one.interviews)
    await one.read()
    one.choose(one.ids[0], "Advance")
    assert [await one.read(), await one.read()] == [[], [(one.ids[0], Decision.SHORTLIST, False)]]


async def test_a_choice_survives_a_restart_and_decides_once(sheet):
    sheet.choose(sheet.ids[1], "Reject")
    found = []
    for _ in range(3):
        await sheet.harness.restart()
        found += await sheet.read()
    assert found == [(sheet.ids[1], Decision.DISCARD, False)]


async def test_sorted_moved_and_inserted_lines_decide_nothing_else(sheet):
    sheet.choose(sheet.ids[1], "Advance")
    await sheet.read()
    sheet.person.sort(TAB, 0, descending=True)
    sheet.person.insert_columns(TAB, 0, 2)
    sheet.person.move_columns(TAB, sheet.harness.place(TITLE), 1)
    sheet.person.insert_rows(TAB, 1, 2)
    assert await sheet.read() == [(sheet.ids[1], Decision.SHORTLIST, False)]
    assert await sheet.read() == []


async def test_a_copy_of_a_row_decides_nothing(sheet):
    sheet.choose(sheet.ids[0], "Advance")
    await sheet.read()
    await sheet.read()
    sheet.person.copy_row(TAB, sheet.row(sheet.ids[0]), 4)
    sheet.person.edit(TAB, 4, sheet.harness.place(TITLE), "Reject")
    assert [await sheet.read(), await sheet.read()] == [[], []]


async def test_a_paste_over_many_rows_is_held(sheet):
    more = [person_of(number) for number in range(3, 9)]
    await sheet.harness.settle(*more)
    await sheet.read()
    for each in [*sheet.interviews, *more]:
        sheet.choose(each.id, "Reject")
    assert await sheet.read() == []
    assert {held for _, _, held in await sheet.read()} == {True}
    assert "9 rows of hiring changed at once" in sheet.result.decisions[0].hold


async def test_the_read_after_a_refill_decides_nothing(sheet):
    sheet.choose(sheet.ids[0], "Reject")
    await sheet.read()
    sheet.harness.context.notes[RESUME] = {"mode": "refill"}
    await sheet.harness.settle(scored(sheet.interviews[0], 3))
    assert [await sheet.read(), await sheet.read()] == [[], []]


async def test_without_the_setting_nothing_is_read_and_the_next_read_is_a_baseline(sheet, make_harness):
    sink = sheet.harness.sink_class("hiring", sheet.harness.config.model_copy(update={"decision_column": ""}))
    sheet.harness.sink, on = sink, sheet.harness.sink
    assert (sink.schedules, sink.scheduled(0, 1)) == (False, ())
    await sheet.harness.settle(scored(sheet.interviews[0], 3))
    sheet.choose(sheet.ids[0], "Reject")
    await sink.close()
    sheet.harness.sink = on
    assert isinstance(on, Schedules)
    assert (on.schedules, on.scheduled(0, 1)) == (True, (READ_DECISIONS,))
    assert [await sheet.read(), await sheet.read()] == [[], []]


async def test_an_existing_column_with_the_title_is_used_and_its_values_are_a_baseline(make_harness):
    one = DecisionSheet(make_harness(decision_column=TITLE, tabs=[TAB]))
    one.person.write(TAB, [["Notes", TITLE]])
    await one.harness.settle(*one.interviews)
    one.choose(one.ids[0], "Reject")
    assert [await one.read() for _ in range(4)] == [[]] * 4
    one.choose(one.ids[0], "Advance")
    assert [await one.read(), await one.read()] == [[], [(one.ids[0], Decision.SHORTLIST, False)]]


async def test_a_deleted_column_stays_deleted_until_its_title_is_entered(sheet):
    sheet.person.delete_columns(TAB, sheet.harness.place(TITLE))
    await sheet.read()
    await sheet.read()
    assert TITLE not in sheet.google.header(sheet.harness.id, TAB)
    sheet.person.insert_columns(TAB, 0)
    sheet.person.edit(TAB, 0, 0, TITLE)
    await sheet.read()
    assert [await sheet.read(), len(sheet.google.objects(sheet.harness.id, TAB, "dataValidations"))] == [[], 2]


async def test_a_read_costs_one_call(sheet):
    sheet.google.forget_calls()
    await sheet.read()
    assert sheet.harness.counts() == {"read": 1}


async def test_a_tab_whose_columns_are_deleted_before_the_column_is_made_gets_none(make_harness):
    one = DecisionSheet(make_harness(decision_column=TITLE))
    await one.harness.settle(*one.interviews)

    def delete_columns():
        one.person.insert_columns(TAB, len(TITLES))
        one.person.delete_columns(TAB, 0, len(TITLES))

    one.google.after_read = once(delete_columns)
    assert [await one.read(), await one.read()] == [[], []]
    assert one.google.header(one.harness.id, TAB) == []


async def test_a_column_whose_reply_was_lost_is_made_once(make_harness):
    one = DecisionSheet(make_harness(decision_column=TITLE))
    await one.harness.settle(*one.interviews)
    one.google.faults.choose(lambda kind: APPLY_503 if kind == "write" else None)
    await one.read()
    assert isinstance(one.result.outcomes[0], RetryLater)
    one.google.faults.clear()
    await one.read()
    await one.read()
    assert one.google.header(one.harness.id, TAB).count(TITLE) == 1
    one.person.delete_columns(TAB, one.harness.place(TITLE))
    await one.read()
    assert TITLE not in one.google.header(one.harness.id, TAB)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "Shortlisted in Hireflix. Decided in the sheet, 2026-11-30 01:53 CET."),
        ({"changed": False}, "Hireflix showed this already, 2026-11-30"),
        (
            {"state": "refused", "reason": "Hireflix has no interview i"},
            "Not done, 2026-11-30 01:53 CET: Hireflix has no interview i.",
        ),
        ({"state": "held", "reason": "8 rows changed"}, "Waits for a confirmation on the dashboard"),
        (
            {"state": "waiting", "reason": "Hireflix gives no usable answer"},
            "Waits for Hireflix since 2026-11-30 01:53 CET, and is tried again automatically for a day: Hireflix gives",
        ),
        ({"state": "unclear"}, "It is not clear whether this reached Hireflix"),
        ({"state": "dropped"}, "Not done: an operator dropped it"),
    ],
)
async def test_a_note_on_the_cell_says_what_was_done(sheet, values, text):
    assert await sheet.show(sheet.ids[1], **values) == Delivered()
    assert sheet.note(sheet.ids[1]).startswith(text)
    assert [sheet.note(sheet.ids[0]), sheet.note(sheet.ids[2])] == [None, None]
    assert decided_key("1-done", sheet.ids[1]) not in sheet.harness.context.notes


async def test_a_note_that_could_not_be_written_is_written_by_the_next_call(sheet):
    sheet.google.faults.choose(lambda kind: HTML_503 if kind == "write" else None)
    assert isinstance(await sheet.show(sheet.ids[0]), RetryLater)
    assert sheet.note(sheet.ids[0]) is None
    sheet.google.faults.clear()
    assert isinstance(await sheet.show_stored(sheet.ids[0]), Delivered)
    assert sheet.note(sheet.ids[0]).startswith("Shortlisted in Hireflix")


async def test_a_note_is_never_left_at_another_interview(sheet):
    """Users sort between the read and the write."""
    orders = [True, False]
    sheet.google.before_write = lambda: orders and sheet.person.sort(TAB, 0, descending=orders.pop())
    sheet.person.sort(TAB, 0)
    assert await sheet.show(sheet.ids[0]) == Delivered()
    assert [bool(sheet.note(id_)) for id_ in sheet.ids] == [True, False, False]


async def test_a_column_that_is_deleted_before_a_note_is_written_leaves_the_next_column_to_its_users(sheet):
    place = sheet.harness.place(TITLE)
    sheet.person.insert_columns(TAB, place + 1, 2)
    sheet.person.edit(TAB, 0, place + 1, "Opinion")
    sheet.person.edit(TAB, sheet.row(sheet.ids[1]), place + 1, "Reject")
    deletions = [place]
    sheet.google.before_write = lambda: deletions and sheet.person.delete_columns(TAB, deletions.pop())
    assert isinstance(await sheet.show(sheet.ids[0]), RetryLater)
    assert sheet.google.cell(sheet.harness.id, TAB, sheet.row(sheet.ids[0]), place).get("note") is None
    assert [await sheet.read() for _ in range(3)] == [[]] * 3
    sheet.person.edit(TAB, sheet.row(sheet.ids[2]), place, "Reject")
    assert [await sheet.read() for _ in range(3)] == [[]] * 3


async def test_a_result_for_a_row_that_is_gone_is_superseded(sheet):
    sheet.person.delete_rows(TAB, sheet.row(sheet.ids[1]))
    assert await sheet.show(sheet.ids[1]) == Superseded("no row has a decision cell")


async def test_a_failed_read_is_tried_again(sheet):
    sheet.google.faults.choose(lambda kind: APPLY_503 if kind == "read" else None)
    await sheet.read()
    assert isinstance(sheet.result.outcomes[0], RetryLater)


async def test_an_erased_interview_is_forgotten(sheet):
    sheet.choose(sheet.ids[0], "Advance")
    await sheet.read()
    erase = FollowUp(ERASE, interview=sheet.ids[0])
    interview = sheet.harness.interviews[sheet.ids[0]]
    call = Delivery(id="erase", key=sheet.ids[0], event=None, interview=interview, follow_up=erase)
    await sheet.read(call)
    assert sheet.ids[0] not in str(sheet.harness.context.notes["decisions"])


async def in_another_tab(make_harness, sheet, **settings):
    """Returns another sink that shows the same interviews in a tab of the same spreadsheet."""
    harness = make_harness(worksheet="Everything", **settings)
    harness.config = harness.config.model_copy(update={"spreadsheet": sheet.harness.id})
    harness.id = sheet.harness.id
    await harness.restart()
    other = DecisionSheet(harness)
    await harness.settle(*other.interviews)
    return other


async def test_the_tab_of_another_sink_gets_no_column_and_hides_no_decision(make_harness, sheet):
    await in_another_tab(make_harness, sheet)
    assert [await sheet.read(), await sheet.read()] == [[], []]
    assert sheet.google.header(sheet.harness.id, "Everything") == TITLES
    sheet.choose(sheet.ids[1], "Advance")
    assert [await sheet.read(), await sheet.read()] == [[], [(sheet.ids[1], Decision.SHORTLIST, False)]]


async def test_of_two_sinks_with_a_column_in_one_spreadsheet_each_reads_its_own(make_harness, sheet):
    other = await in_another_tab(make_harness, sheet, decision_column=TITLE)
    assert [await one.read() for one in (other, sheet) * 2] == [[]] * 4
    sheet.choose(sheet.ids[1], "Reject")
    assert [await other.read(), await other.read()] == [[], []]
    assert [await sheet.read(), await sheet.read()] == [[], [(sheet.ids[1], Decision.DISCARD, False)]]
    assert await sheet.show(sheet.ids[1]) == Delivered()
    place = sheet.google.header(sheet.harness.id, "Everything").index(TITLE)
    assert not any("note" in sheet.google.cell(sheet.harness.id, "Everything", row, place) for row in range(1, 4))


async def test_choices_in_the_tabs_of_all_positions_count(make_harness):
    one = DecisionSheet(make_harness(decision_column=TITLE, worksheet="{position}"))
    names = ["Cook", "Baker", "Cook"]
    await one.harness.settle(
        *(
            replace(each, values={**each.values, "position_id": name, "position_name": name})
            for each, name in zip(one.interviews, names, strict=True)
        )
    )
    assert [await one.read(), await one.read()] == [[], []]
    for tab in ("Cook", "Baker"):
        one.person.edit(tab, 1, one.harness.place(TITLE, tab), "Advance")
    await one.read()
    await one.harness.restart()
    assert sorted(id_ for id_, _, _ in await one.read()) == one.ids[:2]
