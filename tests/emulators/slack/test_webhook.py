"""Incoming webhooks, the view for people, the request log and the invariants."""

from __future__ import annotations

import aiohttp
import pytest

from connector.emulators.faults import Fault, FaultKind
from connector.emulators.slack import Rate, SlackEmulator


async def ask(session: aiohttp.ClientSession, url: str, body: object) -> tuple[int, str]:
    async with session.post(url, json=body) as response:
        return response.status, await response.text()


async def test_a_webhook_posts_to_its_channel(slack: SlackEmulator, session: aiohttp.ClientSession) -> None:
    channel = slack.add_channel("one")
    assert await ask(session, slack.add_webhook(channel), {"text": "hello"}) == (200, "ok")
    assert slack.messages(channel)[0].text == "hello"


@pytest.mark.parametrize(
    ("body", "answer"), [({}, (400, "no_text")), ({"text": "x", "blocks": [{"type": "?"}]}, (400, "invalid_blocks"))]
)
async def test_a_webhook_refuses_in_words(
    slack: SlackEmulator, session: aiohttp.ClientSession, body: dict, answer: tuple[int, str]
) -> None:
    assert await ask(session, slack.add_webhook(slack.add_channel("one")), body) == answer


async def test_a_webhook_of_an_archived_channel_is_gone(slack: SlackEmulator, session: aiohttp.ClientSession) -> None:
    url = slack.add_webhook(slack.add_channel("one", archived=True))
    assert await ask(session, url, {"text": "x"}) == (410, "channel_is_archived")


async def test_an_unknown_webhook_has_no_service(slack: SlackEmulator, session: aiohttp.ClientSession) -> None:
    assert await ask(session, f"{slack.url}/services/T/B/x", {"text": "x"}) == (404, "no_service")


async def test_a_webhook_is_limited_like_a_post(slack: SlackEmulator, session: aiohttp.ClientSession) -> None:
    slack.limits, slack.rates.channel = True, Rate(1.0, 1)
    url = slack.add_webhook(slack.add_channel("one"))
    await ask(session, url, {"text": "x"})
    status, text = await ask(session, url, {"text": "x"})
    assert (status, text) == (429, '{"retry_after": 1, "ok": false, "error": "rate_limited"}')


async def test_the_view_shows_messages_as_text(slack: SlackEmulator, session: aiohttp.ClientSession) -> None:
    channel = slack.add_channel("one")
    slack.say(channel, "&lt;script&gt; <!date^1757500000^{time}|fallback>")
    async with session.get(f"{slack.url}/view/{channel}") as response:
        page = await response.text()
    assert "&lt;script&gt; 10 Sep 2025 at 10:26 UTC" in page
    assert page.count("<script") == 1  # the one that follows changes


async def test_faults_are_chosen_by_method(slack: SlackEmulator, session: aiohttp.ClientSession) -> None:
    slack.faults.add(Fault(FaultKind.STATUS, "auth.test", status=503), Fault(FaultKind.DROP, "webhook"))
    channel = slack.add_channel("one")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask(session, slack.add_webhook(channel), {"text": "applied"})
    async with session.post(f"{slack.api_url}auth.test") as response:
        assert response.status == 503
    assert [message.text for message in slack.messages(channel)] == ["applied"]
    assert slack.requests == ["webhook", "auth.test"]
    assert [call.method for call in slack.calls] == ["webhook"]


def test_invariants_see_a_doubled_key(slack: SlackEmulator) -> None:
    channel = slack.add_channel("one")
    for _ in range(2):
        slack.say(channel, "x").metadata = {"event_payload": {"k": "same"}}
    assert slack.problems() == ["one: key same occurs 2 times"]


@pytest.mark.parametrize(
    "text", ["<!channel>", "<@U1>", "<https://evil.example|here>", "<!date^1757500000000^{time}|x>"]
)
def test_a_mention_that_is_not_configured_is_a_problem(slack: SlackEmulator, text: str) -> None:
    channel = slack.add_channel("one")
    slack.say(channel, f"hello {text}")
    assert len(slack.problems()) == 1
    assert slack.problems(frozenset({text})) == []


def test_invariants_let_a_date_in_seconds_pass(slack: SlackEmulator) -> None:
    slack.say(slack.add_channel("one"), "at <!date^1757500000^{date} at {time}|2025-09-10 10:26 UTC>, 1 &lt; 2")
    assert slack.problems() == []
