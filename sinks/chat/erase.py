"""The call that erases a person from the channel: it deletes every message about an interview."""

from __future__ import annotations

from collections.abc import Sequence

from connector.sink import Delivered, Rejected, Result, RetryLater
from sinks.chat.content import interview_content
from sinks.chat.exactly_once import SEARCHABLE_AFTER_MS
from sinks.chat.record import InterviewRecord
from sinks.chat.service import CallResult, Status
from sinks.chat.session import Attempt, Session, retry, superseded

_DONE = {Status.OK, Status.MISSING}
_LATER = {Status.THROTTLED, Status.TRANSIENT, Status.UNCLEAR, Status.BROKEN}


async def erase_messages(session: Session, attempt: Attempt, interview_id: str) -> Result:
    """Deletes the messages and thread replies that name the candidate. A call that is repeated continues."""
    record = InterviewRecord.read(interview_id, attempt.note(InterviewRecord(interview_id).key))
    if not session.config.edits:
        if not record.is_shown:
            return superseded("no message to erase", {record.key: None})
        return Result([Rejected("messages of an incoming webhook cannot be changed: delete them in the chat")])
    found = await _unclear_messages(session, attempt, record)
    if isinstance(found, RetryLater):
        return retry(found)
    main = (record.message_id,) if record.message_id and not record.removed else ()
    messages = list(dict.fromkeys([*record.named_reply_ids, *found, *record.superseded_ids, *main]))
    for message_id in messages:
        result = await _erase_message(session, attempt, message_id)
        if result.status in _LATER:
            return retry(await session.failure(result, session.limits.delete, attempt.context))
        if result.status not in _DONE:
            return Result([Rejected(f"a message can neither be deleted nor changed: {result.error}")])
    if not messages:
        return superseded("no message to erase", {record.key: None})
    return Result([Delivered(f"{len(messages)} messages deleted")], {record.key: None})


async def _unclear_messages(session: Session, attempt: Attempt, record: InterviewRecord) -> Sequence[str] | RetryLater:
    """Finds the messages of calls without an answer: they may be in the channel and in no note."""
    searches = [(each["delivery_id"], each["since_ms"], each["thread"]) for each in record.possible_duplicates]
    intent = record.intent
    if intent.get("calls"):
        early_ms = intent["at_ms"] + SEARCHABLE_AFTER_MS - attempt.context.now()
        if early_ms > 0:
            return RetryLater("settling", after=early_ms / 1000, counts=False)
        searches.append((intent["delivery_id"], intent["at_ms"], intent["thread"]))
    found: list[str] = []
    for delivery_id, since_ms, thread in searches:
        result = await session.search(delivery_id, since_ms, thread, attempt.context)
        if result.failure is not None and result.failure.status in _LATER:
            return await session.failure(result.failure, session.search_tokens(thread), attempt.context)
        found += [match.message_id for match in result.matches]
    return found


async def _erase_message(session: Session, attempt: Attempt, message_id: str) -> CallResult:
    """Deletes a message, or removes the person from its text where the service does not allow that."""
    result = await session.delete(message_id, attempt.context)
    interview = attempt.delivery.interview
    if result.status in {*_DONE, *_LATER} or interview is None:
        return result
    content = interview_content(interview, await session.style(attempt.context))
    return await session.edit(message_id, content, attempt.context)
