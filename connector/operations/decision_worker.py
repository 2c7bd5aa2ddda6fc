"""Carries out the decisions that users requested: for a service, and for a command."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, delete

from connector.config import Config
from connector.decision import Decision, DecisionRequest
from connector.delivery.clock import Clock
from connector.delivery.dispatcher import wait_for_end
from connector.errors import LeaseLost, StoreUnavailable
from connector.hireflix.api import HireflixApi
from connector.hireflix.snapshot import Origin
from connector.logging import place_of
from connector.operations.decide import Busy, RequestStore, Sleep, ask, carry_out, result_of
from connector.operations.source import SourceReader, open_api_for_user
from connector.operations.source_tasks import StoreOpener, open_api_or_fail
from connector.operations.store_access import changing, now_in, reading
from connector.store import decisions, schema
from connector.store.base import Store
from connector.store.decisions import Decided, StoredRequest
from connector.store.schema import RequestState
from connector.store.sqlite.database import StoreHeld

AT_ONCE_MAX = 4
"""Most requests that are carried out at once, so that many decisions at once do not reach a rate limit. One that takes
longer than `SLOW_SECONDS` does not count any more, because it waits for a reply.
"""
SLOW_SECONDS = 5.0
"""A new decision waits at most for this time behind others that Hireflix does not answer."""
RUNNING_MAX = 100
"""Most requests that are carried out at once, with those that wait for a reply: each has a connection and a lease."""
POLL_SECONDS = 1.0
"""Interval between two checks for requests."""
FAILURE_SECONDS = 15.0
"""Pause after an unexpected exception, which may occur again."""
RESULT_POLL_SECONDS = 0.3
"""Interval between two reads of a request that another process carries out."""
SERVICE_WAIT_SECONDS = 60.0
"""Longest wait of a command for the result of the service. The service reports within about this time when Hireflix
does not answer.
"""

log = structlog.get_logger("connector.decisions")


class _Running(NamedTuple):
    """A request that is being carried out, since `begun_at` (epoch milliseconds)."""

    task: asyncio.Task[bool]
    begun_at: int
    decision: Decision


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
        self._loop: asyncio.Task[None] | None = None
        self._running: dict[int, _Running] = {}

    def start(self) -> None:
        """Starts to check for requests. The store may be unavailable, now and later."""
        self._loop = asyncio.create_task(self._run(), name="decisions")

    def look(self) -> None:
        """Checks for requests now, because this process has stored one."""
        self._asked.set()

    def running_calls(self) -> list[str]:
        """Returns the decisions that are being carried out now, such as `hireflix: shortlist`."""
        return [f"hireflix: {each.decision}" for each in self._running.values()]

    async def stop(self, seconds: float, force: asyncio.Event) -> None:
        """Ends the loop. Requests that are being carried out may finish for `seconds`, or until `force` is set. The
        next process finishes the others.
        """
        self._stopping.set()
        self._asked.set()
        tasks: list[asyncio.Task[Any]] = [each.task for each in self._running.values()]
        tasks += [self._loop] if self._loop is not None else []
        for task in await wait_for_end(tasks, seconds, force):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        released = False
        while not self._stopping.is_set():
            wait = POLL_SECONDS
            self._asked.clear()
            try:
                if not released:
                    await release_of_killed(self._store)
                    released = True
                await self.begin_due()
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - without this loop no decision would reach Hireflix
                log.warning("decisions failed", error=place_of(error))
                wait = FAILURE_SECONDS
            await self._clock.wait(self._asked, wait)

    async def begin_due(self) -> list[asyncio.Task[bool]]:
        """Begins to carry out requests that are due, as many as may run now. Raises `StoreUnavailable`.

        The result of a task is `False` when another process carries the request out, or when the store is unavailable.
        """
        now = self._clock.now()
        fresh = sum(now - each.begun_at < SLOW_SECONDS * 1000 for each in self._running.values())
        limit = min(AT_ONCE_MAX - fresh, RUNNING_MAX - len(self._running))
        if limit <= 0:
            return []
        in_sql, without = self._clock.in_sql(), list(self._running)
        found = await self._store.query(lambda connection: decisions.due(connection, in_sql, limit, without))
        begun = []
        for each in found if not self._stopping.is_set() else ():
            task = asyncio.create_task(self._carry_out(each), name=f"decision {each.id}")
            self._running[each.id] = _Running(task, now, each.decision)
            begun.append(task)
        return begun

    async def _carry_out(self, request: StoredRequest) -> bool:
        """Carries out a request. Then the next one can begin, at once unless this one would only begin again."""
        done = False
        try:
            async with self._open_api() as api:
                done = await self._carry_out_now(api, request)
        except StoreUnavailable:
            pass
        except Exception as error:  # noqa: BLE001 - the other requests must not wait for it
            log.warning("decisions failed", error=place_of(error))
            await self._clock.wait(self._stopping, FAILURE_SECONDS)
        finally:
            del self._running[request.id]
        self._wake([request.sink] if request.sink else [])
        if done:
            self._asked.set()
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

    async def finish(self, request: StoredRequest) -> Decided:
        """Carries out a request after the earlier ones on its interview. Raises `StoreUnavailable`, and the exceptions
        of `result_of`, also when it or an earlier one was put off.
        """
        async with self._open_api() as api:
            while True:
                waiting = await self._store.query(partial(decisions.waiting_for, interview_id=request.interview_id))
                if not any(each.id == request.id for each in waiting):
                    break
                first = waiting[0]
                if not await self._carry_out_now(api, first):  # another process decides on the interview
                    await self._sleep(RESULT_POLL_SECONDS)
                    continue
                tried = await self._store.query(partial(decisions.get, id_=first.id))
                if tried is not None and tried.state is RequestState.WAITING:
                    break
        now = self._clock.in_sql()
        return await self._store.query(lambda connection: result_of(connection, request.id, now))


async def release_of_killed(store: Store) -> None:
    """Releases the leases of an earlier process, which was killed: a SQLite file has one process at a time."""
    if store.shared:
        return
    killed = delete(schema.lease).where(schema.lease.c.name.startswith(decisions.LEASE, autoescape=True))

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
            open_client = partial(open_api_for_user, settings)
            owner = f"command:{secrets.token_hex(8)}"
            worker = DecisionWorker(open_client, opened.store, opened.clock, owner, wake=lambda _: None, sleep=sleep)
            return await worker.finish(stored)
    except StoreHeld:
        return await _by_service(settings, stored, sleep)


async def _by_service(settings: Config, stored: StoredRequest, sleep: Sleep) -> Decided:
    """Returns the result of the service, see `result_of`. It raises what the request waits for when it was put off, or
    when the command has waited for long.
    """
    for _ in range(int(SERVICE_WAIT_SECONDS / RESULT_POLL_SECONDS)):
        await sleep(RESULT_POLL_SECONDS)
        with reading(settings) as connection:
            found = decisions.get(connection, stored.id)
        if found is None or found.state is not RequestState.WAITING or found.reason:
            break
    with reading(settings) as connection:
        return result_of(connection, stored.id, now_in(connection))
