"""Reminders: one message on each business day that lists the candidates who finished and wait for a decision. A line is
removed when the candidate is decided, deleted or erased. The next reminder replaces the previous one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self

from connector.capabilities import SNOOZE
from connector.languages import Language
from connector.sink import (
    Context,
    FollowUp,
    Interview,
    Rejected,
    Result,
    RetryLater,
    Stage,
)
from sinks.chat.config import ChatConfig, business_days_since
from sinks.chat.content import POSITION_UNITS, Content, Line, Style, shown_name, trusted_link
from sinks.chat.exactly_once import FIND_DUPLICATES, Draft, abandon, post, reconcile
from sinks.chat.phrases import and_more
from sinks.chat.record import REPEAT_EDIT, RegularRecord
from sinks.chat.service import ABOUT_REGULAR, GONE, CallResult, Status
from sinks.chat.session import (
    ChatSession,
    DeliveryCall,
    delivered,
    is_rejected,
    rejected,
    retry,
    subscriptions_of,
    superseded,
    wait_for_quiet_hours,
)
from sinks.chat.text import clean
from sinks.chat.updates import EDIT_DELAY, REPEAT_DELAY

REMIND = "remind"
"""Purpose of the call that posts a reminder."""
EDIT_REMINDER = "reminder-edit"
"""Purpose of the call that updates the messages of reminders."""
REMINDER_DUPLICATES = "reminder-find-doubles"
REPEAT_REMINDER_EDIT = "reminder-repeat-edit"
PURPOSES = frozenset({REMIND, EDIT_REMINDER, REMINDER_DUPLICATES, REPEAT_REMINDER_EDIT})
_OWN_PURPOSES = {FIND_DUPLICATES: REMINDER_DUPLICATES, REPEAT_EDIT: REPEAT_REMINDER_EDIT}
"""General purposes of follow-ups -> the purposes for reminders."""

KEY = "reminder"
"""Name of the note."""
LINES_MAX = 10
"""Most candidates in a message; the others are counted."""
_FINAL = GONE | {Status.LOCKED}
"""Results of an edit that is not tried again."""


@dataclass(frozen=True, slots=True)
class ReminderRecord(RegularRecord):
    """The note about reminders.

    `message_id` is the newest message and `lines` are its lines, each with the `id` of the interview, the `text` and
    the `link`. `more` counts the candidates without a line. `removed_ids` are interviews whose lines were removed while
    a post was under way. `superseded_ids` are older messages that still show their lines.
    """

    message_id: str = ""
    content_hash: str = ""
    lines: Sequence[Mapping[str, str]] = ()
    more: int = 0
    removed_ids: Sequence[str] = ()
    superseded_ids: Sequence[str] = ()
    fallback_error: str = ""

    @property
    def key(self) -> str:
        return KEY

    def follow_up(self, purpose: str, after: timedelta) -> FollowUp:
        """Returns a follow-up about reminders."""
        return FollowUp(_OWN_PURPOSES.get(purpose, purpose), after)

    def edit(self, after: timedelta = EDIT_DELAY) -> FollowUp:
        """Returns the follow-up that updates the messages."""
        return self.follow_up(EDIT_REMINDER, after)

    def names(self, interview_id: str) -> bool:
        """Whether a message contains the candidate's name, or may contain it after a call without an outcome."""
        shown = [*self.lines, *(line for call in self.intent.get("calls", ()) for line in call.get("lines", ()))]
        return any(line["id"] == interview_id for line in shown)

    def without(self, interview_id: str) -> Self:
        """Returns the record without the line about an interview, also in the intent."""
        if not self.intent:
            return replace(self, lines=_without(self.lines, {interview_id}))
        calls = [
            {**call, "lines": _without(call.get("lines", ()), {interview_id})} for call in self.intent.get("calls", ())
        ]
        return replace(
            self,
            lines=_without(self.lines, {interview_id}),
            removed_ids=(*self.removed_ids, interview_id),
            intent={**self.intent, "calls": calls},
        )

    def with_intent(self, intent: Mapping[str, Any]) -> Self:
        return replace(self, intent=intent, removed_ids=self.removed_ids if intent else ())

    def posted(self, message_id: str, shows: Mapping[str, Any]) -> Self:
        """Returns the record after a reminder was posted, which replaces the previous one."""
        older = (*self.superseded_ids, self.message_id) if self.message_id else tuple(self.superseded_ids)
        return replace(
            self,
            message_id=message_id,
            content_hash=shows["content_hash"],
            lines=_without(shows["lines"], set(self.removed_ids)),
            more=shows["more"],
            removed_ids=(),
            superseded_ids=older,
            fallback_error="",
            intent={},
        )


def _without(lines: Iterable[Mapping[str, str]], ids: set[str]) -> tuple[Mapping[str, str], ...]:
    return tuple(line for line in lines if line["id"] not in ids)


# --- rules


@dataclass(frozen=True, slots=True)
class Undecided:
    """A candidate who waits for a decision, and since how many business days."""

    interview: Interview
    days: int


def days_undecided(interview: Interview, now: int, config: ChatConfig) -> int | None:
    """Returns the business days that a finished interview has waited for a decision; `None` when a reminder does not
    list it.
    """
    rules, finished_at = config.reminders, interview.completed_at
    if rules is None or interview.stage is not Stage.TO_EVALUATE or finished_at is None:
        return None
    days = business_days_since(finished_at, now, config)
    return days if rules.after_days_of(interview) <= days <= rules.until_days else None


def line_of(undecided: Undecided, style: Style) -> Mapping[str, str]:
    """Returns the line about a candidate as it is stored in the note."""
    interview, count = undecided.interview, undecided.days
    days = style.language.ngettext("{count} business day", "{count} business days", count).format(count=count)
    position = clean(interview.position_name, POSITION_UNITS)
    text = " · ".join(part for part in (shown_name(interview, style), position, days) if part)
    return {
        "id": interview.id,
        "text": text,
        "link": trusted_link(interview.text("review_url"), style.link_hosts) or "",
    }


def reminder_content(lines: Sequence[Mapping[str, str]], more: int, language: Language) -> Content:
    """Returns the message with these lines; `more` counts the candidates without a line."""
    count = len(lines) + more
    if not count:
        headline = "✅ " + language.gettext("Every candidate of this reminder has a decision")
        return Content(headline=headline, notification=headline)
    waiting = language.ngettext(
        "{count} candidate waits for a decision", "{count} candidates wait for a decision", count
    )
    headline = f"⏳ {waiting.format(count=language.number(count))}"
    return Content(
        headline=headline,
        notification=headline,
        lines=tuple(Line(line["text"], line["link"]) for line in lines),
        footer=and_more(more, language) if more else "",
        button=language.gettext("Open"),
    )


def replaced_content(language: Language) -> Content:
    """Returns the content of a reminder that a newer one replaced."""
    return Content(footer=language.gettext("A newer reminder is below."))


# --- calls


async def remind(session: ChatSession, call: DeliveryCall) -> Result:
    """Posts the reminder of the day. Posts nothing during quiet hours, or when no candidate waits."""
    record = ReminderRecord.read(call.note(KEY))
    config, context = session.config, call.context
    found = await reconcile(session, call, record, [record.edit()])
    if found is not None:
        return found
    later = wait_for_quiet_hours(config, context, REMIND)
    if later is not None:
        return later
    waiting = await _undecided(context, config)
    if not waiting:
        after, follow_ups = abandon(call, record)
        return superseded("no candidate waits for a decision", {KEY: after.note()}, follow_ups)
    style = await session.style(context)
    lines = [line_of(each, style) for each in waiting[:LINES_MAX]]
    more = len(waiting) - len(lines)
    content = reminder_content(lines, more, style.language)
    shows = {"lines": lines, "more": more, "content_hash": session.content_hash(content)}
    draft = Draft(content, shows, {ABOUT_REGULAR: KEY}, follow_ups=[record.edit()])
    result = await post(session, call, record, draft)
    if isinstance(result, CallResult):  # only threads are missing; a missing channel is a broken destination
        return retry(RetryLater(result.error))
    return result


async def _undecided(context: Context, config: ChatConfig) -> list[Undecided]:
    """Returns the candidates who wait, the longest wait first, without snoozed ones and those whom no route leads to
    the channel any more, for example after a move to another position.
    """
    now = context.now()
    found = [
        Undecided(each.interview, days)
        async for each in subscriptions_of(context)
        if not each.unrouted and (days := days_undecided(each.interview, now, config)) is not None
    ]
    notes = await context.get_notes([f"{SNOOZE}{each.interview.id}" for each in found])
    awake = [each for each in found if notes.get(f"{SNOOZE}{each.interview.id}", {}).get("until", 0) <= now]
    ended = {f"{SNOOZE}{each.interview.id}": None for each in awake if f"{SNOOZE}{each.interview.id}" in notes}
    if ended:
        await context.save_notes(ended)
    return sorted(awake, key=lambda each: (-each.days, each.interview.completed_at or 0, each.interview.id))


async def update_reminder(session: ChatSession, call: DeliveryCall) -> Result:
    """Makes one edit: of an older message first, then of the newest one when it shows a removed line."""
    record = ReminderRecord.read(call.note(KEY))
    if record.superseded_ids:
        first, *others = record.superseded_ids
        result = await session.edit(first, replaced_content(session.language), call.context)
        if result.status not in _FINAL:
            return retry(await session.failure(result, session.limits.edit, call.context))
        after = replace(record, superseded_ids=tuple(others))
        return delivered({KEY: after.note()}, [after.edit(timedelta(0))])
    content = reminder_content(record.lines, record.more, session.language)
    content_hash = session.content_hash(content)
    is_repeat = call.batch.maybe_sent or call.delivery.purpose == REPEAT_REMINDER_EDIT
    if not record.message_id or (content_hash == record.content_hash and not is_repeat):
        return superseded("the reminder is up to date")
    result = await session.edit(record.message_id, content, call.context, record.fallback_error)
    if result.status is Status.OK:
        more = [record.follow_up(REPEAT_EDIT, REPEAT_DELAY)] if call.batch.maybe_sent else []
        return delivered({KEY: replace(record, content_hash=content_hash).note()}, more, reference=record.message_id)
    if result.status in _FINAL:
        after = replace(record, message_id="", content_hash="", lines=(), more=0)
        return superseded("the reminder was deleted in the chat", {KEY: after.note()})
    if is_rejected(result, call.delivery):
        return rejected(result, {})
    return retry(await session.failure(result, session.limits.edit, call.context))


def without_decided(call: DeliveryCall, interview: Interview, result: Result) -> Result:
    """Returns the result of an event, with a follow-up that edits the reminder when the interview no longer waits."""
    record = ReminderRecord.read(call.note(KEY))
    if interview.stage is Stage.TO_EVALUATE or not record.names(interview.id):
        return result
    after = record.without(interview.id)
    return replace(result, notes={**result.notes, KEY: after.note()}, follow_ups=[*result.follow_ups, after.edit()])


async def erase_from_reminders(
    session: ChatSession, call: DeliveryCall, interview_id: str
) -> RetryLater | Rejected | bool:
    """Removes a person from the messages of reminders at once. Returns whether a message contained the name, or why it
    could not be removed. The progress is stored after each call, so that an interrupted erase continues.
    """
    record = ReminderRecord.read(call.note(KEY))
    while record.superseded_ids:
        failed = await session.erase_content(
            record.superseded_ids[0], replaced_content(session.language), call, what="a reminder"
        )
        if failed is not None:
            return failed
        record = replace(record, superseded_ids=tuple(record.superseded_ids[1:]))
        await call.context.save_notes({KEY: record.note()})
    if not record.names(interview_id):
        return False
    after = record.without(interview_id)
    if record.message_id:
        content = reminder_content(after.lines, after.more, session.language)
        failed = await session.erase_content(record.message_id, content, call, record.fallback_error, what="a reminder")
        if failed is not None:
            return failed
        after = replace(after, content_hash=session.content_hash(content))
    await call.context.save_notes({KEY: after.note(), f"{SNOOZE}{interview_id}": None})
    return True
