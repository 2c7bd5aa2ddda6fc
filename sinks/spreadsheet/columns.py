"""The columns of the table: available fields, configured columns, and the cells of an interview."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from connector.languages import ENGLISH, Language, gettext_noop, language, languages
from connector.sink import Interview, Stage
from sinks.spreadsheet.values import CellKind, CellValue, cell_value, clean_text

KEY = "interview_id"
"""The field that identifies a row. Every table has it."""
TITLE_MAX = 100
"""Most characters of a header; longer ones make a table unreadable."""


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A field that a column can show."""

    title: str
    kind: CellKind
    read: Callable[[Interview], object]


def _text(name: str) -> Callable[[Interview], object]:
    return lambda interview: interview.text(name)


def _time(name: str) -> Callable[[Interview], object]:
    return lambda interview: interview.time(name)


def _waits_since(interview: Interview) -> int | None:
    """Since when a finished interview waits for a decision."""
    return interview.completed_at if interview.stage is Stage.TO_EVALUATE else None


SPECS: Mapping[str, FieldSpec] = {
    "candidate_name": FieldSpec(gettext_noop("Candidate"), CellKind.TEXT, lambda interview: interview.candidate_name),
    "candidate_email": FieldSpec(gettext_noop("Email"), CellKind.TEXT, _text("candidate_email")),
    "candidate_phone": FieldSpec(gettext_noop("Phone"), CellKind.TEXT, _text("candidate_phone")),
    "position_name": FieldSpec(gettext_noop("Position"), CellKind.TEXT, _text("position_name")),
    "stage": FieldSpec(gettext_noop("Stage"), CellKind.TEXT, lambda interview: interview.stage_word),
    "score": FieldSpec(gettext_noop("Score"), CellKind.NUMBER, lambda interview: interview.score),
    "created_at": FieldSpec(gettext_noop("Invited"), CellKind.DATETIME, _time("created_at")),
    "completed_at": FieldSpec(gettext_noop("Completed"), CellKind.DATETIME, lambda interview: interview.completed_at),
    "updated_at": FieldSpec(gettext_noop("Updated"), CellKind.DATETIME, lambda interview: interview.updated_at),
    "review_url": FieldSpec(gettext_noop("Review"), CellKind.LINK, _text("review_url")),
    "external_id": FieldSpec(gettext_noop("External ID"), CellKind.TEXT, _text("external_id")),
    "interview_id": FieldSpec(gettext_noop("Interview ID"), CellKind.TEXT, lambda interview: interview.id),
    "candidate_first_name": FieldSpec(gettext_noop("First name"), CellKind.TEXT, _text("candidate_first_name")),
    "candidate_last_name": FieldSpec(gettext_noop("Last name"), CellKind.TEXT, _text("candidate_last_name")),
    "position_id": FieldSpec(gettext_noop("Position ID"), CellKind.TEXT, _text("position_id")),
    "candidate_url": FieldSpec(gettext_noop("Candidate link"), CellKind.LINK, _text("candidate_url")),
    "status": FieldSpec(gettext_noop("Status"), CellKind.TEXT, _text("status")),
    "hash": FieldSpec(gettext_noop("Hash"), CellKind.TEXT, _text("hash")),
    "discarded_at": FieldSpec(gettext_noop("Discarded"), CellKind.DATETIME, _time("archived")),
    "shortlisted_at": FieldSpec(gettext_noop("Shortlisted"), CellKind.DATETIME, _time("finalist")),
    "deleted_at": FieldSpec(gettext_noop("Deleted"), CellKind.DATETIME, _time("deleted")),
    "share_url": FieldSpec(gettext_noop("Video"), CellKind.LINK, _text("share_url")),
    "comments": FieldSpec(gettext_noop("Comments"), CellKind.TEXT, _text("comments")),
    "reviewer_scores": FieldSpec(gettext_noop("Scores by reviewer"), CellKind.TEXT, _text("reviewer_scores")),
    "transcript": FieldSpec(gettext_noop("Transcript"), CellKind.TEXT, _text("transcript")),
    "transcript_language": FieldSpec(gettext_noop("Language"), CellKind.TEXT, _text("transcript_language")),
    "last_event": FieldSpec(gettext_noop("Last event"), CellKind.TEXT, _text("last_event")),
    "waiting_days": FieldSpec(gettext_noop("Waiting (days)"), CellKind.DAYS_SINCE, _waits_since),
}
"""All fields by name. The first twelve are the default table."""


class Column(BaseModel):
    """A column of the table: its field, and the text of its header (default: the title of the field)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    field: str
    title: str = Field(default="", max_length=TITLE_MAX)

    @field_validator("field")
    @classmethod
    def _known(cls, field: str) -> str:
        if field in SPECS:
            return field
        close = get_close_matches(field, SPECS, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"the fields are {', '.join(SPECS)}"
        raise ValueError(f"no such field; {hint}")

    @model_validator(mode="before")
    @classmethod
    def _usual_title(cls, data: object) -> object:
        if isinstance(data, Mapping) and not str(data.get("title") or "").strip() and data.get("field") in SPECS:
            return {**data, "title": SPECS[data["field"]].title}
        return data

    @field_validator("title")
    @classmethod
    def _one_line(cls, title: str) -> str:
        return clean_text(title).strip()

    @property
    def kind(self) -> CellKind:
        return SPECS[self.field].kind


def _complete(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    if all(column.field != KEY for column in columns):
        columns = (*columns, Column(field=KEY))
    _unique("field", [column.field for column in columns])
    _unique("title", [header_key(column.title) for column in columns])
    return columns


def _unique(what: str, values: Sequence[str]) -> None:
    for place, value in enumerate(values):
        if value in values[:place]:
            first = values.index(value) + 1
            raise ValueError(f"columns {first} and {place + 1} have the same {what}; each {what} may appear once")


def header_key(title: str) -> str:
    """Returns the form in which headers are compared: without case and spaces."""
    return "".join(title.split()).casefold()


Columns = Annotated[tuple[Column, ...], AfterValidator(_complete)]
"""A setting: the table's columns, each field and title once; `interview_id` is added last when it is missing."""

DEFAULT_COLUMNS: tuple[Column, ...] = tuple(Column(field=field) for field in list(SPECS)[:12])
"""The table when nothing is configured. The key is last, so that users see names first."""


def with_titles(settings: object) -> object:
    """Returns settings of a table, before their validation, with titles in their `language` for the columns that have
    none.
    """
    code = settings.get("language", ENGLISH) if isinstance(settings, Mapping) else ENGLISH
    if not isinstance(settings, Mapping) or code == ENGLISH or code not in languages():
        return settings
    columns = settings.get("columns", [{"field": column.field} for column in DEFAULT_COLUMNS])
    if not isinstance(columns, Sequence) or not all(isinstance(column, Mapping) for column in columns):
        return settings  # the validation says what is wrong
    if all(column.get("field") != KEY for column in columns):
        columns = [*columns, {"field": KEY}]
    return {**settings, "columns": [_titled(column, language(code)) for column in columns]}


def _titled(column: Mapping[str, object], words: Language) -> Mapping[str, object]:
    spec = SPECS.get(str(column.get("field")))
    if spec is None or str(column.get("title") or "").strip():
        return column
    return {**column, "title": words.gettext(spec.title)}


@cache
def usual_titles(field: str) -> Collection[str]:
    """Returns the titles of a field in all languages, by which a table in another language is recognised."""
    return frozenset(language(code).gettext(SPECS[field].title) for code in languages())


@cache
def usual_header_keys(field: str) -> frozenset[str]:
    """Returns the titles of a field in all languages in the form of `header_key`."""
    return frozenset(map(header_key, usual_titles(field)))


def titles_of(columns: Sequence[Column]) -> Mapping[str, str]:
    """Returns the titles by which the header of a table is found, in the form of `header_key`, with their fields: the
    configured ones, and those of other languages that no other column has.
    """
    own = {header_key(column.title): column.field for column in columns}
    others: dict[str, str] = {}
    for column in columns:
        others |= {key: column.field for key in usual_header_keys(column.field) if key not in own}
    return {**others, **own}


def cell_values(interview: Interview, columns: Sequence[Column], words: Language) -> list[CellValue]:
    """Returns the cells of the interview, one per column (`values.cell_value`)."""
    values = []
    for column in columns:
        spec = SPECS[column.field]
        value = interview.stage_in(words) if column.field == "stage" else spec.read(interview)
        values.append(cell_value(spec.kind, value))
    return values
