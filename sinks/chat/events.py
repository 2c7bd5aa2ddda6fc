"""Delivers an event: decides what to show, then posts it, or lets it wait for the digest or the next edit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from connector.sink import (
    Delivered,
    Delivery,
    Event,
    FollowUp,
    Interview,
    Note,
    Outcome,
    Result,
    RetryLater,
    Stage,
    Superseded,
    Waiting,
)
from sinks.chat import digest
from sinks.chat.changes import (
    FINISH,
    FINISHED,
    INVITED,
    Announcement,
    ChangeKind,
    Counted,
    Events,
    Mode,
    find_announcement,
    find_counted,
)
from sinks.chat.config import ChatConfig, mention_for, quiet_until
from sinks.chat.content import Content, Style, interview_content, position_link, reply_content, short_name, with_change
from sinks.chat.exactly_once import Draft, abandon, post, reconcile
from sinks.chat.record import DigestRecord, InterviewRecord
from sinks.chat.reminders import without_decided
from sinks.chat.service import ABOUT_INTERVIEW, CallResult, Status
from sinks.chat.session import ChatSession, DeliveryCall, retry
from sinks.chat.updates import EDIT_DELAY, next_edit


class EventAction(StrEnum):
    """The one call that an event makes."""

    NOTHING = "nothing"
    POST = "post"
    """A new message in the channel, which is the interview's message from then on."""
    REPLY = "reply"
    BROADCAST = "broadcast"
    """A reply that is shown in the channel as well."""


NOT_COUNTED = Counted()


@dataclass(frozen=True, slots=True)
class EventPlan:
    """The plan for an event. `announcement` is what the call posts, and `counted` what the digest counts. `edit`: an
    existing message has to be updated. `reason` says why there is nothing to show.
    """

    action: EventAction = EventAction.NOTHING
    announcement: Announcement | None = None
    counted: Counted = NOT_COUNTED
    edit: bool = False
    reason: str = "nothing new"


def make_plan(
    event: Event, interview: Interview, record: InterviewRecord, modes: Events, *, muted: bool, silent: bool = False
) -> EventPlan:
    """Returns the plan for an event. `muted`: the event must not notify users, because it is late, the hours are quiet,
    or the channel is busy. `silent`: it may only update existing messages, because no route chose it. An interview that
    was deleted before its first message is not shown.
    """
    mode: Mode = "edit" if silent else modes.of(event.name)
    is_deleted = interview.stage is Stage.DELETED
    was_invited = bool(record.counted_by)
    counted = NOT_COUNTED
    if not silent:
        counted = find_counted(event, interview, record.announced, modes, muted=muted, was_invited=was_invited)
    edit = record.is_editable and (mode != "silent" or is_deleted)
    if is_deleted and not record.is_shown and not record.named_reply_ids:
        return EventPlan(counted=counted, reason="deleted before it was shown")
    reason = "its events are silent" if mode == "silent" else "no message to update" if silent else "nothing new"
    without_post = EventPlan(counted=counted, edit=edit or bool(record.named_reply_ids and is_deleted), reason=reason)
    if muted or silent:
        return without_post
    announcement = find_announcement(event, interview, record.announced, modes)
    action = EventAction.NOTHING if announcement is None else _action(announcement, record)
    return (
        without_post if action is EventAction.NOTHING else EventPlan(action, announcement, counted, without_post.edit)
    )


def _action(announcement: Announcement, record: InterviewRecord) -> EventAction:
    if record.removed or announcement.kind is ChangeKind.DELETED:
        return _action_without_message(announcement, record)
    if announcement.mode == "post" or not record.takes_replies:
        return EventAction.POST
    return EventAction.BROADCAST if announcement.mode == "broadcast" else EventAction.REPLY


def _action_without_message(announcement: Announcement, record: InterviewRecord) -> EventAction:
    """Returns the action for a deleted interview, and for one whose message users deleted: only the finish makes a new
    message.
    """
    if announcement.kind is ChangeKind.DELETED:
        action = EventAction.BROADCAST if announcement.mode == "broadcast" else EventAction.REPLY
        return action if record.takes_replies else EventAction.NOTHING
    finished = ChangeKind.FINISHED in announcement.kinds
    return EventAction.POST if finished else EventAction.NOTHING


async def deliver_events(session: ChatSession, call: DeliveryCall) -> Result:
    """Delivers the events of one call in turn; each sees the notes of the one before. Only invitations share a call,
    and they make no request to the service.
    """
    notes = await _current_notes(call)
    follow_ups: list[FollowUp] = []
    outcomes: list[Outcome] = []
    changed: dict[str, Note | None] = {}
    for delivery in call.batch.deliveries:
        if delivery.interview is None or delivery.event is None:
            outcomes.append(Superseded("the interview or the event is unknown"))
            continue
        one = DeliveryCall(replace(call.batch, deliveries=(delivery,), notes=notes), call.context)
        result = without_decided(one, delivery.interview, await deliver_event(session, one, delivery.interview))
        if delivery.interview.stage is Stage.DELETED:
            result = await digest.without_deleted(one, delivery.interview.id, result)
        outcomes += result.outcomes
        changed |= result.notes
        notes = {key: note for key, note in {**notes, **result.notes}.items() if note is not None}
        follow_ups += result.follow_ups
    return Result(outcomes, changed, follow_ups)


async def _current_notes(call: DeliveryCall) -> dict[str, Note]:
    """Returns the notes of a call. A digest has only the counts of deliveries that still wait for it."""
    notes = dict(call.batch.notes)
    positions = {each.interview.position_id for each in call.batch.deliveries if each.interview is not None}
    for position_id in sorted(positions):
        known = DigestRecord.read(position_id, notes.get(DigestRecord(position_id).key))
        kept = await digest.without_settled(call, known)
        if kept != known:
            notes[kept.key] = kept.note() or {}
    return notes


async def deliver_event(session: ChatSession, call: DeliveryCall, interview: Interview) -> Result:
    """Executes the plan, with at most one post."""
    record = InterviewRecord.read(interview.id, call.note(InterviewRecord(interview.id).key))
    found = await reconcile(session, call, record, [record.edit(EDIT_DELAY)])
    if found is not None:
        return found
    is_busy = await session.is_busy(call.context)
    plan = plan_of(session.config, call.delivery, record, call.context.now(), is_busy=is_busy)
    style = await session.interview_style(call, interview)
    if plan.action is EventAction.NOTHING:
        return _without_post(session, call, record, plan, style)
    result = await post(session, call, record, draft_of(session, plan, record, interview, style))
    return _without_thread(session.config, record, result) if isinstance(result, CallResult) else result


def plan_of(
    config: ChatConfig, delivery: Delivery, record: InterviewRecord, now: int, *, is_busy: bool = False
) -> EventPlan:
    """Returns the plan for the event of a delivery at `now` (epoch milliseconds)."""
    event, interview = delivery.event, delivery.interview
    assert event is not None
    assert interview is not None
    muted = delivery.late or is_quiet(config, event, now) or (is_busy and config.digest != "off")
    record = record.without_counted(delivery.id)  # it was counted, but the digest was not shown
    plan = make_plan(event, interview, record, config.events, muted=muted, silent=delivery.silent)
    return replace(plan, counted=NOT_COUNTED) if config.digest == "off" else plan


def is_quiet(config: ChatConfig, event: Event, now: int) -> bool:
    """Whether an event at `now` (epoch milliseconds) has to wait for the end of the quiet hours."""
    if config.quiet_hours is not None and config.quiet_hours.finish == "speak" and event.name == FINISH:
        return False
    return quiet_until(now, config) is not None


def draft_of(
    session: ChatSession, plan: EventPlan, record: InterviewRecord, interview: Interview, style: Style
) -> Draft:
    """Returns the message of a plan with an announcement."""
    announcement = plan.announcement
    assert announcement is not None
    subject = {ABOUT_INTERVIEW: interview.id}
    mention = mention_for(session.config.mention_rules, announcement, interview)
    edit_later = [record.edit(EDIT_DELAY)]
    if plan.action is EventAction.POST:
        content_hash = session.content_hash(interview_content(interview, style))
        return Draft(
            _new_message(session.config, plan, record, interview, style),
            {"announced": announcement.announced, "content_hash": content_hash},
            subject,
            mention=mention,
            follow_ups=edit_later if record.is_editable else (),
        )
    broadcast = plan.action is EventAction.BROADCAST
    return Draft(
        reply_content(announcement, interview, style, named=broadcast),
        {"announced": announcement.announced, "thread": record.message_id, "named": broadcast},
        subject,
        thread=str(record.message_id),
        broadcast=broadcast,
        mention=mention if broadcast else "",
        follow_ups=edit_later,
    )


def _new_message(
    config: ChatConfig, plan: EventPlan, record: InterviewRecord, interview: Interview, style: Style
) -> Content:
    """Returns a new message about the interview. In a chat without edits it has the announcement as its headline and,
    if it is not the first message, the text of the change.
    """
    assert plan.announcement is not None
    content = interview_content(interview, style, None if config.edits else plan.announcement)
    return with_change(content, plan.announcement, style) if record.message_id == "" else content


def _without_post(
    session: ChatSession, call: DeliveryCall, record: InterviewRecord, plan: EventPlan, style: Style
) -> Result:
    """Delivers an event without a post: it waits for the digest that counts it or for an edit, or is superseded when
    there is nothing to show.
    """
    interview, now = call.delivery.interview, call.context.now()
    assert interview is not None
    after, searches = abandon(call, record)
    follow_ups, notes = [*searches], dict[str, Note | None]()
    outcome: Outcome = Superseded(plan.reason)
    is_current = not session.config.edits or next_edit(session.content_hash, after, interview, style) is None
    if plan.edit and not is_current:
        wait = timedelta(0) if interview.stage is Stage.DELETED else EDIT_DELAY
        follow_ups.append(after.edit(wait))
        outcome = Waiting(after.key, "update of its message", _at(now, wait))
    elif after.is_editable and is_current:
        outcome = Delivered(after.message_id)
    if plan.counted.figures:
        after, counted, past = count_in_digest(
            call, plan.counted, after, interview, style, timezone=session.config.timezone
        )
        notes |= {each.key: each.note() for each in (past, counted) if each is not None}
        wait = digest.delay(session.config, counted, now)
        follow_ups.append(counted.publication(wait))
        outcome = Waiting(counted.key, digest.waiting_reason(session.config, now), _at(now, wait))
    if after != record:
        notes[record.key] = after.note()
    return Result([outcome], notes, follow_ups)


def _at(now: int, wait: timedelta) -> int:
    return now + round(wait.total_seconds() * 1000)


def count_in_digest(
    call: DeliveryCall, counted: Counted, record: InterviewRecord, interview: Interview, style: Style, *, timezone: str
) -> tuple[InterviewRecord, DigestRecord, DigestRecord | None]:
    """Returns the records of the interview and of its position's digest after the digest counted an event, and the
    digest before it when that is over and names candidates.

    A candidate counts once in each figure of a digest.
    """
    event, id_, now = call.delivery.event, call.delivery.id, call.context.now()
    assert event is not None
    before = DigestRecord.read(interview.position_id, call.note(DigestRecord(interview.position_id).key))
    current = before.at(counted.figures, now, timezone)
    serial = current.serial
    figures = [name for name in counted.figures if not serial or record.counted.get(name, ("",))[0] != serial]
    after = current.counting(figures, interview, now, delivery_id=id_, occurred_at=event.occurred_at)
    after = replace(after, link=position_link(interview) or after.link)
    name = short_name(interview, style) if FINISHED in figures else ""
    if name:
        after = after.naming(interview.id, name)
    place = (interview.position_id, after.serial)
    is_named = any(each["id"] == interview.id for each in after.named) and place not in map(tuple, record.digests)
    record = replace(
        record,
        announced=counted.announced,
        counted={**record.counted, **{figure: (after.serial, id_) for figure in figures if figure != INVITED}},
        counted_by=id_ if INVITED in figures else record.counted_by,
        digests=(*record.digests, place) if is_named else record.digests,
    )
    return record, after, replace(before.as_shown(), is_past=True) if current is not before and before.named else None


def _without_thread(config: ChatConfig, record: InterviewRecord, result: CallResult) -> Result:
    """Stores that the thread takes no more replies, and plans the event again."""
    if result.status is Status.LOCKED:
        after = replace(record, thread_locked=True)
    elif config.deleted_message == "replace":
        after = replace(record, message_id=None, content_hash="")
    else:
        after = replace(record, removed=True)
    return retry(RetryLater(result.error, after=0.0, counts=False), {record.key: after.note()})
