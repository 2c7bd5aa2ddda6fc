"""Carries out the decisions that users requested on the dashboard, in sheets and in chats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog
from sqlalchemy import Connection, delete

from connector.delivery.clock import Clock
from connector.errors import LeaseLost, StoreUnavailable
from connector.hireflix.api import HireflixApi
from connector.hireflix.snapshot import Origin
from connector.logging import place_of
from connector.operations.decide import LEASE, Busy, Sleep, carry_out
from connector.operations.source import SourceReader
from connector.store import decisions, schema
from connector.store.base import Store
from connector.store.decisions import StoredRequest
from connector.store.dialects import value_of

QUERY_TRIES = 2
"""Tries of a query. Then the request is put off, which its user reads at once, and is tried again soon."""
AT_ONCE_MAX = 4
"""Most requests that are carried out at once, so that one without an answer does not delay all others."""
POLL_SECONDS = 1.0
"""Interval between two checks for requests."""
FAILURE_SECONDS = 15.0
"""Pause after an unexpected exception, which may occur again."""
OWNER = "service:"
"""Prefix of the owners of leases that services take."""

T = TypeVar("T")

log = structlog.get_logger("connector.decisions")


class ServiceRequestStore:
    """The store as a service opens it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def now(self, connection: Connection) -> int:
        return value_of(connection, self._clock.in_sql())

    async def write(self, job: Callable[[Connection], T]) -> T:
        return await self._store.write(job)


class DecisionWorker:
    """Carries out requests. Any number of processes may run one, because each interview has a lease. `owner` is the
    name of the process, and `wake` is called with the sinks that have to show a result.
    """

    def __init__(
        self,
        open_api: Callable[[], HireflixApi],
        store: Store,
        clock: Clock,
        owner: str,
        *,
        wake: Callable[[Iterable[str]], object],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._open_api = open_api
        self._store = store
        self._clock = clock
        self._request_store = ServiceRequestStore(store, clock)
        self._owner = f"{OWNER}{owner}"
        self._wake = wake
        self._sleep = sleep
        self._stopping = asyncio.Event()
        self._asked = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to check for requests. The store may be unavailable, now and later."""
        self._running = asyncio.create_task(self._run(), name="decisions")

    def look(self) -> None:
        """Checks for requests now, because this process has stored one."""
        self._asked.set()

    async def stop(self, seconds: float, force: asyncio.Event) -> None:
        """Ends the loop. A request that is being carried out may finish for `seconds`, or until `force` is set.
        Otherwise the next process finishes it.
        """
        self._stopping.set()
        self._asked.set()
        if self._running is not None:
            forced = asyncio.create_task(force.wait())
            await asyncio.wait({self._running, forced}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            forced.cancel()
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        released = False
        while not self._stopping.is_set():
            wait = POLL_SECONDS
            self._asked.clear()
            try:
                if not released:
                    await self._release_of_killed()
                    released = True
                wait = 0.0 if await self.step() else POLL_SECONDS
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - without this loop no decision would reach Hireflix
                log.warning("decisions failed", error=place_of(error))
                wait = FAILURE_SECONDS
            await self._clock.wait(self._asked, wait)

    async def step(self) -> int:
        """Carries out due requests. Returns how many were finished or postponed. Raises `StoreUnavailable`."""
        found = await self._store.query(lambda connection: decisions.due(connection, self._clock.in_sql()))
        if not found:
            return 0
        turns = asyncio.Semaphore(AT_ONCE_MAX)
        async with self._open_api() as api:
            results = [self._carry_out(api, each, turns) for each in found]
            done = await asyncio.gather(*results, return_exceptions=True)
        for failure in done:
            if isinstance(failure, BaseException):
                raise failure
        return sum(map(bool, done))

    async def _carry_out(self, api: HireflixApi, request: StoredRequest, turns: asyncio.Semaphore) -> bool:
        """Carries out a request at its turn. Returns `False` when another process does it, or at a stop."""
        async with turns:
            if self._stopping.is_set():
                return False
            done = await self._carry_out_now(api, request)
        self._wake([request.sink] if request.sink else [])
        return done

    async def _carry_out_now(self, api: HireflixApi, request: StoredRequest) -> bool:
        try:
            await carry_out(
                api,
                self._request_store,
                request.id,
                request.interview_id,
                owner=self._owner,
                on_read=SourceReader(api, self._store, self._clock.now, Origin.DECISION).refresh,
                sleep=self._sleep,
            )
        except (Busy, LeaseLost):
            return False
        return True

    async def _release_of_killed(self) -> None:
        """Releases the leases of an earlier process, which was killed: a SQLite file has one service at a time."""
        if self._store.shared:
            return
        name, owner = schema.lease.c.name, schema.lease.c.lease_owner
        mine = (name.startswith(LEASE, autoescape=True), owner.startswith(OWNER, autoescape=True))

        def release(connection: Connection) -> None:
            connection.execute(delete(schema.lease).where(*mine))

        await self._store.write(release)
