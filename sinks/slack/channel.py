"""The chat service for one Slack channel, with a bot token or by an incoming webhook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from slack_sdk.errors import SlackObjectFormationError

from connector.http import epoch_ms, retry_after
from connector.sink import Context, SinkBroken, Token
from sinks.chat.content import Content
from sinks.chat.service import CallResult, ChatLimits, ChatService, Match, Post, SearchResult, Status
from sinks.slack import messages
from sinks.slack.client import BotClient, SlackResult, WebhookClient
from sinks.slack.config import SlackConfig
from sinks.slack.diagnostics import broken, privacy_of
from sinks.slack.messages import Message

POST_BURST = 3
"""Slack allows about one message per second and channel, with short bursts (Slack, Rate limits)."""
WORKSPACE_RATE = 3.0
"""Messages per second in the whole workspace; Slack documents only a limit of several hundred a minute."""
WORKSPACE_BURST = 9
"""Messages in the whole workspace at once."""
EDIT_RATE = 0.8
"""Per second; Slack allows 50 edits a minute in a workspace, and as many deletions."""
EDIT_BURST = 3
"""Edits at once."""
SEARCH_RATE = 0.75
"""Per second; Slack allows 50 reads of a channel a minute in a workspace, and as many of threads."""
SEARCH_BURST = 5
"""Reads at once: the most pages of one search."""
MENTION_RATE = 1 / 60
"""Per second: one a minute."""
SEARCH_MARGIN_MS = 60_000
"""A search starts this long before the first attempt, because `Date` headers and timestamps may differ by seconds."""
SEARCH_PAGES = 5
"""Most pages of 200 messages in one search. Older messages are not searched."""


def limits_of(config: SlackConfig) -> ChatLimits:
    """Returns the rate limits of a sink, which it shares with every sink of the same channel, token or webhook."""
    secret = config.webhook_url or config.token
    assert secret is not None
    account = sha256(secret.get_secret_value().encode()).hexdigest()[:12]
    place = config.channel or account
    workspace_rate = max(WORKSPACE_RATE, config.rate_per_second)
    return ChatLimits(
        post=(
            Token(f"slack:{place}", config.rate_per_second, POST_BURST),
            Token(f"slack-workspace:{account}", workspace_rate, WORKSPACE_BURST),
        ),
        edit=(Token(f"slack-edit:{account}", EDIT_RATE, EDIT_BURST),),
        delete=(Token(f"slack-delete:{account}", EDIT_RATE, EDIT_BURST),),
        search=(Token(f"slack-history:{account}", SEARCH_RATE, SEARCH_BURST),),
        search_thread=(Token(f"slack-replies:{account}", SEARCH_RATE, SEARCH_BURST),),
        mention=Token(f"slack-mention:{place}", MENTION_RATE),
    )


_MAY_NOT_READ = frozenset({"missing_scope", "not_in_channel", "channel_not_found"})
"""Errors of a search that mean that the app may not read the channel."""


class _Channel(ChatService):
    """Base class of both kinds of channels. `place` is the channel in errors."""

    def __init__(self, config: SlackConfig, place: str) -> None:
        self.limits = limits_of(config)
        self._place = place

    def render(self, content: Content) -> Mapping[str, Any]:
        try:
            return messages.render(content)
        except SlackObjectFormationError:
            return messages.as_sentence(content)

    def broken(self, result: CallResult) -> SinkBroken:
        return broken(result, self._place)


class BotChannel(_Channel):
    """A channel with a bot token."""

    def __init__(self, config: SlackConfig, place: str) -> None:
        """Must be created in the event loop that uses it. Opens no connection."""
        super().__init__(config, place)
        assert config.token is not None
        assert config.channel is not None
        self.client = BotClient(config.token.get_secret_value(), config.channel, config.api_url)
        self._clock_offset_ms: int | None = None  # Slack's clock minus ours, as last seen

    async def post(self, post: Post, context: Context) -> CallResult:
        message = _message(post.content, messages.metadata(post.marker))
        if isinstance(message, CallResult):
            return message
        message = messages.with_mention(message, post.mention)
        return self._read(await self.client.post(message, post.thread, broadcast=post.broadcast), context)

    async def edit(self, message_id: str, content: Content, context: Context) -> CallResult:
        message = _message(content)
        if isinstance(message, CallResult):
            return message
        return self._read(await self.client.edit(message_id, message), context)

    async def post_ephemeral(self, user: str, text: str, context: Context) -> CallResult:
        return self._read(await self.client.post_ephemeral(user, messages.literal(messages.escape(text))), context)

    async def delete(self, message_id: str, context: Context) -> CallResult:
        return self._read(await self.client.delete(message_id), context)

    async def search(self, delivery_id: str, since_ms: int, thread: str, context: Context) -> SearchResult:
        """Searches by Slack's clock, which it requests when no answer has shown it yet. A deleted thread has no
        message.
        """
        if self._clock_offset_ms is None:
            context.count_call("auth")
            result = self._read(await self.client.whoami(), context)
            if result.status is not Status.OK:
                return SearchResult(failure=result)
        oldest = timestamp(since_ms + (self._clock_offset_ms or 0) - SEARCH_MARGIN_MS)
        cursor, found = "", set[Match]()
        for _ in range(SEARCH_PAGES):
            answer = (
                await self.client.replies(thread, oldest, cursor)
                if thread
                else await self.client.history(oldest, cursor)
            )
            page = self._read(answer, context)
            if page.status in {Status.MISSING, Status.LOCKED}:
                return SearchResult()
            if page.error in _MAY_NOT_READ:
                return SearchResult(failure=replace(page, status=Status.REJECTED))
            if page.status is not Status.OK:
                return SearchResult(failure=page)
            found |= matches(page.data.get("messages"), delivery_id)
            cursor = _next_cursor(page.data)
            if not cursor:
                break
        return SearchResult(tuple(sorted(found, key=lambda match: (-match.call, match.message_id))))

    async def is_private(self, context: Context) -> bool | None:
        result = self._read(await self.client.channel_info(), context)
        if result.status is Status.OK:  # a failed look-up does not prove that the channel can be reached
            context.count_call("look-up")
        return None if result.status is not Status.OK else privacy_of(result) == "full"

    async def close(self) -> None:
        await self.client.close()

    def _read(self, result: SlackResult, context: Context) -> SlackResult:
        """Reads Slack's clock from an answer, and the delay that it asks for."""
        now = context.now()
        _record(result, context)
        date = epoch_ms(result.headers.get("Date", ""))
        if date is not None and result.status is Status.OK:  # other answers may come from a proxy with its own clock
            self._clock_offset_ms = date - now
        return replace(result, retry_after=retry_after(result.headers, now))


class WebhookChannel(_Channel):
    """A channel with an incoming webhook, which can only post."""

    def __init__(self, config: SlackConfig, place: str) -> None:
        """Must be created in the event loop that uses it. Opens no connection."""
        super().__init__(config, place)
        assert config.webhook_url is not None
        self._client = WebhookClient(config.webhook_url.get_secret_value())

    async def post(self, post: Post, context: Context) -> CallResult:
        message = _message(post.content)
        if isinstance(message, CallResult):
            return message
        result = await self._client.post(messages.with_mention(message, post.mention))
        _record(result, context)
        return replace(result, retry_after=retry_after(result.headers, context.now()))

    async def close(self) -> None:
        await self._client.close()


def _record(result: SlackResult, context: Context) -> None:
    """Records the reply of Slack to a failed call."""
    if result.status is not Status.OK and (result.http_status or result.reply):
        context.record_reply(result.http_status or None, result.reply)


def matches(found: object, delivery_id: str) -> set[Match]:
    """Returns the messages of a decoded answer that a delivery posted."""
    result = set()
    for message in found if isinstance(found, list) else ():
        if isinstance(message, dict):
            marked, call = messages.marker_of(message)
            if marked == delivery_id:
                result.add(Match(str(message.get("ts")), call))
    return result


def timestamp(at_ms: int) -> str:
    """Returns epoch milliseconds as a Slack timestamp."""
    seconds, rest = divmod(max(at_ms, 0), 1000)
    return f"{seconds}.{rest * 1000:06d}"


def _message(content: Content, metadata: Message | None = None) -> Message | CallResult:
    """Returns the message for Slack, or the rejection of blocks that Slack would not accept."""
    extra = metadata or {}
    if content.fallback_error:
        return messages.without_cause({**messages.as_sentence(content), **extra}, content.fallback_error)
    try:
        return {**messages.render(content), **extra}
    except SlackObjectFormationError as error:
        return CallResult(Status.REJECTED, "invalid_blocks", detail=f"invalid_blocks; {error}"[:120])


def _next_cursor(data: Mapping[str, Any]) -> str:
    meta = data.get("response_metadata")
    cursor = meta.get("next_cursor") if isinstance(meta, dict) else None
    return cursor if isinstance(cursor, str) else ""
