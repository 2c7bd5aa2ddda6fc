"""The settings, and the errors of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from connector.sink import Delivery
from connector.testing import make_batch, make_delivery, make_interview
from sinks.google_sheets import GoogleSheetsSink
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.spreadsheet.columns import DEFAULT_COLUMNS

ID = "1AbC-_xyz0123456789abc"


def config(**settings):
    return GoogleSheetsConfig(**{"spreadsheet": ID, "credentials_file": "key.json", **settings})


def message(**settings):
    with pytest.raises(ValidationError) as caught:
        config(**settings)
    [error] = caught.value.errors()
    return error["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    "text",
    [
        ID,
        f"  {ID}\n",
        f"https://docs.google.com/spreadsheets/d/{ID}",
        f"https://docs.google.com/spreadsheets/d/{ID}/edit#gid=0",
        f"https://docs.google.com/spreadsheets/u/1/d/{ID}/edit?usp=sharing",
    ],
)
def test_a_spreadsheet_is_named_by_its_address_or_id(text):
    assert config(spreadsheet=text).spreadsheet == ID


@pytest.mark.parametrize(
    "text", ["", "my sheet", "nonsense", "https://example.com/x", "https://docs.google.com/document/d/abc"]
)
def test_anything_else_is_refused_with_an_example(text):
    assert "https://docs.google.com/spreadsheets/d/" in message(spreadsheet=text)


@pytest.mark.parametrize(
    "text",
    [
        "https://docs.google.com/spreadsheets/d/e/2PACX-1vTabcDEFghijKLMNOP/pubhtml",
        "https://docs.google.com/spreadsheets/d/e/2PACX-1vTabcDEFghijKLMNOP/pub?output=csv",
        "2PACX-1vTabcDEFghijKLMNOP",
        f"https://docs.google.com/spreadsheets/d/{ID}/pubhtml",
        f"https://docs.google.com/spreadsheets/u/0/d/{ID}/pub",
    ],
)
def test_a_publish_to_web_link_is_refused_with_what_to_paste_instead(text):
    error = message(spreadsheet=text)
    assert error.startswith("this is a publish-to-web link")
    assert "paste the address from the browser (https://docs.google.com/spreadsheets/d/…/edit)" in error


def test_a_tab_per_position_is_asked_for_by_its_title():
    assert config(worksheet="Jobs: {position}").per_position
    assert not config().per_position


@pytest.mark.parametrize("title", ["", "   ", "x" * 101])
def test_a_tab_needs_a_title_that_google_takes(title):
    assert message(worksheet=title) == "must have 1 to 100 characters"


def test_a_key_is_needed():
    assert "credentials_file" in message(credentials_file=None)


def test_the_key_file_counts_from_the_config_file():
    settings = {"spreadsheet": ID, "credentials_file": "key.json"}
    found = GoogleSheetsConfig.model_validate(settings, context={"folder": Path("/etc/connector")})
    assert found.credentials_file == Path("/etc/connector/key.json")


def test_the_key_itself_is_a_secret():
    assert isinstance(config(credentials="{}").credentials, SecretStr)
    assert "very-private" not in repr(config(credentials="very-private"))


@pytest.mark.parametrize("url", ["http://sheets.example.com", "ftp://127.0.0.1", "sheets.googleapis.com"])
def test_the_token_goes_nowhere_without_tls(url):
    assert "https://" in message(api_url=url)


def test_the_usual_columns_are_those_of_the_guide():
    assert config().columns == DEFAULT_COLUMNS


def test_an_unknown_column_gets_a_hint():
    assert message(columns=[{"field": "candidate_nmae"}]) == 'no such field; did you mean "candidate_name"?'


def test_the_destination_is_the_spreadsheet_and_the_tab():
    assert GoogleSheetsSink("hiring", config(worksheet="Interviews")).destination == f"{ID}/Interviews"


async def test_a_preview_shows_the_row_as_a_user_sees_it():
    sink = GoogleSheetsSink("hiring", config())
    interview = make_interview(candidate_name="Ada\x1b[31m", score=4.0, created_at=1_761_566_424_331)
    delivery = make_delivery(interview=interview, state=True)
    [found] = await sink.preview(make_batch(delivery), None)
    cells = {cell.title: cell.after for cell in found.cells}
    assert found.text.splitlines()[0] == f"row {interview.id} in the tab Interviews"
    assert (cells["Candidate"], cells["Score"], cells["Invited"]) == ("Ada[31m", "4", "2025-10-27 12:00 UTC")
    assert cells["Review"].startswith("Open (https://")
    await sink.close()


async def test_a_preview_names_the_tab_of_the_position():
    sink = GoogleSheetsSink("hiring", config(worksheet="Jobs: {position}"))
    delivery = make_delivery(interview=make_interview(position_name="Sales"), state=True)
    [found] = await sink.preview(make_batch(delivery), None)
    assert found.text.splitlines()[0].endswith(" in the tab Jobs: Sales")
    await sink.close()


async def test_a_preview_says_that_the_interview_is_unknown():
    sink = GoogleSheetsSink("hiring", config())
    [found] = await sink.preview(make_batch(Delivery(id="d", key="x", event=None, interview=None)), None)
    assert found.text.splitlines()[0] == "no row: nothing is known of this interview"
    await sink.close()


def test_the_old_name_of_the_verify_interval_is_refused_with_the_new_name():
    assert message(audit_interval=600) == "the setting audit_interval has a new name: write verify_interval instead"


@pytest.mark.parametrize("settings", [{"auth": "default"}, {"auth": "impersonate", "impersonate": "a@b.example"}])
@pytest.mark.parametrize("key", [{"credentials_file": "key.json"}, {"credentials_file": None, "credentials": "{}"}])
def test_a_key_that_would_not_be_used_is_refused(settings, key):
    assert "no effect" in message(**settings, **key)
