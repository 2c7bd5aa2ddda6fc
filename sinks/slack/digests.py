"""The turn of a digest: posts it, or edits the figures that grew."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from connector.sink import Result, RetryLater
from sinks.slack import render
from sinks.slack.answers import Kind, Reply
from sinks.slack.config import SlackConfig
from sinks.slack.desk import Desk, Turn, dead, done, is_refused
from sinks.slack.digest import Digest
from sinks.slack.edits import EDIT, LATE, REPEAT
from sinks.slack.once import Draft, drop, reconcile, send

WEBHOOK_WINDOW = timedelta(minutes=10)
"""How long a digest gathers at least for a webhook, whose messages cannot be edited."""


def key_of(digest: Digest) -> str:
    """The key under which the posting or editing of a digest is asked for."""
    return f"{EDIT}{digest.key}"


def due(config: SlackConfig, now: int) -> timedelta:
    """When a digest that grew at `now` (epoch milliseconds) is to be shown."""
    window = timedelta(seconds=config.digest_window)
    window = window if config.webhook_url is None else max(window, WEBHOOK_WINDOW)
    until = None if config.quiet_hours is None else config.quiet_hours.until(now, config.timezone)
    return window if until is None else max(window, timedelta(milliseconds=until - now))


async def publish(desk: Desk, turn: Turn, position_id: str) -> Result:
    """Shows what the digest stands for now."""
    digest = Digest.read(position_id, turn.note(Digest(position_id).key))
    found = await reconcile(desk, turn, digest, {key_of(digest): due(desk.config, turn.context.now())})
    if found is not None:
        return found
    now = turn.context.now()
    hours = desk.config.quiet_hours
    if hours is not None and hours.until(now, desk.config.timezone) is not None and digest.behind:
        return done({}, {turn.delivery.key: due(desk.config, now)})
    if digest.ts:
        return await _edit(desk, turn, digest)
    if not digest.behind:
        after, again = drop(turn, digest)
        return done({digest.key: after.note()} if after != digest else {}, dict(again))
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
    if shown == digest.hash and not repeated and not turn.delivery.key.startswith(LATE):
        return done({digest.key: replace(digest, shown=digest.counts).note()} if digest.behind else {})
    content = render.plainly(message, digest.plain) if digest.plain else message
    reply = await desk.edit(digest.ts, content, turn.context)
    after = replace(digest, shown=dict(digest.counts), hash=shown)
    if reply.kind is Kind.OK:
        return done({digest.key: after.note()}, {f"{LATE}{digest.key}": REPEAT} if repeated else {})
    return await _not_edited(desk, turn, digest, after, reply)


async def _not_edited(desk: Desk, turn: Turn, digest: Digest, after: Digest, reply: Reply) -> Result:
    if reply.kind is Kind.GONE:
        rest = digest.lost()
        return done(
            {digest.key: rest.note()}, {key_of(digest): due(desk.config, turn.context.now())} if rest.behind else {}
        )
    if is_refused(reply, turn.delivery.attempt):
        if digest.plain:
            return dead(reply, {digest.key: after.note()})
        note = replace(digest, plain=reply.error).note()
        return Result([RetryLater(reply.error, after=1.0)], {digest.key: note})
    return Result([await desk.not_now(reply, desk.rates.edit, turn.context)])
