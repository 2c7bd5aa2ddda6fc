"""Every delivery becomes exactly one message, with any failure and any end of the process."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import Rate, SlackEmulator
from connector.sink import Delivered, Delivery, RetryLater
from connector.testing import FakeContext, make_delivery, make_event, run_batch
from connector.testing.context import notes_for
from sinks.slack.sink import SlackSink

LOST_BEFORE = [faults.REFUSE, faults.HTML_503, Fault(faults.FaultKind.STATUS, status=429, body="")]
LOST_AFTER = [faults.DROP, faults.APPLY_503, faults.TRUNCATE, faults.BROKEN_JSON]
ON_POST = [replace(fault, match="chat.postMessage") for fault in LOST_BEFORE + LOST_AFTER]
ON_LOOK = [replace(fault, match="conversations.history") for fault in LOST_BEFORE + LOST_AFTER]


def finish(number: int = 1) -> Delivery:
    return make_delivery(make_event(number=number))


async def until_delivered(sink: SlackSink, context: FakeContext, one: Delivery, *, maybe_sent: bool = False) -> None:
    """Calls one row like the dispatcher: the same batch again, with `maybe_sent` kept, until it is delivered."""
    started = context.now()
    for attempt in itertools.count(1):
        row = replace(one, attempt=attempt)
        (outcome,) = (await run_batch(sink, [row], context, started_at=started, maybe_sent=maybe_sent)).outcomes
        if isinstance(outcome, Delivered):
            return
        assert isinstance(outcome, RetryLater)
        assert attempt < 12
        maybe_sent = maybe_sent or outcome.unclear
        context.clock.advance(max(outcome.after or 0.0, 2.0))


@pytest.mark.parametrize(("post", "look"), list(itertools.product(ON_POST, ON_LOOK)), ids=lambda fault: fault.kind)
async def test_two_faults_in_a_row_leave_one_message(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, post: Fault, look: Fault
) -> None:
    slack.faults.add(post, look)
    await until_delivered(sink, context, finish())
    keys = [message.key for message in slack.messages(sink.destination)]
    assert keys == [finish().id]


@pytest.mark.parametrize("fault", [None, *ON_POST], ids=lambda fault: fault.kind if fault else "none")
async def test_an_end_of_the_process_after_the_call_leaves_one_message(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, fault: Fault | None
) -> None:
    if fault is not None:
        slack.faults.add(fault)
    dying = FakeContext(context.clock)
    await run_batch(sink, [finish()], dying)
    context.apply(dying.saved[-1])  # the outcome and its notes are lost, what was remembered is not
    context.clock.advance(5)
    await until_delivered(sink, context, finish(), maybe_sent=True)
    assert [message.key for message in slack.messages(sink.destination)] == [finish().id]
    assert "intent" not in next(iter(notes_for(sink, [finish()], context).values()))


@pytest.mark.parametrize("seed", range(3))
async def test_forty_interviews_through_random_faults_and_limits(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, seed: int
) -> None:
    chance = random.Random(seed)
    slack.limits, slack.rates.channel = True, Rate(1.0, 3)
    slack.faults.choose(lambda _call: chance.choice(LOST_BEFORE + LOST_AFTER) if chance.random() < 0.2 else None)
    for number in range(1, 41):
        await until_delivered(sink, context, finish(number))
        context.clock.advance(1)
    keys = [message.key for message in slack.messages(sink.destination)]
    assert sorted(keys) == sorted(finish(number).id for number in range(1, 41))
    assert slack.problems() == []
