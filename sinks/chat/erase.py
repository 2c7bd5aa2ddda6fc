"""The calls that erase a person from the channel: they delete every message and reply about an interview."""

from __future__ import annotations

from collections.abc import Sequence

from connector.sink import Delivered, Rejected, Result, RetryLater
from sinks.chat.content import interview_content
from sinks.chat.exactly_once import DUPLICATE_SEARCH
from sinks.chat.record import InterviewRecord
from sinks.chat.service import CallResult, Status
from sinks.chat.session import ChatSession, DeliveryCall, retry, superseded

_DONE = {Status.OK, Status.MISSING}
_LATER = {Status.THROTTLED, Status.TRANSIENT, Status.UNCLEAR, Status.BROKEN}


async def erase_messages(session: ChatSession, call: DeliveryCall, interview_id: str) -> Result:
    """Deletes the messages and replies. After each deletion the rest is stored, so that a call that had to wait for a
    token continues there.
    """
    if not session.config.edits:
        return Result([Rejected("its messages cannot be changed: delete them in the chat")])
    record = InterviewRecord.read(interview_id, call.note(InterviewRecord(interview_id).key))
    found = await _unclear_messages(session, call, record)
    if isinstance(found, RetryLater):
        return retry(found)
    main = (record.message_id,) if record.message_id and not record.removed else ()
    replies = (*record.named_reply_ids, *record.reply_ids)
    left = list(dict.fromkeys([*replies, *found, *record.superseded_ids, *main]))
    if not left:
        return superseded("no message to erase", {record.key: None})
    errors: dict[str, str] = {}
    while left:
        rest = InterviewRecord(interview_id, superseded_ids=[*left, *errors])
        await call.context.save_notes({record.key: rest.note()})
        result = await _erase_message(session, call, left[0])
        if result.status in _LATER:
            return retry(await session.failure(result, session.limits.delete, call.context))
        message_id = left.pop(0)
        if result.status not in _DONE:
            errors[message_id] = result.error
    if errors:
        reasons = ", ".join(sorted(set(errors.values())))
        notes = {record.key: InterviewRecord(interview_id, superseded_ids=list(errors)).note()}
        return Result([Rejected(f"{len(errors)} messages can neither be deleted nor changed: {reasons}")], notes)
    return Result([Delivered("messages deleted")], {record.key: None})


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
        if result.failure is not None and result.failure.status in _LATER:
            return await session.failure(result.failure, session.search_tokens(thread), call.context)
        found += [match.message_id for match in result.matches]
    return found


async def _erase_message(session: ChatSession, call: DeliveryCall, message_id: str) -> CallResult:
    """Deletes a message. Where the service does not allow that, it removes the personal data from the text."""
    result = await session.delete(message_id, call.context)
    interview = call.delivery.interview
    if result.status in {*_DONE, *_LATER} or interview is None:
        return result
    content = interview_content(interview, await session.style(call.context))
    return await session.edit(message_id, content, call.context)
