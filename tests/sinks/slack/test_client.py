"""Failures of the SDK and of HTTP, as the client reports them: one request each, with its meaning."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from sinks.chat.service import Status
from sinks.slack import client
from sinks.slack.client import BotClient, WebhookClient

MESSAGE = {"text": "hello"}


def answering(status: int, body: str | bytes, content_type: str = "application/json", **headers: str) -> Fault:
    return Fault(faults.FaultKind.STATUS, status=status, body=body, content_type=content_type, headers=headers)


@pytest.fixture
async def bot(slack: SlackEmulator, channel: str) -> AsyncIterator[BotClient]:
    one = BotClient(slack.token, channel, slack.api_url)
    yield one
    await one.close()


@pytest.fixture
async def hook(slack: SlackEmulator, channel: str) -> AsyncIterator[WebhookClient]:
    one = WebhookClient(slack.add_webhook(channel))
    yield one
    await one.close()


LOOP = {"Location": "/api/chat.postMessage"}
WRONG = [
    (faults.REFUSE, (Status.UNCLEAR, "connection lost"), 0),
    (faults.DROP, (Status.UNCLEAR, "connection lost"), 1),
    (faults.TRUNCATE, (Status.UNCLEAR, "connection lost"), 1),
    (faults.BROKEN_JSON, (Status.UNCLEAR, "unreadable answer"), 1),
    (faults.HTML_503, (Status.UNCLEAR, "http 503"), 0),
    (faults.APPLY_503, (Status.UNCLEAR, "http 503"), 1),
    (answering(503, '{"ok":false,"error":"service_unavailable"}'), (Status.UNCLEAR, "service_unavailable"), 0),
    (answering(200, "fine", "text/plain"), (Status.UNCLEAR, "unreadable answer"), 0),
    (answering(200, "<html>", "text/html"), (Status.UNCLEAR, "unreadable answer"), 0),
    (answering(200, "[]"), (Status.UNCLEAR, "unreadable answer"), 0),
    (answering(200, ""), (Status.UNCLEAR, "unreadable answer"), 0),
    (answering(200, b"\xff\xfe{}"), (Status.UNCLEAR, "unreadable answer"), 0),
    (answering(200, '{"ok":true}'), (Status.UNCLEAR, "unreadable answer"), 0),
    (answering(200, '{"ok":false,"error":"ratelimited"}'), (Status.THROTTLED, "ratelimited"), 0),
    (answering(429, ""), (Status.THROTTLED, "http 429"), 0),
    (answering(429, "slow down", "text/plain"), (Status.THROTTLED, "http 429"), 0),
    (answering(404, "<html>", "text/html"), (Status.BROKEN, "http 404"), 0),
    (answering(302, "", **LOOP), (Status.BROKEN, "redirect"), 0),
    (answering(308, "", **LOOP), (Status.BROKEN, "redirect"), 0),
]


@pytest.mark.parametrize(("fault", "expected", "stored"), WRONG)
async def test_a_bad_answer_has_a_class_and_no_second_request(
    slack: SlackEmulator, bot: BotClient, fault: Fault, expected: tuple[Status, str], stored: int
) -> None:
    slack.faults.add(fault)
    result = await bot.post(MESSAGE)
    assert (result.status, result.error) == expected
    assert slack.requests == ["chat.postMessage"]
    assert len(slack.messages(bot.channel)) == stored


@pytest.mark.parametrize(("seconds", "header"), [("1.5", "Retry-After"), ("30", "retry-after")])
async def test_the_wish_of_a_429_is_kept(slack: SlackEmulator, bot: BotClient, seconds: str, header: str) -> None:
    slack.faults.add(answering(429, '{"ok":false,"error":"ratelimited"}', **{header: seconds}))
    result = await bot.post(MESSAGE)
    assert result.headers["Retry-After"] == seconds


async def test_a_hang_is_a_timeout_of_unclear_effect(slack: SlackEmulator, channel: str) -> None:
    slack.faults.add(faults.APPLY_HANG)
    one = BotClient(slack.token, channel, slack.api_url, timeout=aiohttp.ClientTimeout(total=0.2))
    result = await one.post(MESSAGE)
    await one.close()
    assert (result.status, result.error) == (Status.UNCLEAR, "timeout")


async def test_a_refused_connection_means_not_applied() -> None:
    one = BotClient("xoxb-x", "C0123456789", "http://127.0.0.1:9/api/")
    result = await one.post(MESSAGE)
    await one.close()
    assert (result.status, result.error) == (Status.TRANSIENT, "no connection")


async def test_posts_share_one_connection(slack: SlackEmulator, bot: BotClient) -> None:
    statuses = [(await bot.post(MESSAGE)).status for _ in range(3)]
    assert statuses == [Status.OK] * 3
    assert len(slack.connections) == 1


async def test_nothing_is_unfurled_linked_or_parsed(slack: SlackEmulator, bot: BotClient, channel: str) -> None:
    await bot.post(MESSAGE)
    raw = slack.messages(channel)[0].raw
    flags = {name: raw[name] for name in ("unfurl_links", "unfurl_media", "link_names", "parse")}
    assert flags == {"unfurl_links": False, "unfurl_media": False, "link_names": False, "parse": "none"}


async def test_a_proxy_of_the_environment_is_not_used_on_this_machine(
    slack: SlackEmulator, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy can only be set in the environment, so the test patches it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    one = BotClient(slack.token, channel, slack.api_url)
    assert (await one.post(MESSAGE)).status is Status.OK
    await one.close()


def test_the_session_gives_up_before_the_sink_does() -> None:
    assert client.TIMEOUT.total is not None
    assert client.TIMEOUT.total < 30


async def test_a_webhook_posts_without_metadata(slack: SlackEmulator, hook: WebhookClient, channel: str) -> None:
    result = await hook.post({"text": "x", "metadata": {"event_type": "a", "event_payload": {}}})
    assert result.status is Status.OK
    assert "metadata" not in slack.messages(channel)[0].raw


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        (faults.DROP, Status.UNCLEAR, "connection lost"),
        (faults.HTML_503, Status.UNCLEAR, "http 503"),
        (answering(200, "<html>", "text/html"), Status.UNCLEAR, "unreadable answer"),
        (answering(429, '{"error":"rate_limited"}'), Status.THROTTLED, "http 429"),
        (answering(302, "", Location="/"), Status.BROKEN, "redirect"),
        (answering(404, "no_service", "text/plain"), Status.BROKEN, "no_service"),
    ],
)
async def test_a_webhook_has_the_same_classes(
    slack: SlackEmulator, hook: WebhookClient, fault: Fault, status: Status, error: str
) -> None:
    slack.faults.add(fault)
    result = await hook.post(MESSAGE)
    assert (result.status, result.error) == (status, error)
    assert slack.requests == ["webhook"]
