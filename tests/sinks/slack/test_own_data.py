"""Every message is about its own candidate: random batches, crashes and lost answers through the real lane."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from connector.emulators import faults
from connector.emulators.slack import SlackEmulator
from connector.sink import Batch, Context, Result
from connector.testing import START
from sinks.slack.config import SlackConfig
from sinks.slack.sink import SlackSink
from tests.sinks.slack.lanes import Arrival, JumpingClock, Lanes
from tests.sinks.slack.own_data import foreign_data, person, webhook

INTERVIEWS = 30
LOST = [faults.REFUSE, faults.DROP, faults.APPLY_503, faults.BROKEN_JSON]
NAMES = ("create", "finish", "score-updated", "status-change", "delete")


class CrashingSink(SlackSink):
    """A sink whose process sometimes dies after a call and before the outcome is stored."""

    chance = random.Random(0)
    dies = False

    async def deliver(self, batch: Batch, context: Context) -> Result:
        result = await super().deliver(batch, context)
        if self.dies and self.chance.random() < 0.1:
            raise RuntimeError("killed")
        return result


def arrivals(chance: random.Random) -> list[Arrival]:
    """Events of all interviews in random order, in bursts: many are due at once and share calls."""
    events = [
        webhook(name, number, position=f"p{number}" if chance.random() < 0.5 else "shared")
        for number in range(INTERVIEWS)
        for name in NAMES
        if name in {"create", "finish"} or chance.random() < 0.4
    ]
    chance.shuffle(events)
    return [Arrival(START + chance.randrange(4) * 20_000, event) for event in events]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.chaos) for seed in range(1, 8))])
async def test_no_message_shows_the_data_of_another_candidate(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    clock = JumpingClock()
    with SlackEmulator(lambda: clock.now() / 1000) as slack:
        channel = slack.add_channel("hiring")
        config = SlackConfig(token=slack.token, channel=channel, api_url=slack.api_url, rate_per_second=20)
        sink = CrashingSink("hiring", config)
        sink.chance, sink.dies = chance, True
        slack.faults.choose(lambda _: chance.choice(LOST) if chance.random() < 0.1 else None)
        lanes = Lanes(tmp_path, clock, [sink])
        await lanes.start()
        events = arrivals(chance)
        await lanes.run(events, until=START + 600_000)
        sink.dies = False
        slack.faults.choose(None)
        await lanes.run()
        left = [row for row in await lanes.rows() if row.state not in {1, 2}]
        await lanes.stop()
    heads = [message for message in slack.messages(channel) if not message.is_reply]
    named = [number for number in range(INTERVIEWS) if any(person(number).name in head.text for head in heads)]
    deleted = {event.payload["data"]["id"] for event in events if event.payload["event"] == "interview.delete"}
    assert foreign_data(slack.messages(channel)) == []
    assert left == []
    assert named == [number for number in range(INTERVIEWS) if person(number).id not in deleted]
