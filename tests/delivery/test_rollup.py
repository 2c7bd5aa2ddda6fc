"""Events and settled deliveries are counted per hour, in the transaction that stores them."""

from __future__ import annotations

from connector.sink import Delivered, Rejected, Result
from connector.store import replay, rollup
from connector.store.rollup import HOUR_MS, KEPT_MS, Hour, hour_of
from connector.testing import START
from tests.delivery.rig import State

FINISH, SCORE = "interview.finish", "interview.score-updated"


async def counts(rig, since=START, until=START + HOUR_MS, **wanted):
    return await rig.store.query(lambda connection: rollup.series(connection, since, until, **wanted))


async def test_received_events_are_counted_by_name(rig_of):
    rig = await rig_of()
    for name in (FINISH, SCORE, FINISH):
        await rig.event(name, interview=f"i{name}", date=START)
    await rig.event(FINISH, interview=f"i{FINISH}", date=START)  # a repeat
    hour = hour_of(START)
    assert (await counts(rig))[0] == Hour(hour, received=2)
    assert (await counts(rig, kinds=[SCORE]))[0] == Hour(hour, received=1)


async def test_settled_deliveries_are_counted_by_sink_and_state(rig_of):
    rig = await rig_of()
    rig.sinks[0].script = [lambda batch, _: Result([Rejected("no"), *[Delivered()] * (len(batch.deliveries) - 1)])]
    for number in range(3):
        await rig.event(interview=f"i{number}")
    await rig.lane.step()
    assert (await counts(rig, sink="scripted", kinds=[FINISH]))[0] == Hour(hour_of(START), delivered=2, dead=1)
    dead = [row.id for row in await rig.rows() if row.state == 3]
    await rig.store.write(lambda connection: replay.dismiss(connection, dead, "spam", rig.clock.now()))
    total = (await counts(rig, sink=None))[0]
    assert (total.delivered, total.dead, total.dismissed) == (2, 1, 1)


async def test_superseded_states_are_counted(rig_of):
    rig = await rig_of(State())
    for name in (FINISH, SCORE):
        await rig.event(name)
    await rig.lane.step()
    assert (await counts(rig, sink=None))[0] == Hour(hour_of(START), delivered=1, superseded=1)


async def test_a_series_has_every_hour(rig_of):
    rig = await rig_of()
    found = await counts(rig, START - 2 * HOUR_MS, START + 1)
    assert [hour.at for hour in found] == [hour_of(START) + n * HOUR_MS for n in (-2, -1, 0)]


async def test_old_counts_are_deleted(rig_of):
    rig = await rig_of()
    await rig.event()
    await rig.store.write(lambda connection: rollup.count_refused(connection, {"host": 1}, START))
    at = hour_of(START) + KEPT_MS
    assert await rig.store.write(lambda connection: rollup.expire(connection, at)) == 0
    assert await rig.store.write(lambda connection: rollup.expire(connection, at + 1)) == 2
