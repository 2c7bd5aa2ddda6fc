"""Rate limits on the emulator's clock."""

from __future__ import annotations

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from connector.emulators.slack import Rate, SlackEmulator
from connector.testing import ManualClock


async def retry_after(call) -> int:
    """The whole seconds of `Retry-After`, 0 for a call that succeeds."""
    try:
        await call
    except SlackApiError as error:
        answer = error.response
    else:
        return 0
    assert (answer.status_code, answer.data) == (429, {"ok": False, "error": "ratelimited"})
    return int(answer.headers["Retry-After"])


@pytest.fixture
def limited(slack: SlackEmulator) -> SlackEmulator:
    slack.limits = True
    slack.rates.channel = Rate(1.0, 2)
    return slack


async def test_without_the_switch_nothing_is_limited(slack: SlackEmulator, client: AsyncWebClient) -> None:
    channel = slack.add_channel("one")
    waits = [await retry_after(client.chat_postMessage(channel=channel, text="x")) for _ in range(10)]
    assert waits == [0] * 10


async def test_a_channel_takes_its_burst_then_one_a_second(
    limited: SlackEmulator, client: AsyncWebClient, clock: ManualClock
) -> None:
    channel = limited.add_channel("one")
    waits = [await retry_after(client.chat_postMessage(channel=channel, text="x")) for _ in range(3)]
    clock.advance(1)
    waits += [await retry_after(client.chat_postMessage(channel=channel, text="x")) for _ in range(2)]
    assert waits == [0, 0, 1, 0, 1]
    assert len(limited.messages(channel)) == 3


async def test_channels_have_buckets_of_their_own_and_one_together(
    limited: SlackEmulator, client: AsyncWebClient
) -> None:
    limited.rates.workspace = Rate(1.0, 3)
    one, two = limited.add_channel("one"), limited.add_channel("two")
    waits = [await retry_after(client.chat_postMessage(channel=c, text="x")) for c in (one, one, one, two, two)]
    assert waits == [0, 0, 1, 0, 1]


async def test_reads_share_one_bucket_per_method(
    limited: SlackEmulator, client: AsyncWebClient, clock: ManualClock
) -> None:
    limited.rates.tiers[3] = Rate(0.5, 1)
    one, two = limited.add_channel("one"), limited.add_channel("two")
    assert await retry_after(client.conversations_history(channel=one)) == 0
    assert await retry_after(client.conversations_history(channel=two)) == 2
    assert await retry_after(client.conversations_info(channel=two)) == 0
    clock.advance(2)
    assert await retry_after(client.conversations_history(channel=two)) == 0
