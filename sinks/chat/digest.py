"""The call that shows a digest: posts the message, or edits it when its counts have grown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from connector.sink import Note, Rejected, Result, RetryLater
from sinks.chat.config import ChatConfig, quiet_until
from sinks.chat.content import digest_content
from sinks.chat.exactly_once import FALLBACK_SECONDS, Draft, abandon, post, reconcile
from sinks.chat.record import REPEAT_EDIT, REPEAT_PAST_DIGEST, DigestRecord, InterviewRecord
from sinks.chat.service import ABOUT_POSITION, GONE, CallResult, Status
from sinks.chat.session import ChatSession, DeliveryCall, delivered, is_rejected, rejected, retry, superseded
from sinks.chat.updates import REPEAT_DELAY

WINDOW_WITHOUT_EDITS = timedelta(minutes=10)
"""Least delay of a digest in a chat without edits, where each digest is a new message."""
INVITATIONS_WITHOUT_EDITS = timedelta(hours=4)
"""Least delay there of a digest that has only invitations to show, because a working day has many of them."""
_SUBJECT_LENGTH = 200
"""Characters of a position's id in a marker; services limit the size of markers."""


def delay(config: ChatConfig, digest: DigestRecord, now: int) -> timedelta:
    """Returns the delay until a digest that grew at `now` (epoch milliseconds) is shown."""
    window = timedelta(seconds=config.digest_window)
    if not config.edits:
        window = max(window, INVITATIONS_WITHOUT_EDITS if digest.hides_only_invitations else WINDOW_WITHOUT_EDITS)
    until = quiet_until(now, config)
    return window if until is None else max(window, timedelta(milliseconds=until - now))


def waiting_reason(config: ChatConfig, now: int) -> str:
    """Returns what a delivery waits for that is counted in a digest at `now` (epoch milliseconds), without the time,
    which may change.
    """
    return "digest" if quiet_until(now, config) is None else "digest after the quiet hours"


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
    found = await reconcile(session, call, digest, [digest.publication(delay(config, digest, now))])
    if found is not None:
        return found
    if digest.is_behind and quiet_until(now, config) is not None:
        return await _remove_name(session, call, digest)
    if digest.message_id:
        return await _edit(session, call, digest)
    if not digest.is_behind:
        after, follow_ups = abandon(call, digest)
        return superseded("nothing to count", {digest.key: after.note()}, follow_ups)
    content = digest_content(digest, await session.style(call.context))
    shows = {
        "counts": dict(digest.counts),
        "named": [each["id"] for each in digest.named],
        "content_hash": session.content_hash(content),
    }
    draft = Draft(content, shows, {ABOUT_POSITION: position_id[:_SUBJECT_LENGTH]})
    result = await post(session, call, digest, draft)
    if isinstance(result, CallResult):  # only threads are missing; a missing channel is a broken destination
        return retry(RetryLater(result.error))
    return result


async def _remove_name(session: ChatSession, call: DeliveryCall, digest: DigestRecord) -> Result:
    """Waits for the end of the quiet hours; a name that must not be shown any more is removed now."""
    config, now = session.config, call.context.now()
    later = [digest.publication(delay(config, digest, now))]
    if not digest.name_removed:
        return superseded(waiting_reason(config, now), {}, later)
    content = digest_content(digest.as_shown(), await session.style(call.context))
    result = await session.edit(digest.message_id, content, call.context, digest.fallback_error)
    if result.status is not Status.OK:
        return await _not_edited(session, call, digest, result)
    after = replace(digest, content_hash=session.content_hash(content), name_removed=False)
    return superseded(waiting_reason(config, now), {digest.key: after.note()}, later)


async def _edit(session: ChatSession, call: DeliveryCall, digest: DigestRecord) -> Result:
    content = digest_content(digest, await session.style(call.context))
    content_hash = session.content_hash(content)
    repeated = call.batch.maybe_sent
    after = digest.shown(content_hash)
    notes, settles = {digest.key: after.note()}, after.settled(digest.message_id)
    is_repeat = repeated or call.delivery.purpose in {REPEAT_EDIT, REPEAT_PAST_DIGEST}
    if content_hash == digest.content_hash and not is_repeat:
        return delivered(notes, reference=digest.message_id, settles=settles)
    if digest.is_behind and digest.hides_only_invitations and not digest.is_editing:
        digest = replace(digest, is_editing=True)
        await call.context.save_notes({digest.key: digest.note()})
    result = await session.edit(digest.message_id, content, call.context, digest.fallback_error)
    if result.status is Status.OK:
        more = [digest.follow_up(REPEAT_EDIT, REPEAT_DELAY)] if repeated else []
        return delivered(notes, more, reference=digest.message_id, settles=settles)
    return await _not_edited(session, call, digest, result)


async def _not_edited(session: ChatSession, call: DeliveryCall, digest: DigestRecord, result: CallResult) -> Result:
    if result.status is Status.LOCKED and digest.name_removed:
        result = await session.delete(digest.message_id, call.context)
        if result.status not in GONE:
            if is_rejected(result, call.delivery) or result.status is Status.LOCKED:
                return rejected(result, {})
            return retry(await session.failure(result, session.limits.delete, call.context))
        result = replace(result, status=Status.MISSING)
    if result.status in {Status.MISSING, Status.LOCKED}:
        if digest.is_past:
            return superseded("the digest was deleted in the chat", {digest.key: None})
        rest = digest.without_message()
        later = rest.publication(delay(session.config, rest, call.context.now()))
        more = [later] if rest.is_behind else []
        return superseded("the digest was deleted in the chat", {digest.key: rest.note()}, more)
    if is_rejected(result, call.delivery):
        if digest.fallback_error:
            return rejected(result, {digest.key: replace(digest, fallback_error="").note()})
        note = replace(digest, fallback_error=result.error).note()
        return retry(RetryLater(result.error, after=FALLBACK_SECONDS), {digest.key: note})
    failed = await session.failure(result, session.limits.edit, call.context)
    is_applied_perhaps = failed.unclear or call.batch.maybe_sent
    return retry(failed, {} if is_applied_perhaps else {digest.key: replace(digest, is_editing=False).note()})


# --- names


async def edit_past(session: ChatSession, call: DeliveryCall, serial: str) -> Result:
    """Removes from the message of a digest that is over the names that must not be shown any more."""
    note = call.note(past_digest_key(serial))
    if note is None:
        return superseded("no digest to update")
    return await _edit(session, call, DigestRecord.read("", note))


def past_digest_key(serial: str) -> str:
    """Returns the name of the note about a digest that is over."""
    return DigestRecord("", serial=serial, is_past=True).key


async def without_deleted(call: DeliveryCall, interview_id: str, result: Result) -> Result:
    """Returns the result of an event of a deleted interview, with the edits that remove the name from digests."""
    key = InterviewRecord(interview_id).key
    record = InterviewRecord.read(interview_id, result.notes.get(key, call.note(key)))
    if not record.digests:
        return result
    notes: dict[str, Note | None] = {**result.notes, key: replace(record, digests=()).note()}
    follow_ups = [*result.follow_ups]
    for digest in await _naming(call, record, result.notes):
        after = digest.without_name(interview_id)
        notes[after.key] = after.note()
        if after.message_id or after.intent.get("calls"):
            follow_ups.append(after.publication(timedelta(0)))
    return replace(result, notes=notes, follow_ups=follow_ups)


async def _naming(
    call: DeliveryCall, record: InterviewRecord, changed: Mapping[str, Note | None]
) -> Sequence[DigestRecord]:
    """Returns the digests that name the candidate. `changed` are notes that the call has changed."""
    current = {position_id: DigestRecord(position_id).key for position_id, _ in record.digests}
    keys = [*current.values(), *(past_digest_key(serial) for _, serial in record.digests)]
    stored = {**await call.context.get_notes(keys), **call.batch.notes, **changed}
    found = [DigestRecord.read(position_id, stored.get(key)) for position_id, key in current.items()]
    found += [DigestRecord.read(id_, stored.get(past_digest_key(serial))) for id_, serial in record.digests]
    return [digest for digest in found if digest.names(record.id)]


async def erase_from_digests(
    session: ChatSession, call: DeliveryCall, interview_id: str
) -> RetryLater | Rejected | bool:
    """Removes a person from the messages of digests at once. Returns whether a message contained the name, or why it
    could not be removed. The progress is stored after each call.
    """
    key = InterviewRecord(interview_id).key
    digests = await _naming(call, InterviewRecord.read(interview_id, call.note(key)), {})
    for digest in digests:
        if digest.intent.get("calls"):
            return RetryLater("settling", after=FALLBACK_SECONDS, counts=False)
        after = digest.without_name(interview_id)
        content = digest_content(after.as_shown(), await session.style(call.context))
        after = replace(after, name_removed=False, content_hash=session.content_hash(content))
        if digest.message_id:
            failed = await session.erase_content(
                digest.message_id, content, call, digest.fallback_error, what="a digest"
            )
            if failed is not None:
                return failed
        await call.context.save_notes({after.key: after.note()})
    return bool(digests)
