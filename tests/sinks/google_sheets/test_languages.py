"""A sheet in another language, also after a change of the setting."""

from __future__ import annotations

import pytest

from connector.interview import Stage
from connector.testing import interview_id
from sinks.google_sheets.config import GoogleSheetsConfig
from tests.sinks.google_sheets.conftest import TAB, TITLES, discarded, person_of, scored

INTERVIEWS = [person_of(number) for number in (1, 2)]
WAITING = [{"field": "candidate_name"}, {"field": "stage"}, {"field": "waiting_days"}]


async def in_spanish(harness):
    """The same sheet and notes, after a change of the language."""
    settings = {**harness.config.model_dump(exclude={"columns"}), "language": "es"}
    harness.config = GoogleSheetsConfig.model_validate(settings)
    await harness.restart()
    harness.context.clock.advance(60)


@pytest.mark.parametrize("style", [True, False])
async def test_the_titles_of_a_new_sheet_fit_into_its_columns(make_harness, style):
    """Google Sheets cuts a title before the next one. A bold character of the default font is 8 pixels wide at most."""
    harness = make_harness(language="es", style=style)
    await harness.show(person_of(1))
    with harness.google.lock:
        tab = harness.google.tab(harness.id, TAB)
        widths = [tab.line_properties[line]["pixelSize"] for line in tab.column_lines]
    titles = harness.rows()[0]
    assert [title for title, width in zip(titles, widths, strict=True) if width < 8 * len(title)] == []


async def test_a_new_sheet_has_the_words_of_its_language(make_harness):
    harness = make_harness(language="es")
    await harness.show(*INTERVIEWS)
    header, first, _ = harness.rows()
    assert header[:5] == ["Candidato", "Correo", "Teléfono", "Puesto", "Etapa"]
    assert first[4] == "Por evaluar"
    assert first[header.index("Revisión")] == "Abrir"
    assert (await harness.verify()).in_sync


async def test_a_change_of_the_language_renames_the_headers_and_keeps_what_users_made(harness):
    """Columns and titles of users stay, and so does every row."""
    await harness.show(*INTERVIEWS)
    harness.person.insert_columns(TAB, 5)
    harness.person.write(TAB, [["Stage notes"], ["a"], ["b"]], 0, 5)
    harness.person.rename_header(TAB, "Phone", "Call me")
    await in_spanish(harness)
    await harness.settle(scored(INTERVIEWS[0], 4))
    await harness.verify_and_repair()
    header, *rows = harness.rows()
    assert header[:7] == ["Candidato", "Correo", "Call me", "Puesto", "Etapa", "Stage notes", "Puntuación"]
    assert [(row[0], row[4], row[5]) for row in rows] == [
        ("Wayne Knight 1", "Por evaluar", "a"),
        ("Wayne Knight 2", "Por evaluar", "b"),
    ]
    assert (await harness.verify()).in_sync


async def test_a_sheet_of_users_is_recognised_by_headers_in_another_language(make_harness):
    """For example in a copy of a sheet, which has no tags."""
    harness = make_harness(tabs=[TAB], language="es")
    harness.person.write(TAB, [TITLES], 0, 0)
    await harness.settle(*INTERVIEWS)
    header = harness.google.header(harness.id, TAB)
    assert len(header) == len(TITLES)
    assert header[-1] == "ID de entrevista"


async def test_a_row_of_users_with_titles_in_two_languages_is_not_the_header(harness):
    await harness.show(*INTERVIEWS)
    harness.person.insert_columns(TAB, len(TITLES))
    harness.person.write(TAB, [[*TITLES, "Candidato"]], 8, 0)
    harness.context.clock.advance(60)
    await harness.show(scored(INTERVIEWS[0], 4))
    header, first, second, *others = harness.rows()
    assert (header[0], first[5], second[5]) == ("Candidate", 4, None)
    assert [row[0] for row in others if row and row[0]] == ["Candidate"]


async def test_the_days_of_waiting_are_a_formula_that_ends_with_the_decision(make_harness):
    """The sheet computes it, so that it is right on every day and no verification sees a difference."""
    harness = make_harness(columns=WAITING)
    await harness.show(*INTERVIEWS)
    assert harness.column("Waiting (days)") == ["=N(TODAY())-45910"] * 2
    harness.context.clock.advance(3 * 86_400)
    assert (await harness.verify()).in_sync
    await harness.settle(discarded(INTERVIEWS[0]))
    assert harness.column("Waiting (days)") == [None, "=N(TODAY())-45910"]
    assert harness.records()[interview_id(1)]["Stage"] == "Discarded"
    report = await harness.verify()
    assert (report.in_sync, Stage.DISCARDED in {each.stage for each in harness.interviews.values()}) == (True, True)


async def test_a_number_of_days_that_a_user_overwrote_is_a_correction(make_harness):
    harness = make_harness(columns=WAITING)
    await harness.show(*INTERVIEWS)
    harness.person.edit(TAB, 1, harness.place("Waiting (days)"), None)
    report = await harness.verify()
    assert report.in_sync
