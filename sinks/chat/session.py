"""The session of one sink: its service, with rate limits, counted calls and the style of messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from math import ceil

from connector.http import RETRY_AFTER_MAX_SECONDS
from connector.languages import Language, language
from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    FollowUp,
    Interview,
    Note,
    Rejected,
    Result,
    RetryLater,
    Subscription,
    Superseded,
    Token,
)
from sinks.chat.changes import POSTING_EVENTS
from sinks.chat.config import ChatConfig, quiet_until
from sinks.chat.content import Content, Style
from sinks.chat.decisions import NO_PANEL, DecisionRecord, Panel, panel
from sinks.chat.service import GONE, CallResult, ChatService, Post, SearchResult, Status

UNKNOWN_ERROR_ATTEMPTS = 5
"""After this number of attempts with an unknown error, the content is considered the cause."""
LEAST_DELAY_SECONDS = 1.0
"""Least delay after a 429, also when the service asks for less."""
USUAL_DELAY_SECONDS = 3.0
"""Delay after a 429 without a delay."""
ACCOUNT_DELAY_SECONDS = 600.0
"""Delay after a 429 without a delay that concerns the whole account."""
PRIVACY_MS = 600_000
"""Validity of the answer whether the channel is private. Channels seldom change, and a name must not stay visible for
long.
"""
PRIVACY_RETRY_MS = 60_000
"""Delay before the service is asked again after a missing answer about the channel."""
INTERVIEWS_PER_READ = 500
"""Interviews that are read from the store at a time."""

BUSY_SECONDS = 600.0
"""A channel is busy when its waiting messages need this time: users then prefer a summary to old messages."""
CALM_SECONDS = 30.0
"""A busy channel is not busy any more when the rest needs less than this time."""
BUSY_CHECK_MS = 1_000
"""How long an answer about the queue is used."""


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

    def panel(self, config: ChatConfig, interview: Interview) -> Panel:
        """The buttons of the interview's message, and who decided."""
        return panel_of(config, interview, self.batch.notes, self.context.now())


def panel_of(config: ChatConfig, interview: Interview, notes: Mapping[str, Note], now_ms: int) -> Panel:
    """The panel of an interview's message, an empty one without decisions."""
    if not config.decides:
        return NO_PANEL
    decided = DecisionRecord.read(interview.id, notes.get(DecisionRecord(interview.id).key))
    return panel(interview, decided, now_ms, language(config.language))


def style_of(config: ChatConfig, privacy: str) -> Style:
    """Returns the style of the messages of a chat. `privacy` is full, initials or none."""
    return Style(privacy, config.link_hosts, config.templates, language(config.language))


class ChatSession:
    """The open service, and the state that its answers change."""

    def __init__(self, config: ChatConfig, service: ChatService) -> None:
        self.config = config
        self.limits = service.limits
        self._service = service
        self._is_busy, self._busy_until_ms = False, 0
        self._privacy = ("initials", 0)  # the style for `auto`, and until when it is valid (epoch milliseconds)

    async def close(self) -> None:
        """Closes the service."""
        await self._service.close()

    async def is_busy(self, context: Context) -> bool:
        """Whether the messages that wait for the channel need `BUSY_SECONDS` or more at its rate. Then digests count
        the events, until the rest needs less than `CALM_SECONDS`.
        """
        if not self.limits.post or context.now() < self._busy_until_ms:
            return self._is_busy
        rate = self.limits.post[0].rate
        seconds = CALM_SECONDS if self._is_busy else BUSY_SECONDS
        queued = await context.queued(POSTING_EVENTS, ceil(rate * seconds) + 1)
        self._is_busy, self._busy_until_ms = queued >= rate * seconds, context.now() + BUSY_CHECK_MS
        return self._is_busy

    @property
    def language(self) -> Language:
        """The language of the messages."""
        return language(self.config.language)

    async def style(self, context: Context) -> Style:
        """Returns the current style of messages."""
        return style_of(self.config, await self._resolved_privacy(context))

    async def interview_style(self, call: DeliveryCall, interview: Interview) -> Style:
        """How the interview's message looks now."""
        return replace(await self.style(call.context), panel=call.panel(self.config, interview))

    def content_hash(self, content: Content) -> str:
        """Returns a hash that is equal for contents that look the same."""
        return sha256(json.dumps(self._service.render(content), sort_keys=True).encode()).hexdigest()[:16]

    async def post(self, post: Post, context: Context) -> CallResult:
        """Makes one post. The caller takes the tokens first."""
        context.count_call("post")
        return await self._service.post(post, context)

    async def edit(self, message_id: str, content: Content, context: Context, fallback_error: str = "") -> CallResult:
        """Replaces a message's content. Raises `RateLimited` without a token."""
        await context.take(*self.limits.edit)
        context.count_call("edit")
        return await self._service.edit(message_id, replace(content, fallback_error=fallback_error), context)

    async def post_ephemeral(self, user: str, text: str, context: Context) -> CallResult:
        """Posts a text that only one user sees."""
        context.count_call("post")
        return await self._service.post_ephemeral(user, text, context)

    async def delete(self, message_id: str, context: Context) -> CallResult:
        """Deletes a message. Raises `RateLimited` without a token."""
        await context.take(*self.limits.delete)
        context.count_call("delete")
        return await self._service.delete(message_id, context)

    async def erase_content(
        self, message_id: str, content: Content, call: DeliveryCall, fallback_error: str = "", *, what: str
    ) -> RetryLater | Rejected | None:
        """Replaces a message by content without personal data. Deletes it when the service does not allow edits of it
        any more. Returns why the message still has its content, with `what` as its name, else `None`.
        """
        result = await self.edit(message_id, content, call.context, fallback_error)
        if result.status is Status.LOCKED:
            result = await self.delete(message_id, call.context)
        if result.status in GONE:
            return None
        if result.status is Status.LOCKED or is_rejected(result, call.delivery):
            return Rejected(f"{what} can neither be changed nor deleted: {result.error}")
        return await self.failure(result, self.limits.edit, call.context)

    async def search(self, delivery_id: str, since_ms: int, thread: str, context: Context) -> SearchResult:
        """Finds the messages of a delivery. Raises `RateLimited` without a token."""
        await context.take(*self.search_tokens(thread))
        context.count_call("look-up")
        return await self._service.search(delivery_id, since_ms, thread, context)

    def search_tokens(self, thread: str) -> Sequence[Token]:
        """Returns the tokens for a search in a thread or in the channel."""
        return self.limits.search_thread if thread else self.limits.search

    async def failure(self, result: CallResult, tokens: Sequence[Token], context: Context) -> RetryLater:
        """Returns the outcome of a call that failed or is unclear. Raises `SinkBroken`."""
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


async def subscriptions_of(context: Context) -> AsyncIterator[Subscription]:
    """Yields the interviews that the chat shows."""
    after = ""
    while True:
        page = await context.interviews(after, INTERVIEWS_PER_READ)
        for each in page:
            yield each
        if len(page) < INTERVIEWS_PER_READ:
            return
        after = page[-1].interview.id


def wait_for_quiet_hours(config: ChatConfig, context: Context, purpose: str) -> Result | None:
    """Returns the result of a call that must not post during quiet hours: it is made again at their end. Returns `None`
    outside of quiet hours.
    """
    until = quiet_until(context.now(), config)
    if until is None:
        return None
    return superseded("the hours are quiet", {}, [FollowUp(purpose, timedelta(milliseconds=until - context.now()))])


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
    """Returns the result of a delivery that the channel shows."""
    return Result([Delivered(reference or None)], notes, follow_ups, settles or {})


def superseded(
    reason: str,
    notes: dict[str, Note | None] | None = None,
    follow_ups: Sequence[FollowUp] = (),
    *,
    group: str = "",
) -> Result:
    """Returns the result when there is nothing to show, also for the deliveries in its group."""
    outcome = Superseded(reason)
    return Result([outcome], notes or {}, follow_ups, {group: outcome} if group else {})


def rejected(result: CallResult, notes: dict[str, Note | None], follow_ups: Sequence[FollowUp] = ()) -> Result:
    """Returns the result of a delivery that the service will never accept."""
    return Result([Rejected(result.detail or result.error)], notes, follow_ups)


def retry(outcome: RetryLater, notes: dict[str, Note | None] | None = None) -> Result:
    """Returns the result of a delivery that is tried again."""
    return Result([outcome], notes or {})
