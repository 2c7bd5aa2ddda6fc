"""A Slack emulator with a channel, and a sink for it, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from connector.emulators.slack import SlackEmulator
from connector.testing import FakeContext, ManualClock
from sinks.slack.sink import SlackSink


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def context(clock: ManualClock) -> FakeContext:
    return FakeContext(clock)


@pytest.fixture
def slack(clock: ManualClock) -> Iterator[SlackEmulator]:
    with SlackEmulator(lambda: clock.now() / 1000) as emulator:
        yield emulator


@pytest.fixture
def channel(slack: SlackEmulator) -> str:
    return slack.add_channel("recruiting")


@pytest.fixture
async def sink(slack: SlackEmulator, channel: str) -> AsyncIterator[SlackSink]:
    one = SlackSink("recruiting", SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url))
    await one.open()
    yield one
    await one.close()
