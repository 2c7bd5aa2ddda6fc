"""Five thousand invitations and fifty finishes in one minute: few messages, and no finish waits in a queue."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from connector.emulators.slack import SlackEmulator
from connector.testing import START
from sinks.slack import SlackSink
from tests.sinks.chat.channel_rules import figures
from tests.sinks.slack.lanes import Arrival, JumpingClock, Lanes, payload

CREATES = 5_000
FINISHES = 50
FORCED = 3.0
"""Seconds that a finish may wait beyond what one message a second forces."""


def arrivals() -> list[Arrival]:
    """Creates every second of the minute; finishes, of some of the same interviews, in five waves of ten."""
    creates = [(START + number * 60 // CREATES * 1000, number) for number in range(CREATES)]
    made = [Arrival(at, payload("create", number, at)) for at, number in creates]
    for number in range(FINISHES):
        at = START + 5_000 + number // 10 * 11_000
        made.append(Arrival(at, payload("finish", number, at, status="completed", completed=at)))
    return made


def forced_waits(at: list[int]) -> list[float]:
    """The seconds that each message waits at one message per second, three at once after a pause."""
    waits, full_at = [], 0.0
    for when in sorted(at):
        now = when / 1000
        goes = max(now, full_at - 2)
        full_at = max(full_at, goes) + 1
        waits.append(goes - now)
    return waits


async def test_a_flood(tmp_path: Path) -> None:
    clock = JumpingClock()
    with SlackEmulator(lambda: clock.now() / 1000) as slack:
        slack.limits = True
        channel = slack.add_channel("recruiting")
        sink = SlackSink("recruiting", SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url))
        lanes = Lanes(tmp_path, clock, [sink])
        await lanes.start()
        made = arrivals()
        await lanes.run(made)
        await lanes.stop()
        messages = slack.messages(channel)
        calls = Counter(call.method for call in slack.calls)
    finished = {one.payload["data"]["id"]: one.at for one in made if one.payload["event"] == "interview.finish"}
    parents = {
        message.metadata["event_payload"]["i"]: message
        for message in messages
        if "i" in message.metadata["event_payload"]
    }
    waits = [float(parents[one].ts) - at / 1000 for one, at in finished.items()]
    forced = forced_waits(list(finished.values()))
    counted = figures(messages)["invited"]
    print(calls, max(waits), max(forced), lanes.steps)
    assert set(parents) == set(finished)
    assert calls["chat.postMessage"] <= 80
    assert calls["chat.update"] <= 15
    assert max(waits) <= max(forced) + FORCED
    assert counted == CREATES
    assert [call.error for call in slack.calls if call.error] == []
    assert slack.problems() == []
