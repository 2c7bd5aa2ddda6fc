"""The table that spreadsheets show: which columns there are, and what an interview's cells hold. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from connector.sink import Interview
from connector.text import clean, web_link

KEY = "interview_id"
"""The field that names a row; every table has it."""
LINK_TEXT = "Open"
"""What a cell with a link shows."""
TEXT_MAX = 49_990
"""Most UTF-16 units of a text cell before the mark that says it was cut (a cell of Google Sheets takes 50,000)."""
CUT_MARK = "… [cut]"
TITLE_MAX = 100
_TIME_MAX = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp() * 1000)
_LAST_DAY = 2_958_465
"""9999-12-31 as a spreadsheet's date."""
_SHEET_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a date cell is wall time without a zone

CellValue: TypeAlias = str | int | float | None
"""Text, a number, epoch milliseconds or a URL, by the column's kind; `None` is an empty cell."""


class Kind(StrEnum):
    """What a cell holds, and so how it is written."""

    TEXT = "text"
    NUMBER = "number"
    DATETIME = "datetime"
    """Epoch milliseconds here; each spreadsheet writes wall time in its own zone."""
    LINK = "link"
    """The URL here; a spreadsheet shows `LINK_TEXT` and links the cell."""


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field that a column may show."""

    title: str
    kind: Kind
    read: Callable[[Interview], object]


def _text(name: str) -> Callable[[Interview], object]:
    return lambda interview: interview.text(name)


def _time(name: str) -> Callable[[Interview], object]:
    return lambda interview: interview.time(name)


SPECS: Mapping[str, FieldSpec] = {
    "candidate_name": FieldSpec("Candidate", Kind.TEXT, lambda interview: interview.candidate_name),
    "candidate_email": FieldSpec("Email", Kind.TEXT, _text("candidate_email")),
    "candidate_phone": FieldSpec("Phone", Kind.TEXT, _text("candidate_phone")),
    "position_name": FieldSpec("Position", Kind.TEXT, _text("position_name")),
    "stage": FieldSpec("Stage", Kind.TEXT, lambda interview: interview.stage_word),
    "score": FieldSpec("Score", Kind.NUMBER, lambda interview: interview.score),
    "created_at": FieldSpec("Invited", Kind.DATETIME, _time("created_at")),
    "completed_at": FieldSpec("Completed", Kind.DATETIME, lambda interview: interview.completed_at),
    "updated_at": FieldSpec("Updated", Kind.DATETIME, lambda interview: interview.updated_at),
    "review_url": FieldSpec("Review", Kind.LINK, _text("review_url")),
    "external_id": FieldSpec("External ID", Kind.TEXT, _text("external_id")),
    "interview_id": FieldSpec("Interview ID", Kind.TEXT, lambda interview: interview.id),
    "candidate_first_name": FieldSpec("First name", Kind.TEXT, _text("candidate_first_name")),
    "candidate_last_name": FieldSpec("Last name", Kind.TEXT, _text("candidate_last_name")),
    "position_id": FieldSpec("Position ID", Kind.TEXT, _text("position_id")),
    "candidate_url": FieldSpec("Candidate link", Kind.LINK, _text("candidate_url")),
    "status": FieldSpec("Status", Kind.TEXT, _text("status")),
    "hash": FieldSpec("Hash", Kind.TEXT, _text("hash")),
    "discarded_at": FieldSpec("Discarded", Kind.DATETIME, _time("archived")),
    "shortlisted_at": FieldSpec("Shortlisted", Kind.DATETIME, _time("finalist")),
    "deleted_at": FieldSpec("Deleted", Kind.DATETIME, _time("deleted")),
    "last_event": FieldSpec("Last event", Kind.TEXT, _text("last_event")),
}
"""Every field a column may show, by name; the first twelve are the default table."""


def clean_text(text: str) -> str:
    """The text as a cell may hold it: cleaned, and cut to `TEXT_MAX` with a mark."""
    text = clean(text)
    return _cut(text) if _units(text) > TEXT_MAX else text


def _units(text: str) -> int:
    return len(text) + (0 if text.isascii() else sum(ord(char) > 0xFFFF for char in text))  # noqa: PLR2004 - end of the BMP


def _cut(text: str) -> str:
    return text.encode("utf-16-le")[: 2 * TEXT_MAX].decode("utf-16-le", "ignore") + CUT_MARK


class Column(BaseModel):
    """One column of the table: the field it shows, and the text of its header (default: the field's usual one)."""

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
    def kind(self) -> Kind:
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
    """What two header texts are compared by: letter case and spaces do not matter."""
    return "".join(title.split()).casefold()


Columns = Annotated[tuple[Column, ...], AfterValidator(_whole)]
"""A setting: the table's columns, each field and title once; `interview_id` is added last when it is missing."""

DEFAULT_COLUMNS: tuple[Column, ...] = tuple(Column(field=field) for field in list(SPECS)[:12])
"""The table when nothing is configured. The key comes last, so that people see names first."""


def cell_values(interview: Interview, columns: Sequence[Column]) -> list[CellValue]:
    """The interview's cells, one per column, typed by the column's kind.

    Text is cleaned and cut, times are epoch milliseconds, a link is an http or https URL. What is unknown, empty,
    or no value of that kind, is `None`.
    """
    return [_READERS[column.kind](SPECS[column.field].read(interview)) for column in columns]


def _text_value(value: object) -> CellValue:
    return clean_text(str(value)) or None if value is not None else None


def _number_value(value: object) -> CellValue:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _time_value(value: object) -> CellValue:
    return value if isinstance(value, int) and 0 < value <= _TIME_MAX else None


def _link_value(value: object) -> CellValue:
    return web_link(str(value)) if value else None


_READERS: Mapping[Kind, Callable[[object], CellValue]] = {
    Kind.TEXT: _text_value,
    Kind.NUMBER: _number_value,
    Kind.DATETIME: _time_value,
    Kind.LINK: _link_value,
}


def wall_time(at: int, zone: tzinfo) -> datetime:
    """Epoch milliseconds as the time a clock on the wall shows in `zone`, without a zone of its own."""
    return datetime.fromtimestamp(at / 1000, tz=zone).replace(tzinfo=None)


def serial_number(at: int, zone: tzinfo) -> float:
    """Epoch milliseconds as a spreadsheet's date: days since 1899-12-30, wall time in `zone`.

    (Google Sheets API, DateTimeRenderOption SERIAL_NUMBER.)
    """
    return (wall_time(at, zone) - _SHEET_EPOCH) / timedelta(days=1)


def from_serial(number: float) -> datetime:
    """A spreadsheet's date as wall time, to the second; the nearest there is to what is beyond all dates."""
    days = min(max(number, 0), _LAST_DAY)
    return _SHEET_EPOCH + timedelta(seconds=round(days * 86_400))
