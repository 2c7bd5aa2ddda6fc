"""One call without a store: rate limits and notes are those of the service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import LeaseLost, RateLimited
from connector.sink import Context, Delivered, Result, Sink, SinkConfig, Token
from connector.testing import START, FakeContext, ManualClock, make_delivery, run_batch

PER_SECOND = Token("chat", rate=1)
BURST = Token("account", rate=10, burst=3)


def test_is_a_context():
    """The type checker and a reader see the same protocol."""
    context: Context = FakeContext()
    assert context.now() == START


async def test_a_second_token_of_the_same_second_waits():
    context = FakeContext()
    await context.take(PER_SECOND)
    with pytest.raises(RateLimited) as refused:
        await context.take(PER_SECOND)
    assert (refused.value.bucket, refused.value.seconds) == ("chat", 1.0)


async def test_tokens_return_with_time():
    context = FakeContext()
    await context.take(PER_SECOND)
    context.clock.advance(1)
    await context.take(PER_SECOND)
    assert len(context.taken) == 2


async def test_take_is_all_or_nothing():
    """A refusal by one bucket leaves the other's token where it was."""
    context = FakeContext()
    await context.take(PER_SECOND)
    for _ in range(5):
        with pytest.raises(RateLimited):
            await context.take(BURST, PER_SECOND)
    for _ in range(3):
        await context.take(BURST)
    assert context.taken == [PER_SECOND, BURST, BURST, BURST]


async def test_a_closed_bucket_opens_after_its_time():
    context = FakeContext()
    await context.block("chat", 30)
    with pytest.raises(RateLimited) as refused:
        await context.take(PER_SECOND)
    context.clock.advance(30)
    await context.take(PER_SECOND)
    assert refused.value.seconds == 30


async def test_a_shorter_close_does_not_open_earlier():
    context = FakeContext()
    await context.block("chat", 30)
    await context.block("chat", 5)
    with pytest.raises(RateLimited) as refused:
        await context.take(PER_SECOND)
    assert refused.value.seconds == 30


@given(gaps=st.lists(st.floats(0, 3), max_size=30), burst=st.integers(1, 5), rate=st.floats(0.2, 20))
async def test_no_window_gets_more_than_rate_and_burst(gaps, burst, rate):
    """In every window of w seconds at most burst + w * rate tokens are given, and the promised wait is enough."""
    context = FakeContext()
    given_at = []
    for gap in gaps:
        context.clock.advance(gap)
        try:
            await context.take(Token("b", rate, burst))
        except RateLimited as wait:
            context.clock.advance(wait.seconds + 0.001)
            await context.take(Token("b", rate, burst))
        given_at.append(context.now())
    for first in range(len(given_at)):
        for last in range(first, len(given_at)):
            seconds = (given_at[last] - given_at[first]) / 1000
            assert last - first + 1 <= burst + seconds * rate + 1e-6


async def test_a_scripted_refusal_comes_once():
    context = FakeContext()
    context.refuse("chat", 7)
    with pytest.raises(RateLimited):
        await context.take(PER_SECOND)
    await context.take(PER_SECOND)
    assert context.taken == [PER_SECOND]


async def test_a_lost_lease_stops_every_call_that_writes():
    """As in the store."""
    context = FakeContext()
    context.lose_lease(after=1)
    await context.save_notes({"a": {"n": 1}})
    with pytest.raises(LeaseLost):
        await context.save_notes({"b": {"n": 2}})
    with pytest.raises(LeaseLost):
        await context.take(PER_SECOND)
    with pytest.raises(LeaseLost):
        await context.block("chat", 3)
    assert context.notes == {"a": {"n": 1}}


async def test_remember_commits_as_json():
    """A tuple comes back as a list, as it would from the store."""
    context = FakeContext(notes={"old": {}})
    await context.save_notes({"a": {"at": (1, 2)}, "old": None})
    assert context.notes == {"a": {"at": [1, 2]}}
    assert context.saved == [{"a": {"at": (1, 2)}, "old": None}]


async def test_a_note_that_is_no_json_fails():
    with pytest.raises(TypeError):
        await FakeContext().save_notes({"a": {"at": object()}})


def test_calls_are_counted_by_kind():
    context = FakeContext()
    for kind in ("read", "write", "read"):
        context.count_call(kind)
    assert context.calls == {"read": 2, "write": 1}


def test_the_clock_moves_only_on_request():
    clock = ManualClock()
    assert clock() == clock.now() == START
    assert clock.advance(1.5) == START + 1500


def test_the_clock_does_not_go_back():
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock().advance(-1)


class Counting(Sink[SinkConfig]):
    """Counts its calls for each key, and records its batches."""

    Config = SinkConfig
    max_batch = 2

    def __init__(self):
        super().__init__("counting", SinkConfig())
        self.batches = []

    def note_keys(self, delivery):
        return [f"seen:{delivery.key}"]

    async def deliver(self, batch, context):
        self.batches.append(batch)
        seen = {f"seen:{d.key}": {"n": batch.notes.get(f"seen:{d.key}", {"n": 0})["n"] + 1} for d in batch.deliveries}
        return Result([Delivered()] * len(batch.deliveries), notes=seen)


class Short(Counting):
    async def deliver(self, batch, context):
        return Result([])


async def test_notes_come_back_in_the_next_call():
    sink, context = Counting(), FakeContext()
    delivery = make_delivery()
    await run_batch(sink, [delivery], context)
    await run_batch(sink, [delivery], context)
    assert sink.batches[1].notes == {f"seen:{delivery.key}": {"n": 1}}
    assert context.notes == {f"seen:{delivery.key}": {"n": 2}}


async def test_only_the_notes_asked_for_are_handed_over():
    sink, context = Counting(), FakeContext(notes={"other": {"n": 9}})
    await run_batch(sink, [make_delivery()], context)
    assert sink.batches[0].notes == {}


async def test_a_wrong_number_of_outcomes_is_an_error():
    with pytest.raises(ValueError, match="1 deliveries, but 0 outcomes"):
        await run_batch(Short(), [make_delivery()], FakeContext())


async def test_batch_ids_differ_and_the_start_is_kept():
    sink, context = Counting(), FakeContext()
    await run_batch(sink, [make_delivery()], context, id="b", started_at=5, maybe_sent=True)
    assert (sink.batches[0].id, sink.batches[0].started_at, sink.batches[0].maybe_sent) == ("b", 5, True)
