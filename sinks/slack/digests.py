"""The turn of a digest: posts it, or edits the figures that grew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from connector.sink import Result, RetryLater
from sinks.chat.digest import Digest
from sinks.chat.record import REPEAT_EDIT
from sinks.slack import render
from sinks.slack.answers import Kind, Reply
from sinks.slack.config import SlackConfig
from sinks.slack.desk import Desk, Turn, dead, done, is_refused, needless
from sinks.slack.edits import REPEAT
from sinks.slack.once import Draft, drop, reconcile, send

WEBHOOK_WINDOW = timedelta(minutes=10)
"""How long a digest gathers at least for a webhook, whose messages cannot be edited."""


def due(config: SlackConfig, now: int) -> timedelta:
    """When a digest that grew at `now` (epoch milliseconds) is to be shown."""
    window = timedelta(seconds=config.digest_window)
    window = window if config.webhook_url is None else max(window, WEBHOOK_WINDOW)
    until = None if config.quiet_hours is None else config.quiet_hours.until(now, config.timezone)
    return window if until is None else max(window, timedelta(milliseconds=until - now))


def reason(config: SlackConfig, now: int) -> str:
    """What a delivery waits for that a digest counts at `now` (epoch milliseconds)."""
    is_quiet = config.quiet_hours is not None and config.quiet_hours.until(now, config.timezone) is not None
    at = datetime.fromtimestamp(now / 1000, tz=UTC).astimezone(ZoneInfo(config.timezone)) + due(config, now)
    return f"{'quiet until' if is_quiet else 'digest at'} {at:%H:%M}"


async def current(turn: Turn, digest: Digest) -> Digest:
    """The digest without figures of deliveries that do not wait for it any more: they became dead letters, or the sink
    delivered elsewhere meanwhile. They are counted again when they are delivered again.
    """
    if digest.waits and digest.behind and not await turn.context.waiting(digest.key):
        return digest.forgetting()
    return digest


async def publish(desk: Desk, turn: Turn, position_id: str) -> Result:
    """Shows what the digest stands for now."""
    digest = await current(turn, Digest.read(position_id, turn.note(Digest(position_id).key)))
    found = await reconcile(desk, turn, digest, [digest.publishing(due(desk.config, turn.context.now()))])
    if found is not None:
        return found
    now = turn.context.now()
    hours = desk.config.quiet_hours
    if hours is not None and hours.until(now, desk.config.timezone) is not None and digest.behind:
        return needless(reason(desk.config, now), {}, [digest.publishing(due(desk.config, now))])
    if digest.ts:
        return await _edit(desk, turn, digest)
    if not digest.behind:
        after, looks = drop(turn, digest)
        return needless("nothing to count", {digest.key: after.note()}, looks)
    message = render.digest(digest, await desk.look(turn.context))
    said = {"counts": dict(digest.counts), "hash": render.content_hash(message)}
    result = await send(desk, turn, digest, Draft(message, said, {"p": position_id[:200]}))
    if isinstance(result, Reply):  # only threads go; a channel that is gone is a broken destination
        return Result([RetryLater(result.error)])
    return result


async def _edit(desk: Desk, turn: Turn, digest: Digest) -> Result:
    message = render.digest(digest, await desk.look(turn.context))
    shown = render.content_hash(message)
    repeated = turn.batch.maybe_sent
    after = replace(digest, shown=dict(digest.counts), hash=shown)
    if shown == digest.hash and not repeated and turn.delivery.purpose != REPEAT_EDIT:
        return done({digest.key: after.note()}, reference=digest.ts, settles=after.settled(digest.ts))
    content = render.plainly(message, digest.plain) if digest.plain else message
    reply = await desk.edit(digest.ts, content, turn.context)
    if reply.kind is Kind.OK:
        more = [digest.follow_up(REPEAT_EDIT, REPEAT)] if repeated else []
        return done({digest.key: after.note()}, more, reference=digest.ts, settles=after.settled(digest.ts))
    return await _not_edited(desk, turn, digest, after, reply)


async def _not_edited(desk: Desk, turn: Turn, digest: Digest, after: Digest, reply: Reply) -> Result:
    if reply.kind is Kind.GONE:
        rest = digest.lost()
        more = [rest.publishing(due(desk.config, turn.context.now()))] if rest.behind else []
        return needless("the digest was deleted in Slack", {digest.key: rest.note()}, more)
    if is_refused(reply, turn.delivery.attempt):
        if digest.plain:
            return dead(reply, {digest.key: after.note()})
        note = replace(digest, plain=reply.error).note()
        return Result([RetryLater(reply.error, after=1.0)], {digest.key: note})
    return Result([await desk.not_now(reply, desk.rates.edit, turn.context)])
