"""The periodic task that adds the calls of sinks at set times, such as a message on each morning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from connector.capabilities import Schedules
from connector.delivery.periodic import Counts, PeriodicTask, TaskContext
from connector.sink import Sink
from connector.store import settle

INTERVAL_SECONDS = 60.0
"""Interval between two runs. The times of messages are in minutes."""


class ScheduledCalls:
    """Adds the follow-ups of sinks that are due at set times; their lanes make the calls, in any process."""

    def __init__(self, sinks: Sequence[Sink[Any]]) -> None:
        self._sinks: dict[str, Schedules] = {sink.name: sink for sink in sinks if isinstance(sink, Schedules)}

    @property
    def task(self) -> PeriodicTask:
        """The task that runs this."""
        return PeriodicTask("scheduled calls", INTERVAL_SECONDS, self.run)

    async def run(self, turn: TaskContext) -> Counts:
        """Adds what became due since the last run, nothing in the first one. Returns the number of calls.

        Raises `StoreUnavailable` and `LeaseLost`.
        """
        after = turn.now if turn.last_success is None else turn.last_success
        count = 0
        for name, sink in self._sinks.items():
            purposes = sink.scheduled(after, turn.now)
            if purposes:
                await turn.write(partial(_add, name, purposes, turn.now))
            count += len(purposes)
        return {"calls": count}


def _add(name: str, purposes: Sequence[str], now: int, connection: Connection) -> None:
    settle.plan_calls(connection, name, purposes, now)
