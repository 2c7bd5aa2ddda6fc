"""The page of a spreadsheet: what it shows, and how a visitor edits cells."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulators.google.model import Book, Tab
from connector.emulators.google.view import form, page
from connector.testing.make import HOSTILE_TEXTS

CHOICES = ["Advance", "Hold", "Reject"]
TEXTS = st.one_of(st.text(min_size=1), st.sampled_from(sorted(filter(None, HOSTILE_TEXTS.values()))))
DATE = {"userEnteredFormat": {"numberFormat": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm"}}}


class Parsed(HTMLParser):
    """Links by their text, the content of cells and form fields, and the number of each tag."""

    def __init__(self, text):
        super().__init__()
        self.links, self.texts, self.tags, self._href, self._open = {}, {}, [], "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open = tag
        self.texts.setdefault(tag, []).append("")
        self._href = dict(attrs).get("href", "")

    def handle_data(self, data):
        if self._open:
            self.texts[self._open][-1] += data
        if self._open == "a":
            self.links[data] = self._href


class Visitor:
    """Opens the page of a spreadsheet, and the form of a cell by the text of its link."""

    def __init__(self, google, id_):
        self.url, self.page = google.url, f"{google.url}/view/{id_}"

    def links(self):
        return Parsed(httpx.get(self.page).text).links

    def enter(self, link, value):
        return httpx.post(self.url + link, data={"value": value})


@pytest.fixture
def visitor(api, google):
    api.person.write("Sheet1", [["Candidate", "Decision"], ["Ann", None], ["Bob", "Hold"]])
    rule = {"condition": {"type": "ONE_OF_LIST", "values": [{"userEnteredValue": each} for each in CHOICES]}}
    block = {"startRowIndex": 1, "startColumnIndex": 1, "endColumnIndex": 2}
    api.done({"setDataValidation": {"range": block, "rule": rule}})
    return Visitor(google, api.id)


def test_an_empty_cell_with_a_drop_down_offers_its_choices_and_takes_one(api, visitor):
    link = visitor.links()["▾"]
    assert Parsed(httpx.get(visitor.url + link).text).texts["option"] == ["", *CHOICES]
    saved = visitor.enter(link, "Advance")
    assert saved.status_code == 303
    assert saved.headers["location"].startswith(f"/view/{api.id}#c")
    assert api.rows()[1] == ["Ann", "Advance"]


def test_the_form_of_a_filled_cell_shows_its_value_as_chosen(visitor):
    assert '<option value="Hold" selected>' in httpx.get(visitor.url + visitor.links()["Hold"]).text


def test_a_choice_can_be_removed_again(api, visitor):
    visitor.enter(visitor.links()["Hold"], "")
    assert api.rows()[2] == ["Bob", None]


def test_an_edit_goes_to_its_row_when_rows_are_inserted_and_moved_meanwhile(api, visitor):
    link = visitor.links()["Hold"]
    api.person.insert_rows("Sheet1", 1, 3)
    api.person.move_rows("Sheet1", 5, 2)
    visitor.enter(link, "Reject")
    assert ["Bob", "Reject"] in api.rows()


def test_an_edit_of_a_cell_that_is_gone_changes_nothing(api, visitor):
    link = visitor.links()["Hold"]
    api.person.delete_rows("Sheet1", 2)
    before = api.rows()
    assert visitor.enter(link, "Reject").status_code == 404
    assert httpx.get(visitor.url + link).status_code == 404
    assert api.rows() == before


def test_a_visitor_adds_a_column_by_its_header(api, visitor):
    api.person.delete_columns("Sheet1", 2, 24)
    visitor.enter(visitor.links()["+"], "Notes")
    assert api.rows()[0] == ["Candidate", "Decision", "Notes"]


def test_digits_become_a_number_except_in_a_cell_with_the_format_of_text(api, visitor):
    text = {"userEnteredFormat": {"numberFormat": {"type": "TEXT"}}}
    block = {"startRowIndex": 2, "endRowIndex": 3, "endColumnIndex": 1}
    api.done({"repeatCell": {"range": block, "cell": text, "fields": "userEnteredFormat"}})
    links = visitor.links()
    visitor.enter(links["Ann"], "4.5")
    visitor.enter(links["Bob"], "0045")
    assert [row[0] for row in api.rows()[1:]] == [4.5, "0045"]


def test_a_date_that_is_saved_as_it_is_shown_stays_a_date(api, visitor):
    cell = {"userEnteredValue": {"numberValue": 45000.12345}, **DATE}
    start = {"rowIndex": 1, "columnIndex": 0}
    api.done({"updateCells": {"start": start, "rows": [{"values": [cell]}], "fields": "*"}})
    visitor.enter(visitor.links()["2023-03-15 02:57"], "2023-03-15 02:57")
    assert api.rows()[1][0] == 45000.12345


def test_the_note_of_a_cell_is_shown_and_survives_an_edit(api, visitor):
    start = {"rowIndex": 2, "columnIndex": 1}
    api.done({"updateCells": {"start": start, "rows": [{"values": [{"note": "Done <b>"}]}], "fields": "note"}})
    visitor.enter(visitor.links()["Hold"], "Reject")
    assert Parsed(httpx.get(visitor.page).text).texts["small"] == ["Done <b>"]


def test_a_text_that_is_too_long_is_refused(api, visitor):
    assert visitor.enter(visitor.links()["Ann"], "x" * 50_001).status_code == 400
    assert api.rows()[1][0] == "Ann"


@given(TEXTS, TEXTS)
def test_every_text_is_shown_as_it_is_and_none_becomes_markup(text, note):
    tab = Tab.blank(1, text)
    book = Book("id", text, "Etc/GMT", set(), tabs=[tab])
    tab.rows[1] = (text,)
    tab.objects["dataValidations"] = [
        {"range": {}, "rule": {"condition": {"type": "ONE_OF_LIST", "values": [{"userEnteredValue": note}]}}}
    ]
    whole, edited = Parsed(page(book)), Parsed(form(book, tab, 1, 0))
    assert text in whole.texts["a"]
    assert (whole.texts["h1"], whole.texts["h2"], whole.texts["title"]) == ([text], [text], [text])
    assert edited.texts["option"] == ["", note, *([text] if text != note else [])]
    assert (whole.tags.count("script"), edited.tags.count("script")) == (1, 0)
    tab.objects.clear()
    assert Parsed(form(book, tab, 1, 0)).texts["textarea"] == [f"\n{text}"]


def test_only_an_address_of_the_web_becomes_a_link_out_of_the_page(api, google):
    api.person.write("Sheet1", [["<script>alert(1)</script>"], ["Open"]])
    link = {"userEnteredFormat": {"textFormat": {"link": {"uri": 'javascript:"x"'}}}}
    block = {"range": {"startRowIndex": 1, "endRowIndex": 2, "endColumnIndex": 1}, "cell": link}
    api.done({"repeatCell": {**block, "fields": "userEnteredFormat"}})
    response = httpx.get(f"{google.url}/view/{api.id}")
    assert response.headers["Content-Type"].startswith("text/html")
    assert "javascript:" not in response.text
    assert httpx.get(f"{google.url}/view/unknown").status_code == 404


def test_a_cell_has_the_colour_of_a_rule_that_its_word_meets(api, google):
    api.person.write("Sheet1", [["Done"], ["Done"], ["Open"]])
    rule = {"condition": {"type": "TEXT_EQ", "values": [{"userEnteredValue": "Done"}]}}
    rule["format"] = {"backgroundColorStyle": {"rgbColor": {"green": 1}}}
    api.done({"addConditionalFormatRule": {"rule": {"ranges": [{"startRowIndex": 1}], "booleanRule": rule}}})
    shown = httpx.get(f"{google.url}/view/{api.id}").text
    assert shown.count('style="background:rgb(0,255,0)"') == 1
