"""What of an interview is worth a message, given what was already told. Pure.

Everything is read from the merged interview, never from the event alone: events come late, twice and out of order, and
the first that shows a fact tells it, the others are silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from connector.sink import STAGE_WORDS, Event, Interview, Stage
from sinks.chat.config import Events, Mode

Told: TypeAlias = Mapping[str, Any]
"""What people were told, each fact with the date (epoch milliseconds) of its field: kept in the note."""

INVITE = "interview.create"
FINISH = "interview.finish"
SCORED = "interview.score-updated"

_STAGE_FIELDS = ("status", "completed", "answered", "archived", "finalist", "finished_at")
_SCORE_BOUND = 1_000_000
SPEAKING: tuple[Mode, ...] = ("post", "broadcast", "reply")
"""Modes that make a message, the loudest first."""


class What(StrEnum):
    """What happened, in the order in which it makes the headline; named as in the settings."""

    DELETED = "delete"
    FINISHED = "finish"
    STAGE = "status_change"
    SCORE = "score_updated"
    INVITED = "create"


@dataclass(frozen=True, slots=True)
class News:
    """One message's content.

    `what` is the headline, `also` what else happened, `change` the difference in words as it comes from outside, `at`
    its time (epoch milliseconds), `mode` how loud it is, and `told` what people know once it is out.
    """

    what: What
    change: str
    at: int
    mode: Mode
    told: Told
    also: tuple[What, ...] = ()

    @property
    def score(self) -> float | None:
        """The score that people know once it is out."""
        found: float | None = self.told.get("score")
        return found


def find_news(event: Event, interview: Interview, told: Told, modes: Events) -> News | None:
    """The news that this event gives occasion to tell, or `None`. An event speaks only if its own mode does."""
    if interview.stage is Stage.DELETED:
        return _deletion(event, told, modes)
    if modes.of(event.name) not in SPEAKING:
        return None
    changes = _changes(event, interview, told, modes)
    if not changes:
        return None
    if any(one[0] is What.FINISHED for one in changes):  # the stage that comes with it says the same
        changes = [one for one in changes if one[0] is not What.STAGE]
    if event.name == SCORED:  # the score is the news, whatever else becomes known with it
        changes.sort(key=lambda one: one[0] is not What.SCORE)
    what, _, at = changes[0]
    words = " · ".join(change for _, change, _ in changes)
    mode = min((getattr(modes, one) for one, _, _ in changes), key=SPEAKING.index)
    also = tuple(one[0] for one in changes[1:])
    return News(what, words, at, mode, everything(interview, told), also)


def _deletion(event: Event, told: Told, modes: Events) -> News | None:
    if modes.delete not in SPEAKING or told.get("deleted"):
        return None
    return News(What.DELETED, "Deleted", event.occurred_at, modes.delete, {**told, "deleted": True})


def everything(interview: Interview, told: Told) -> Told:
    """All that people know after a message about this interview. That it was finished is never untold."""
    return {
        "announced": bool(told.get("announced")) or is_finished(interview),
        "score": interview.score,
        "score_at": interview.dates.get("score", 0),
        "stage": interview.stage_word,
        "stage_at": _stage_date(interview),
    }


def is_finished(interview: Interview) -> bool:
    """Whether the candidate has completed, as far as known."""
    return interview.completed_at is not None or interview.stage is Stage.TO_EVALUATE


def scale_words(score: float | None) -> str:
    """A score with its scale. Outside Hireflix's scale (0.5 to 5) only the number: the team uses another one."""
    words = score_words(score)
    return f"{words} of {SCALE[1]}" if score is not None and SCALE[0] <= score <= SCALE[1] else words


SCALE = (0.5, 5)
"""Least and greatest score in Hireflix (Hireflix MCP server, scoring an interview)."""


def score_words(score: float | None) -> str:
    """A score as people read it."""
    if score is None:
        return "none"
    return f"{score:g}" if abs(score) < _SCORE_BOUND else "?"


Change: TypeAlias = tuple[What, str, int]
"""What changed, the difference in words, and when (epoch milliseconds)."""


def _changes(event: Event, interview: Interview, told: Told, modes: Events) -> list[Change]:
    found = [
        _completion(event, interview, told),
        _stage_change(interview, told),
        _score_change(interview, told),
    ]
    if not told and event.name == INVITE:
        found.append((What.INVITED, "Invited", event.occurred_at))
    return [one for one in found if one is not None and getattr(modes, one[0]) in SPEAKING]


def _completion(event: Event, interview: Interview, told: Told) -> Change | None:
    if told.get("announced") or not is_finished(interview):
        return None
    at = event.occurred_at if event.name == FINISH else interview.completed_at
    return What.FINISHED, "Finished the interview", at or event.occurred_at


def _stage_change(interview: Interview, told: Told) -> Change | None:
    before = told.get("stage", STAGE_WORDS[Stage.PENDING])
    at = _stage_date(interview)
    if interview.stage_word == before or at < told.get("stage_at", 0):
        return None
    return What.STAGE, f"Stage {before or '?'} → {interview.stage_word or '?'}", at


def _score_change(interview: Interview, told: Told) -> Change | None:
    before, at = told.get("score"), interview.dates.get("score", 0)
    if interview.score == before or at < told.get("score_at", 0):
        return None
    after = score_words(interview.score)
    return What.SCORE, f"Score {after}" if before is None else f"Score {score_words(before)} → {after}", at


def _stage_date(interview: Interview) -> int:
    return max((interview.dates.get(name, 0) for name in _STAGE_FIELDS), default=0)
