"""Content that Slack would refuse, and secrets in the logs of the SDK."""

from __future__ import annotations

import logging

import pytest

from connector.emulators.slack import SlackEmulator
from connector.testing import FakeContext
from sinks.chat.content import Content
from sinks.chat.service import ABOUT_INTERVIEW, Marker, Post, Status
from sinks.slack import SlackSink
from sinks.slack.channel import BotChannel, WebhookChannel

TOO_LONG = Content(headline="Wayne", notification="Wayne", link="https://hireflix.com/" + "x" * 4000)


def post(content: Content) -> Post:
    return Post(content, Marker("d-1", 1, {ABOUT_INTERVIEW: "i-1"}))


async def test_content_that_the_models_refuse_is_a_rejection_without_a_call(
    slack: SlackEmulator, context: FakeContext, channel: str
) -> None:
    config = SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url)
    service = BotChannel(config, channel)
    posted = await service.post(post(TOO_LONG), context)
    edited = await service.edit("1.1", TOO_LONG, context)
    await service.close()
    assert [result.status for result in (posted, edited)] == [Status.REJECTED] * 2
    assert posted.detail.startswith("invalid_blocks; ")
    assert slack.requests == []


async def test_rejected_content_is_sent_as_text(slack: SlackEmulator, context: FakeContext, channel: str) -> None:
    config = SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url)
    service = BotChannel(config, channel)
    plain = Content(headline="Wayne", notification="Wayne", link=TOO_LONG.link, fallback_error="invalid_blocks")
    result = await service.post(post(plain), context)
    await service.close()
    (message,) = slack.messages(channel)
    assert (result.status, message.text, message.blocks) == (Status.OK, "Wayne", [])


async def test_no_log_of_the_sdk_holds_a_webhook_address_or_a_name(
    slack: SlackEmulator, context: FakeContext, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At any level that an operator may set."""
    url = slack.add_webhook(channel)
    service = WebhookChannel(SlackSink.Config(webhook_url=url), "hook")
    with caplog.at_level(logging.DEBUG):
        result = await service.post(post(Content(headline="Wayne", notification="Wayne")), context)
    await service.close()
    assert result.status is Status.OK
    assert url.rpartition("/")[2] not in caplog.text
    assert "Wayne" not in caplog.text
