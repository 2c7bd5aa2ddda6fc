"""What a chat shows of the interviews that a backfill or a reconcile found."""

from __future__ import annotations

import pytest

from connector.emulators.hireflix import Account, HireflixEmulator
from connector.emulators.slack import SlackEmulator
from connector.hireflix.api import HireflixApi
from connector.hireflix.snapshot import Origin
from connector.operations.backfill import EVERYTHING, backfill
from connector.operations.reconcile import Options, reconcile
from connector.operations.source import SourceReader
from connector.testing import LaneRunner, ManualClock
from sinks.slack.sink import SlackSink
from tests.operations.hireflix_world import DAY, HOUR, at_once, silent


@pytest.fixture
async def chat():
    """A position with three interviews that a backfill read, and a channel for them."""
    clock = ManualClock()
    account = Account(clock.now)
    position = account.add_position("Cook")
    people = [account.invite(position, name, at=clock.now() - 5 * DAY * 1000)[0] for name in ("Ana A", "Ben B", "Cy C")]
    with SlackEmulator() as slack, HireflixEmulator(account) as server:
        channel = slack.add_channel("hiring")
        settings = SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url)
        async with (
            LaneRunner(lambda: SlackSink("chat", settings), clock) as lane,
            HireflixApi(server.key, server.api_url, now=clock.now, sleep=at_once) as api,
        ):
            await backfill(SourceReader(api, lane.store, clock.now, Origin.BACKFILL), EVERYTHING, silent)
            await lane.run()
            yield account, people, lane, api, lambda: [str(each.blocks) for each in slack.messages(channel)]


async def reconciled(lane, api):
    await reconcile(SourceReader(api, lane.store, lane.clock.now, Origin.RECONCILE), Options(), silent)
    await lane.run()


async def test_a_backfill_posts_nothing(chat):
    *_, messages = chat
    assert messages() == []


async def test_a_recent_finish_that_was_missed_is_announced_once_and_old_ones_are_counted_in_a_digest(chat):
    account, (ana, ben, cy), lane, api, messages = chat
    account.complete(ana, at=lane.clock.now() - HOUR * 1000)
    account.complete(ben, at=lane.clock.now() - 3 * DAY * 1000)
    account.complete(cy, at=lane.clock.now() - 4 * DAY * 1000)

    await reconciled(lane, api)
    await reconciled(lane, api)

    about_ana = [text for text in messages() if "Ana A" in text]
    digests = [text for text in messages() if text not in about_ana]
    assert len(about_ana) == len(digests) == 1
    assert "2 finished" in digests[0]
