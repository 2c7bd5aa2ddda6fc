"""Posts exactly once in a chat that has no idempotency keys but finds messages by a marker. The intent of a call is
stored before the request. When the answer is lost, the next call searches the message by its marker first, and posts it
again only if the search finds none. A request may be applied after its timeout, so a later search deletes the duplicate
of a second post.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from connector.sink import Context, FollowUp, RateLimited, Result, RetryLater
from sinks.chat.content import Content
from sinks.chat.record import MessageRecord, RecordT
from sinks.chat.service import LATER, CallResult, Marker, Match, Post, Status
from sinks.chat.session import ChatSession, DeliveryCall, delivered, is_rejected, rejected, retry, superseded

SEARCHABLE_AFTER_MS = 3_000
"""Milliseconds after which a posted message appears in a search."""
DUPLICATE_SEARCH = timedelta(seconds=60)
"""Delay of the search for duplicates. A request without an answer is applied within this time."""
FIND_DUPLICATES = "find-doubles"
"""Purpose of the call that searches for duplicates."""
FALLBACK_SECONDS = 1.0
"""Delay of the attempt with plainer content, after a rejection."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to post. `shows` is stored in its record after the post, `subject` is in its marker beside the
    delivery's id, and `follow_ups` are asked for after the post.
    """

    content: Content
    shows: Mapping[str, Any]
    subject: Mapping[str, str]
    thread: str = ""
    broadcast: bool = False
    mention: str = ""
    follow_ups: Sequence[FollowUp] = ()


async def post(session: ChatSession, call: DeliveryCall, record: MessageRecord, draft: Draft) -> Result | CallResult:
    """Posts the draft under the delivery's id. Returns the service's result when the thread takes no reply, so that
    nothing was posted.
    """
    before = _intent_of(call, record)
    await call.context.take(*session.limits.post)
    mention = before.get("mention") or await _allowed_mention(session, draft.mention, call.context)
    intent = {
        "delivery_id": call.delivery.id,
        "at_ms": call.context.now(),
        "thread": draft.thread,
        "calls": [*before.get("calls", ()), dict(draft.shows)],
        "fallback_error": before.get("fallback_error", ""),
        "mention": mention,
    }
    if session.config.edits:
        await call.context.save_notes({record.key: record.with_intent(intent).note()})
    result = await session.post(_post(draft, intent), call.context)
    if result.status in {Status.MISSING, Status.LOCKED}:
        return result
    if result.status is Status.OK:
        sent = Match(result.message_id, len(intent["calls"]))
        return _settled(call, record, sent, intent, draft.follow_ups)
    return await _not_posted(session, call, record, result, {**intent, "calls": list(before.get("calls", ()))})


async def reconcile(
    session: ChatSession, call: DeliveryCall, record: MessageRecord, follow_ups: Sequence[FollowUp]
) -> Result | None:
    """Returns a result when an earlier call of this delivery posted its message, or when it is too early to search.
    Returns `None` when the search finds no message, or the service does not allow a search.
    """
    intent = _intent_of(call, record)
    if not call.batch.maybe_sent or not session.config.edits or not intent.get("calls"):
        return None
    too_early_ms = intent["at_ms"] + SEARCHABLE_AFTER_MS - call.context.now()
    if too_early_ms > 0:
        return retry(RetryLater("settling", after=too_early_ms / 1000, counts=False, unclear=True))
    found = await session.search(call.delivery.id, call.batch.started_at, intent["thread"], call.context)
    if found.matches:
        return _settled(call, record, found.matches[0], intent, follow_ups)
    outcome = await _search_failure(session, call, found.failure, intent["thread"])
    return None if outcome is None else retry(outcome)


def abandon(call: DeliveryCall, record: RecordT) -> tuple[RecordT, Sequence[FollowUp]]:
    """Returns the record and the follow-ups after a search that found nothing, when there is nothing to post any more.
    A message that appears late is deleted.
    """
    intent = _intent_of(call, record)
    if not intent:
        return record, ()
    if not (call.batch.maybe_sent and intent.get("calls")):
        return record.with_intent({}), ()
    duplicates = [*record.possible_duplicates, _possible_duplicate(call, "", intent)]
    after = record.with_possible_duplicates(duplicates).with_intent({})
    return after, [record.follow_up(FIND_DUPLICATES, DUPLICATE_SEARCH)]


async def delete_duplicates(session: ChatSession, call: DeliveryCall, record: MessageRecord) -> Result:
    """Deletes one duplicate, and asks for another call if there may be more."""
    if not record.possible_duplicates or not session.config.edits:
        return superseded("nothing to look for")
    first, *others = record.possible_duplicates
    early_ms = first["at_ms"] - call.context.now()
    if early_ms > 0:
        later = record.follow_up(FIND_DUPLICATES, timedelta(milliseconds=early_ms))
        return superseded("too early", {}, [later])
    found = await session.search(first["delivery_id"], first["since_ms"], first["thread"], call.context)
    outcome = await _search_failure(session, call, found.failure, first["thread"])
    if outcome is not None:
        return retry(outcome)
    duplicates = [match.message_id for match in found.matches if match.message_id != first["message_id"]]
    if duplicates:
        result = await session.delete(duplicates[-1], call.context)
        if result.status not in {Status.OK, Status.MISSING, Status.LOCKED}:
            return retry(await session.failure(result, session.limits.delete, call.context))
    left = [first, *others] if len(duplicates) > 1 else others
    more = [record.follow_up(FIND_DUPLICATES, timedelta(0))] if left else ()
    return delivered({record.key: record.with_possible_duplicates(left).note()}, more)


def _intent_of(call: DeliveryCall, record: MessageRecord) -> Mapping[str, Any]:
    """Returns the intent of an earlier call of the same delivery."""
    return record.intent if record.intent.get("delivery_id") == call.delivery.id else {}


def _post(draft: Draft, intent: Mapping[str, Any]) -> Post:
    return Post(
        content=replace(draft.content, fallback_error=str(intent["fallback_error"])),
        marker=Marker(intent["delivery_id"], len(intent["calls"]), draft.subject),
        thread=draft.thread,
        broadcast=draft.broadcast,
        mention=str(intent["mention"]),
    )


async def _allowed_mention(session: ChatSession, mention: str, context: Context) -> str:
    """Returns the mention, or `""` if there was one in the last minute."""
    if not mention:
        return ""
    try:
        await context.take(session.limits.mention)
    except RateLimited:
        return ""
    return mention


def _settled(
    call: DeliveryCall,
    record: MessageRecord,
    match: Match,
    intent: Mapping[str, Any],
    follow_ups: Sequence[FollowUp],
) -> Result:
    """Returns the result for a message that the channel shows. When other calls may have been applied too, their
    messages are deleted later.
    """
    calls = intent["calls"]
    after = record.posted(match.message_id, calls[min(max(match.call, 1), len(calls)) - 1])
    more = [*follow_ups]
    if len(calls) > 1 and match.message_id:
        duplicate = _possible_duplicate(call, match.message_id, intent)
        after = after.with_possible_duplicates([*after.possible_duplicates, duplicate])
        more.append(record.follow_up(FIND_DUPLICATES, DUPLICATE_SEARCH))
    settles = after.settled(match.message_id)
    return delivered({record.key: after.note()}, more, reference=match.message_id, settles=settles)


def _possible_duplicate(call: DeliveryCall, message_id: str, intent: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "delivery_id": intent["delivery_id"],
        "message_id": message_id,
        "thread": intent["thread"],
        "since_ms": call.batch.started_at,
        "at_ms": call.context.now() + round(DUPLICATE_SEARCH.total_seconds() * 1000),
    }


async def _not_posted(
    session: ChatSession, call: DeliveryCall, record: MessageRecord, result: CallResult, intent: Mapping[str, Any]
) -> Result:
    """Returns the result of a call that was not applied or is unclear. `intent` does not include this call."""
    if is_rejected(result, call.delivery):
        if intent["fallback_error"]:
            return rejected(result, {record.key: record.with_intent({}).note()})
        note = record.with_intent({**intent, "fallback_error": result.error}).note()
        return retry(RetryLater(result.error, after=FALLBACK_SECONDS), {record.key: note})
    outcome = await session.failure(result, session.limits.post, call.context)
    if outcome.unclear:
        return retry(outcome)
    return retry(outcome, {record.key: record.with_intent(intent).note()})


async def _search_failure(
    session: ChatSession, call: DeliveryCall, failure: CallResult | None, thread: str
) -> RetryLater | None:
    """Returns the outcome of a failed search that may work later, `None` for one that the service does not allow."""
    if failure is None or failure.status not in LATER:
        return None
    unclear = call.batch.maybe_sent
    outcome = await session.failure(failure, session.search_tokens(thread), call.context)
    return RetryLater(f"look-up: {outcome.reason}", outcome.after, counts=outcome.counts, unclear=unclear)
