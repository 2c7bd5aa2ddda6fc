"""Whom a message mentions: only whom the configuration names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from connector.sink import Interview

_WHO = re.compile(r"[UW][A-Z0-9]{6,20}|S[A-Z0-9]{6,20}|@here|@channel")


def _known(who: str) -> str:
    if not _WHO.fullmatch(who):
        raise ValueError(
            "must be a member's id (U0123456789), a user group's id (S0123456789), @here or @channel: in Slack open "
            "the profile, press the three dots, Copy member ID"
        )
    return who


class Mention(BaseModel):
    """One rule: whom to mention when a message about these interviews is posted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    who: Annotated[str, AfterValidator(_known)] = Field(
        description="A member's id (U…), a user group's (S…), @here or @channel."
    )
    news: tuple[Literal["finish", "status_change", "score_updated"], ...] = Field(
        ("finish",), description="What has to have happened."
    )
    positions: tuple[str, ...] = Field((), description="Ids, or names with * and ?; none = any.")
    min_score: float | None = Field(None, description="Least score; an interview without one never meets it.")

    @property
    def token(self) -> str:
        """What Slack makes a mention of."""
        if self.who.startswith("@"):
            return f"<!{self.who[1:]}>"
        return f"<!subteam^{self.who}>" if self.who.startswith("S") else f"<@{self.who}>"

    def meets(self, news: str, interview: Interview) -> bool:
        """Whether the rule applies."""
        if news not in self.news or not self._is_at(interview):
            return False
        return self.min_score is None or (interview.score is not None and interview.score >= self.min_score)

    def _is_at(self, interview: Interview) -> bool:
        name = interview.position_name.lower()
        return not self.positions or any(
            position == interview.position_id or fnmatchcase(name, position.lower().replace("[", "[[]"))
            for position in self.positions
        )


def mention_for(rules: Iterable[Mention], news: str, interview: Interview) -> str:
    """The one mention that a message gets: that of the first rule that applies, else `""`."""
    return next((rule.token for rule in rules if rule.meets(news, interview)), "")
