"""The little dispatcher hands over notes and commits what the sink answers."""

import pytest

from connector.sink import Delivered, Result, Sink, SinkConfig
from connector.testing import FakeContext, make_delivery, make_event, run_all, run_batch


class Counting(Sink[SinkConfig]):
    """Remembers how often it saw each key, and what it was handed."""

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


async def test_all_deliveries_go_in_batches_of_at_most_max_batch():
    sink = Counting()
    outcomes = await run_all(sink, [make_delivery(make_event(number=n)) for n in range(5)], FakeContext())
    assert [len(batch.deliveries) for batch in sink.batches] == [2, 2, 1]
    assert outcomes == [Delivered()] * 5


async def test_batch_ids_differ_and_the_start_is_kept():
    sink, context = Counting(), FakeContext()
    await run_batch(sink, [make_delivery()], context, id="b", started_at=5, maybe_sent=True)
    assert (sink.batches[0].id, sink.batches[0].started_at, sink.batches[0].maybe_sent) == ("b", 5, True)
