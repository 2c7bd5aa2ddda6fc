"""The wording of messages: Jinja2 templates in a sandbox that make text, never markup.

A service cleans, escapes and cuts what a template renders like any other text from outside, so neither a name in it nor
the template itself can cause a mention, format or link. A time in it is a mark that the service replaces by a date in
the reader's time zone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sinks.chat.text import utc_time

if TYPE_CHECKING:
    from jinja2 import Template

Values = Mapping[str, str | int]
"""What a template may show: cleaned text, numbers, and times made by `moment`."""

_MOMENT = re.compile(r"\x02(\d+)\x03")
_SCORE = {"score": "4 of 5"}
_ABOUT = {"position": "Graduate Program", "stage": "To evaluate", **_SCORE}
_TIMES = dict.fromkeys(("updated", "invited", "completed"), "\x021757500000000\x03")

PARENT: Values = (
    {"emoji": "✅", "name": "Wayne Knight", "phrase": "finished the interview", "external_id": "A-1"} | _ABOUT | _TIMES
)
REPLY: Values = {"change": "Score 3 → 4", **_ABOUT}
DIGEST: Values = {"summary": "2 invited", "invited": 2, "finished": 0, "updates": 0, "position": "Cook"}
"""What each kind of template may show, with examples: what `check` renders."""

Label = Annotated[str, Field(min_length=1, max_length=40)]


class FieldTemplate(BaseModel):
    """One line of facts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Label = Field(description="The label before the value.")
    value: str = Field(max_length=1000, description="The template of the fact; a fact without text is left out.")


class Templates(BaseModel):
    """The wording of header, details, facts, thread line and digest, as Jinja2 templates."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    header: str = Field(default="{{ emoji }} {{ name }} {{ phrase }}", max_length=1000, description="The headline.")
    details: str = Field(
        default='{{ [position, stage, score] | select | join(" · ") }}',
        max_length=1000,
        description="The line below it; it may be empty.",
    )
    fields: tuple[FieldTemplate, ...] = Field(
        default=(), max_length=5, description="Further facts with labels; none by default."
    )
    reply: str = Field(
        default="{{ change }}", max_length=1000, description="A line in the thread, without the candidate's name."
    )
    digest: str = Field(
        default="{{ position }} · {{ summary }}",
        max_length=1000,
        description="A digest; its summary names candidates who finished.",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        """Renders every template that is not a default with examples."""
        examples: list[tuple[str, str, Values]] = [
            ("header", self.header, PARENT),
            ("details", self.details, PARENT),
            ("reply", self.reply, REPLY),
            ("digest", self.digest, DIGEST),
        ]
        examples += [(f"fields, {field.label}", field.value, PARENT) for field in self.fields]
        for name, template, values in examples:
            is_default = name in Templates.model_fields and template == Templates.model_fields[name].default
            if is_default or (name == "details" and not template):
                continue
            error = template_error(template, values)
            if error:
                raise ValueError(f"{name}: {error}; it may show {', '.join(sorted(values))}")
        return self


def template_error(template: str, values: Values) -> str:
    """What is wrong with a template, `""` when it works with these values."""
    from jinja2 import TemplateError

    try:
        rendered = _compiled(template).render(values)
    except TemplateError as error:
        return f"{type(error).__name__}: {error.message}"
    except Exception as error:  # noqa: BLE001 - a template may raise anything, and its author has to learn what
        return f"it fails with {type(error).__name__}"
    return "" if rendered.strip() else "it renders nothing"


def moment(at_ms: int | None) -> str:
    """Epoch milliseconds as a value for a template; `""` for `None` and for a negative number."""
    return f"\x02{at_ms}\x03" if at_ms is not None and at_ms >= 0 else ""


def fill(template: str, values: Values) -> str:
    """Renders a template. The result is still text from outside. A template that fails renders nothing."""
    try:
        return _compiled(template).render(values)
    except Exception:  # noqa: BLE001 - a message without its wording is better than none; `check` shows the error
        return ""


def parts(rendered: str) -> list[str | int]:
    """Rendered text and the times in it (epoch milliseconds), in their order."""
    return [int(part) if at % 2 else part for at, part in enumerate(_MOMENT.split(rendered))]


def in_utc(rendered: str) -> str:
    """Rendered text with its times in UTC."""
    return "".join(utc_time(part) if isinstance(part, int) else part for part in parts(rendered))


def has_moment(rendered: str) -> bool:
    """Whether a time is in it."""
    return _MOMENT.search(rendered) is not None


@cache
def _compiled(template: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False).from_string(template)
