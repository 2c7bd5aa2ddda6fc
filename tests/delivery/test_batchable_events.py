"""Batchable events share a call, although the sink takes other events alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from tests.delivery.rig import One

DELIVERED = 1


class Batching(One):
    """Takes up to three invitations in one call."""

    batchable: Mapping[str, int] = MappingProxyType({"interview.create": 3})

    @property
    def batchable_events(self) -> Mapping[str, int]:
        return self.batchable


@pytest.mark.parametrize(("name", "calls"), [("interview.create", [1, 3, 1]), ("interview.finish", [1, 1, 1, 1, 1])])
async def test_only_batchable_events_share_a_call(rig_of, name, calls):
    """Those of one event, up to the number of the sink. Events with a better priority are sent before them, alone."""
    rig = await rig_of(Batching())
    for number in range(4):
        await rig.event(name, f"i{number}")
    await rig.event("interview.finish", "i9")
    for _ in range(6):
        await rig.lane.step()
    assert [len(names) for names in rig.sinks[0].called_with] == calls
    assert rig.sinks[0].called_with[0] == ["interview.finish"]


async def test_a_batch_has_one_delivery_of_each_interview(rig_of):
    """Order is kept per interview."""
    rig = await rig_of(Batching())
    for number in (1, 2, 3):
        await rig.event("interview.create", "same", at=rig.clock.now() + number)
    for _ in range(3):
        await rig.lane.step()
    assert [len(names) for names in rig.sinks[0].called_with] == [1, 1, 1]


async def test_a_batch_ends_before_another_event(rig_of):
    """Only the first rows up to another event, so that the order is kept."""
    rig = await rig_of(Batching())
    for number, name in enumerate(["create", "create", "delete", "create"]):
        await rig.event(f"interview.{name}", f"i{number}")
    for _ in range(3):
        await rig.lane.step()
    assert [len(names) for names in rig.sinks[0].called_with] == [2, 1, 1]


async def test_an_unclear_batch_is_repeated_in_parts_when_the_sink_takes_fewer_now(rig_of):
    """Invitations that were counted in a digest are posted one by one after a change of the settings. In one call they
    could not all get a token of the rate limit, and none of them would ever settle.
    """

    def fail(batch, context):
        raise ConnectionError

    rig = await rig_of(Batching())
    sink = rig.sinks[0]
    sink.script = [fail]
    for number in range(3):
        await rig.event("interview.create", f"i{number}")
    await rig.lane.step()
    sink.batchable = {}
    rig.clock.advance(60)
    for _ in range(3):
        await rig.lane.step()
    assert [len(batch.deliveries) for batch in sink.batches] == [3, 1, 1, 1]
    assert {batch.id for batch in sink.batches} == {sink.batches[0].id}
    assert [batch.maybe_sent for batch in sink.batches] == [False, True, True, True]
    assert await rig.states() == [DELIVERED] * 3
