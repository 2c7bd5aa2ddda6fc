"""Event and interview: the two values that every sink reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from connector.languages import Language, gettext_noop

Value: TypeAlias = str | int | float | bool | None
"""A normalised field: text, a number, epoch milliseconds, a flag, or an explicit null."""


class Stage(StrEnum):
    """The stage of an interview, derived from its fields. Hireflix does not send it."""

    PENDING = "pending"
    TO_EVALUATE = "to_evaluate"
    SHORTLISTED = "shortlisted"
    DISCARDED = "discarded"
    DELETED = "deleted"
    UNKNOWN = "unknown"


FIELDS = (
    "position_id",
    "position_name",
    "external_id",
    "status",
    "hash",
    "created_at",
    "candidate_name",
    "candidate_first_name",
    "candidate_last_name",
    "candidate_email",
    "candidate_phone",
    "score",
    "completed",
    "deleted",
    "archived",
    "finalist",
    "answered",
    "thumbnail_url",
    "short_url",
    "review_url",
    "candidate_url",
    "share_url",
    "share_expires_at",
    "comments",
    "reviewer_scores",
    "transcript",
    "transcript_language",
    "finished_at",
    "last_event",
)
"""Names of the stored fields. Times are epoch milliseconds; `archived` and `finalist` may be a time or `True`.

Those from `share_url` to `transcript_language` are in no webhook: they are read from the API of Hireflix when
`hireflix.enrich` names them.
"""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of an interview; immutable.

    `occurred_at` is the date in the event and `received_at` the time of receipt, both in epoch milliseconds. `fields`
    holds the fields of the payload: a missing name means unknown, `None` means an explicit null.
    """

    id: str
    name: str
    interview_id: str
    occurred_at: int
    received_at: int
    fields: Mapping[str, Value] = field(default_factory=dict)


def text_of(values: Mapping[str, Value], name: str) -> str:
    """Returns a field as text, `""` when it is unknown or null."""
    value = values.get(name)
    return "" if value is None else str(value)


def score_of(values: Mapping[str, Value]) -> float | None:
    """Returns the score of the team (0.5 to 5 in half steps), `None` when there is none."""
    value = values.get("score")
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Interview:
    """The current state of an interview, merged from its events.

    `values` maps names of `FIELDS` to the newest values, and `dates` maps them to the dates of the events that the
    values came from. `updated_at` is the date of the newest change. All times are epoch milliseconds.
    """

    id: str
    stage: Stage
    updated_at: int
    values: Mapping[str, Value] = field(default_factory=dict)
    dates: Mapping[str, int] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """The field as text, `""` when it is unknown or null."""
        return text_of(self.values, name)

    def time(self, name: str) -> int | None:
        """The field as epoch milliseconds, `None` when it is unknown, null or no number."""
        value = self.values.get(name)
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def candidate_name(self) -> str:
        """The full name, else first and last name, else `""`."""
        return self.text("candidate_name") or " ".join(
            part for part in (self.text("candidate_first_name"), self.text("candidate_last_name")) if part
        )

    @property
    def position_id(self) -> str:
        return self.text("position_id")

    @property
    def position_name(self) -> str:
        return self.text("position_name")

    @property
    def score(self) -> float | None:
        """The team's score (0.5 to 5 in half steps), `None` when there is none."""
        return score_of(self.values)

    @property
    def completed_at(self) -> int | None:
        """When the candidate completed, epoch milliseconds: `completed`, else the date of the finish event."""
        return self.time("completed") or self.time("finished_at")

    @property
    def stage_word(self) -> str:
        """The stage as it is displayed: Invited, To evaluate, …, or the unknown status unchanged."""
        return STAGE_WORDS.get(self.stage) or self.text("status")

    def stage_in(self, language: Language) -> str:
        """The stage as it is displayed in a language, or the unknown status unchanged."""
        word = STAGE_WORDS.get(self.stage)
        return language.gettext(word) if word else self.text("status")


STAGE_WORDS: Mapping[Stage, str] = {
    Stage.PENDING: gettext_noop("Invited"),
    Stage.TO_EVALUATE: gettext_noop("To evaluate"),
    Stage.SHORTLISTED: gettext_noop("Shortlisted"),
    Stage.DISCARDED: gettext_noop("Discarded"),
    Stage.DELETED: gettext_noop("Deleted"),
}


class StageColours(NamedTuple):
    """Colours (RRGGBB) of a stage: `cell` is a background for black text, `""` for none; `light` and `dark` are marks
    on the light and the dark pages of the dashboard.
    """

    cell: str
    light: str
    dark: str


STAGE_COLOURS: Mapping[Stage, StageColours] = {
    Stage.PENDING: StageColours("EDEDED", "758192", "8793A3"),
    Stage.TO_EVALUATE: StageColours("FFF2CC", "A06F00", "E0B13A"),
    Stage.SHORTLISTED: StageColours("D9EAD3", "1C8A4C", "3FB173"),
    Stage.DISCARDED: StageColours("F4CCCC", "B6574F", "D17A72"),
    Stage.DELETED: StageColours("BFBFBF", "5F5A66", "8E8896"),
    Stage.UNKNOWN: StageColours("", "6B4FA0", "B39DDB"),
}
"""One colour for each meaning, everywhere: yellow waits for a person, green and red are decided, grey needs nothing."""


def is_late(since: int, event: Event | None, now: int, max_age: float | None) -> bool:
    """Whether a delivery is older than `max_age` (seconds), so that a message sink must not notify users of it.

    Its age counts from `since`: the time of receipt, or of the last replay. Without a replay it is also late when the
    event was older than `max_age` at its receipt, as with existing data. `since` and `now` are epoch milliseconds.
    """
    if max_age is None:
        return False
    limit_ms = max_age * 1000
    if now - since > limit_ms:
        return True
    return event is not None and since <= event.received_at and event.received_at - event.occurred_at > limit_ms
