"""What the SDK and HTTP do when things go wrong, seen through the gateway: one request each, and a class for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from sinks.slack import gateway
from sinks.slack.answers import Kind
from sinks.slack.gateway import BotGateway, WebhookGateway

MESSAGE = {"text": "hello"}


def answering(status: int, body: str | bytes, content_type: str = "application/json", **headers: str) -> Fault:
    return Fault(faults.Kind.STATUS, status=status, body=body, content_type=content_type, headers=headers)


@pytest.fixture
async def bot(slack: SlackEmulator, channel: str) -> AsyncIterator[BotGateway]:
    one = BotGateway(slack.token, channel, slack.api_url)
    yield one
    await one.close()


@pytest.fixture
async def hook(slack: SlackEmulator, channel: str) -> AsyncIterator[WebhookGateway]:
    one = WebhookGateway(slack.add_webhook(channel))
    yield one
    await one.close()


LOOP = {"Location": "/api/chat.postMessage"}
WRONG = [
    (faults.REFUSE, (Kind.UNCLEAR, "connection lost"), 0),
    (faults.DROP, (Kind.UNCLEAR, "connection lost"), 1),
    (faults.TRUNCATE, (Kind.UNCLEAR, "connection lost"), 1),
    (faults.BROKEN_JSON, (Kind.UNCLEAR, "unreadable answer"), 1),
    (faults.HTML_503, (Kind.UNCLEAR, "http 503"), 0),
    (faults.APPLY_503, (Kind.UNCLEAR, "http 503"), 1),
    (answering(503, '{"ok":false,"error":"service_unavailable"}'), (Kind.UNCLEAR, "service_unavailable"), 0),
    (answering(200, "fine", "text/plain"), (Kind.UNCLEAR, "unreadable answer"), 0),
    (answering(200, "<html>", "text/html"), (Kind.UNCLEAR, "unreadable answer"), 0),
    (answering(200, "[]"), (Kind.UNCLEAR, "unreadable answer"), 0),
    (answering(200, ""), (Kind.UNCLEAR, "unreadable answer"), 0),
    (answering(200, b"\xff\xfe{}"), (Kind.UNCLEAR, "unreadable answer"), 0),
    (answering(200, '{"ok":true}'), (Kind.UNCLEAR, "unreadable answer"), 0),
    (answering(200, '{"ok":false,"error":"ratelimited"}'), (Kind.THROTTLED, "ratelimited"), 0),
    (answering(429, ""), (Kind.THROTTLED, "http 429"), 0),
    (answering(429, "slow down", "text/plain"), (Kind.THROTTLED, "http 429"), 0),
    (answering(404, "<html>", "text/html"), (Kind.BROKEN, "http 404"), 0),
    (answering(302, "", **LOOP), (Kind.BROKEN, "redirect"), 0),
    (answering(308, "", **LOOP), (Kind.BROKEN, "redirect"), 0),
]


@pytest.mark.parametrize(("fault", "verdict", "stored"), WRONG)
async def test_a_bad_answer_has_a_class_and_no_second_request(
    slack: SlackEmulator, bot: BotGateway, fault: Fault, verdict: tuple[Kind, str], stored: int
) -> None:
    slack.faults.add(fault)
    reply = await bot.post(MESSAGE)
    assert (reply.kind, reply.error) == verdict
    assert slack.requests == ["chat.postMessage"]
    assert len(slack.messages(bot.channel)) == stored


@pytest.mark.parametrize(("seconds", "header"), [("1.5", "Retry-After"), ("30", "retry-after")])
async def test_the_wish_of_a_429_is_kept(slack: SlackEmulator, bot: BotGateway, seconds: str, header: str) -> None:
    slack.faults.add(answering(429, '{"ok":false,"error":"ratelimited"}', **{header: seconds}))
    reply = await bot.post(MESSAGE)
    assert reply.headers["Retry-After"] == seconds


async def test_a_hang_is_a_timeout_of_unclear_effect(slack: SlackEmulator, channel: str) -> None:
    slack.faults.add(faults.APPLY_HANG)
    one = BotGateway(slack.token, channel, slack.api_url, timeout=aiohttp.ClientTimeout(total=0.2))
    reply = await one.post(MESSAGE)
    await one.close()
    assert (reply.kind, reply.error) == (Kind.UNCLEAR, "timeout")


async def test_nobody_listening_means_not_applied() -> None:
    one = BotGateway("xoxb-x", "C0123456789", "http://127.0.0.1:9/api/")
    reply = await one.post(MESSAGE)
    await one.close()
    assert (reply.kind, reply.error) == (Kind.TRANSIENT, "no connection")


async def test_posts_share_one_connection(slack: SlackEmulator, bot: BotGateway) -> None:
    kinds = [(await bot.post(MESSAGE)).kind for _ in range(3)]
    assert kinds == [Kind.OK] * 3
    assert len(slack.connections) == 1


async def test_nothing_is_unfurled_linked_or_parsed(slack: SlackEmulator, bot: BotGateway, channel: str) -> None:
    await bot.post(MESSAGE)
    raw = slack.messages(channel)[0].raw
    flags = {name: raw[name] for name in ("unfurl_links", "unfurl_media", "link_names", "parse")}
    assert flags == {"unfurl_links": False, "unfurl_media": False, "link_names": False, "parse": "none"}


async def test_a_proxy_of_the_environment_is_not_used_on_this_machine(
    slack: SlackEmulator, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is the one thing that can only be set from outside, hence the patch."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    one = BotGateway(slack.token, channel, slack.api_url)
    assert (await one.post(MESSAGE)).kind is Kind.OK
    await one.close()


def test_the_session_gives_up_before_the_sink_does() -> None:
    assert gateway.TIMEOUT.total is not None
    assert gateway.TIMEOUT.total < 30


async def test_a_webhook_posts_without_metadata(slack: SlackEmulator, hook: WebhookGateway, channel: str) -> None:
    reply = await hook.post({"text": "x", "metadata": {"event_type": "a", "event_payload": {}}})
    assert reply.kind is Kind.OK
    assert "metadata" not in slack.messages(channel)[0].raw


@pytest.mark.parametrize(
    ("fault", "kind", "error"),
    [
        (faults.DROP, Kind.UNCLEAR, "connection lost"),
        (faults.HTML_503, Kind.UNCLEAR, "http 503"),
        (answering(200, "<html>", "text/html"), Kind.UNCLEAR, "unreadable answer"),
        (answering(429, '{"error":"rate_limited"}'), Kind.THROTTLED, "http 429"),
        (answering(302, "", Location="/"), Kind.BROKEN, "redirect"),
        (answering(404, "no_service", "text/plain"), Kind.BROKEN, "no_service"),
    ],
)
async def test_a_webhook_has_the_same_classes(
    slack: SlackEmulator, hook: WebhookGateway, fault: Fault, kind: Kind, error: str
) -> None:
    slack.faults.add(fault)
    reply = await hook.post(MESSAGE)
    assert (reply.kind, reply.error) == (kind, error)
    assert slack.requests == ["webhook"]
