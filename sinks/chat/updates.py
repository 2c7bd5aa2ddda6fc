"""The calls that edit a message of an interview to show the current state, and that erase a person from the channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from connector.capabilities import decided_key
from connector.languages import language
from connector.sink import Delivered, Interview, Note, Rejected, Result, RetryLater, Stage, Waiting
from sinks.chat.changes import snapshot
from sinks.chat.content import Content, Style, interview_content, superseded_content
from sinks.chat.decisions import UNDO_MS, UNDO_OVER, DecisionRecord, failure_text, user_of
from sinks.chat.exactly_once import DUPLICATE_SEARCH, FALLBACK_SECONDS, Draft, post, reconcile
from sinks.chat.record import REPEAT_EDIT, InterviewRecord
from sinks.chat.service import ABOUT_INTERVIEW, GONE, LATER, CallResult, Status
from sinks.chat.session import ChatSession, DeliveryCall, delivered, is_rejected, rejected, retry, superseded

EDIT_DELAY = timedelta(seconds=3)
"""Delay of an edit, so that several events make one edit."""
REPEAT_DELAY = timedelta(seconds=60)
"""Delay of the repeat of an edit with a lost answer. A lost request is applied within this time."""
_DELETED = "the message was deleted in the chat"


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit. `after` is the record after it; `is_main`: it is the interview's message, not a reply."""

    message_id: str
    content: Content
    after: InterviewRecord
    is_main: bool = False


def next_edit(
    content_hash: Callable[[Content], str],
    record: InterviewRecord,
    interview: Interview,
    style: Style,
    *,
    forced: bool = False,
) -> Edit | None:
    """Returns the edit of the first outdated message, by the hash of its content. `forced`: edits the interview's
    message in any case.
    """
    if record.is_editable:
        content = interview_content(interview, style)
        shown = content_hash(content)
        if forced or shown != record.content_hash:
            after = replace(record, content_hash=shown, fallback_error="")
            return Edit(str(record.message_id), content, after, is_main=True)
    if record.superseded_ids:
        first, *others = record.superseded_ids
        return Edit(first, superseded_content(style.language), replace(record, superseded_ids=others))
    if interview.stage is Stage.DELETED and record.named_reply_ids:
        first, *others = record.named_reply_ids
        return Edit(first, interview_content(interview, style), replace(record, named_reply_ids=others))
    return None


async def update_messages(session: ChatSession, call: DeliveryCall, interview_id: str) -> Result:
    """Makes one edit, and asks for another call when more messages are outdated. Otherwise it settles the deliveries
    that waited.
    """
    record = InterviewRecord.read(interview_id, call.note(InterviewRecord(interview_id).key))
    interview = call.delivery.interview
    if interview is None or not session.config.edits:
        return superseded("nothing to update", group=record.key)
    style = await session.interview_style(call, interview)
    if record.needs_repost and interview.stage is not Stage.DELETED:
        if record.intent.get("calls") and record.intent.get("delivery_id") != call.delivery.id:
            return retry(RetryLater("another post is unclear", after=FALLBACK_SECONDS, counts=False))
        return await _repost(session, call, record, interview, style)
    repeated = call.batch.maybe_sent
    forced = repeated or call.delivery.purpose == REPEAT_EDIT
    edit = next_edit(session.content_hash, record, interview, style, forced=forced)
    if edit is None:
        return _shown(record, {}) if record.is_editable else superseded("no message to update", group=record.key)
    result = await session.edit(edit.message_id, edit.content, call.context, record.fallback_error)
    if result.status is not Status.OK:
        return await _not_edited(session, call, record, edit, result)
    more = [record.follow_up(REPEAT_EDIT, REPEAT_DELAY)] if repeated and edit.is_main else []
    notes = {record.key: edit.after.note()}
    if next_edit(session.content_hash, edit.after, interview, style) is not None:
        return delivered(notes, [*more, record.edit(timedelta(0))])
    return replace(_shown(record, notes), follow_ups=more)


async def show_decision(session: ChatSession, call: DeliveryCall, interview_id: str) -> Result:
    """Shows the result of a decision that a user made with the interview's message: the next edit adds the stamp and
    the buttons. Only this user is shown why a decision failed.
    """
    asked, interview, now = call.delivery.follow_up, call.delivery.interview, call.context.now()
    assert asked is not None
    key = decided_key(asked.subject, interview_id)
    result = call.note(key)
    if result is None or interview is None:
        return superseded("nothing to show", {key: None})
    record = InterviewRecord.read(interview_id, call.note(InterviewRecord(interview_id).key))
    before = DecisionRecord.read(interview_id, call.note(DecisionRecord(interview_id).key))
    after = before.with_result(int(result["request"]), result, interview)
    text = failure_text(result, language(session.config.language))
    if text:
        await session.post_ephemeral(user_of(str(result["actor"])), text, call.context)
    notes: dict[str, Note | None] = {key: None, after.key: after.note()}
    if not record.is_editable:
        return superseded("no message to update", notes)
    follow_ups = [record.edit(timedelta(0))]
    if after.can_undo(interview, now):
        left = timedelta(milliseconds=after.at_ms + UNDO_MS - now)
        follow_ups.append(record.follow_up(UNDO_OVER, left))
    return Result([Waiting(record.key, "update of its message", now)], notes, follow_ups)


def _shown(record: InterviewRecord, notes: dict[str, Note | None]) -> Result:
    """Returns the result when the messages are current, which settles the deliveries that waited for that."""
    outcome = Delivered(record.message_id or None)
    return Result([outcome], notes, settles={record.key: outcome})


async def _repost(
    session: ChatSession, call: DeliveryCall, record: InterviewRecord, interview: Interview, style: Style
) -> Result:
    """Posts a new message for a lost one, and settles the deliveries that wait for an edit."""
    result: Result | CallResult | None = await reconcile(session, call, record, ())
    if result is None:
        content = interview_content(interview, style)
        announced = snapshot(interview, record.announced)
        shows = {"announced": announced, "content_hash": session.content_hash(content)}
        result = await post(session, call, record, Draft(content, shows, {ABOUT_INTERVIEW: interview.id}))
    if isinstance(result, CallResult):  # only threads are missing; a missing channel is a broken destination
        return retry(RetryLater(result.error))
    (outcome,) = result.outcomes
    return replace(result, settles={record.key: outcome}) if isinstance(outcome, Delivered) else result


async def _not_edited(
    session: ChatSession, call: DeliveryCall, record: InterviewRecord, edit: Edit, result: CallResult
) -> Result:
    if result.status in {Status.MISSING, Status.LOCKED}:
        interview = call.delivery.interview
        is_deleted = interview is not None and interview.stage is Stage.DELETED
        return _lost(session, record, edit, result, is_deleted=is_deleted)
    if is_rejected(result, call.delivery):
        if record.fallback_error:
            return rejected(result, {record.key: replace(record, fallback_error="").note()})
        note = replace(record, fallback_error=result.error).note()
        return retry(RetryLater(result.error, after=FALLBACK_SECONDS), {record.key: note})
    return retry(await session.failure(result, session.limits.edit, call.context))


def _lost(session: ChatSession, record: InterviewRecord, edit: Edit, result: CallResult, *, is_deleted: bool) -> Result:
    """Handles a message that does not exist or cannot be edited any more."""
    is_missing = result.status is Status.MISSING
    if not edit.is_main or is_deleted:
        after = edit.after if not edit.is_main else replace(record, removed=True)
        more = [record.edit(timedelta(0))] if after.named_reply_ids or after.superseded_ids else []
        if edit.is_main and not is_missing and not more:
            after = record  # the message exists, so a replay must try it again
        notes: dict[str, Note | None] = {record.key: after.note()}
        if not is_missing:
            return rejected(result, notes, more)
        return superseded(_DELETED, notes, more, group="" if more else record.key)
    if is_missing and session.config.deleted_message == "leave":
        return superseded(_DELETED, {record.key: replace(record, removed=True).note()}, group=record.key)
    after = replace(record, message_id=None, content_hash="", needs_repost=True)
    return superseded("the message is posted again", {record.key: after.note()}, [record.edit(timedelta(0))])


async def erase_messages(session: ChatSession, call: DeliveryCall, interview_id: str) -> Result:
    """Deletes the messages and replies. After each deletion the rest is stored, so that a call that had to wait for a
    token continues there.
    """
    if not session.config.edits:
        return Result([Rejected("its messages cannot be changed: delete them in the chat")])
    record = InterviewRecord.read(interview_id, call.note(InterviewRecord(interview_id).key))
    notes: dict[str, Note | None] = {record.key: None, DecisionRecord(interview_id).key: None}
    found = await _unclear_messages(session, call, record)
    if isinstance(found, RetryLater):
        return retry(found)
    main = (record.message_id,) if record.message_id and not record.removed else ()
    replies = (*record.named_reply_ids, *record.reply_ids)
    left = list(dict.fromkeys([*replies, *found, *record.superseded_ids, *main]))
    if not left:
        return superseded("no message to erase", notes)
    errors: dict[str, str] = {}
    while left:
        rest = InterviewRecord(interview_id, superseded_ids=[*left, *errors])
        await call.context.save_notes({record.key: rest.note()})
        result = await _erase_message(session, call, left[0])
        if result.status in LATER:
            return retry(await session.failure(result, session.limits.delete, call.context))
        message_id = left.pop(0)
        if result.status not in GONE:
            errors[message_id] = result.error
    if errors:
        reasons = ", ".join(sorted(set(errors.values())))
        notes[record.key] = InterviewRecord(interview_id, superseded_ids=list(errors)).note()
        return Result([Rejected(f"{len(errors)} messages can neither be deleted nor changed: {reasons}")], notes)
    return Result([Delivered("messages deleted")], notes)


async def _unclear_messages(
    session: ChatSession, call: DeliveryCall, record: InterviewRecord
) -> Sequence[str] | RetryLater:
    """Finds the messages of calls without an answer, which may be in the channel without a note. It waits first,
    because the request of such a call may be applied later.
    """
    searches = [(each["delivery_id"], each["since_ms"], each["thread"]) for each in record.possible_duplicates]
    earliest_ms = max((each["at_ms"] for each in record.possible_duplicates), default=0)
    intent = record.intent
    if intent.get("calls"):
        earliest_ms = max(earliest_ms, intent["at_ms"] + round(DUPLICATE_SEARCH.total_seconds() * 1000))
        searches.append((intent["delivery_id"], intent["at_ms"], intent["thread"]))
    early_ms = earliest_ms - call.context.now()
    if early_ms > 0:
        return RetryLater("settling", after=early_ms / 1000, counts=False)
    found: list[str] = []
    for delivery_id, since_ms, thread in searches:
        result = await session.search(delivery_id, since_ms, thread, call.context)
        if result.failure is not None and result.failure.status in LATER:
            return await session.failure(result.failure, session.search_tokens(thread), call.context)
        found += [match.message_id for match in result.matches]
    return found


async def _erase_message(session: ChatSession, call: DeliveryCall, message_id: str) -> CallResult:
    """Deletes a message. Where the service does not allow that, it removes the personal data from the text."""
    result = await session.delete(message_id, call.context)
    interview = call.delivery.interview
    if result.status in GONE | LATER or interview is None:
        return result
    content = interview_content(interview, await session.style(call.context))
    return await session.edit(message_id, content, call.context)
