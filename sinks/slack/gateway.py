"""The only module that speaks HTTP and knows the SDK: calls in, `Reply` out, never an exception of theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from connector.http import host_of, is_loopback
from sinks.slack.answers import UNREADABLE, Kind, Reply, read_answer, read_webhook

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
"""Seconds. A session of one's own makes the SDK ignore its `timeout`."""
KEEP_ALIVE = 8.0
"""Seconds an idle connection stays open: one that the other side is about to close costs a false doubt."""

_ALWAYS: Mapping[str, Any] = {"unfurl_links": False, "unfurl_media": False, "link_names": False, "parse": "none"}


class BotGateway:
    """The Web API with a bot token. One session, no retry by the SDK: a hidden second post would double a message."""

    def __init__(self, token: str, channel: str, api_url: str, timeout: aiohttp.ClientTimeout = TIMEOUT) -> None:
        """Must be made inside the loop that calls it; makes no connection."""
        self.channel = channel
        self._session = _session(api_url, timeout)
        self._client = AsyncWebClient(token, base_url=api_url, session=self._session, retry_handlers=[])
        self._client.proxy = None  # the SDK reads HTTPS_PROXY but not NO_PROXY; the session reads both

    async def post(self, message: Mapping[str, Any], thread: str = "", *, broadcast: bool = False) -> Reply:
        """chat.postMessage; a success without `ts` is unclear."""
        place: dict[str, Any] = {"thread_ts": thread, "reply_broadcast": broadcast} if thread else {}
        reply = await self._ask(self._client.chat_postMessage(channel=self.channel, **_ALWAYS, **place, **message))
        if reply.kind is Kind.OK and not isinstance(reply.data.get("ts"), str):
            return Reply(Kind.UNCLEAR, UNREADABLE, reply.data, reply.headers)
        return reply

    async def edit(self, ts: str, message: Mapping[str, Any]) -> Reply:
        """chat.update. Its defaults for `parse` and `link_names` differ from a post's, so both are named; what it is
        not given stays, so a message without blocks takes the old ones away.
        """
        content = {"blocks": [], **{name: value for name, value in message.items() if name != "metadata"}}
        flags: dict[str, Any] = {"link_names": False, "parse": "none"}
        return await self._ask(self._client.chat_update(channel=self.channel, ts=ts, **flags, **content))

    async def delete(self, ts: str) -> Reply:
        """chat.delete."""
        return await self._ask(self._client.chat_delete(channel=self.channel, ts=ts))

    async def history(self, oldest: str, cursor: str = "") -> Reply:
        """One page of conversations.history with metadata, newest first, from `oldest` (a Slack timestamp)."""
        return await self._ask(
            self._client.conversations_history(
                channel=self.channel,
                oldest=oldest,
                inclusive=True,
                limit=200,
                cursor=cursor or None,
                include_all_metadata=True,
            )
        )

    async def replies(self, thread: str, oldest: str, cursor: str = "") -> Reply:
        """One page of conversations.replies with metadata, oldest first."""
        return await self._ask(
            self._client.conversations_replies(
                channel=self.channel,
                ts=thread,
                oldest=oldest,
                inclusive=True,
                limit=200,
                cursor=cursor or None,
                include_all_metadata=True,
            )
        )

    async def whoami(self) -> Reply:
        """auth.test: team, bot, and the granted scopes in the header `x-oauth-scopes`."""
        return await self._ask(self._client.auth_test())

    async def look(self) -> Reply:
        """conversations.info of the channel."""
        return await self._ask(self._client.conversations_info(channel=self.channel))

    async def close(self) -> None:
        await self._session.close()

    async def _ask(self, call: Awaitable[Any]) -> Reply:
        try:
            response = await call
        except SlackApiError as error:
            response = error.response
        except (aiohttp.ClientError, SlackClientError, TimeoutError, OSError, ValueError, AttributeError) as error:
            # AttributeError: the SDK's own, for an answer of text/plain
            return _lost(error)
        return read_answer(_status(response), getattr(response, "data", None), _headers(response))


class WebhookGateway:
    """The simple mode: an incoming webhook, which takes a message and answers `ok`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = _session(url)

    async def post(self, message: Mapping[str, Any], thread: str = "", *, broadcast: bool = False) -> Reply:  # noqa: ARG002 - the protocol's signature
        """One POST; metadata is left out, since nobody could look it up, and so is the thread."""
        body = {**_ALWAYS, **{name: value for name, value in message.items() if name != "metadata"}}
        try:
            async with self._session.post(self._url, json=body) as response:
                return read_webhook(response.status, await response.text(errors="replace"), response.headers)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _lost(error)

    async def close(self) -> None:
        await self._session.close()


class _Redirected(aiohttp.ClientError):
    pass


async def _follow_nothing(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    response = await handler(request)
    if response.status in {301, 302, 303, 307, 308}:
        response.close()
        raise _Redirected
    return response


def _session(url: str, timeout: aiohttp.ClientTimeout = TIMEOUT) -> aiohttp.ClientSession:
    """A proxy named in the environment is used, except for an address on this machine."""
    return aiohttp.ClientSession(
        timeout=timeout,
        connector=aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE),
        trust_env=not is_loopback(host_of(url)),
        middlewares=(_follow_nothing,),
    )


def _lost(error: BaseException) -> Reply:
    """What a missing answer means. Only failures before the request was sent are certain."""
    if isinstance(error, _Redirected):
        return Reply(Kind.BROKEN, "redirect")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError):
        return Reply(Kind.TRANSIENT, "no connection")
    if isinstance(error, TimeoutError):
        return Reply(Kind.UNCLEAR, "timeout")
    if isinstance(error, aiohttp.ClientError | OSError):
        return Reply(Kind.UNCLEAR, "connection lost")
    return Reply(Kind.UNCLEAR, UNREADABLE)


def _status(response: Any) -> int:
    """The SDK hands over its own response or, for a body that is no JSON, that of aiohttp."""
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    return status if isinstance(status, int) else 0


def _headers(response: Any) -> Mapping[str, str]:
    headers = getattr(response, "headers", None)
    return headers if isinstance(headers, Mapping) else {}
