"""Every fault at every call, alone and followed by a death of the process: the channel ends the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from connector.testing import START, FakeContext, ManualClock, MessageLane
from sinks.slack.sink import SlackSink
from tests.sinks.slack.judge import judge
from tests.sinks.slack.lanes import payload
from tests.sinks.slack.story import Payload, Receipt
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


def nth(number: int, fault: Fault) -> Callable[[str], Fault | None]:
    """Strikes at the call with this number."""
    left = [number]

    def choose(_call: str) -> Fault | None:
        left[0] -= 1
        return fault if left[0] == -1 else None

    return choose


async def live(slack: SlackEmulator, events: list[Payload], *, dies_at: int = -1) -> Receipt:
    """One life, an event every ten seconds. `dies_at`: the step of the lane at which the process dies."""
    context = FakeContext(ManualClock())
    slack.clock = lambda: context.now() / 1000
    config = SlackSink.Config(token=slack.token, channel=slack.add_channel("c"), api_url=slack.api_url)
    sink = SlackSink("one", config)
    await sink.open()
    receipt = Receipt(MessageLane(sink, context))
    for event in events:
        receipt.take(event)
        until = context.now() + 10_000
        while receipt.lane.pending and context.now() < until:
            await receipt.lane.step(dies=receipt.lane.calls == dies_at)
    for _ in range(300):
        if not receipt.lane.pending:
            break
        await receipt.lane.step(dies=receipt.lane.calls == dies_at)
    await sink.close()
    return receipt


def verdict(slack: SlackEmulator, receipt: Receipt) -> list[str]:
    assert isinstance(receipt.lane.sink, SlackSink)
    channel = slack.channel(receipt.lane.sink.destination)
    return [*judge(channel, receipt.interviews, receipt.creates), *receipt.lane.dead, *receipt.lane.pending]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}")
async def test_a_fault_at_any_call(slack: SlackEmulator, fault: Fault, end: str) -> None:
    events = LIFE + ENDS[end]
    await live(slack, events)
    calls = len(slack.requests)
    assert calls >= 7
    for number in range(calls):
        slack.faults.choose(nth(number, fault))
        assert verdict(slack, await live(slack, events)) == [], number


@pytest.mark.parametrize("end", ENDS)
async def test_a_death_at_any_step(slack: SlackEmulator, end: str) -> None:
    events = LIFE + ENDS[end]
    steps = (await live(slack, events)).lane.calls
    assert steps >= 9
    for number in range(steps):
        assert verdict(slack, await live(slack, events, dies_at=number)) == [], number


@pytest.mark.parametrize("fault", [faults.DROP, faults.REFUSE], ids=lambda fault: fault.kind)
async def test_a_fault_at_any_call_and_a_death_at_the_next_step(slack: SlackEmulator, fault: Fault) -> None:
    events = LIFE + ENDS["deleted"]
    calm = await live(slack, events)
    calls, steps = len(slack.requests), calm.lane.calls
    for number in range(calls):
        for step in range(number, min(number + 4, steps)):
            slack.faults.choose(nth(number, replace(fault, match=None)))
            assert verdict(slack, await live(slack, events, dies_at=step)) == [], (number, step)
