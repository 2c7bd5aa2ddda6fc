"""Gives every interview the newest name of its position, so that a position has one name in a sheet.

A webhook names the position of its own interview only, and no webhook reports that a position was renamed. So the other
interviews of the position get an event with the new name. It is merged and routed like every event, without a
notification.
"""

from __future__ import annotations

import asyncio
from functools import partial

from connector.delivery.periodic import Counts, PeriodicTask, TaskContext
from connector.hireflix.snapshot import rename_of
from connector.store import position_names
from connector.store.base import Store
from connector.store.position_names import DatedName, Names

INTERVAL_SECONDS = 60.0
CHUNK = 50
"""Interviews that are renamed at once, so that webhooks wait for few other events."""
LARGE = 200
"""A position of which more interviews were renamed rests for `REST_SECONDS`: if events disagree about its name for
ever, thousands of rows must not be written every minute.
"""
REST_SECONDS = 3600.0


class RenamedPositions:
    """Follows the names of positions in the events of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def task(self) -> PeriodicTask:
        """The task that runs this."""
        return PeriodicTask("position names", INTERVAL_SECONDS, self.run)

    async def run(self, context: TaskContext) -> Counts | None:
        """Adds the events for interviews with an older name. Returns their number, `None` when the process stops.

        Raises `StoreUnavailable` and `LeaseLost`; what was added stays, and the next run continues.
        """
        before = await self._store.query(position_names.read)
        seq, found = await self._follow(before.seq, context)
        names = position_names.newest(before.names, found.items())
        resting = {id_: until for id_, until in before.resting.items() if until > context.now}
        compared = {id_: names[id_] for id_ in sorted({*found, *before.changed} - resting.keys())}
        added = {id_: await self._rename(id_, dated, context) for id_, dated in compared.items()}
        if context.stopping.is_set():
            return None
        until = context.now + int(REST_SECONDS * 1000)
        resting |= {id_: until for id_, count in added.items() if count > LARGE}
        if seq != before.seq or compared:
            put = partial(position_names.put, seq=seq, found=found, compared=compared, resting=resting)
            await context.write(put)
        return {"added": sum(added.values())}

    async def _follow(self, seq: int, context: TaskContext) -> tuple[int, Names]:
        """Returns the number of the last settled event after `seq`, and the newest names in all of them."""
        found: Names = {}
        last: int | None = seq
        while last is not None and not context.stopping.is_set():
            seq = last
            last, more = await self._store.query(partial(position_names.follow, seq=last, now=context.now))
            found = position_names.newest(found, more.items())
        return seq, found

    async def _rename(self, position_id: str, dated: DatedName, context: TaskContext) -> int:
        """Adds an event for each interview of a position that has another name. Returns their number."""
        at, name = dated
        done: set[str] = set()
        while not context.stopping.is_set():
            old = await self._store.query(
                lambda connection: position_names.outdated(connection, position_id, name, CHUNK)
            )
            if done.issuperset(each.id for each in old):
                break
            events = [rename_of(each.state, each.id, name, at=at, received_at=context.now) for each in old]
            await asyncio.gather(*(self._store.offer(each.reading, each.body) for each in events))
            done.update(each.id for each in old)
        return len(done)
