"""Batchable events share a call, although the sink takes other events alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.delivery.rig import One


class Batching(One):
    """Takes up to three invitations in one call."""

    @property
    def batchable_events(self) -> Mapping[str, int]:
        return {"interview.create": 3}


@pytest.mark.parametrize(("name", "calls"), [("interview.create", [1, 3, 1]), ("interview.finish", [1, 1, 1, 1, 1])])
async def test_only_batchable_events_share_a_call(rig_of, name, calls):
    """Of one event, up to the number that the sink names; what has a better priority comes before it, alone."""
    rig = await rig_of(Batching())
    for number in range(4):
        await rig.event(name, f"i{number}")
    await rig.event("interview.finish", "i9")
    for _ in range(6):
        await rig.lane.step()
    assert [len(names) for names in rig.sinks[0].called_with] == calls
    assert rig.sinks[0].called_with[0] == ["interview.finish"]


async def test_a_crowd_holds_one_delivery_of_each_interview(rig_of):
    """Order is kept per interview."""
    rig = await rig_of(Batching())
    for number in (1, 2, 3):
        await rig.event("interview.create", "same", at=rig.clock.now() + number)
    for _ in range(3):
        await rig.lane.step()
    assert [len(names) for names in rig.sinks[0].called_with] == [1, 1, 1]


async def test_a_crowd_ends_where_another_event_comes(rig_of):
    """Only the first rows in a row, so that nothing overtakes."""
    rig = await rig_of(Batching())
    for number, name in enumerate(["create", "create", "delete", "create"]):
        await rig.event(f"interview.{name}", f"i{number}")
    for _ in range(3):
        await rig.lane.step()
    assert [len(names) for names in rig.sinks[0].called_with] == [2, 1, 1]
