"""Decisions in a chat: the buttons of an interview's message, the requests of clicks, and the stamp of a decision. Pure
functions. A click acts only on the state that its user saw. Each button contains the number of the last decision that
its message shows, and the key of a request consists of interview and number. So only one of all clicks on the same
state of a message is carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self

from connector.capabilities import Known, StoredDecision
from connector.decision import Decision, DecisionRequest, Via
from connector.languages import Language, gettext_noop
from connector.sink import Interview, Note, Stage
from sinks.chat.record import InterviewRecord, as_note, known_values
from sinks.chat.wording import moment


@dataclass(frozen=True, slots=True)
class Button:
    """A button: its label, what it does (a `Choice`), and the value that a click returns."""

    label: str
    choice: str
    value: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who decided: a text in which `{user}` is the place of the user, and the user's id."""

    text: str
    user: str


@dataclass(frozen=True, slots=True)
class Panel:
    """The part of a message about decisions."""

    stamp: Stamp | None = None
    buttons: tuple[Button, ...] = ()


NO_PANEL = Panel()
UNDO_MS = 600_000
"""Time in which a decision can be undone with one click."""
UNDO_OVER = "undo-over"
"""Purpose of the call that removes the undo button."""


class Choice(StrEnum):
    """What a button does."""

    SHORTLIST = "shortlist"
    DISCARD = "discard"
    BACK = "back"
    UNDO = "undo"


LABELS: Mapping[Choice, str] = {
    Choice.SHORTLIST: gettext_noop("Shortlist"),
    Choice.DISCARD: gettext_noop("Discard…"),
    Choice.BACK: gettext_noop("Back to evaluation"),
    Choice.UNDO: gettext_noop("Undo"),
}
"""The labels of buttons. Dots mean that a dialog follows."""
OFFERED: Mapping[Stage, tuple[Choice, ...]] = {
    Stage.TO_EVALUATE: (Choice.SHORTLIST, Choice.DISCARD),
    Stage.SHORTLISTED: (Choice.DISCARD, Choice.BACK),
    Stage.DISCARDED: (Choice.SHORTLIST, Choice.BACK),
}
"""The buttons by stage."""
_STAMPS: Mapping[Decision, str] = {
    Decision.SHORTLIST: gettext_noop("Shortlisted by {user}"),
    Decision.DISCARD: gettext_noop("Discarded by {user}"),
    Decision.BACK: gettext_noop("Moved back to evaluation by {user}"),
}
_UNDONE = gettext_noop("Undone by {user}")
_WAITING: Mapping[Choice, str] = {
    Choice.SHORTLIST: gettext_noop("Shortlist, requested by {user}, waits for Hireflix"),
    Choice.DISCARD: gettext_noop("Discard, requested by {user}, waits for Hireflix"),
    Choice.BACK: gettext_noop("Back to evaluation, requested by {user}, waits for Hireflix"),
    Choice.UNDO: gettext_noop("Undo, requested by {user}, waits for Hireflix"),
}
"""The stamps while Hireflix does not answer."""
_TO_STAGE: Mapping[Stage, Decision] = {
    Stage.TO_EVALUATE: Decision.BACK,
    Stage.SHORTLISTED: Decision.SHORTLIST,
    Stage.DISCARDED: Decision.DISCARD,
}
"""The decision that leads to a stage."""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """The note about the last decision that users made with the message of the interview `id`.

    `number` is that of the last request whose result the message shows, 0 before the first one. `decision`, `by`,
    `before`, `stage` and `at_ms` describe it: what was decided, the user, the stages before and after, and when.
    `event_ms` is the date of the newest event that was known then, by the clock of Hireflix. All are empty after a
    request that changed nothing. `decision` is empty after an undo too, which leaves no stamp. `waits` is the choice of
    a later request that waits for Hireflix, `""` without one, and `waits_by` its user.
    """

    id: str
    number: int = 0
    decision: str = ""
    by: str = ""
    before: str = ""
    stage: str = ""
    at_ms: int = 0
    event_ms: int = 0
    waits: str = ""
    waits_by: str = ""

    @classmethod
    def read(cls, interview_id: str, note: Note | None) -> Self:
        """Decodes a note. Without a note nothing was decided here."""
        return cls(**{**known_values(cls, note or {}), "id": interview_id})

    @property
    def key(self) -> str:
        """Name of the note."""
        return f"decision:{self.id}"

    def note(self) -> Note | None:
        """Returns the note, `None` when it would be empty."""
        return as_note({name: getattr(self, name) for name in self.__dataclass_fields__ if name != "id"})

    def stage_of(self, interview: Interview) -> Stage:
        """Returns the stage that the message shows: that of the decision, until Hireflix reports a newer event."""
        is_newer = interview.stage != self.before or interview.updated_at > self.event_ms
        return interview.stage if is_newer or not self.stage else Stage(self.stage)

    def is_valid(self, interview: Interview) -> bool:
        """Whether the interview is still in the stage of the decision."""
        return bool(self.decision) and self.stage_of(interview) == self.stage

    def stamp(self, interview: Interview, language: Language) -> Stamp | None:
        """Returns whose decision waits for Hireflix, else who decided, as long as the decision is valid."""
        if self.waits:
            return Stamp(language.gettext(_WAITING[Choice(self.waits)]), self.waits_by)
        if not self.is_valid(interview):
            return None
        return Stamp(language.gettext(_STAMPS[Decision(self.decision)]), self.by)

    def can_undo(self, interview: Interview, now_ms: int) -> bool:
        """Whether the decision can be undone with one click."""
        return self.is_valid(interview) and now_ms < self.at_ms + UNDO_MS and self.before in _TO_STAGE

    def with_result(self, number: int, result: Mapping[str, Any], interview: Interview) -> Self:
        """Returns the record after the result of a request (see `connector.capabilities.DECIDED`)."""
        place = ClickPlace.read(str(result["place"]))
        if result["state"] == "waiting":
            return replace(self, waits=str(place.choice), waits_by=user_of(str(result["actor"])))
        after = type(self)(self.id, max(number, self.number))
        if result["state"] != "done" or not result["changed"]:
            return after
        return replace(
            after,
            decision="" if place.choice is Choice.UNDO else str(result["decision"]),
            by=user_of(str(result["actor"])),
            before=place.before,
            stage=str(result["stage"] or ""),
            at_ms=int(result["at"]),
            event_ms=interview.updated_at,
        )


def offered(interview: Interview, decided: DecisionRecord) -> Sequence[Choice]:
    """Returns the decisions that are possible now. An interview that is not completed cannot be moved back to
    evaluation.
    """
    choices = OFFERED.get(decided.stage_of(interview), ())
    return [choice for choice in choices if choice is not Choice.BACK or interview.completed_at is not None]


def panel(interview: Interview, decided: DecisionRecord, now_ms: int, language: Language) -> Panel:
    """Returns the stamp and the buttons of an interview's message."""
    value = button_value(decided.number, interview.id)
    choices = [Choice.UNDO] if decided.can_undo(interview, now_ms) else offered(interview, decided)
    buttons = tuple(Button(language.gettext(LABELS[choice]), str(choice), value) for choice in choices)
    return Panel(decided.stamp(interview, language), buttons)


class ClickPlace(NamedTuple):
    """The place of a request: the choice, the stage before, and the id of the click."""

    choice: Choice
    before: str
    click_id: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Decodes a place."""
        choice, before, click_id = text.split(" ")
        return cls(Choice(choice), before, click_id)

    def __str__(self) -> str:
        return f"{self.choice} {self.before} {self.click_id}"


@dataclass(frozen=True, slots=True)
class Click:
    """A click of a user on a button of the message `message_id`.

    `id` is the same when the service reports the click again. `service` names the kind of chat. `number` and
    `interview_id` are from the button, and are not trusted. `reason` is the text that the user gave for a discard.
    """

    id: str
    service: str
    user: str
    message_id: str
    choice: Choice
    number: int
    interview_id: str
    reason: str | None = None


def button_value(number: int, interview_id: str) -> str:
    """Returns the value of a button; `value_of` decodes it."""
    return f"{number} {interview_id}"


def value_of(text: str) -> tuple[int, str] | None:
    """Returns number and interview id of a button's value, `None` for a value that is not ours."""
    number, _, interview_id = text.partition(" ")
    return (int(number), interview_id) if number.isascii() and number.isdigit() and interview_id else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a click has no effect, as rendered text. The id `user` replaces `{user}` in it."""

    text: str
    user: str = ""


def note_keys(interview_id: str) -> tuple[str, str]:
    """The notes that `request_of` needs."""
    return InterviewRecord(interview_id).key, DecisionRecord(interview_id).key


def is_about(click: Click, known: Known) -> bool:
    """Whether the click is on the present message of the interview."""
    record = InterviewRecord.read(click.interview_id, known.notes.get(InterviewRecord(click.interview_id).key))
    return bool(record.message_id) and record.message_id == click.message_id


def request_of(click: Click, sink: str, known: Known, language: Language) -> DecisionRequest | Refusal:
    """Returns the request of a click on the present message, or why it has no effect. The stored state decides which
    choices are possible.
    """
    interview = known.interview
    decided = DecisionRecord.read(interview.id, known.notes.get(DecisionRecord(interview.id).key))
    if click.number != decided.number:
        return _outdated(interview, decided, language)
    stage = decided.stage_of(interview)
    if click.choice is Choice.UNDO:
        if not decided.can_undo(interview, known.now):
            return Refusal(language.gettext("It is too late to undo this. Use the other buttons."))
        decision = _TO_STAGE[Stage(decided.before)]
    elif click.choice in offered(interview, decided):
        decision = Decision(click.choice)
    else:
        return _outdated(interview, decided, language)
    return DecisionRequest(
        key=f"chat:{sink}:{interview.id}:{decided.number}",
        interview_id=interview.id,
        decision=decision,
        value=(click.reason or "").strip() or None if decision is Decision.DISCARD else None,
        actor=actor_of(click.service, click.user),
        via=Via.CHAT,
        place=str(ClickPlace(click.choice, str(stage), click.id)),
    )


def _outdated(interview: Interview, decided: DecisionRecord, language: Language) -> Refusal:
    stamp = decided.stamp(interview, language)
    if stamp is None or decided.waits:
        return Refusal(language.gettext("The interview has changed since. Look at the message again."))
    return _already(stamp.text, stamp.user, language)


def _already(text: str, user: str, language: Language) -> Refusal:
    return Refusal(language.gettext("Already done: {decision}").format(decision=text), user)


def already_taken(mine: DecisionRequest, stored: StoredDecision, language: Language) -> Refusal | None:
    """Returns why a click has no effect because another one was first; `None` when the stored request is that of the
    click.
    """
    first = stored.request
    if (first.actor, first.place) == (mine.actor, mine.place):
        return None
    choice, user = ClickPlace.read(first.place).choice, user_of(first.actor)
    if stored.state == "done":
        return _already(language.gettext(_UNDONE if choice is Choice.UNDO else _STAMPS[first.decision]), user, language)
    if stored.state != "waiting":
        return Refusal(language.gettext("The interview has changed since. Look at the message again."))
    text = language.gettext(
        "{decision} since {time}. It is tried again automatically, for a day at most; "
        "then this message shows the result."
    )
    return Refusal(text.format(decision=language.gettext(_WAITING[choice]), time=moment(stored.requested_at)), user)


_FAILURES: Mapping[str, str] = {
    "waiting": gettext_noop("Your decision is kept, and tried again automatically for a day: {reason}"),
    "held": gettext_noop("Your decision waits for a confirmation on the dashboard: {reason}"),
    "refused": gettext_noop("This did not work: {reason}"),
    "unclear": gettext_noop("It is not clear whether this reached Hireflix, and an operator must look: {reason}"),
    "dropped": gettext_noop("Not done: an operator dropped your decision."),
}
"""The texts for the user, by the state of the request."""


def failure_text(result: Mapping[str, Any], language: Language) -> str:
    """Returns the text for the user after a request that changed nothing yet, `""` after one that did."""
    if result["state"] == "done":
        return "" if result["changed"] else language.gettext("Nothing to do: Hireflix shows this already.")
    text = _FAILURES.get(str(result["state"]), _FAILURES["refused"])
    return language.gettext(text).format(reason=result["reason"] or result["state"])


def actor_of(service: str, user: str) -> str:
    """Returns a user of the chat in the form of the audit log."""
    return f"{service}:{user}"


def user_of(actor: str) -> str:
    """Returns the user of the chat from the form of the audit log."""
    return actor.partition(":")[2]
