"""What all turns of one sink share: the calls, counted and with their clock learned, and how messages look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    FollowUp,
    Note,
    Outcome,
    Rejected,
    Result,
    RetryLater,
    Superseded,
    Token,
)
from sinks.slack import lookup, rates
from sinks.slack.answers import Kind, Reply
from sinks.slack.calls import Gateway, WebApi
from sinks.slack.config import SlackConfig
from sinks.slack.fixes import broken
from sinks.slack.render import Look, Message

STRANGE_TRIES = 5
"""Attempts with an error string that nobody documented, before the payload is taken for the cause."""
PRIVACY_LASTS = 600_000
"""Milliseconds that Slack's word about the channel counts."""
PRIVACY_RETRY = 60_000


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of `deliver`."""

    batch: Batch
    context: Context

    @property
    def delivery(self) -> Delivery:
        return self.batch.deliveries[0]

    def note(self, key: str) -> Note | None:
        return self.batch.notes.get(key)


class Desk:
    """The open connection with what was learned over it. `web` is `None` for an incoming webhook."""

    def __init__(self, config: SlackConfig, place: str, gateway: Gateway, web: WebApi | None) -> None:
        self.config = config
        self.rates = rates.Rates(config)
        self.web = web
        self._place = place
        self._gateway = gateway
        self._offset: int | None = None  # Slack's clock minus ours, ms, as last seen
        self._privacy = ("initials", 0)  # what `auto` means, and until when that counts

    async def close(self) -> None:
        await self._gateway.close()

    async def look(self, context: Context) -> Look:
        """How messages look now."""
        return Look(await self._settled_privacy(context), self.config.link_hosts, self.config.templates)

    async def post(self, message: Message, context: Context, thread: str = "", *, broadcast: bool = False) -> Reply:
        """Posts once."""
        context.count_call("post")
        return self._learn(await self._gateway.post(message, thread, broadcast=broadcast), context)

    async def edit(self, ts: str, message: Message, context: Context) -> Reply:
        """Replaces a message's content, once its token is there."""
        assert self.web is not None
        await context.take(*self.rates.edit)
        context.count_call("edit")
        return self._learn(await self.web.edit(ts, message), context)

    async def delete(self, ts: str, context: Context) -> Reply:
        """Removes a message, once its token is there."""
        assert self.web is not None
        await context.take(*self.rates.delete)
        context.count_call("delete")
        return self._learn(await self.web.delete(ts), context)

    async def find(self, key: str, since: int, thread: str, context: Context) -> lookup.Found:
        """Searches from `since` (epoch milliseconds of our clock) on, by Slack's clock; asks for that when no answer
        has told it yet.
        """
        assert self.web is not None
        await context.take(*self.rates.look(thread))
        if self._offset is None:
            context.count_call("auth")
            reply = self._learn(await self.web.whoami(), context)
            if reply.kind is not Kind.OK:
                return lookup.Found(trouble=reply)
        context.count_call("look-up")
        return await lookup.find(self.web, key, since + (self._offset or 0), thread)

    async def not_now(
        self, reply: Reply, tokens: Sequence[Token], context: Context, *, unclear: bool = False
    ) -> Outcome:
        """The outcome of a call that Slack did not carry out, or perhaps did. Raises `SinkBroken`."""
        if reply.kind is Kind.BROKEN:
            raise broken(reply, self._place)
        after = await rates.rest(reply, tokens, context)
        return RetryLater(reply.error, after, counts=after is None, unclear=unclear or reply.kind is Kind.UNCLEAR)

    def _learn(self, reply: Reply, context: Context) -> Reply:
        seen = lookup.offset(reply.headers, context.now())
        if seen is not None and reply.kind is Kind.OK:  # anything else may come from a proxy with a clock of its own
            self._offset = seen
        return reply

    async def _settled_privacy(self, context: Context) -> str:
        privacy = self.config.privacy
        if privacy != "auto":
            return privacy
        if self.web is None:
            return "initials"
        settled, until = self._privacy
        if context.now() < until:
            return settled
        context.count_call("look-up")
        reply = self._learn(await self.web.look(), context)
        settled = privacy_of(reply)
        lasts = PRIVACY_LASTS if reply.kind is Kind.OK else PRIVACY_RETRY
        self._privacy = (settled, context.now() + lasts)
        return settled


def privacy_of(reply: Reply) -> str:
    """What `privacy = "auto"` means in a channel that Slack describes so: only a private one shows names."""
    channel = reply.data.get("channel") if reply.kind is Kind.OK else None
    return "full" if isinstance(channel, dict) and channel.get("is_private") is True else "initials"


def is_refused(reply: Reply, attempt: int) -> bool:
    """Whether Slack will never take this payload."""
    return reply.kind is Kind.BAD or (reply.kind is Kind.STRANGE and attempt >= STRANGE_TRIES)


def done(
    notes: dict[str, Note | None],
    follow_ups: Sequence[FollowUp] = (),
    *,
    reference: str | None = None,
    settles: Mapping[str, Delivered] | None = None,
) -> Result:
    """The channel shows it."""
    return Result([Delivered(reference or None)], notes, follow_ups, settles or {})


def needless(
    reason: str,
    notes: dict[str, Note | None] | None = None,
    follow_ups: Sequence[FollowUp] = (),
    *,
    group: str = "",
) -> Result:
    """There is nothing to show, nor for what waits in the group."""
    outcome = Superseded(reason)
    return Result([outcome], notes or {}, follow_ups, {group: outcome} if group else {})


def dead(reply: Reply, notes: dict[str, Note | None]) -> Result:
    """A delivery that Slack will never take."""
    return Result([Rejected(reply.detail)], notes)
