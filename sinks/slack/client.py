"""The calls to Slack, by slack_sdk. Each makes one request and returns a `SlackResult`, also after a failure."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.models.views import View
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from connector.http import ResponseClass, classify, host_of, is_loopback
from sinks.chat.service import CallResult, Status


@dataclass(frozen=True, slots=True)
class SlackResult(CallResult):
    """A result with the decoded answer `data` and its `headers`, both empty when there was none. `error` is Slack's
    error string or our own, `http_status` and `reply` are the answer of a call that failed. `is_foreign`: the answer
    has no error string of Slack, so a proxy or another server sent it.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    http_status: int | None = None
    reply: str = ""
    is_foreign: bool = False


def read_answer(status: int, data: object, headers: Mapping[str, str]) -> SlackResult:
    """Returns the meaning of a Web API answer. `data` is the decoded body of any type. A 5xx is always unclear; only an
    object with `ok: true` is a success. Slack refuses payloads with status 200, so any other refusal comes from a
    proxy.
    """
    body = data if isinstance(data, dict) else {}
    error = _label(body.get("error"))
    meaning = classify(status)
    if meaning in _FINAL:
        final = _FINAL[meaning]
        return _result(final, error, body, headers) if error else _foreign(final, status, body, headers)
    if error:
        return _result(STATUSES.get(error, Status.UNKNOWN), error, body, headers)
    if meaning is not ResponseClass.OK:
        return _foreign(Status.BROKEN, status, body, headers)
    if body.get("ok") is True:
        return _result(Status.OK, "", body, headers)
    return _result(Status.UNCLEAR, UNREADABLE, body, headers)


def read_webhook(status: int, text: str, headers: Mapping[str, str]) -> SlackResult:
    """Returns the meaning of an incoming webhook's answer. Only status 200 with the body `ok` is a success."""
    error = _label(text.strip())
    meaning = classify(status)
    if meaning in _FINAL:
        return _foreign(_FINAL[meaning], status, {}, headers)
    if error in STATUSES:
        return _result(STATUSES[error], error, {}, headers)
    if meaning is not ResponseClass.OK:
        denied = meaning is ResponseClass.DENIED
        return _foreign(Status.BROKEN if denied else Status.REJECTED, status, {}, headers)
    return _result(Status.OK, "", {}, headers) if error == "ok" else _result(Status.UNCLEAR, UNREADABLE, {}, headers)


_FINAL = {ResponseClass.THROTTLED: Status.THROTTLED, ResponseClass.UNCLEAR: Status.UNCLEAR}
"""The meaning of a status with any body."""

UNREADABLE = "unreadable answer"
ACCOUNT_LIMIT = "message_limit_exceeded"
"""The error when the whole workspace has posted too much."""
REPLY_CHARACTERS = 8192
"""Characters of a reply that are kept. The connector stores less."""
DETAIL_LENGTH = 120
"""Characters of an explanation, which is stored with the delivery."""


def _result(
    status: Status, error: str = "", data: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> SlackResult:
    """Makes a result. `detail` is Slack's explanation, such as which block is wrong."""
    data = data or {}
    errors = data.get("errors")
    texts = [str(each) for each in errors] if isinstance(errors, list) else []
    return SlackResult(
        status,
        error,
        detail="; ".join([error, *texts])[:DETAIL_LENGTH],
        message_id=data["ts"] if isinstance(data.get("ts"), str) else "",
        account_wide=error == ACCOUNT_LIMIT,
        data=data,
        headers=headers or {},
    )


def _foreign(status: Status, http_status: int, data: Mapping[str, Any], headers: Mapping[str, str]) -> SlackResult:
    return replace(_result(status, f"http {http_status}", data, headers), is_foreign=True)


def _label(text: object) -> str:
    """Returns Slack's error string; `""` for other text, such as a page or a sentence."""
    return text if isinstance(text, str) and re.fullmatch(r"[a-z][a-z0-9_]{1,60}", text) else ""


_WORDS = {
    Status.THROTTLED: "ratelimited rate_limited message_limit_exceeded",
    Status.TRANSIENT: """service_unavailable request_timeout team_added_to_org org_login_required update_failed
        external_channel_migrating streaming_state_conflict""",
    Status.UNCLEAR: "internal_error fatal_error duplicate_message_not_found duplicate_channel_not_found rollup_error",
    Status.BROKEN: """invalid_auth not_authed account_inactive token_revoked token_expired two_factor_setup_required
        not_allowed_token_type missing_scope no_permission access_denied accesslimited app_access_restricted
        ekm_access_denied enterprise_is_restricted team_access_not_granted team_not_found is_bot deprecated_endpoint
        method_deprecated unknown_method channel_not_found not_in_channel is_archived is_inactive messages_tab_disabled
        restricted_action restricted_action_read_only_channel restricted_action_thread_only_channel
        slack_connect_file_link_sharing_blocked
        slack_connect_canvas_sharing_blocked slack_connect_lists_sharing_blocked posting_to_general_channel_denied
        cannot_dm_bot user_not_found action_prohibited invalid_token no_service no_service_id no_team team_disabled
        no_active_hooks channel_is_archived forbidden_team no_such_subteam""",
    Status.MISSING: "message_not_found thread_not_found",
    Status.LOCKED: """cant_update_message cant_delete_message edit_window_closed
        cannot_reply_to_message restricted_action_thread_locked restricted_action_non_threadable_channel""",
    Status.REJECTED: """invalid_blocks_format invalid_blocks msg_blocks_too_long msg_too_long no_text
        too_many_attachments attachment_payload_limit_exceeded invalid_attachments too_many_contact_cards
        markdown_text_conflict invalid_metadata_format invalid_metadata_schema metadata_too_large
        metadata_must_be_sent_from_app missing_file_data invalid_arguments invalid_arg_name invalid_array_arg
        invalid_charset invalid_form_data invalid_post_type missing_post_type invalid_json json_not_object
        invalid_payload as_user_not_supported send_on_behalf_not_allowed draft_already_deleted draft_already_sent
        draft_has_conflict draft_not_found block_mismatch""",
}

STATUSES: Mapping[str, Status] = {word: status for status, words in _WORDS.items() for word in words.split()}
"""Slack's error string -> its meaning."""


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
    """The Web API with a bot token. It has one session, and no retries by the SDK, which could post a message twice."""

    def __init__(self, token: str, channel: str, api_url: str, timeout: aiohttp.ClientTimeout = TIMEOUT) -> None:
        """Must be made inside the loop that calls it; makes no connection."""
        self.channel = channel
        self._session = _session(api_url, timeout)
        self._client = AsyncWebClient(token, base_url=api_url, session=self._session, logger=_LOGGER, retry_handlers=[])
        self._client.proxy = None  # the SDK reads HTTPS_PROXY but not NO_PROXY; the session reads both

    async def post(self, message: Mapping[str, Any], thread: str = "", *, broadcast: bool = False) -> SlackResult:
        """chat.postMessage; a success without `ts` is unclear."""
        place: dict[str, Any] = {"thread_ts": thread, "reply_broadcast": broadcast} if thread else {}
        result = await _result_of(self._client.chat_postMessage(channel=self.channel, **_ALWAYS, **place, **message))
        if result.status is Status.OK and not result.message_id:
            return SlackResult(Status.UNCLEAR, UNREADABLE, headers=result.headers)
        return result

    async def edit(self, ts: str, message: Mapping[str, Any]) -> SlackResult:
        """chat.update. Its defaults for `parse` and `link_names` differ from those of a post, so both are set. Slack
        keeps what is not given, so a message without blocks sends an empty list.
        """
        content = {"blocks": [], **{name: value for name, value in message.items() if name != "metadata"}}
        flags: dict[str, Any] = {"link_names": False, "parse": "none"}
        return await _result_of(self._client.chat_update(channel=self.channel, ts=ts, **flags, **content))

    async def post_ephemeral(self, user: str, text: str) -> SlackResult:
        """chat.postEphemeral; `text` is mrkdwn."""
        return await _result_of(
            self._client.chat_postEphemeral(channel=self.channel, user=user, text=text, link_names=False, parse="none")
        )

    async def open_view(self, trigger: str, view: View) -> SlackResult:
        """views.open, once per trigger and within three seconds after the click."""
        return await _result_of(self._client.views_open(trigger_id=trigger, view=view))

    async def group_members(self, group: str) -> SlackResult:
        """usergroups.users.list: the members' ids in `users`."""
        return await _result_of(self._client.usergroups_users_list(usergroup=group))

    async def delete(self, ts: str) -> SlackResult:
        """chat.delete."""
        return await _result_of(self._client.chat_delete(channel=self.channel, ts=ts))

    async def history(self, oldest: str, cursor: str = "") -> SlackResult:
        """One page of conversations.history with metadata, newest first, from `oldest` (a Slack timestamp)."""
        return await _result_of(
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
        return await _result_of(
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
        return await _result_of(self._client.auth_test())

    async def channel_info(self) -> SlackResult:
        """conversations.info of the channel."""
        return await _result_of(self._client.conversations_info(channel=self.channel))

    async def close(self) -> None:
        await self._session.close()


class AppClient:
    """The Web API with an app-level token, which opens connections of Socket Mode. `client` is the SDK's client."""

    def __init__(self, token: str, api_url: str) -> None:
        """Must be made inside the loop that calls it; makes no connection."""
        self.token = token
        self._session = _session(api_url, TIMEOUT)
        self.client = AsyncWebClient(base_url=api_url, session=self._session, logger=_LOGGER, retry_handlers=[])
        self.client.proxy = None  # as for `BotClient`

    async def open_connection(self) -> SlackResult:
        """apps.connections.open: the address of a new connection in `url`. It opens no connection."""
        return await _result_of(self.client.apps_connections_open(app_token=self.token))

    async def close(self) -> None:
        await self._session.close()


class WebhookClient:
    """An incoming webhook."""

    def __init__(self, url: str) -> None:
        """Must be made inside the loop that calls it; makes no connection."""
        self._session = _session(url)
        self._client = AsyncWebhookClient(url, session=self._session, logger=_LOGGER, retry_handlers=[])
        self._client.proxy = None  # as for `BotClient`

    async def post(self, message: Mapping[str, Any]) -> SlackResult:
        """Makes one POST. A webhook accepts no metadata."""
        body = {**_ALWAYS, **{name: value for name, value in message.items() if name != "metadata"}}
        try:
            response = await self._client.send_dict(body)
        except _ERRORS as error:
            return _without_answer(error)
        result = read_webhook(response.status_code, response.body, response.headers)
        if result.status is Status.OK:
            return result
        return replace(result, http_status=response.status_code, reply=response.body[:REPLY_CHARACTERS])

    async def close(self) -> None:
        await self._session.close()


class _Redirected(aiohttp.ClientError):
    pass


async def _refuse_redirect(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    response = await handler(request)
    if response.status in {301, 302, 303, 307, 308}:
        response.close()
        raise _Redirected
    return response


def _session(url: str, timeout: aiohttp.ClientTimeout = TIMEOUT) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=timeout,
        connector=aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE_SECONDS),
        proxy=proxy_for(url),
        middlewares=(_refuse_redirect,),
    )


async def _result_of(call: Awaitable[Any]) -> SlackResult:
    """Returns the result of a call of the SDK, also after an exception."""
    try:
        response = await call
    except SlackApiError as error:
        response = error.response
    except _ERRORS as error:
        return _without_answer(error)
    status, data = _status(response), getattr(response, "data", None)
    result = read_answer(status, data, _headers(response))
    return result if result.status is Status.OK else replace(result, http_status=status, reply=_explanation_of(data))


def proxy_for(url: str) -> str | None:
    """Returns the proxy of the environment for this address. aiohttp's `trust_env` would also read ~/.netrc."""
    host = host_of(url)
    scheme = urlsplit(url).scheme.replace("ws", "http")
    return None if is_loopback(host) or proxy_bypass(host) else getproxies().get(scheme)


def _without_answer(error: BaseException) -> SlackResult:
    """Returns the meaning of a missing answer. Only failures before the request was sent are certain."""
    if isinstance(error, _Redirected):
        return SlackResult(Status.BROKEN, "redirect")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError):
        return SlackResult(Status.TRANSIENT, "no connection")
    if isinstance(error, TimeoutError):
        return SlackResult(Status.UNCLEAR, "timeout")
    if isinstance(error, aiohttp.ClientError | OSError):
        return SlackResult(Status.UNCLEAR, "connection lost")
    return SlackResult(Status.UNCLEAR, UNREADABLE)


def _explanation_of(data: object) -> str:
    """Returns the error and its explanations from a decoded answer, without content of the request."""
    if not isinstance(data, dict):
        return str(data or "")[:REPLY_CHARACTERS]
    meta = data.get("response_metadata")
    messages = meta.get("messages") if isinstance(meta, dict) else None
    explained = {name: data[name] for name in ("error", "errors", "needed", "provided", "warning") if name in data}
    return json.dumps(explained | ({"messages": messages} if messages else {}))[:REPLY_CHARACTERS]


def _status(response: Any) -> int:
    """Returns the status of a response, which is the SDK's or, for a body that is not JSON, that of aiohttp."""
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    return status if isinstance(status, int) else 0


def _headers(response: Any) -> Mapping[str, str]:
    headers = getattr(response, "headers", None)
    return headers if isinstance(headers, Mapping) else {}
