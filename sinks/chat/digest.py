"""The call that shows a digest: posts the message, or edits it when its counts have grown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from connector.sink import Result, RetryLater
from sinks.chat.config import ChatConfig
from sinks.chat.content import digest_content
from sinks.chat.exactly_once import FALLBACK_SECONDS, Draft, abandon, post, reconcile
from sinks.chat.record import REPEAT_EDIT, DigestRecord
from sinks.chat.service import CallResult, Status
from sinks.chat.session import ChatSession, DeliveryCall, delivered, is_rejected, rejected, retry, superseded
from sinks.chat.updates import REPEAT_DELAY

WINDOW_WITHOUT_EDITS = timedelta(minutes=10)
"""Least delay of a digest in a chat without edits, where each digest is a new message."""
_SUBJECT_LENGTH = 200
"""Characters of a position's id in a marker; services limit the size of markers."""


def delay(config: ChatConfig, now: int) -> timedelta:
    """Returns the delay until a digest that grew at `now` (epoch milliseconds) is shown."""
    window = timedelta(seconds=config.digest_window)
    window = window if config.edits else max(window, WINDOW_WITHOUT_EDITS)
    until = None if config.quiet_hours is None else config.quiet_hours.until(now, config.timezone)
    return window if until is None else max(window, timedelta(milliseconds=until - now))


def waiting_reason(config: ChatConfig, now: int) -> str:
    """Returns what a delivery waits for that a digest counts at `now` (epoch milliseconds)."""
    is_quiet = config.quiet_hours is not None and config.quiet_hours.until(now, config.timezone) is not None
    at = datetime.fromtimestamp(now / 1000, tz=UTC).astimezone(ZoneInfo(config.timezone)) + delay(config, now)
    return f"{'quiet until' if is_quiet else 'digest at'} {at:%H:%M}"


async def without_settled(call: DeliveryCall, digest: DigestRecord) -> DigestRecord:
    """Returns the digest without the counts of deliveries that no longer wait for it, because they became dead letters
    or the destination changed. They are counted again when they are delivered again.
    """
    if digest.waits and digest.is_behind and not await call.context.waiting(digest.key):
        return digest.without_hidden_counts()
    return digest


async def publish(session: ChatSession, call: DeliveryCall, position_id: str) -> Result:
    """Shows the current counts of the digest."""
    read = DigestRecord.read(position_id, call.note(DigestRecord(position_id).key))
    digest = await without_settled(call, read)
    config, now = session.config, call.context.now()
    found = await reconcile(session, call, digest, [digest.publication(delay(config, now))])
    if found is not None:
        return found
    is_quiet = config.quiet_hours is not None and config.quiet_hours.until(now, config.timezone) is not None
    if is_quiet and digest.is_behind:
        return superseded(waiting_reason(config, now), {}, [digest.publication(delay(config, now))])
    if digest.message_id:
        return await _edit(session, call, digest)
    if not digest.is_behind:
        after, follow_ups = abandon(call, digest)
        return superseded("nothing to count", {digest.key: after.note()}, follow_ups)
    content = digest_content(digest, await session.style(call.context))
    shows = {"counts": dict(digest.counts), "content_hash": session.content_hash(content)}
    draft = Draft(content, shows, {"p": position_id[:_SUBJECT_LENGTH]})
    result = await post(session, call, digest, draft)
    if isinstance(result, CallResult):  # only threads are missing; a missing channel is a broken destination
        return retry(RetryLater(result.error))
    return result


async def _edit(session: ChatSession, call: DeliveryCall, digest: DigestRecord) -> Result:
    content = digest_content(digest, await session.style(call.context))
    content_hash = session.content_hash(content)
    repeated = call.batch.maybe_sent
    after = replace(digest, shown_counts=dict(digest.counts), content_hash=content_hash)
    notes, settles = {digest.key: after.note()}, after.settled(digest.message_id)
    if content_hash == digest.content_hash and not repeated and call.delivery.purpose != REPEAT_EDIT:
        return delivered(notes, reference=digest.message_id, settles=settles)
    result = await session.edit(digest.message_id, content, call.context, digest.fallback_error)
    if result.status is Status.OK:
        more = [digest.follow_up(REPEAT_EDIT, REPEAT_DELAY)] if repeated else []
        return delivered(notes, more, reference=digest.message_id, settles=settles)
    return await _not_edited(session, call, digest, result)


async def _not_edited(session: ChatSession, call: DeliveryCall, digest: DigestRecord, result: CallResult) -> Result:
    if result.status in {Status.MISSING, Status.LOCKED}:
        rest = digest.without_message()
        later = rest.publication(delay(session.config, call.context.now()))
        more = [later] if rest.is_behind else []
        return superseded("the digest was deleted in the chat", {digest.key: rest.note()}, more)
    if is_rejected(result, call.delivery):
        if digest.fallback_error:
            return rejected(result, {digest.key: replace(digest, fallback_error="").note()})
        note = replace(digest, fallback_error=result.error).note()
        return retry(RetryLater(result.error, after=FALLBACK_SECONDS), {digest.key: note})
    return retry(await session.failure(result, session.limits.edit, call.context))
