"""Every fault at every call, with and without an end of the process: the final channel is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from connector.testing import START, LaneRunner, ManualClock
from sinks.slack.sink import SlackSink
from tests.sinks.chat.channel_rules import broken_rules
from tests.sinks.chat.streams import Feed, Payload
from tests.sinks.slack.lanes import payload
from tests.sinks.slack.test_streams import FAULTS

DONE = {"status": "completed", "completed": START + 2_000}
LIFE: list[Payload] = [
    payload("create", 1, START),
    payload("status-change", 1, START + 1_000, status="on_hold"),
    payload("finish", 1, START + 2_000, **DONE),
    payload("score-updated", 1, START + 3_000, **DONE, score={"value": 4}),
    payload("status-change", 1, START + 4_000, **DONE, finalist=START + 4_000),
]
ENDS: dict[str, list[Payload]] = {
    "kept": [],
    "deleted": [payload("delete", 1, START + 5_000, deleted=True)],
}
WORST = faults.DROP
"""Applied, and no answer says so: what an interrupted call leaves most often, and what can cause doubles."""
USUAL_ENDS = ["deleted", pytest.param("kept", marks=pytest.mark.chaos)]
"""A deletion follows the same calls, so the end without one is part of the long mode."""


def nth(number: int, fault: Fault) -> Callable[[str], Fault | None]:
    """Fails the call with this number."""
    left = [number]

    def choose(_call: str) -> Fault | None:
        left[0] -= 1
        return fault if left[0] == -1 else None

    return choose


async def play(slack: SlackEmulator, events: list[Payload], *, dies_at: int = -1) -> tuple[list[str], int]:
    """Sends the events of one interview, one every ten seconds. After the call `dies_at` of the sink the process dies.
    Returns the broken rules and the number of calls.
    """
    clock = ManualClock()
    slack.clock = lambda: clock.now() / 1000
    channel = slack.add_channel("c")
    config = SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url)
    async with LaneRunner(lambda: SlackSink("one", config), clock) as lane:
        feed = Feed(lane)
        for event in events:
            await feed.take(event)
            await work(lane, clock.now() + 10_000, dies_at)
        await work(lane, None, dies_at)
        found = broken_rules(slack.channel(channel), feed.interviews, feed.creates)
        return [*found, *await lane.dead(), *await lane.pending()], lane.calls


async def work(lane: LaneRunner, until: int | None, dies_at: int) -> None:
    """Runs the lane until nothing is pending, or until a time."""
    while await lane.pending() and (until is None or lane.clock.now() < until):
        if lane.calls == dies_at:
            await lane.crash()
        elif (poll_at := await lane.step()) is not None:
            lane.clock.advance(max(0, poll_at - lane.clock.now()) / 1000)


async def broken_by(slack: SlackEmulator, events: list[Payload], number: int, fault: Fault) -> list[str]:
    """Returns the broken rules after a fault at one call."""
    slack.faults.choose(nth(number, fault))
    broken, _ = await play(slack, events)
    return broken


async def test_a_fault_at_any_call(slack: SlackEmulator) -> None:
    """The worst fault at every call, and of the others one at each call, each at one call or more."""
    events = LIFE + ENDS["deleted"]
    await play(slack, events)
    calls = len(slack.requests)
    assert calls >= 7
    others = [fault for fault in FAULTS if fault != WORST]
    assert calls >= len(others)
    for number in range(calls):
        for fault in (WORST, others[number % len(others)]):
            assert await broken_by(slack, events, number, fault) == [], (number, fault)


@pytest.mark.chaos
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}")
async def test_every_fault_at_every_call(slack: SlackEmulator, fault: Fault, end: str) -> None:
    events = LIFE + ENDS[end]
    await play(slack, events)
    calls = len(slack.requests)
    assert calls >= 7
    for number in range(calls):
        assert await broken_by(slack, events, number, fault) == [], number


@pytest.mark.parametrize("end", USUAL_ENDS)
async def test_a_death_at_any_step(slack: SlackEmulator, end: str) -> None:
    events = LIFE + ENDS[end]
    _, steps = await play(slack, events)
    assert steps >= 9
    for number in range(steps):
        broken, _ = await play(slack, events, dies_at=number)
        assert broken == [], number


@pytest.mark.parametrize(
    ("fault", "later", "every"),
    [
        pytest.param(WORST, 2, 2, id="drop"),
        pytest.param(WORST, 4, 1, id="drop, long", marks=pytest.mark.chaos),
        pytest.param(faults.REFUSE, 4, 1, id="refuse", marks=pytest.mark.chaos),
    ],
)
async def test_a_fault_at_any_call_and_a_death_at_the_next_step(
    slack: SlackEmulator, fault: Fault, later: int, every: int
) -> None:
    """Or one of a few steps `later`; of these `every` second one, in turn, or all."""
    events = LIFE + ENDS["deleted"]
    _, steps = await play(slack, events)
    calls = len(slack.requests)
    for number in range(calls):
        for step in range(number + number % every, min(number + later, steps), every):
            slack.faults.choose(nth(number, replace(fault, match=None)))
            broken, _ = await play(slack, events, dies_at=step)
            assert broken == [], (number, step)
