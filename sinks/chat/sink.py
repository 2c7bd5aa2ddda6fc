"""The base class of chats: one living message per interview, replies in its thread, digests for bursts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar, TypeVar

from connector.capabilities import DECIDED, ERASE, MessagePreview, Notice, Preview, decided_key
from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    FollowUp,
    Interview,
    Note,
    Outcome,
    Rejected,
    Result,
    RetryLater,
    Sink,
    Superseded,
)
from sinks.chat import reminders, summary
from sinks.chat.changes import FINISHED, INVITE, POSTING_MODES
from sinks.chat.config import ChatConfig, is_due
from sinks.chat.content import Content, Line, Style, digest_content, preview_of, short_name
from sinks.chat.decisions import UNDO_OVER, DecisionRecord
from sinks.chat.digest import edit_past, erase_from_digests, publish
from sinks.chat.events import EventAction, EventPlan, deliver_events, draft_of, plan_of
from sinks.chat.exactly_once import FIND_DUPLICATES, delete_duplicates
from sinks.chat.record import (
    DIGEST,
    EDIT,
    EDIT_PAST_DIGEST,
    REPEAT_EDIT,
    REPEAT_PAST_DIGEST,
    DigestRecord,
    InterviewRecord,
    MessageRecord,
)
from sinks.chat.reminders import ReminderRecord
from sinks.chat.service import ChatService, Marker, Post, Status
from sinks.chat.session import ChatSession, DeliveryCall, panel_of, style_of, superseded
from sinks.chat.summary import SummaryRecord
from sinks.chat.updates import erase_messages, next_edit, show_decision, update_messages

_PLACES = {
    EventAction.POST: "New message in the channel",
    EventAction.REPLY: "Reply in the thread",
    EventAction.BROADCAST: "Reply in the thread, shown in the channel as well",
}
_NOTHING = "No message: there is nothing to announce, or nothing new."


def preview(session: ChatSession, delivery: Delivery, notes: Mapping[str, Note], now: int) -> Preview:
    """Returns what users would see after this delivery at `now` (epoch milliseconds). With `privacy = "auto"` the
    candidate is shown by initials.
    """
    config, interview = session.config, delivery.interview
    if delivery.event is None or interview is None:
        return Preview(_NOTHING)
    privacy = "initials" if config.privacy == "auto" else config.privacy
    style = replace(style_of(config, privacy), panel=panel_of(config, interview, notes, now))
    record = InterviewRecord.read(interview.id, notes.get(InterviewRecord(interview.id).key))
    plan = plan_of(config, delivery, record, now)
    messages = [
        *_message(session, plan, record, interview, style),
        *_digest(config, delivery, plan, notes, style, now=now),
        *_edit(session, plan, record, interview, style),
    ]
    return Preview(messages=messages) if messages else Preview(_reason(delivery))


def _message(
    session: ChatSession, plan: EventPlan, record: InterviewRecord, interview: Interview, style: Style
) -> Iterator[MessagePreview]:
    if plan.action is not EventAction.NOTHING:
        draft = draft_of(session, plan, record, interview, style)
        yield preview_of(draft.content, _PLACES[plan.action], draft.mention)


def _digest(
    config: ChatConfig, delivery: Delivery, plan: EventPlan, notes: Mapping[str, Note], style: Style, *, now: int
) -> Iterator[MessagePreview]:
    interview, event = delivery.interview, delivery.event
    if not plan.counted.figures or interview is None or event is None:
        return
    known = DigestRecord.read(interview.position_id, notes.get(DigestRecord(interview.position_id).key))
    figures = plan.counted.figures
    current = known.at(figures, now, config.timezone)
    counted = current.counting(figures, interview, now, delivery_id=delivery.id, occurred_at=event.occurred_at)
    name = short_name(interview, style) if FINISHED in figures else ""
    counted = counted.naming(interview.id, name) if name else counted
    yield preview_of(digest_content(counted, style), "No message of its own; the digest becomes")


def _edit(
    session: ChatSession, plan: EventPlan, record: InterviewRecord, interview: Interview, style: Style
) -> Iterator[MessagePreview]:
    if not plan.edit or not session.config.edits:
        return
    after = replace(record, message_id="", content_hash="") if plan.action is EventAction.POST else record
    edit = next_edit(session.content_hash, after, interview, style)
    if edit is not None:
        yield preview_of(edit.content, "The message in the channel becomes")


def _reason(delivery: Delivery) -> str:
    return "No message: it is older than max_age." if delivery.late else _NOTHING


INVITES_PER_CALL = 200
"""Most invitations in one call. They make no request to the service, only notes."""

ChatConfigT = TypeVar("ChatConfigT", bound=ChatConfig)


class ChatSink(Sink[ChatConfigT]):
    """Posts to one channel. A subclass names its settings, its destination and its service (`connect`).

    An event makes one call to the service at most, or waits for its position's digest or the next edit of its
    interview's message. Edits are made by follow-ups, so that they do not delay events.
    """

    counts_calls: ClassVar[bool] = True
    timeout: ClassVar[float] = 30
    priority: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            "interview.finish": 0,
            "interview.score-updated": 10,
            "interview.status-change": 10,
            "interview.delete": 20,
            "interview.create": 50,
        }
    )

    def __init__(self, name: str, config: ChatConfigT) -> None:
        super().__init__(name, config)
        self._session: ChatSession | None = None

    @abstractmethod
    def connect(self) -> ChatService:
        """Returns the service for the channel of the settings. Called in the event loop that uses the service; must not
        need the network.
        """

    @property
    def max_age(self) -> float | None:
        return self.config.max_age

    @property
    def batchable_events(self) -> Mapping[str, int]:
        """Invitations without a message of their own share a call, so that a burst of them needs a few commits."""
        return {} if self.config.events.create in POSTING_MODES else {INVITE: INVITES_PER_CALL}

    def note_keys(self, delivery: Delivery) -> Iterable[str]:
        asked, interview = delivery.follow_up, delivery.interview
        if asked is not None and asked.purpose in reminders.PURPOSES:
            return (reminders.KEY,)
        if asked is not None and asked.purpose in summary.PURPOSES:
            return (summary.KEY,)
        if asked is not None:
            return self._follow_up_keys(asked)
        if interview is None:
            return ()
        keys = [InterviewRecord(interview.id).key, DigestRecord(interview.position_id).key]
        keys += [reminders.KEY] if self.config.edits else []
        return [*keys, DecisionRecord(interview.id).key] if self.config.decides else keys

    def _follow_up_keys(self, asked: FollowUp) -> Iterable[str]:
        keys = [_record_of(asked, None).key]
        if asked.interview is not None:
            keys += [reminders.KEY] if asked.purpose == ERASE else []
            keys += [decided_key(asked.subject, asked.interview)] if asked.purpose == DECIDED else []
            keys += [DecisionRecord(asked.interview).key] if self.config.edits else []
        return keys

    @property
    def reminds(self) -> bool:
        """Whether the channel gets reminders."""
        return self.config.reminders is not None

    @property
    def schedules(self) -> bool:
        """Whether the channel gets reminders or weekly summaries."""
        return self.config.reminders is not None or self.config.weekly_summary is not None

    def scheduled(self, after_ms: int, until_ms: int) -> Sequence[str]:
        """Returns the reminder and the weekly summary that are due in the period."""
        config, purposes = self.config, []
        rules, weekly = config.reminders, config.weekly_summary
        if rules is not None and is_due(after_ms, until_ms, rules.at, None, config):
            purposes.append(reminders.REMIND)
        if weekly is not None and is_due(after_ms, until_ms, weekly.at, (weekly.day,), config):
            purposes.append(summary.SUMMARIZE)
        return purposes

    def erase_leaves(self) -> Sequence[str]:
        """Data that only users or the service can remove."""
        return ("what users wrote in the channel and in threads", "exports and logs of the chat service")

    async def open(self) -> None:
        self._session = ChatSession(self.config, self.connect())

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def preview(self, batch: Batch, context: Context) -> Sequence[Preview]:
        """Returns what users would see in the channel, or why there is nothing to show."""
        assert self._session is not None, "open() was not called"
        return [preview(self._session, delivery, batch.notes, context.now()) for delivery in batch.deliveries]

    async def notify(self, notice: Notice, context: Context) -> Outcome:
        """Posts the notice as a separate message."""
        assert self._session is not None, "open() was not called"
        await context.take(*self._session.limits.post)
        content = Content(headline=notice.title, notification=notice.title, lines=tuple(map(Line, notice.lines)))
        result = await self._session.post(Post(content, Marker(notice.id, 1, {})), context)
        if result.status is Status.OK:
            return Delivered(result.message_id or None)
        if result.status is Status.REJECTED:
            return Rejected(result.error)
        return await self._session.failure(result, self._session.limits.post, context)

    async def deliver(self, batch: Batch, context: Context) -> Result:
        assert self._session is not None, "open() was not called"
        session, call = self._session, DeliveryCall(batch, context)
        asked = call.delivery.follow_up
        if asked is None:
            return await deliver_events(session, call)
        if asked.purpose in reminders.PURPOSES or asked.purpose in summary.PURPOSES:
            return await _regular_message(session, call, asked.purpose)
        if asked.purpose == FIND_DUPLICATES:
            return await delete_duplicates(session, call, _record_of(asked, call))
        if asked.interview is not None:
            return await _about_interview(session, call, asked.purpose, asked.interview)
        if asked.purpose in {EDIT_PAST_DIGEST, REPEAT_PAST_DIGEST}:
            return await edit_past(session, call, asked.subject)
        if asked.purpose in {DIGEST, REPEAT_EDIT}:
            return await publish(session, call, asked.subject)
        return superseded("a follow-up of another version")


async def _about_interview(session: ChatSession, call: DeliveryCall, purpose: str, interview_id: str) -> Result:
    """A follow-up about an interview."""
    if purpose == ERASE:
        return await _erase(session, call, interview_id)
    if purpose == DECIDED:
        return await show_decision(session, call, interview_id)
    if purpose in {EDIT, REPEAT_EDIT, UNDO_OVER}:
        return await update_messages(session, call, interview_id)
    return superseded("a follow-up of another version")


async def _erase(session: ChatSession, call: DeliveryCall, interview_id: str) -> Result:
    was_named = await reminders.erase_from_reminders(session, call, interview_id)
    if isinstance(was_named, RetryLater | Rejected):
        return Result([was_named])
    was_in_digest = await erase_from_digests(session, call, interview_id)
    if isinstance(was_in_digest, RetryLater | Rejected):
        return Result([was_in_digest])
    result = await erase_messages(session, call, interview_id)
    (outcome,) = result.outcomes
    if isinstance(outcome, Superseded) and (was_named or was_in_digest):
        return replace(result, outcomes=[Delivered("name removed from messages")])
    return result


async def _regular_message(session: ChatSession, call: DeliveryCall, purpose: str) -> Result:
    """Makes a call about the reminder or the weekly summary."""
    if purpose == reminders.REMIND:
        return await reminders.remind(session, call)
    if purpose == reminders.REMINDER_DUPLICATES:
        return await delete_duplicates(session, call, ReminderRecord.read(call.note(reminders.KEY)))
    if purpose in {reminders.EDIT_REMINDER, reminders.REPEAT_REMINDER_EDIT}:
        return await reminders.update_reminder(session, call)
    if purpose == summary.SUMMARY_DUPLICATES:
        return await delete_duplicates(session, call, SummaryRecord.read(call.note(summary.KEY)))
    return await summary.summarize(session, call)


def _record_of(asked: FollowUp, call: DeliveryCall | None) -> MessageRecord:
    """Returns the record that a follow-up is about: of an interview or of a position's digest. In a call it is read
    from its note.
    """
    if asked.purpose in {EDIT_PAST_DIGEST, REPEAT_PAST_DIGEST}:
        return DigestRecord("", serial=asked.subject, is_past=True)
    if asked.interview is None:
        note = None if call is None else call.note(DigestRecord(asked.subject).key)
        return DigestRecord.read(asked.subject, note)
    note = None if call is None else call.note(InterviewRecord(asked.interview).key)
    return InterviewRecord.read(asked.interview, note)
