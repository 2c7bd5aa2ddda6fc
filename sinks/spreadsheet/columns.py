"""The columns of the table: available fields, configured columns, and the cells of an interview."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from connector.sink import Interview
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


SPECS: Mapping[str, FieldSpec] = {
    "candidate_name": FieldSpec("Candidate", CellKind.TEXT, lambda interview: interview.candidate_name),
    "candidate_email": FieldSpec("Email", CellKind.TEXT, _text("candidate_email")),
    "candidate_phone": FieldSpec("Phone", CellKind.TEXT, _text("candidate_phone")),
    "position_name": FieldSpec("Position", CellKind.TEXT, _text("position_name")),
    "stage": FieldSpec("Stage", CellKind.TEXT, lambda interview: interview.stage_word),
    "score": FieldSpec("Score", CellKind.NUMBER, lambda interview: interview.score),
    "created_at": FieldSpec("Invited", CellKind.DATETIME, _time("created_at")),
    "completed_at": FieldSpec("Completed", CellKind.DATETIME, lambda interview: interview.completed_at),
    "updated_at": FieldSpec("Updated", CellKind.DATETIME, lambda interview: interview.updated_at),
    "review_url": FieldSpec("Review", CellKind.LINK, _text("review_url")),
    "external_id": FieldSpec("External ID", CellKind.TEXT, _text("external_id")),
    "interview_id": FieldSpec("Interview ID", CellKind.TEXT, lambda interview: interview.id),
    "candidate_first_name": FieldSpec("First name", CellKind.TEXT, _text("candidate_first_name")),
    "candidate_last_name": FieldSpec("Last name", CellKind.TEXT, _text("candidate_last_name")),
    "position_id": FieldSpec("Position ID", CellKind.TEXT, _text("position_id")),
    "candidate_url": FieldSpec("Candidate link", CellKind.LINK, _text("candidate_url")),
    "status": FieldSpec("Status", CellKind.TEXT, _text("status")),
    "hash": FieldSpec("Hash", CellKind.TEXT, _text("hash")),
    "discarded_at": FieldSpec("Discarded", CellKind.DATETIME, _time("archived")),
    "shortlisted_at": FieldSpec("Shortlisted", CellKind.DATETIME, _time("finalist")),
    "deleted_at": FieldSpec("Deleted", CellKind.DATETIME, _time("deleted")),
    "share_url": FieldSpec("Video", CellKind.LINK, _text("share_url")),
    "comments": FieldSpec("Comments", CellKind.TEXT, _text("comments")),
    "reviewer_scores": FieldSpec("Scores by reviewer", CellKind.TEXT, _text("reviewer_scores")),
    "transcript": FieldSpec("Transcript", CellKind.TEXT, _text("transcript")),
    "transcript_language": FieldSpec("Language", CellKind.TEXT, _text("transcript_language")),
    "last_event": FieldSpec("Last event", CellKind.TEXT, _text("last_event")),
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


def _whole(columns: tuple[Column, ...]) -> tuple[Column, ...]:
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


Columns = Annotated[tuple[Column, ...], AfterValidator(_whole)]
"""A setting: the table's columns, each field and title once; `interview_id` is added last when it is missing."""

DEFAULT_COLUMNS: tuple[Column, ...] = tuple(Column(field=field) for field in list(SPECS)[:12])
"""The table when nothing is configured. The key is last, so that users see names first."""


def cell_values(interview: Interview, columns: Sequence[Column]) -> list[CellValue]:
    """Returns the cells of the interview, one per column (`values.cell_value`)."""
    return [cell_value(column.kind, SPECS[column.field].read(interview)) for column in columns]
