"""What of an interview is worth a message, given what was already told. Pure.

Everything is read from the merged interview, never from the event alone: events come late, twice and out of order, and
the first that shows a fact tells it, the others are silent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from connector.sink import STAGE_WORDS, Event, Interview, Stage

Told: TypeAlias = Mapping[str, Any]
"""What people were told, each fact with the date (epoch milliseconds) of its field: kept in the note."""

_STAGE_FIELDS = ("status", "completed", "answered", "archived", "finalist", "finished_at")


class What(StrEnum):
    """What happened, in the order in which it makes the headline."""

    DELETED = "deleted"
    FINISHED = "finished"
    STAGE = "stage"
    SCORE = "score"
    INVITED = "invited"


@dataclass(frozen=True, slots=True)
class News:
    """One message's content: `what` is the headline, `at` its time (epoch milliseconds), `told` what people know
    once it is out.
    """

    what: What
    at: int
    told: Told


def find_news(event: Event, interview: Interview, told: Told, *, speaking: Collection[str], shown: bool) -> News | None:
    """The news that this event gives occasion to tell, or `None`.

    `speaking` are the names of the events that may speak; `shown` says that a message about this interview stands in
    the channel. An interview deleted before that is never mentioned.
    """
    if event.name not in speaking:
        return None
    if interview.stage is Stage.DELETED:
        silent = told.get("deleted") or not shown or "interview.delete" not in speaking
        return None if silent else News(What.DELETED, event.occurred_at, {**told, "deleted": True})
    what = _first_change(event, interview, told)
    if what is None:
        return None
    return News(what, _time_of(what, event, interview), everything(interview, told))


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


def _first_change(event: Event, interview: Interview, told: Told) -> What | None:
    if is_finished(interview) and not told.get("announced"):
        return What.FINISHED
    stage_before = told.get("stage", STAGE_WORDS[Stage.PENDING])
    if interview.stage_word != stage_before and _stage_date(interview) >= told.get("stage_at", 0):
        return What.STAGE
    if interview.score != told.get("score") and interview.dates.get("score", 0) >= told.get("score_at", 0):
        return What.SCORE
    return What.INVITED if event.name == "interview.create" and not told else None


def _time_of(what: What, event: Event, interview: Interview) -> int:
    if what is What.FINISHED and event.name != "interview.finish":
        return interview.completed_at or event.occurred_at
    return event.occurred_at


def _stage_date(interview: Interview) -> int:
    return max((interview.dates.get(name, 0) for name in _STAGE_FIELDS), default=0)
