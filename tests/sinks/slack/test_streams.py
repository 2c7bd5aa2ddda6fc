"""Streams of events through the sink over real HTTP, with every fault, and ends of the process before a commit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from connector.testing import LaneRunner, ManualClock
from sinks.slack.sink import SlackSink
from tests.sinks.chat.channel_rules import broken_rules
from tests.sinks.chat.streams import Feed, play, stream

THROTTLED = Fault(faults.FaultKind.STATUS, status=429, body="", headers={"Retry-After": "2"})
FATAL = Fault(
    faults.FaultKind.APPLY_STATUS,
    status=200,
    body='{"ok":false,"error":"fatal_error"}',
    content_type="application/json",
)
FAULTS = [
    faults.REFUSE,
    faults.DROP,
    faults.HTML_503,
    faults.APPLY_503,
    faults.TRUNCATE,
    faults.BROKEN_JSON,
    THROTTLED,
    FATAL,
]


@pytest.fixture
async def feed(slack: SlackEmulator, clock: ManualClock, channel: str) -> AsyncIterator[Feed]:
    config = SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url)
    async with LaneRunner(lambda: SlackSink("recruiting", config), clock) as lane:
        yield Feed(lane)


async def test_a_calm_stream(slack: SlackEmulator, feed: Feed, channel: str) -> None:
    slack.limits = True
    await play(feed, stream(1, 30))
    assert broken_rules(slack.channel(channel), feed.interviews, feed.creates) == []
    assert Counter(call.error for call in slack.calls) == {"": len(slack.calls)}
    assert {call.method for call in slack.calls} == {"chat.postMessage", "chat.update"}
    assert await feed.lane.dead() == []


async def play_with_crashes(feed: Feed, payloads: list, chance: random.Random, deaths: int) -> None:
    """Sends a stream. Sometimes the process dies between a call and its commit."""
    fatal = set(chance.sample(range(len(payloads)), deaths))
    for number, one in enumerate(payloads):
        await feed.take(one)
        if number in fatal:
            await feed.lane.crash()
        await feed.lane.run(until=feed.lane.clock.now() + 1_000)
        feed.lane.clock.advance(1)
    await feed.lane.run()


@pytest.mark.parametrize(
    ("share", "seed", "skew"),
    [
        pytest.param(0.07, 1, 0, marks=pytest.mark.chaos),
        pytest.param(0.07, 2, 120, marks=pytest.mark.chaos),
        pytest.param(0.07, 3, -120, marks=pytest.mark.chaos),
        (0.2, 4, 120),
    ],
)
async def test_a_stream_with_faults_and_ends_of_the_process(
    slack: SlackEmulator, feed: Feed, share: float, seed: int, skew: int
) -> None:
    """Also when Slack's clock differs by two minutes."""
    channel = feed.lane.sink.destination
    chance = random.Random(seed)
    slack.clock = lambda: feed.lane.clock.now() / 1000 + skew
    slack.limits = True
    slack.faults.choose(lambda _call: chance.choice(FAULTS) if chance.random() < share else None)
    await play_with_crashes(feed, stream(seed, 40), chance, 5)
    assert broken_rules(slack.channel(channel), feed.interviews, feed.creates) == []
    assert await feed.lane.dead() == []


async def play_with_late_calls(slack: SlackEmulator, feed: Feed, seed: int) -> None:
    """Sends a stream. Slack applies one call in ten long after its connection was lost."""
    chance = random.Random(seed)
    slack.faults.choose(lambda call: faults.LATE if chance.random() < 0.1 and call.startswith("chat.") else None)
    for number, one in enumerate(stream(seed, 40)):
        await feed.take(one)
        await feed.lane.run(until=feed.lane.clock.now() + 1_000)
        feed.lane.clock.advance(1)
        if number % 5 == 0:
            slack.faults.release()
            slack.faults.settle()
    slack.faults.clear()
    slack.faults.release()
    slack.faults.settle()
    await feed.lane.run()


async def test_calls_that_slack_applies_long_after_their_timeout(
    slack: SlackEmulator, feed: Feed, channel: str
) -> None:
    """Posts, replies, edits and digests. A later search deletes the duplicates."""
    await play_with_late_calls(slack, feed, 5)
    assert any(call.method == "chat.delete" for call in slack.calls)
    assert broken_rules(slack.channel(channel), feed.interviews, feed.creates) == []


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(100, 140))
@pytest.mark.parametrize("failures", ["faults and deaths", "late calls"])
async def test_many_streams(slack: SlackEmulator, feed: Feed, channel: str, seed: int, failures: str) -> None:
    """The long mode."""
    slack.limits = True
    if failures == "late calls":
        await play_with_late_calls(slack, feed, seed)
    else:
        chance = random.Random(seed)
        share = chance.choice([0.05, 0.1, 0.2])
        slack.faults.choose(lambda _call: chance.choice(FAULTS) if chance.random() < share else None)
        await play_with_crashes(feed, stream(seed, 60), chance, 8)
    assert broken_rules(slack.channel(channel), feed.interviews, feed.creates) == []
    assert await feed.lane.dead() == []
