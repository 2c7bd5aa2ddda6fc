"""The rules for columns, which the sheet and the workbook share."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from connector.interview import Stage
from connector.languages import language, languages
from connector.testing import make_interview
from sinks.spreadsheet.columns import (
    DEFAULT_COLUMNS,
    SPECS,
    Column,
    Columns,
    cell_values,
    header_key,
    titles_of,
    with_titles,
)
from sinks.spreadsheet.values import CUT_MARK, CellKind, clean_text, days_since, from_serial, serial_number, wall_time

ADAPTER = TypeAdapter(Columns)
ENGLISH, SPANISH = language("en"), language("es")
EVERY = tuple(Column(field=field) for field in SPECS)
ZONES = ["UTC", "Europe/Madrid", "America/St_Johns", "Asia/Kathmandu"]


def messages(columns):
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(columns)
    return [error["msg"].removeprefix("Value error, ") for error in caught.value.errors()]


def values_of(**values):
    interview = make_interview(**values)
    return dict(zip(SPECS, cell_values(interview, EVERY, ENGLISH), strict=True))


def test_the_default_table_is_that_of_the_guide():
    assert [(column.title, column.field, column.kind) for column in DEFAULT_COLUMNS] == [
        ("Candidate", "candidate_name", "text"),
        ("Email", "candidate_email", "text"),
        ("Phone", "candidate_phone", "text"),
        ("Position", "position_name", "text"),
        ("Stage", "stage", "text"),
        ("Score", "score", "number"),
        ("Invited", "created_at", "datetime"),
        ("Completed", "completed_at", "datetime"),
        ("Updated", "updated_at", "datetime"),
        ("Review", "review_url", "link"),
        ("External ID", "external_id", "text"),
        ("Interview ID", "interview_id", "text"),
    ]


def test_every_field_has_a_title_of_its_own():
    assert len({header_key(spec.title) for spec in SPECS.values()}) == len(SPECS)


@pytest.mark.parametrize("title", [None, "", "  "])
def test_a_column_without_a_title_has_the_usual_one(title):
    given_title = {} if title is None else {"title": title}
    assert Column.model_validate({"field": "score", **given_title}).title == "Score"


def test_the_key_is_added_last_when_it_is_missing():
    assert [column.field for column in ADAPTER.validate_python([{"field": "score"}])] == ["score", "interview_id"]


def test_the_key_stays_where_it_was_put():
    columns = ADAPTER.validate_python([{"field": "interview_id", "title": "Id"}, {"field": "score"}])
    assert [column.title for column in columns] == ["Id", "Score"]


def test_a_field_appears_once():
    columns = [{"field": "score"}, {"field": "stage"}, {"field": "score", "title": "Again"}]
    assert messages(columns) == ["columns 1 and 3 have the same field; each field may appear once"]


@pytest.mark.parametrize("title", ["Score", "score", " S core "])
def test_titles_are_compared_without_case(title):
    columns = [{"field": "score"}, {"field": "stage", "title": title}]
    assert messages(columns) == ["columns 1 and 2 have the same title; each title may appear once"]


def test_the_title_of_the_key_is_taken_even_when_the_key_is_not_named():
    assert "same title" in messages([{"field": "score", "title": "Interview ID"}])[0]


def test_an_unknown_field_far_from_any_lists_them_all():
    [message] = messages([{"field": "zzzzzz"}])
    assert message == f"no such field; the fields are {', '.join(SPECS)}"


def test_all_problems_of_all_columns_are_reported_at_once():
    assert len(messages([{"field": "scor"}, {"field": "stage", "colour": "red"}, {"title": "x"}])) == 3


def test_cells_are_typed_by_their_column():
    values = values_of(score=4, created_at=1_761_566_424_331, review_url="https://x.example/1", updated_at=5)
    assert (values["score"], type(values["score"])) == (4.0, float)
    assert values["created_at"] == 1_761_566_424_331
    assert values["review_url"] == "https://x.example/1"
    assert values["updated_at"] == 5


def test_what_is_unknown_is_empty():
    values = values_of(**dict.fromkeys(make_interview().values), stage=Stage.UNKNOWN)
    assert {name for name, value in values.items() if value is not None} == {"updated_at", "interview_id"}


@pytest.mark.parametrize("name", ["", " ", " \u200b", "\n"])
def test_a_blank_text_is_an_empty_cell(name):
    assert values_of(candidate_email=name)["candidate_email"] is None


def test_an_unknown_stage_is_shown_in_the_word_of_hireflix():
    assert values_of(stage=Stage.UNKNOWN, status="on hold")["stage"] == "on hold"


@pytest.mark.parametrize("value", [True, "soon", None, -5, 10**18, 0])
def test_a_time_that_is_none_is_empty(value):
    assert values_of(archived=value)["discarded_at"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "4", True])
def test_a_number_that_is_none_is_empty(value):
    assert values_of(score=value)["score"] is None


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//x.example",
        "ftp://x.example",
        "https://",
        "https://x.example/\x00",
        "https://[x",
        "https://x.example/" + "a" * 2000,
        "=HYPERLINK(1)",
    ],
)
def test_a_link_that_is_not_safe_is_left_out(url):
    assert values_of(review_url=url)["review_url"] is None


@given(st.text(max_size=200))
def test_cleaned_text_has_no_control_character_and_cleaning_again_changes_nothing(text):
    cleaned = clean_text(text)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) <= 0x9F or 0xD800 <= ord(char) <= 0xDFFF for char in cleaned)
    assert clean_text(cleaned) == cleaned


@given(st.text(max_size=200))
def test_cleaned_text_can_be_written_as_json(text):
    assert json.loads(json.dumps(clean_text(text), ensure_ascii=False).encode()) == clean_text(text)


@pytest.mark.parametrize("char", ["x", "é", "🙂"])
def test_a_long_text_is_cut_below_the_limit_of_a_cell(char):
    cut = clean_text(char * 60_000)
    assert cut.endswith(CUT_MARK)
    assert 49_000 < len(cut.encode("utf-16-le")) // 2 <= 50_000


def test_a_text_that_just_fits_is_not_cut():
    assert clean_text("x" * 49_990) == "x" * 49_990


def test_a_link_with_a_blank_is_percent_encoded():
    assert values_of(review_url="https://x.example/a b/%20")["review_url"] == "https://x.example/a%20b/%20"


def test_bidirectional_and_invisible_characters_are_not_written():
    shown = values_of(candidate_name="Anna \u202egnp.exe\u202c", candidate_email="\u200bann@example.com")
    assert (shown["candidate_name"], shown["candidate_email"]) == ("Anna gnp.exe", "ann@example.com")


@given(st.integers(min_value=1, max_value=4_102_444_800_000), st.sampled_from(ZONES))
def test_a_serial_number_is_wall_time_in_the_zone(at, zone):
    shown = datetime(1899, 12, 30) + timedelta(days=serial_number(at, ZoneInfo(zone)))  # noqa: DTZ001 - wall time
    wanted = datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert abs(shown - wanted) < timedelta(milliseconds=5)
    assert wall_time(at, ZoneInfo(zone)) == wanted


@given(at=st.integers(0, 4_102_444_800))
def test_a_date_is_read_back_to_the_second(at):
    assert from_serial(serial_number(at * 1000, UTC)) == datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


def test_a_number_beyond_all_dates_is_the_last_of_them():
    assert from_serial(1e300).year == 9999


def test_a_known_date_has_the_serial_number_that_google_documents():
    """Google Sheets API, Cells, Date & time values: 1 January 1900 is 2, and noon adds a half."""
    noon = datetime(1970, 1, 1, 12, tzinfo=UTC)
    assert serial_number(int(noon.timestamp() * 1000), UTC) == 25569.5


def test_every_kind_is_used():
    assert {spec.kind for spec in SPECS.values()} == set(CellKind)


def test_titles_and_stages_are_in_the_language_of_the_sheet():
    columns = TypeAdapter(Columns).validate_python(with_titles({"language": "es"})["columns"])
    assert [column.title for column in columns][:6] == [
        "Candidato",
        "Correo",
        "Teléfono",
        "Puesto",
        "Etapa",
        "Puntuación",
    ]
    assert cell_values(make_interview(), [Column(field="stage")], SPANISH) == ["Por evaluar"]


def test_a_configured_title_stays_as_it_is_in_every_language():
    settings = with_titles({"language": "es", "columns": [{"field": "score", "title": "Nota"}, {"field": "stage"}]})
    columns = TypeAdapter(Columns).validate_python(settings["columns"])
    assert [column.title for column in columns] == ["Nota", "Etapa", "ID de entrevista"]


@pytest.mark.parametrize("code", languages())
def test_the_titles_of_all_fields_differ_in_every_language(code):
    titles = [header_key(language(code).gettext(spec.title)) for spec in SPECS.values()]
    assert len(set(titles)) == len(titles)


def test_a_header_is_found_in_every_language_and_a_configured_title_wins():
    """Here another column has the Spanish title of the stage."""
    titles = titles_of([Column(field="stage", title="Where"), Column(field="status", title="Etapa")])
    assert (titles["where"], titles["etapa"], titles["stage"], titles["estado"]) == (
        "stage",
        "status",
        "stage",
        "status",
    )


@pytest.mark.parametrize(
    ("stage", "waits"), [(Stage.TO_EVALUATE, True), (Stage.SHORTLISTED, False), (Stage.DISCARDED, False)]
)
def test_the_days_of_waiting_count_from_the_finish_until_the_decision(stage, waits):
    interview = make_interview(stage=stage)
    (value,) = cell_values(interview, [Column(field="waiting_days")], ENGLISH)
    assert value == (interview.completed_at if waits else None)


def test_the_formula_of_the_days_has_nothing_that_depends_on_a_locale():
    assert days_since(45910) == "=N(TODAY())-45910"
