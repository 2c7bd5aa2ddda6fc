"""Rules for mentions. Only the configuration can cause one, never text from outside. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from connector.sink import Interview
from sinks.chat.changes import Announcement


class MentionRule(BaseModel):
    """When to mention a user or group. A service subclass adds the target in its own syntax."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    news: tuple[Literal["finish", "status_change", "score_updated"], ...] = Field(
        ("finish",), description="What has to have happened."
    )
    positions: tuple[str, ...] = Field((), description="Ids, or names with * and ?; none = any.")
    min_score: float | None = Field(None, description="Least score; an interview without one never meets it.")

    @property
    def mention(self) -> str:
        """The mention in the syntax of the service."""
        raise NotImplementedError

    def meets(self, kind: str, interview: Interview) -> bool:
        """Whether the rule applies to a change of this kind."""
        if kind not in self.news or not self._is_at(interview):
            return False
        return self.min_score is None or (interview.score is not None and interview.score >= self.min_score)

    def _is_at(self, interview: Interview) -> bool:
        name = interview.position_name.lower()
        return not self.positions or any(
            position == interview.position_id or fnmatchcase(name, position.lower().replace("[", "[[]"))
            for position in self.positions
        )


def mention_for(rules: Iterable[MentionRule], announcement: Announcement, interview: Interview) -> str:
    """The one mention that a message gets: by the headline's kind first, then by what else changed, each time by the
    first rule that applies; else `""`.
    """
    rules = tuple(rules)
    kinds = (announcement.kind, *announcement.also)
    return next((rule.mention for kind in kinds for rule in rules if rule.meets(kind, interview)), "")
