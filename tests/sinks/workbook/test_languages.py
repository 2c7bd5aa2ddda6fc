"""A workbook in another language, and one that was made in a language before."""

from __future__ import annotations

from datetime import date

from connector.sink import Stage
from connector.testing import make_interview

WAITING = [{"field": "candidate_name"}, {"field": "stage"}, {"field": "waiting_days"}]


async def test_a_new_file_has_the_words_of_its_language(workbook):
    workbook.use(language="es")
    await workbook.show(make_interview())
    header, row = workbook.grid()
    assert header[:7] == ["Candidato", "Correo", "Teléfono", "Puesto", "Etapa", "Puntuación", "Invitado (UTC)"]
    assert row[4] == "Por evaluar"
    assert row[header.index("Revisión")] == "Abrir"
    assert workbook.sheet("Resumen")["C1"].value == "Por evaluar"


async def test_the_words_of_the_titles_and_the_stages_fit_into_the_columns(workbook):
    """A word that is too long is broken in the middle."""
    workbook.use(language="es")
    await workbook.show(make_interview(stage=Stage.SHORTLISTED))
    sheet = workbook.sheet("Interviews")
    for column in sheet.iter_cols(max_row=2, max_col=6):
        longest = max(len(word) for cell in column for word in str(cell.value or "").split())
        assert sheet.column_dimensions[column[0].column_letter].width > longest


async def test_a_change_of_the_language_renames_headers_and_keeps_those_of_users(workbook):
    await workbook.show(make_interview(number=1), make_interview(number=2))
    with workbook.edit() as sheet:
        sheet["C1"] = "Call me"
        sheet["M1"], sheet["M2"] = "Mine", "kept"
    workbook.use(language="es")
    await workbook.show(make_interview(number=1, score=3))
    header, first, second = workbook.grid()
    assert header[:7] == ["Candidato", "Correo", "Call me", "Puesto", "Etapa", "Puntuación", "Invitado (UTC)"]
    assert header[12] == "Mine"
    assert (first[4], first[12], second[0]) == ("Por evaluar", "kept", "Wayne Knight 2")


async def test_a_row_that_is_added_to_a_file_has_the_words_of_its_language(workbook):
    workbook.use(language="es")
    await workbook.show(*(make_interview(number=number) for number in range(3)))
    await workbook.show(make_interview(number=3))
    header, *rows = workbook.grid()
    assert [row[header.index("Revisión")] for row in rows] == ["Abrir"] * 4


async def test_the_days_of_waiting_are_a_formula_that_ends_with_the_decision(workbook):
    workbook.use(columns=WAITING)
    await workbook.show(make_interview(number=1), make_interview(number=2))
    day = (date(2025, 9, 10) - date(1899, 12, 30)).days
    assert workbook.column("Waiting") == [f"=N(TODAY())-{day}"] * 2
    await workbook.show(make_interview(number=1, stage=Stage.SHORTLISTED))
    assert workbook.column("Waiting") == [None, f"=N(TODAY())-{day}"]


async def test_the_formula_does_not_keep_a_row_from_being_removed(workbook):
    """Rows stay where they are only when formulas of users may refer to them."""
    workbook.use(columns=WAITING, on_delete="remove")
    await workbook.show(make_interview(number=1), make_interview(number=2))
    await workbook.show(make_interview(number=1, stage=Stage.DELETED))
    assert workbook.column("Candidate") == ["Wayne Knight 2"]
