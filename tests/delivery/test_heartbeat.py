"""The list of running processes: a process is on it while it runs, and never after its end."""

from __future__ import annotations

import asyncio

from connector.delivery.heartbeat import Heartbeat
from connector.role import Role
from connector.store import processes, status
from tests.delivery.rig import until


class Delayed:
    """A store whose first write begins when the test says so, and is committed even when its caller was cancelled."""

    shared = True

    def __init__(self, store):
        self._store = store
        self.asked = 0
        self.open = asyncio.Event()

    async def write(self, job):
        self.asked += 1
        if self.asked > 1:
            return await self._store.write(job)
        self.written = asyncio.ensure_future(self._write_later(job))
        return await asyncio.shield(self.written)

    async def _write_later(self, job):
        await self.open.wait()
        return await self._store.write(job)


async def test_a_process_that_stops_while_its_heartbeat_is_written_is_not_listed(rig_of):
    rig = await rig_of()
    store = Delayed(rig.store)
    member = Heartbeat("p1", Role.RECEIVER, store, rig.clock)
    member.start()
    await until(lambda: store.asked)
    stopping = asyncio.create_task(member.stop())
    await asyncio.wait([stopping], timeout=0.2)  # a process that does not wait for its heartbeat leaves meanwhile
    store.open.set()
    await stopping
    await store.written
    assert await rig.store.query(lambda connection: processes.processes(connection, 0)) == []


async def test_a_process_that_stops_stores_what_it_refused_since_its_last_heartbeat(rig_of):
    rig = await rig_of()
    member = Heartbeat("p1", Role.RECEIVER, rig.store, rig.clock)
    member.start()
    await until(lambda: rig.clock.waiting)
    member.refused("signature")
    await member.stop()
    (found,) = (await rig.store.query(lambda connection: status.source(connection, rig.clock.now()))).refused
    assert (found.reason, found.count) == ("signature", 1)
