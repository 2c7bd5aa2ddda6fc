"""The wording of messages: Jinja2 templates in a sandbox that make text, never markup.

Whatever a template renders is cleaned, escaped and cut like any other foreign text; so neither a name in it nor the
template itself can mention anybody, format or link. A time becomes what each reader sees in the own time zone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sinks.slack import text

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
DIGEST: Values = {"summary": "2 were invited", "invited": 2, "finished": 0, "updates": 0, "position": "Cook"}
"""What each kind of template may show, with examples: what `check` renders."""

Label = Annotated[str, Field(min_length=1, max_length=40)]


class FieldTemplate(BaseModel):
    """One line of facts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Label = Field(description="What stands before it.")
    value: str = Field(max_length=1000, description="The template of the fact; a fact without text is left out.")


FIELDS = (
    FieldTemplate(label="Position", value="{{ position }}"),
    FieldTemplate(label="Stage", value="{{ stage }}"),
    FieldTemplate(label="Score", value="{{ score }}"),
    FieldTemplate(label="Updated", value="{{ updated }}"),
)


class Templates(BaseModel):
    """The wording of header, facts, thread line and digest, as Jinja2 templates."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    header: str = Field(default="{{ emoji }} {{ name }} {{ phrase }}", max_length=1000, description="The headline.")
    fields: tuple[FieldTemplate, ...] = Field(default=FIELDS, max_length=5, description="The facts below it.")
    reply: str = Field(
        default="{{ change }}", max_length=1000, description="A line in the thread; it cannot name anybody."
    )
    digest: str = Field(
        default="{{ summary }} · {{ position }}", max_length=1000, description="A digest; it cannot name anybody."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        """Templates other than the defaults are tried out."""
        tries: list[tuple[str, str, Values]] = [
            ("header", self.header, PARENT),
            ("reply", self.reply, REPLY),
            ("digest", self.digest, DIGEST),
        ]
        tries += [(f"fields, {field.label}", field.value, PARENT) for field in self.fields if field not in FIELDS]
        for name, template, values in tries:
            if name in Templates.model_fields and template == Templates.model_fields[name].default:
                continue
            trouble = fault_of(template, values)
            if trouble:
                raise ValueError(f"{name}: {trouble}; it may show {', '.join(sorted(values))}")
        return self


def fault_of(template: str, values: Values) -> str:
    """What is wrong with a template, `""` when it works with these values."""
    from jinja2 import TemplateError

    try:
        rendered = _compiled(template).render(values)
    except TemplateError as error:
        return f"{type(error).__name__}: {error.message}"
    except Exception as error:  # noqa: BLE001 - whatever a template computes, the person who wrote it is told
        return f"it fails with {type(error).__name__}"
    return "" if rendered.strip() else "it renders nothing"


def moment(at: int | None) -> str:
    """Epoch milliseconds as a value for a template."""
    return f"\x02{at}\x03" if at is not None and at >= 0 else ""


def raw(template: str, values: Values) -> str:
    """The template with the values in it: still foreign text. A template that fails with them renders nothing."""
    try:
        return _compiled(template).render(values)
    except Exception:  # noqa: BLE001 - a message without its wording is better than none; `check` shows the fault
        return ""


def plain(rendered: str, most: int) -> str:
    """It as text for a `plain_text` object, times in UTC."""
    return text.safe(_MOMENT.sub(lambda found: text.readable(text.date(int(found[1]))), rendered), most)


def has_moment(rendered: str) -> bool:
    """Whether a time stands in it, which only `mrkdwn` can show in the reader's time zone."""
    return _MOMENT.search(rendered) is not None


def mrkdwn(rendered: str, most: int) -> str:
    """It as text for a `mrkdwn` object: markup made literal, times as tokens."""
    parts = _MOMENT.split(rendered)
    words = [text.date(int(part)) if at % 2 else _words(part, most) for at, part in enumerate(parts)]
    return "".join(words).strip()


def _words(part: str, most: int) -> str:
    before = " " if part[:1].isspace() else ""
    after = " " if part[-1:].isspace() else ""
    return f"{before}{text.literal(text.safe(part, most))}{after}"


@cache
def _compiled(template: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False).from_string(template)
