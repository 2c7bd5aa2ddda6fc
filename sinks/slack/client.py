"""The calls to Slack, by slack_sdk: each makes one request and returns a `SlackResult`, whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from connector.http import host_of, is_loopback
from sinks.chat.service import Status
from sinks.slack.answers import UNREADABLE, SlackResult, read_answer, read_webhook

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
"""Seconds; less than the sink's timeout. With a session of our own the SDK ignores its own `timeout`."""
KEEP_ALIVE_SECONDS = 8.0
"""How long an idle connection stays open. A request on a connection that the server is closing has an unclear result.
"""
_LOGGER = logging.getLogger(__name__)
_LOGGER.setLevel(logging.INFO)  # at debug level the SDK logs addresses of webhooks and the content of messages

_ERRORS = (aiohttp.ClientError, SlackClientError, TimeoutError, OSError, ValueError, AttributeError)
"""What the SDK raises for an answer or the lack of one. `AttributeError` is for an answer of type text/plain."""
_ALWAYS: Mapping[str, Any] = {"unfurl_links": False, "unfurl_media": False, "link_names": False, "parse": "none"}


class BotClient:
    """The Web API with a bot token. One session, and no retry by the SDK: it would post a message twice."""

    def __init__(self, token: str, channel: str, api_url: str, timeout: aiohttp.ClientTimeout = TIMEOUT) -> None:
        """Must be made inside the loop that calls it; makes no connection."""
        self.channel = channel
        self._session = _session(api_url, timeout)
        self._client = AsyncWebClient(token, base_url=api_url, session=self._session, logger=_LOGGER, retry_handlers=[])
        self._client.proxy = None  # the SDK reads HTTPS_PROXY but not NO_PROXY; the session reads both

    async def post(self, message: Mapping[str, Any], thread: str = "", *, broadcast: bool = False) -> SlackResult:
        """chat.postMessage; a success without `ts` is unclear."""
        place: dict[str, Any] = {"thread_ts": thread, "reply_broadcast": broadcast} if thread else {}
        result = await self._ask(self._client.chat_postMessage(channel=self.channel, **_ALWAYS, **place, **message))
        if result.status is Status.OK and not result.message_id:
            return SlackResult(Status.UNCLEAR, UNREADABLE, headers=result.headers)
        return result

    async def edit(self, ts: str, message: Mapping[str, Any]) -> SlackResult:
        """chat.update. Its defaults for `parse` and `link_names` differ from a post's, so both are named. What
        is not given stays, so a message without blocks sends an empty list.
        """
        content = {"blocks": [], **{name: value for name, value in message.items() if name != "metadata"}}
        flags: dict[str, Any] = {"link_names": False, "parse": "none"}
        return await self._ask(self._client.chat_update(channel=self.channel, ts=ts, **flags, **content))

    async def delete(self, ts: str) -> SlackResult:
        """chat.delete."""
        return await self._ask(self._client.chat_delete(channel=self.channel, ts=ts))

    async def history(self, oldest: str, cursor: str = "") -> SlackResult:
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

    async def replies(self, thread: str, oldest: str, cursor: str = "") -> SlackResult:
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

    async def whoami(self) -> SlackResult:
        """auth.test: team, bot, and the granted scopes in the header `x-oauth-scopes`."""
        return await self._ask(self._client.auth_test())

    async def channel_info(self) -> SlackResult:
        """conversations.info of the channel."""
        return await self._ask(self._client.conversations_info(channel=self.channel))

    async def close(self) -> None:
        await self._session.close()

    async def _ask(self, call: Awaitable[Any]) -> SlackResult:
        try:
            response = await call
        except SlackApiError as error:
            response = error.response
        except _ERRORS as error:
            return _lost(error)
        return read_answer(_status(response), getattr(response, "data", None), _headers(response))


class WebhookClient:
    """An incoming webhook, which takes a message and answers `ok`."""

    def __init__(self, url: str) -> None:
        """Must be made inside the loop that calls it; makes no connection."""
        self._session = _session(url)
        self._client = AsyncWebhookClient(url, session=self._session, logger=_LOGGER, retry_handlers=[])
        self._client.proxy = None  # as for `BotClient`

    async def post(self, message: Mapping[str, Any]) -> SlackResult:
        """One POST. A webhook takes no metadata."""
        body = {**_ALWAYS, **{name: value for name, value in message.items() if name != "metadata"}}
        try:
            response = await self._client.send_dict(body)
        except _ERRORS as error:
            return _lost(error)
        return read_webhook(response.status_code, response.body, response.headers)

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
    return aiohttp.ClientSession(
        timeout=timeout,
        connector=aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE_SECONDS),
        proxy=_proxy(url),
        middlewares=(_follow_nothing,),
    )


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address. aiohttp's `trust_env` would also read ~/.netrc."""
    host = host_of(url)
    return None if is_loopback(host) or proxy_bypass(host) else getproxies().get(urlsplit(url).scheme)


def _lost(error: BaseException) -> SlackResult:
    """What a missing answer means. Only failures before the request was sent are certain."""
    if isinstance(error, _Redirected):
        return SlackResult(Status.BROKEN, "redirect")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError):
        return SlackResult(Status.TRANSIENT, "no connection")
    if isinstance(error, TimeoutError):
        return SlackResult(Status.UNCLEAR, "timeout")
    if isinstance(error, aiohttp.ClientError | OSError):
        return SlackResult(Status.UNCLEAR, "connection lost")
    return SlackResult(Status.UNCLEAR, UNREADABLE)


def _status(response: Any) -> int:
    """The response is the SDK's own or, for a body that is not JSON, that of aiohttp."""
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    return status if isinstance(status, int) else 0


def _headers(response: Any) -> Mapping[str, str]:
    headers = getattr(response, "headers", None)
    return headers if isinstance(headers, Mapping) else {}
