"""Carries out the decisions that users requested: for a service, and for a command."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from functools import partial

import structlog
from sqlalchemy import Connection, delete

from connector.config import Config
from connector.decision import DecisionRequest
from connector.delivery.clock import Clock
from connector.errors import LeaseLost, StoreUnavailable
from connector.hireflix.api import HireflixApi
from connector.hireflix.snapshot import Origin
from connector.logging import place_of
from connector.operations.decide import LEASE, Busy, RequestStore, Sleep, ask, carry_out, result_of
from connector.operations.source import SourceReader, open_api
from connector.operations.source_tasks import StoreOpener, open_api_or_fail
from connector.operations.store_access import changing, now_in, reading
from connector.store import decisions, schema
from connector.store.base import Store
from connector.store.decisions import Decided, StoredRequest
from connector.store.schema import RequestState
from connector.store.sqlite.database import StoreHeld

QUERY_TRIES = 2
"""Tries of a query. Then the request is put off, which its user reads at once, and is tried again soon."""
AT_ONCE_MAX = 4
"""Most requests that are carried out at once, so that one without an answer does not delay all others."""
POLL_SECONDS = 1.0
"""Interval between two checks for requests."""
FAILURE_SECONDS = 15.0
"""Pause after an unexpected exception, which may occur again."""
RESULT_POLL_SECONDS = 0.3
"""Interval between two reads of a request that another process carries out."""
SERVICE_WAIT_SECONDS = 60.0
"""Longest wait of a command for the service, which tells it within about the same time that Hireflix does not answer.
"""

log = structlog.get_logger("connector.decisions")


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
        self._request_store = RequestStore(store, clock)
        self._owner = owner
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
                    await release_of_killed(self._store)
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

    async def finish(self, request: StoredRequest) -> StoredRequest | None:
        """Carries out a request after the earlier ones on its interview, and returns it as it is then.

        It still waits when it or an earlier one was put off. `None` when its interview was erased. Raises
        `StoreUnavailable`.
        """
        async with self._open_api() as api:
            while True:
                waiting = await self._store.query(partial(decisions.waiting_for, interview_id=request.interview_id))
                if not any(each.id == request.id for each in waiting):
                    return await self._get(request.id)
                first = waiting[0]
                if not await self._carry_out_now(api, first):  # another process decides on the interview
                    await self._sleep(RESULT_POLL_SECONDS)
                    continue
                tried = await self._get(first.id)
                if tried is not None and tried.state is RequestState.WAITING:
                    return await self._get(request.id)

    async def _get(self, id_: int) -> StoredRequest | None:
        return await self._store.query(partial(decisions.get, id_=id_))


async def release_of_killed(store: Store) -> None:
    """Releases the leases of an earlier process, which was killed: a SQLite file has one process at a time."""
    if store.shared:
        return
    killed = delete(schema.lease).where(schema.lease.c.name.startswith(LEASE, autoescape=True))

    def release(connection: Connection) -> None:
        connection.execute(killed)

    await store.write(release)


async def decide_for_command(
    settings: Config, open_store: StoreOpener, request: DecisionRequest, *, sleep: Sleep = asyncio.sleep
) -> Decided:
    """Carries out a decision, or waits until the service that holds the SQLite file carried it out.

    Raises `UsageError` when the request is wrong, and the exceptions of `result_of`.
    """
    open_api_or_fail(settings)
    with changing(settings) as changes:
        stored = changes.change(lambda connection: ask(connection, settings, request, now_in(connection)))
    try:
        async with open_store(settings) as opened:
            await release_of_killed(opened.store)
            open_client = partial(open_api, settings, tries=QUERY_TRIES)
            owner = f"command:{secrets.token_hex(8)}"
            worker = DecisionWorker(open_client, opened.store, opened.clock, owner, wake=lambda _: None, sleep=sleep)
            return result_of(await worker.finish(stored))
    except StoreHeld:
        return result_of(await _by_service(settings, stored, sleep))


async def _by_service(settings: Config, stored: StoredRequest, sleep: Sleep) -> StoredRequest | None:
    """Returns the request when the service has ended or postponed it, or when the command has waited for long."""
    found: StoredRequest | None = stored
    for _ in range(int(SERVICE_WAIT_SECONDS / RESULT_POLL_SECONDS)):
        await sleep(RESULT_POLL_SECONDS)
        with reading(settings) as connection:
            found = decisions.get(connection, stored.id)
        if found is None or found.state is not RequestState.WAITING or found.reason:
            break
    return found
