"""All lanes of one process: starts, wakes, fills and stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection
from tenacity import wait_fixed

from connector.delivery.clock import Clock, store_retries
from connector.delivery.lane import DeliveryRuntime, Lane
from connector.delivery.outcomes import EMPTY, Span
from connector.errors import StoreUnavailable
from connector.logging import place_of
from connector.routing import Routes
from connector.sink import Sink
from connector.store import claim, leases, settle, status, subscriptions
from connector.store.rename import RenameConflict, has_pending, rename
from connector.store.schema import PauseKind

SWEEP_SECONDS = 1.0
"""Time between two sweeps, which find what another process changed, such as a replay or a resume."""
OVERDUE_CHECK_SECONDS = 15.0
"""Time between two checks for overdue sinks: each one reads the state of all sinks."""
OVERDUE_SECONDS = 600.0
"""A state sink with a pending delivery older than this is logged as an error."""
STOP_SECONDS = 20.0
"""Time that running calls have to end at a stop."""
STOP_LOG_SECONDS = 10.0
"""Interval between two log lines with the calls that a stop waits for."""
CANCEL_SECONDS = 5.0
"""Time that a cancelled call has to end."""
FILL_PAUSE_SECONDS = 0.05
"""Time between two portions of a fill, so that the receiver can write."""

log = structlog.get_logger("connector.delivery")


class Dispatcher:
    """Runs one lane per sink. `types` maps each sink to its type, `renamed_from` each renamed sink to its old name."""

    def __init__(
        self,
        sinks: Sequence[Sink[Any]],
        routes: Routes,
        runtime: DeliveryRuntime,
        *,
        types: Mapping[str, str],
        renamed_from: Mapping[str, str],
    ) -> None:
        self.lanes = {sink.name: Lane(sink, runtime, routes.staying(sink.name)) for sink in sinks}
        self._sinks = sinks
        self._routes = routes
        self._runtime = runtime
        self._types = types
        self._renamed_from = renamed_from
        self._not_renamed: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._helpers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._overdue: set[str] = set()
        self._overdue_pause = EMPTY
        """After a check for overdue sinks."""

    async def start(self) -> None:
        """Starts the lanes. On a store of one process it acquires the leases of all sinks first.

        Raises `StoreUnavailable`.
        """
        await self._runtime.store.write(self._set_up)
        self._tasks = [asyncio.create_task(lane.run(), name=f"lane {name}") for name, lane in self.lanes.items()]
        self._helpers = [asyncio.create_task(self._sweep()), asyncio.create_task(self.fill())]

    def wake(self, names: Iterable[str]) -> None:
        """Rows were added for these sinks."""
        for name in names:
            lane = self.lanes.get(name)
            if lane is not None:
                lane.wake()

    def running_calls(self) -> list[str]:
        """Returns the calls that run now, such as `hiring_sheet: event`."""
        return [lane.running_call for lane in self.lanes.values() if lane.running_call]

    async def stop(self, seconds: float = STOP_SECONDS, force: asyncio.Event | None = None) -> None:
        """Waits for running calls, at most `seconds` or until `force` is set. Then it cancels those that still run,
        settles outcomes, closes the sinks and releases the leases.

        A cancelled call counts as unclear and is repeated after the next start.
        """
        self._stopping.set()
        for lane in self.lanes.values():
            lane.stop()
        for helper in self._helpers:
            helper.cancel()
        cancelled = {task.get_name() for task in await wait_for_end(self._tasks, seconds, force)}
        for task in self._tasks:
            task.cancel()
        for task in await wait_for_end(self._tasks, CANCEL_SECONDS):
            log.warning("call not cancelled", task=task.get_name())
        await asyncio.gather(*self._helpers, return_exceptions=True)
        lanes = self.lanes.items()
        await asyncio.gather(*(_close(lane, at_rest=f"lane {name}" not in cancelled) for name, lane in lanes))

    def _set_up(self, connection: Connection) -> None:
        now = self._runtime.clock.in_sql()
        self._rename(connection, self._renamed_from)
        leases.register(connection, self._types)
        for sink in self._sinks:
            if not sink.state:
                settle.move(connection, sink.name, sink.destination)
        for name in self.lanes if not self._runtime.store.shared else ():
            leases.acquire(connection, name, self._runtime.owner, now, by_force=True)
        leases.probe_all(connection, list(self.lanes))

    def _rename(self, connection: Connection, names: Iterable[str]) -> None:
        """Moves the queues of renamed sinks. A sink that cannot be merged with its old name is paused."""
        now = self._runtime.clock.now()
        for name in names:
            is_state = self.lanes[name].sink.state
            try:
                rename(connection, self._renamed_from[name], name, now, is_state=is_state)
            except RenameConflict as conflict:
                self._not_renamed.add(name)
                leases.pause(connection, name, leases.Pause(PauseKind.UNTIL_RESUMED, conflict.reason, conflict.fix))
                log.warning("sink not renamed", sink=name, reason=conflict.reason, fix=conflict.fix)

    async def _rename_late(self) -> None:
        """Moves the deliveries that a receiver with the old settings added since the start."""
        names = {new: old for new, old in self._renamed_from.items() if new not in self._not_renamed}
        if not names:
            return
        late = await self._runtime.store.read(
            lambda connection: [new for new, old in names.items() if has_pending(connection, old)]
        )
        if late:
            await self._runtime.store.write(lambda connection: self._rename(connection, late))

    async def _resume_after_pause(self) -> None:
        """Resumes sinks whose pause has ended."""
        now = self._runtime.clock.now()
        if await self._runtime.store.read(lambda connection: leases.ended_pauses(connection, now)):
            for name in await self._runtime.store.write(lambda connection: leases.resume_after_pause(connection, now)):
                log.info("sink resumed", sink=name, reason="the pause ended")

    async def fill(self) -> None:
        """Fills the state sinks that need it, in portions. Waits while the store is unavailable."""
        wait = wait_fixed(SWEEP_SECONDS)
        retrying = store_retries(self._runtime.clock, wait, self._stopping, self._stopping.is_set)
        for sink in self._sinks:
            if not sink.state:
                continue
            try:
                await retrying(self._fill_one, sink)
            except subscriptions.FillConflict:
                log.warning("sink filled with other routes", sink=sink.name)
            except Exception as error:  # noqa: BLE001 - the other sinks must be filled
                log.critical("sink fill failed", sink=sink.name, error=error)

    async def _fill_one(self, sink: Sink[Any]) -> None:
        begun = False
        while not self._stopping.is_set() and await self._fill_chunk(sink, begun=begun):
            begun = True
            self.wake([sink.name])
            await self._runtime.clock.wait(self._stopping, FILL_PAUSE_SECONDS)

    async def _fill_chunk(self, sink: Sink[Any], *, begun: bool) -> bool:
        name, destination, now = sink.name, sink.destination, self._runtime.clock.now()
        return await self._runtime.store.write(
            lambda connection: subscriptions.fill_chunk(connection, name, destination, self._routes, now, begun=begun)
        )

    async def _sweep(self) -> None:
        """Wakes the lanes of sinks with due deliveries: a wake-up may be lost, and operations send none."""
        is_away = has_failed = False
        while not self._stopping.is_set():
            await self._runtime.clock.wait(self._stopping, SWEEP_SECONDS)
            try:
                await self._rename_late()
                await self._resume_after_pause()
                due = await self._runtime.store.read(self._due)
                await self._log_overdue()
            except StoreUnavailable as error:
                if not is_away:
                    log.warning("store unavailable", reason=str(error))
                is_away = True
            except Exception as error:  # noqa: BLE001 - without the sweep a lost wake-up would delay deliveries for ever
                if not has_failed:
                    log.critical("sweep failed", error=error)
                has_failed = True
            else:
                if is_away:
                    log.info("store available")
                is_away = has_failed = False
                self.wake(due)

    def _due(self, connection: Connection) -> set[str]:
        return set(claim.due_sinks(connection, self._runtime.owner, self._runtime.clock.in_sql()))

    async def _log_overdue(self) -> None:
        """Logs once that a state sink is overdue, and once that it no longer is."""
        now = self._runtime.clock.now()
        if self._overdue_pause.contains(now):
            return
        self._overdue_pause = Span.of(now, OVERDUE_CHECK_SECONDS)
        found = await self._runtime.store.query(lambda connection: status.sinks(connection, now, list(self.lanes)))
        overdue = {each.name for each in found if each.oldest_age_seconds > OVERDUE_SECONDS and each.state != "paused"}
        overdue &= {sink.name for sink in self._sinks if sink.state}
        for name in sorted(overdue - self._overdue):
            log.error("sink overdue", sink=name, seconds=OVERDUE_SECONDS)
        for name in sorted(self._overdue - overdue):
            log.info("sink no longer overdue", sink=name)
        self._overdue = overdue


async def log_running_calls(running_calls: Callable[[], list[str]], clock: Clock) -> None:
    """Logs what a stop still waits for, until it is cancelled."""
    while True:
        await clock.wait(asyncio.Event(), STOP_LOG_SECONDS)
        if calls := running_calls():
            log.info("stop waits", calls=calls)


async def wait_for_end(
    tasks: Sequence[asyncio.Task[Any]], seconds: float, force: asyncio.Event | None = None
) -> set[asyncio.Task[Any]]:
    """Waits at most `seconds`, and not beyond `force`, for tasks to end. Returns those that still run."""
    if tasks:
        ended = asyncio.create_task(asyncio.wait(tasks))
        forced = asyncio.create_task((force or asyncio.Event()).wait())
        await asyncio.wait({ended, forced}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()  # ends the waiting, not the tasks
        forced.cancel()
    return {task for task in tasks if not task.done()}


async def _close(lane: Lane, *, at_rest: bool) -> None:
    try:
        await lane.close(at_rest=at_rest)
    except Exception as error:  # noqa: BLE001 - a sink that cannot be closed must not keep the others open
        log.warning("sink close failed", sink=lane.name, error=place_of(error))
