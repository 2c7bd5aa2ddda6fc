"""Periodic tasks of delivery: deletes old data in short slices, and adds the calls of sinks at set times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from connector.capabilities import Schedules
from connector.delivery.clock import Clock
from connector.delivery.periodic import Counts, PeriodicTask, TaskContext
from connector.logging import place_of
from connector.sink import Sink
from connector.store import erase, retention, rollup, settle, source
from connector.store.retention import DeletedSlice, RetentionKind
from connector.store.sqlite.database import delete_copies

RETENTION_INTERVAL_SECONDS = 3600.0
"""Interval between two runs of retention. The periods of retention are days."""
RETENTION_DELAY_SECONDS = 60.0
"""Delay of the first run of retention, so that it does not slow down the start."""
SLICE_PAUSE_SECONDS = 0.1
"""Pause between two slices, so that ingest and lanes have the writer for most of the time."""
SCHEDULE_INTERVAL_SECONDS = 60.0
"""Interval between two checks for due calls. The times of messages are in minutes."""
SCHEDULED_KEY = "scheduled_calls"
"""Key of `meta`."""

log = structlog.get_logger("connector.delivery")


class Retention:
    """Deletes old data of a store. `days` are the periods, 0 keeps; `on_deleted` gets a kind and a number of rows.

    `timer` returns seconds. `file` is the SQLite file, whose copies made before migrations expire with the bodies.
    """

    def __init__(
        self,
        clock: Clock,
        days: Mapping[RetentionKind, int],
        *,
        on_deleted: Callable[[str, int], None],
        file: Path | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._days = days
        self._on_deleted = on_deleted
        self._file = file
        self._timer = timer

    @property
    def task(self) -> PeriodicTask:
        """The task that runs this."""
        return PeriodicTask("retention", RETENTION_INTERVAL_SECONDS, self.run, RETENTION_DELAY_SECONDS)

    async def run(self, turn: TaskContext) -> Counts | None:
        """Deletes everything that is old enough, and the rests of erased interviews whose destinations are done.

        Returns the deleted rows by kind, or `None` when stopped before. Raises `StoreUnavailable` and `LeaseLost`.
        """
        await turn.write(erase.finish_all)
        due = retention.cutoffs(self._days, turn.now)
        deleted = {str(kind): 0 for kind in due}
        for kind, cutoff in due.items():
            place: retention.RetentionPlace | None = retention.START
            rows = retention.ROWS_FIRST  # a row of another kind takes another time
            while place is not None:
                done, elapsed_ms = await turn.write(partial(self._slice, kind, cutoff, place, rows))
                rows = retention.next_rows(rows, elapsed_ms)
                deleted[kind] += done.deleted
                self._on_deleted(str(kind), done.deleted)
                place = done.next
                if place is not None and await self._clock.wait(turn.stopping, SLICE_PAUSE_SECONDS):
                    return None
        await turn.write(lambda connection: rollup.expire(connection, turn.now))
        if self._file is not None and RetentionKind.BODIES in due:
            await asyncio.to_thread(delete_copies, self._file, due[RetentionKind.BODIES])
        return deleted

    def _slice(
        self, kind: RetentionKind, cutoff: int, place: retention.RetentionPlace, rows: int, connection: Connection
    ) -> tuple[DeletedSlice, float]:
        """One transaction. Returns what was deleted and the milliseconds that it took."""
        begun = self._timer()
        done = retention.delete_slice(connection, kind, cutoff, place, rows)
        return done, (self._timer() - begun) * 1000


class Scheduled(msgspec.Struct, frozen=True):
    """The time until which all calls at set times were added, in epoch milliseconds."""

    until: int
    v: int = 1


class ScheduledCalls:
    """Adds the follow-ups of sinks that are due at set times; their lanes make the calls, in any process."""

    def __init__(self, sinks: Sequence[Sink[Any]]) -> None:
        self._sinks: dict[str, Schedules] = {
            sink.name: sink for sink in sinks if isinstance(sink, Schedules) and sink.schedules
        }

    @property
    def tasks(self) -> Sequence[PeriodicTask]:
        """The task that runs this, if any sink is called at set times."""
        return [PeriodicTask("scheduled calls", SCHEDULE_INTERVAL_SECONDS, self.run)] if self._sinks else []

    async def run(self, turn: TaskContext) -> Counts:
        """Adds what became due since the last run, nothing in the first one. Returns the number of calls.

        The calls and the time until which they were added are stored in one transaction, so that no call is added
        twice. Raises `StoreUnavailable` and `LeaseLost`.
        """
        last = await turn.write(_last)
        after = turn.now if last is None else last.until
        calls = {name: _due(name, sink, after, turn.now) for name, sink in self._sinks.items()}
        await turn.write(partial(_add, calls, turn.now))
        return {"calls": sum(map(len, calls.values()))}


def _last(connection: Connection) -> Scheduled | None:
    return source.read(connection, SCHEDULED_KEY, Scheduled)


def _add(calls: Mapping[str, Sequence[str]], now: int, connection: Connection) -> None:
    for name, purposes in sorted(calls.items()):
        if purposes:
            settle.plan_calls(connection, name, purposes, now)
    source.write(connection, SCHEDULED_KEY, Scheduled(now))


def _due(name: str, sink: Schedules, after: int, until: int) -> Sequence[str]:
    try:
        return sink.scheduled(after, until)
    except Exception as error:  # noqa: BLE001 - the calls of the other sinks are due too
        log.warning("sink schedule failed", sink=name, error=place_of(error))
        return ()
