"""Finds the changes of an interview that a message announces, given what was announced before. Pure functions. Facts
are read from the merged interview, because events may be late, repeated or out of order. The first event that shows a
fact announces it, and later ones are silent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from connector.sink import STAGE_WORDS, Event, Interview, Stage

Mode = Literal["post", "broadcast", "reply", "edit", "digest", "silent"]
"""What an event does.

`post`: a new message in the channel for each event. `broadcast`: the interview's message when there is none yet, else
a line in its thread that is shown in the channel as well. `reply`: the same without the channel. `edit`: nothing new,
but an existing message is kept current. `digest`: as `edit`, and the position's digest counts it. `silent`: nothing.
"""


class Events(BaseModel):
    """What each kind of event does. A deletion always removes the candidate's name from posted messages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    create: Mode = Field(default="digest", description="A candidate was invited.")
    finish: Mode = Field(default="broadcast", description="A candidate finished the interview.")
    score_updated: Mode = Field(default="reply", description="The team's score changed.")
    status_change: Mode = Field(default="reply", description="The stage changed.")
    delete: Literal["edit", "reply", "broadcast"] = Field(default="edit", description="The interview was deleted.")

    def of(self, event: str) -> Mode:
        """Returns the mode of an event by its name, such as `interview.finish`. An unknown event is silent."""
        name = event.removeprefix("interview.").replace("-", "_")
        mode: Mode = getattr(self, name) if name in Events.model_fields else "silent"
        return mode

    def announces(self, event: str) -> bool:
        """Whether an event with this name may make a message. The first event that shows a deletion announces it."""
        return self.of(event) in POSTING_MODES or self.delete in POSTING_MODES


Announced: TypeAlias = Mapping[str, Any]
"""The facts about an interview that the chat has shown, with the dates of their fields; stored in the note.

`finished` (whether it was announced), `score`, `score_ms`, `stage` (its English word), `stage_ms`, and `deleted`.
"""

INVITE = "interview.create"
FINISH = "interview.finish"
SCORED = "interview.score-updated"
POSTING_EVENTS = (FINISH, SCORED, "interview.status-change")
"""Events that usually make a message each."""

_STAGE_FIELDS = ("status", "completed", "answered", "archived", "finalist", "finished_at")
POSTING_MODES: tuple[Mode, ...] = ("post", "broadcast", "reply")
"""Modes that make a message, from the most to the least visible."""


class ChangeKind(StrEnum):
    """The kinds of changes, in the order in which they are chosen for the headline. Names are those of the settings."""

    DELETED = "delete"
    FINISHED = "finish"
    STAGE = "status_change"
    SCORE = "score_updated"
    INVITED = "create"


class Change(NamedTuple):
    """One change: its kind, when it happened (epoch milliseconds), and what was shown before and is known now."""

    kind: ChangeKind
    at_ms: int
    before: str | float | None = None
    after: str | float | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """The changes that one message announces.

    The first of the `changes` is the headline. `mode` says where it is posted, and `announced` are the facts
    that the chat has shown after the post.
    """

    changes: tuple[Change, ...]
    mode: Mode
    announced: Announced

    @property
    def kind(self) -> ChangeKind:
        """The kind of the headline."""
        return self.changes[0].kind

    @property
    def kinds(self) -> tuple[ChangeKind, ...]:
        """All kinds, that of the headline first."""
        return tuple(change.kind for change in self.changes)

    @property
    def at_ms(self) -> int:
        """When it happened (epoch milliseconds)."""
        return self.changes[0].at_ms

    @property
    def score(self) -> float | None:
        """The score that the chat has shown after the post."""
        found: float | None = self.announced.get("score")
        return found


def find_announcement(event: Event, interview: Interview, announced: Announced, modes: Events) -> Announcement | None:
    """Returns what an event announces, or `None`. Only deletions and events whose mode makes a message announce."""
    if interview.stage is Stage.DELETED:
        return _deletion(event, announced, modes)
    if modes.of(event.name) not in POSTING_MODES:
        return None
    changes = _changes(event, interview, announced, modes)
    if not changes:
        return None
    if any(change.kind is ChangeKind.FINISHED for change in changes):  # a new stage is implied by the finish
        changes = [change for change in changes if change.kind is not ChangeKind.STAGE]
    if event.name == SCORED:  # the score is the headline, even if other changes become known with it
        changes.sort(key=lambda change: change.kind is not ChangeKind.SCORE)
    mode = min((getattr(modes, change.kind) for change in changes), key=POSTING_MODES.index)
    after = dict(snapshot(interview, announced))
    if modes.finish == "digest":  # a digest announces it
        after["finished"] = bool(announced.get("finished"))
    return Announcement(tuple(changes), mode, after)


class Counted(NamedTuple):
    """What a digest counts of an event: its figures, and the facts that the chat has shown once the digest is shown."""

    figures: tuple[str, ...] = ()
    announced: Announced = MappingProxyType({})


INVITED = "invited"
FINISHED = "finished"
SCORED_FIGURE = "scored"
MOVED = "moved"
"""Figures of a digest; those of decisions are the values of their stages."""


def find_counted(
    event: Event, interview: Interview, announced: Announced, modes: Events, *, muted: bool, was_invited: bool
) -> Counted:
    """Returns what a digest counts of an event: each fact that the chat has not shown and whose mode is `digest`; with
    `muted` also the facts whose mode makes a message. `was_invited`: a digest has counted the invitation.
    """
    mode = modes.of(event.name)
    if mode == "silent" or (mode in POSTING_MODES and not muted):
        return Counted((), announced)
    found = [Change(ChangeKind.INVITED, event.occurred_at)] if event.name == INVITE and not was_invited else []
    if interview.stage is not Stage.DELETED:
        found += _facts(event, interview, announced)
    counted_modes = ("digest", *POSTING_MODES) if muted else ("digest",)
    found = [change for change in found if getattr(modes, change.kind) in counted_modes]
    kinds = {change.kind for change in found}
    if ChangeKind.FINISHED in kinds and interview.stage is Stage.TO_EVALUATE:  # implied by the finish
        found = [change for change in found if change.kind is not ChangeKind.STAGE]
    return Counted(tuple(_figure(change, interview) for change in found), _with_facts(announced, interview, kinds))


def _figure(change: Change, interview: Interview) -> str:
    if change.kind is ChangeKind.STAGE:
        is_decision = interview.stage in {Stage.SHORTLISTED, Stage.DISCARDED}
        return interview.stage.value if is_decision else MOVED
    return {ChangeKind.INVITED: INVITED, ChangeKind.FINISHED: FINISHED}.get(change.kind, SCORED_FIGURE)


def _with_facts(announced: Announced, interview: Interview, kinds: Collection[ChangeKind]) -> Announced:
    """Returns the shown facts with those of these kinds."""
    now = snapshot(interview, announced)
    names = {
        ChangeKind.FINISHED: ("finished", "stage", "stage_ms"),
        ChangeKind.STAGE: ("stage", "stage_ms"),
        ChangeKind.SCORE: ("score", "score_ms"),
    }
    shown = {name for kind in kinds for name in names.get(kind, ())}
    return {**announced, **{name: value for name, value in now.items() if name in shown}}


def _deletion(event: Event, announced: Announced, modes: Events) -> Announcement | None:
    if modes.delete not in POSTING_MODES or announced.get("deleted"):
        return None
    after = {**announced, "deleted": True}
    return Announcement((Change(ChangeKind.DELETED, event.occurred_at),), modes.delete, after)


def snapshot(interview: Interview, announced: Announced) -> Announced:
    """Returns the facts that the chat has shown after a message about this interview. A finish stays announced for
    ever.
    """
    return {
        "finished": bool(announced.get("finished")) or is_finished(interview),
        "score": interview.score,
        "score_ms": interview.dates.get("score", 0),
        "stage": interview.stage_word,
        "stage_ms": _stage_date(interview),
    }


def is_finished(interview: Interview) -> bool:
    """Whether the candidate has completed, as far as known."""
    return interview.completed_at is not None or interview.stage is Stage.TO_EVALUATE


def _changes(event: Event, interview: Interview, announced: Announced, modes: Events) -> list[Change]:
    found = _facts(event, interview, announced)
    if not announced and event.name == INVITE:
        found.append(Change(ChangeKind.INVITED, event.occurred_at))
    return [change for change in found if getattr(modes, change.kind) in POSTING_MODES]


def _facts(event: Event, interview: Interview, announced: Announced) -> list[Change]:
    """Returns the changes that the chat has not shown."""
    found = [
        _completion(event, interview, announced),
        _stage_change(interview, announced),
        _score_change(interview, announced),
    ]
    return [change for change in found if change is not None]


def _completion(event: Event, interview: Interview, announced: Announced) -> Change | None:
    if announced.get("finished") or not is_finished(interview):
        return None
    at = event.occurred_at if event.name == FINISH else interview.completed_at
    return Change(ChangeKind.FINISHED, at or event.occurred_at)


def _stage_change(interview: Interview, announced: Announced) -> Change | None:
    before = announced.get("stage", STAGE_WORDS[Stage.PENDING])
    at = _stage_date(interview)
    if interview.stage_word == before or at < announced.get("stage_ms", 0):
        return None
    return Change(ChangeKind.STAGE, at, before, interview.stage_word)


def _score_change(interview: Interview, announced: Announced) -> Change | None:
    before, at = announced.get("score"), interview.dates.get("score", 0)
    if interview.score == before or at < announced.get("score_ms", 0):
        return None
    return Change(ChangeKind.SCORE, at, before, interview.score)


def _stage_date(interview: Interview) -> int:
    return max((interview.dates.get(name, 0) for name in _STAGE_FIELDS), default=0)
