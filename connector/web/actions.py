"""The operations that change something, for the dashboard and the JSON API of a serving process. Each method raises
`UsageError` for a request that cannot be carried out, and `StoreUnavailable`. `actor` is who asks, for the audit log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from connector.blocking import BlockingThread
from connector.capabilities import Report
from connector.config import Config, SinkEntry
from connector.delivery.clock import Clock
from connector.errors import ConnectorError, UsageError
from connector.operations import erase as erase_operation
from connector.operations import replay as replay_operation
from connector.operations import send as send_operation
from connector.operations import sinks as sink_operations
from connector.operations import verify as verify_operation
from connector.operations.erase import Receipt
from connector.operations.verify import NotVerified
from connector.store import replay as store_replay
from connector.store.base import Store
from connector.store.erase import Subject
from connector.store.queries import ListingFilter

T = TypeVar("T")

LOOPBACK = "localhost"
"""The Host header of requests to this process, which every configuration allows."""
VERIFY_SECONDS = 120.0
"""Longest wait of a client for a verification."""
ERASE_SECONDS = 15.0
"""Longest wait of a client for the destinations of an erase; the rest stays queued."""


class ServedStore:
    """The store of this process as a `connector.operations.store_access.OpenStore`, for operations in a thread."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop

    def change(self, job: Callable[[Connection], T]) -> T:
        """Runs a job with the writer of the process, and returns its result after the commit."""
        return asyncio.run_coroutine_threadsafe(self._store.write(job), self._loop).result()

    def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a query on a snapshot of the newest commit."""
        return asyncio.run_coroutine_threadsafe(self._store.query(query), self._loop).result()


class Actions:
    """The operations that change something, on the store of this process."""

    def __init__(self, config: Config, store: Store, clock: Clock) -> None:
        self._config = config
        self._store = store
        self._clock = clock

    async def find(self, request: replay_operation.ReplayRequest) -> store_replay.ReplaySelection:
        """Returns the deliveries that a replay would make pending."""
        replay_operation.require_valid(self._config, request)
        return await self._store.query(
            lambda connection: replay_operation.find_deliveries(connection, self._config, request)
        )

    def effects(self, found: store_replay.ReplaySelection) -> list[replay_operation.ReplayEffect]:
        """Returns what a replay of these deliveries does, by sink."""
        return replay_operation.effects(self._config, found)

    async def replay(self, request: replay_operation.ReplayRequest, *, actor: str) -> int:
        """Makes the deliveries of a request pending again. Returns their number."""
        found, store = await self.find(request), self._served()
        return await asyncio.to_thread(replay_operation.replay_deliveries, store, request, found, _ignore, actor=actor)

    async def find_events(self, request: replay_operation.ReplayRequest) -> store_replay.EventSelection:
        """Returns the events that a replay would read again."""
        replay_operation.require_valid(self._config, request)
        return await self._store.query(lambda connection: replay_operation.find_events(connection, request))

    async def replay_events(self, request: replay_operation.ReplayRequest, *, actor: str) -> int:
        """Reads events again. Returns the number of those that this version merges and routes."""
        ids, store = (await self.find_events(request)).ids, self._served()
        done = await asyncio.to_thread(
            replay_operation.replay_events, store, self._config, request, ids, _ignore, actor=actor
        )
        return done.applied

    async def dismiss(self, wanted: ListingFilter, reason: str, *, actor: str) -> int:
        """Settles the dead letters of a selection, or all deliveries of a removed sink, as dismissed. Returns their
        number.
        """
        why, config, store = replay_operation.valid_reason(wanted, reason), self._config, self._served()
        ids = await self._store.query(lambda connection: dismissible_ids(connection, config, wanted))
        return await asyncio.to_thread(
            replay_operation.dismiss, store, config, wanted, ids, _ignore, reason=why, actor=actor
        )

    async def pause(self, name: str, until: str, *, actor: str) -> tuple[SinkEntry, int | None]:
        """Pauses a sink until a time, or with `""` until it is resumed. Returns the sink and the end (epoch ms)."""
        entry = sink_operations.configured(self._config, name)
        zone = ZoneInfo(self._config.timezone)
        end = sink_operations.end_of_pause(until, self._clock.now(), zone) if until.strip() else None
        await self._store.write(lambda connection: sink_operations.pause(connection, entry, end, actor=actor))
        return entry, end

    async def resume(self, name: str, mode: str, *, actor: str) -> tuple[SinkEntry, int]:
        """Resumes a sink, with a resume mode of its type or `""`. Returns the sink and its pending deliveries."""
        entry = sink_operations.configured(self._config, name)
        pending = await self._store.write(
            lambda connection: sink_operations.resume(connection, entry, mode or None, actor=actor)
        )
        return entry, pending

    async def verify(self, name: str) -> tuple[SinkEntry, Report]:
        """Compares a destination with the store. Raises `NotVerified`."""
        entry = verify_operation.verifiable(self._config, name)

        async def compare() -> Report:
            try:
                async with asyncio.timeout(VERIFY_SECONDS):
                    return await verify_operation.verify(self._config, entry, _ignore)
            except TimeoutError:
                raise NotVerified(f"no result within {VERIFY_SECONDS:g} s; use `connector verify {name}`") from None

        return entry, await _in_own_loop(compare)

    async def repair(self, name: str, *, actor: str) -> SinkEntry:
        """Asks the lane of a sink to verify and repair it, and does not wait for the result."""
        entry = verify_operation.verifiable(self._config, name)
        await asyncio.to_thread(verify_operation.request_repair, self._served(), entry, actor=actor)
        return entry

    async def send_sample(self, server: tuple[str, int | None] | None) -> None:
        """Posts a sample, signed with our secret, to the receiver at `server`, the address of this process.

        Raises `ConnectorError` when it is not accepted.
        """
        if server is None or server[1] is None:
            raise UsageError("the address of this process is unknown; use `connector send --sample interview.finish`")
        host = f"[{server[0]}]" if ":" in server[0] else server[0]
        url = f"http://{host}:{server[1]}{self._config.hireflix.webhook_path}"
        body, secret = send_operation.marked_sample(), send_operation.secret_of(self._config)
        answer = await asyncio.to_thread(send_operation.post, url, body, secret, LOOPBACK)
        if not answer.is_success:
            raise ConnectorError(
                f"the receiver refused the sample (HTTP {answer.status_code}); this process may have no receiver: "
                "use `connector send --sample interview.finish`"
            )

    async def subject(self, interview_id: str) -> Subject:
        """Returns the stored data of an interview that an erase would remove."""
        subjects = await asyncio.to_thread(erase_operation.find_interviews, self._config, [interview_id], None)
        if not subjects:
            raise UsageError("this interview is not in the store")
        return subjects[0]

    async def erase(self, interview_id: str, *, actor: str) -> Receipt:
        """Erases a person, and returns the receipt."""
        ids = [(await self.subject(interview_id)).interview_id]

        async def erasing() -> Receipt:
            return await erase_operation.erase(self._config, ids, _no_lane, actor=actor, wait_seconds=ERASE_SECONDS)

        return await _in_own_loop(erasing)

    def _served(self) -> ServedStore:
        return ServedStore(self._store, asyncio.get_running_loop())


def dismissible_ids(connection: Connection, config: Config, wanted: ListingFilter) -> list[int]:
    """Returns the ids of the deliveries of a selection that a dismissal settles. Raises `UsageError`."""
    found = replay_operation.find_dismissible(connection, config, wanted)
    return [id_ for ids in found.values() for id_ in ids]


def _no_lane(_config: Config, _entry: SinkEntry) -> AbstractAsyncContextManager[None]:
    """Raises, because the lanes of this process or of another worker do the work."""
    raise UsageError("a worker runs the lanes")


def _ignore(_done: int, _total: int) -> None:
    """Ignores the progress: pages and answers do not show it."""


async def _in_own_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a blocking operation in its own thread and event loop. A stop of the service does not wait for it."""
    thread = BlockingThread("actions")
    try:
        return await thread.run(lambda: asyncio.run(work()))
    finally:
        thread.close()
