"""A tab that the sink made is formatted once, after the first rows. Tabs of users do not change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.emulators import faults
from connector.emulators.google import once
from connector.interview import STAGE_WORDS
from connector.testing import interview_id
from tests.sinks.google_sheets.conftest import TAB, TITLES, person_of, scored

SETUP = "hf.setup"


@pytest.fixture
def styled(make_harness):
    return make_harness(style=True)


def marks(harness, key=SETUP):
    return [tag for tag in harness.google.tags(harness.id) if tag.key == key]


def looks(harness, title=TAB):
    """The formats, rules and objects of a tab."""
    names = ("conditionalFormats", "filterViews", "protectedRanges", "charts")
    return {name: found for name in names if (found := harness.google.objects(harness.id, title, name))}


def grid(harness, title=TAB):
    with harness.google.lock:
        return dict(harness.google.tab(harness.id, title).grid)


def number_format(harness, title, row=1):
    cell = harness.google.cell(harness.id, TAB, row, harness.place(title))
    return cell.get("userEnteredFormat", {}).get("numberFormat", {})


async def test_a_tab_of_ours_is_dressed_by_two_reads_and_one_write_after_the_first_rows(styled):
    await styled.show(person_of(1))
    assert styled.counts() == {"token": 1, "read": 3, "write": 2}
    assert list(looks(styled)) == ["conditionalFormats", "filterViews", "protectedRanges"]
    assert styled.google.titles(styled.id) == [TAB, "Summary", "Sheet1"]


async def test_the_rows_are_in_before_the_looks(styled):
    def now_refuse():
        styled.google.faults.add(replace(faults.APPLY_503, match="write"))

    styled.google.before_write = once(now_refuse)
    await styled.settle(person_of(1))
    assert styled.records()[interview_id(1)]["Candidate"] == "Wayne Knight 1"


async def test_a_tab_is_dressed_only_once(styled):
    await styled.show(person_of(1))
    first = looks(styled)
    styled.google.forget_calls()
    styled.context.clock.advance(60)
    await styled.show(scored(person_of(1), 4), person_of(2))
    assert styled.counts() == {"read": 1, "write": 1}
    await styled.restart()
    await styled.show(person_of(3))
    assert looks(styled) == first
    assert len(marks(styled)) == 1


async def test_header_and_name_stay_in_sight(styled):
    await styled.show(person_of(1))
    assert grid(styled) == {"frozenRowCount": 1, "frozenColumnCount": 1}
    look = styled.google.cell(styled.id, TAB, 0, 0)["userEnteredFormat"]
    assert look["textFormat"]["bold"]
    assert look["backgroundColorStyle"]["rgbColor"].keys() == {"red", "green", "blue"}


async def test_each_column_shows_its_kind_in_rows_to_come_as_well(styled):
    await styled.show(person_of(1))
    styled.context.clock.advance(60)
    await styled.show(scored(person_of(1), 4.5), *(person_of(number) for number in range(2, 130)))
    for row in (1, 2, 129):
        assert number_format(styled, "Phone", row) == {"type": "TEXT"}
        assert number_format(styled, "Score", row) == {"type": "NUMBER", "pattern": "0.0"}
        assert number_format(styled, "Invited", row) == {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm"}


async def test_every_stage_has_a_colour_by_its_word(styled):
    await styled.show(person_of(1))
    rules = looks(styled)["conditionalFormats"]
    words = [rule["booleanRule"]["condition"]["values"][0]["userEnteredValue"] for rule in rules]
    assert words == list(STAGE_WORDS.values())
    assert {rule["booleanRule"]["condition"]["type"] for rule in rules} == {"TEXT_EQ"}
    place = styled.place("Stage")
    sheet_id = rules[0]["ranges"][0]["sheetId"]
    area = {"sheetId": sheet_id, "startRowIndex": 1, "startColumnIndex": place, "endColumnIndex": place + 1}
    assert all(rule["ranges"] == [area] for rule in rules)


async def test_people_are_asked_before_they_edit_our_columns_and_never_stopped(styled):
    await styled.show(person_of(1))
    [protected] = looks(styled)["protectedRanges"]
    assert protected["warningOnly"]
    assert "editors" not in protected
    assert (protected["range"]["startColumnIndex"], protected["range"]["endColumnIndex"]) == (0, len(TITLES))


async def test_there_are_filter_views_of_what_is_to_do(styled):
    await styled.show(person_of(1))
    views = {view["title"]: view for view in looks(styled)["filterViews"]}
    assert list(views) == ["Newest first", "To review", "Shortlisted"]
    newest = {"dimensionIndex": styled.place("Updated"), "sortOrder": "DESCENDING"}
    assert views["Newest first"]["sortSpecs"] == [newest]
    assert "filterSpecs" not in views["Newest first"]
    [spec] = views["To review"]["filterSpecs"]
    assert spec["columnIndex"] == styled.place("Stage")
    assert spec["filterCriteria"]["condition"]["values"] == [{"userEnteredValue": "To evaluate"}]
    assert views["To review"]["sortSpecs"][0]["dimensionIndex"] == styled.place("Completed")


async def test_a_tab_that_was_there_is_left_as_it_is(make_harness):
    harness = make_harness(tabs=["Interviews"], style=True)
    await harness.show(person_of(1))
    assert looks(harness) == {}
    assert grid(harness) == {}
    assert harness.google.titles(harness.id) == ["Interviews"]
    assert harness.counts()["write"] == 1


async def test_without_style_nothing_is_dressed(harness):
    await harness.show(person_of(1))
    await harness.restart()
    await harness.show(person_of(2))
    assert looks(harness) == {}
    assert harness.google.titles(harness.id) == ["Sheet1", TAB]


async def test_style_switched_on_later_dresses_a_tab_that_we_made(harness):
    await harness.show(person_of(1))
    harness.config = harness.config.model_copy(update={"style": True})
    await harness.restart()
    await harness.show(person_of(2))
    assert "filterViews" in looks(harness)


async def test_columns_of_users_are_neither_formatted_nor_protected(styled):
    styled.google.after_read = None

    def insert():
        styled.google.before_write = once(lambda: styled.person.insert_columns(TAB, 2))

    styled.google.before_write = once(insert)
    await styled.show(person_of(1))
    styled.google.before_write = None
    await styled.show(person_of(2))
    spans = [each["range"] for each in looks(styled)["protectedRanges"]]
    assert [(span["startColumnIndex"], span["endColumnIndex"]) for span in spans] == [(0, 2), (3, len(TITLES) + 1)]
    assert "userEnteredFormat" not in styled.google.cell(styled.id, TAB, 1, 2)


@pytest.mark.parametrize(
    "fault", [faults.APPLY_503, faults.REFUSE, faults.DROP, faults.TRUNCATE], ids=lambda fault: fault.kind
)
async def test_a_lost_answer_neither_fails_a_delivery_nor_doubles_a_rule(styled, fault):
    def refuse_the_second():
        styled.google.faults.add(replace(fault, match="write"))

    styled.google.before_write = once(refuse_the_second)
    await styled.settle(person_of(1))
    styled.google.faults.clear()
    await styled.settle(person_of(2))
    assert len(styled.records()) == 2
    assert len(looks(styled)["conditionalFormats"]) == len(STAGE_WORDS)
    assert styled.google.titles(styled.id).count("Summary") == 1


async def test_the_tabs_of_all_new_positions_are_dressed_by_one_write_and_summed_up_in_one_tab(make_harness):
    harness = make_harness(style=True, worksheet="{position}")
    await harness.show(
        *(person_of(number, position_id=f"p{number}", position_name=f"Job {number}") for number in (1, 2, 3))
    )
    assert harness.counts() == {"token": 1, "read": 3, "write": 2}
    harness.context.clock.advance(60)
    await harness.show(person_of(4, position_id="p4", position_name="=1+1"))
    assert harness.google.titles(harness.id) == ["Job 1", "Job 2", "Job 3", "Summary", "Sheet1", "=1+1"]
    assert [row[0] for row in harness.rows("Summary")][2:] == ["Job 1", "Job 2", "Job 3", "=1+1"]
    assert all(looks(harness, title) for title in ("Job 1", "Job 3", "=1+1"))


def is_hidden(harness, title):
    with harness.google.lock:
        return harness.google.tab(harness.id, title).properties.get("hidden", False)


async def test_the_blank_tab_of_a_new_spreadsheet_is_hidden_and_ours_is_the_first(styled):
    await styled.show(person_of(1))
    assert styled.google.titles(styled.id)[0] == TAB
    assert is_hidden(styled, "Sheet1")
    assert not is_hidden(styled, TAB)


def write_a_cell(harness):
    harness.person.edit("Sheet1", 40, 3, "our plan")


def merge_cells(harness):
    harness.google.tab(harness.id, "Sheet1").objects["merges"] = [{"sheetId": 0, "endRowIndex": 2, "endColumnIndex": 2}]


def rename_it(harness):
    harness.person.rename_tab("Sheet1", "Plans")


def resize_it(harness):
    harness.person.insert_rows("Sheet1", 3)


@pytest.mark.parametrize("use", [write_a_cell, merge_cells, rename_it, resize_it])
async def test_a_first_tab_that_a_user_has_used_stays_visible(styled, use):
    use(styled)
    [title] = styled.google.titles(styled.id)
    await styled.show(person_of(1))
    assert not is_hidden(styled, title)
    assert styled.google.titles(styled.id) == [TAB, "Summary", title]


async def test_a_blank_tab_that_a_user_shows_again_stays_visible(styled):
    await styled.show(person_of(1))
    with styled.google.lock:
        styled.google.tab(styled.id, "Sheet1").properties["hidden"] = False
    styled.context.clock.advance(60)
    await styled.show(scored(person_of(1), 3), person_of(2))
    await styled.restart()
    await styled.show(person_of(3))
    assert not is_hidden(styled, "Sheet1")


async def test_tabs_that_users_move_stay_where_they_are(styled):
    await styled.show(person_of(1))
    with styled.google.lock:
        styled.google.book(styled.id).tabs.reverse()
    await styled.restart()
    styled.context.clock.advance(60)
    await styled.show(person_of(2))
    assert styled.google.titles(styled.id) == ["Sheet1", "Summary", TAB]
