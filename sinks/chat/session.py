"""What all calls of one sink share: the service, with rate limits, counted calls and the style of messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from connector.http import RETRY_AFTER_MAX_SECONDS
from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    FollowUp,
    Note,
    Rejected,
    Result,
    RetryLater,
    Superseded,
    Token,
)
from sinks.chat.config import ChatConfig
from sinks.chat.content import Content, Style
from sinks.chat.service import CallResult, ChatService, Post, SearchResult, Status

UNKNOWN_ERROR_ATTEMPTS = 5
"""Attempts with an error that the sink does not know, before the content is considered the cause."""
LEAST_DELAY_SECONDS = 1.0
USUAL_DELAY_SECONDS = 3.0
"""Delay when the service said 429 without saying how long."""
ACCOUNT_DELAY_SECONDS = 600.0
"""Delay when the whole account has sent too much and the service does not say how long."""
PRIVACY_MS = 600_000
"""How long an answer about the channel counts: channels seldom change, and a name must not stay visible for long."""
PRIVACY_RETRY_MS = 60_000
"""How long a missing answer about the channel counts."""


@dataclass(frozen=True, slots=True)
class DeliveryCall:
    """One call of `deliver`, for one delivery."""

    batch: Batch
    context: Context

    @property
    def delivery(self) -> Delivery:
        return self.batch.deliveries[0]

    def note(self, key: str) -> Note | None:
        return self.batch.notes.get(key)


class Session:
    """The open service, with what was learned from its answers."""

    def __init__(self, config: ChatConfig, service: ChatService) -> None:
        self.config = config
        self.limits = service.limits
        self._service = service
        self._privacy = ("initials", 0)  # what `auto` means, and until when that counts (epoch milliseconds)

    async def close(self) -> None:
        """Closes the service."""
        await self._service.close()

    async def style(self, context: Context) -> Style:
        """How messages look now."""
        return Style(await self._resolved_privacy(context), self.config.link_hosts, self.config.templates)

    def content_hash(self, content: Content) -> str:
        """Equal for contents that look the same."""
        return sha256(json.dumps(self._service.render(content), sort_keys=True).encode()).hexdigest()[:16]

    async def post(self, post: Post, context: Context) -> CallResult:
        """Posts once. The caller has taken the tokens."""
        context.count_call("post")
        return await self._service.post(post, context)

    async def edit(self, message_id: str, content: Content, context: Context, fallback_error: str = "") -> CallResult:
        """Replaces a message's content. Raises `RateLimited` without a token."""
        await context.take(*self.limits.edit)
        context.count_call("edit")
        return await self._service.edit(message_id, replace(content, fallback_error=fallback_error), context)

    async def delete(self, message_id: str, context: Context) -> CallResult:
        """Deletes a message. Raises `RateLimited` without a token."""
        await context.take(*self.limits.delete)
        context.count_call("delete")
        return await self._service.delete(message_id, context)

    async def search(self, delivery_id: str, since_ms: int, thread: str, context: Context) -> SearchResult:
        """Finds the messages of a delivery. Raises `RateLimited` without a token."""
        await context.take(*self.search_tokens(thread))
        context.count_call("look-up")
        return await self._service.search(delivery_id, since_ms, thread, context)

    def search_tokens(self, thread: str) -> Sequence[Token]:
        """The tokens for a search in a thread or in the channel."""
        return self.limits.search_thread if thread else self.limits.search

    async def failure(self, result: CallResult, tokens: Sequence[Token], context: Context) -> RetryLater:
        """The outcome of a call that was not applied, or perhaps was. Raises `SinkBroken`."""
        if result.status is Status.BROKEN:
            raise self._service.broken(result)
        if result.status is not Status.THROTTLED:
            return RetryLater(result.error, unclear=result.status is Status.UNCLEAR)
        usual = ACCOUNT_DELAY_SECONDS if result.account_wide else USUAL_DELAY_SECONDS
        seconds = min(max(result.retry_after or usual, LEAST_DELAY_SECONDS), RETRY_AFTER_MAX_SECONDS)
        for token in tokens if result.account_wide else tokens[:1]:
            await context.block(token.bucket, seconds)
        return RetryLater(result.error, seconds, counts=False)

    async def _resolved_privacy(self, context: Context) -> str:
        if self.config.privacy != "auto":
            return self.config.privacy
        privacy, until = self._privacy
        if context.now() < until:
            return privacy
        is_private = await self._service.is_private(context)
        privacy = "full" if is_private else "initials"
        self._privacy = (privacy, context.now() + (PRIVACY_RETRY_MS if is_private is None else PRIVACY_MS))
        return privacy


def is_rejected(result: CallResult, delivery: Delivery) -> bool:
    """Whether the service will never accept this content."""
    is_unknown = result.status is Status.UNKNOWN and delivery.attempt >= UNKNOWN_ERROR_ATTEMPTS
    return result.status is Status.REJECTED or is_unknown


def delivered(
    notes: dict[str, Note | None],
    follow_ups: Sequence[FollowUp] = (),
    *,
    reference: str | None = None,
    settles: Mapping[str, Delivered] | None = None,
) -> Result:
    """The channel shows it."""
    return Result([Delivered(reference or None)], notes, follow_ups, settles or {})


def superseded(
    reason: str,
    notes: dict[str, Note | None] | None = None,
    follow_ups: Sequence[FollowUp] = (),
    *,
    group: str = "",
) -> Result:
    """There is nothing to show, nor for what waits in the group."""
    outcome = Superseded(reason)
    return Result([outcome], notes or {}, follow_ups, {group: outcome} if group else {})


def rejected(result: CallResult, notes: dict[str, Note | None], follow_ups: Sequence[FollowUp] = ()) -> Result:
    """The service will never accept it."""
    return Result([Rejected(result.detail or result.error)], notes, follow_ups)


def retry(outcome: RetryLater, notes: dict[str, Note | None] | None = None) -> Result:
    """A later attempt."""
    return Result([outcome], notes or {})
