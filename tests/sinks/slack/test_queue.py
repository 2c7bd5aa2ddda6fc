"""A queue that waits for one bucket, and a minute without Slack: few failed calls, and the best priority first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connector.emulators import faults
from connector.emulators.slack import SlackEmulator
from connector.testing import START
from sinks.slack import SlackSink
from tests.sinks.slack.lanes import Arrival, JumpingClock, Lanes, payload

ROWS = 40


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
async def lanes(tmp_path: Path, clock: JumpingClock, slack: SlackEmulator, channel: str) -> AsyncIterator[Lanes]:
    sink = SlackSink("recruiting", SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url))
    lanes = Lanes(tmp_path, clock, [sink])
    await lanes.start()
    yield lanes
    await lanes.stop()


def finish(number: int, at: int = START) -> Arrival:
    return Arrival(at, payload("finish", number, START, status="completed", completed=START))


def scored(number: int, at: int = START) -> Arrival:
    return Arrival(at, payload("score-updated", number, START, score={"value": 4}))


async def test_rows_that_wait_for_one_bucket_are_not_tried_repeatedly(
    lanes: Lanes, slack: SlackEmulator, clock: JumpingClock, channel: str
) -> None:
    """Each row gets no token at most once. A finish that arrives last is sent next."""
    slack.limits = True
    arrivals = [scored(number) for number in range(ROWS)]
    await lanes.run([*arrivals, finish(ROWS, START + 10_500)])
    messages = [message for message in slack.messages(channel) if not message.is_reply]
    assert len(messages) == ROWS + 1
    [late] = [message for message in messages if f"Candidate {ROWS} " in message.text]
    assert float(late.ts) - START / 1000 - 10.5 <= 1.5
    assert lanes.steps <= 3 * (ROWS + 1) + len(slack.calls)
    assert [call.error for call in slack.calls if call.error] == []


async def test_a_minute_without_slack_causes_few_calls_and_no_duplicates(
    lanes: Lanes, slack: SlackEmulator, clock: JumpingClock, channel: str
) -> None:
    """The lane rests, so that not every row becomes unclear. Then finishes are sent before scores."""
    slack.faults.choose(lambda _call: faults.APPLY_503 if clock.now() < START + 60_000 else None)
    arrivals = [*(scored(number) for number in range(30)), *(finish(number, START + 1) for number in range(40, 60))]
    await lanes.run(arrivals)
    during = [call for call in slack.calls if call.at < START / 1000 + 60]
    assert len(during) <= 10
    assert sum("conversations" in call.method for call in slack.calls) <= 10
    posted = [message for message in slack.messages(channel) if not message.is_reply]
    names = [int(message.text.split()[2]) for message in posted]
    assert sorted(names) == [*range(30), *range(40, 60)]
    after = names[3:]
    assert all(number >= 40 for number in after[:17])
    assert slack.problems() == []


async def test_three_sinks_of_one_workspace_share_its_edits(
    tmp_path: Path, slack: SlackEmulator, clock: JumpingClock
) -> None:
    """Slack allows about 50 edits a minute for all channels."""
    slack.limits = True
    config = {"token": slack.token, "api_url": slack.api_url}
    sinks = [SlackSink(f"s{n}", SlackSink.Config(channel=slack.add_channel(f"c{n}"), **config)) for n in range(3)]
    lanes = Lanes(tmp_path, clock, sinks)
    await lanes.start()
    arrivals = [finish(number) for number in range(6)]
    arrivals += [scored(number, START + 60_000) for number in range(6)]
    await lanes.run(arrivals)
    await lanes.stop()
    edits = [call.at for call in slack.calls if call.method == "chat.update"]
    assert len(edits) == 18
    assert max(sum(at <= other < at + 10 for other in edits) for at in edits) <= 11
    assert [call.error for call in slack.calls if call.error] == []
