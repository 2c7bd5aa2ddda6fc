"""Listens for the decisions that users make at destinations, and stores their requests. Every worker listens. The
connection of an account serves all its sinks. Why a sink cannot listen is stored in a note, which `connector status`
shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, select
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from connector.capabilities import LISTENING, Known, Listens, StoredDecision
from connector.decision import DecisionRequest
from connector.delivery.clock import Clock
from connector.errors import SinkBroken, StoreUnavailable
from connector.logging import place_of
from connector.merge import decode, interview_of
from connector.sink import Note, Sink
from connector.store import decisions, leases
from connector.store import notes as store_notes
from connector.store.base import Store
from connector.store.schema import interview

RETRY_MAX_SECONDS = 300.0
"""The longest wait before the next attempt to connect."""
RECONNECT_SECONDS = 1.0
"""The delay before the next connection, after one that worked."""
NO_CONNECTION = "no connection"
"""The reason when the destination cannot be reached."""
STOP_SECONDS = 2.0
"""Time that connections have to close at a stop."""

log = structlog.get_logger("connector.delivery")


class Listening:
    """Keeps one connection per account open. `types` maps each sink to its type. `on_asked` is called after each stored
    request.
    """

    def __init__(
        self,
        sinks: Sequence[Sink[Any]],
        store: Store,
        clock: Clock,
        types: Mapping[str, str],
        *,
        on_asked: Callable[[], None],
    ) -> None:
        self._able = [each for each in sinks if isinstance(each, Listens)]
        self._types = types
        self._store = store
        self._clock = clock
        self._on_asked = on_asked
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts to connect. The store and the destinations may be unavailable, now and later."""
        accounts: dict[str, list[Any]] = {}
        for each in self._able:
            accounts.setdefault(each.account, []).append(each)
        silent = accounts.pop("", [])
        self._tasks = [asyncio.create_task(self._show(silent, None), name="not listening")] if silent else []
        self._tasks += [asyncio.create_task(self._listen(same), name="listening") for same in accounts.values()]

    async def stop(self) -> None:
        """Closes the connections."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)

    async def _listen(self, same: Sequence[Any]) -> None:
        """Listens for the sinks of one account, and connects again whenever the connection ends."""
        wait = wait_random_exponential(multiplier=1, max=RETRY_MAX_SECONDS)
        while not self._stopping.is_set():
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(Exception),
                wait=wait,
                sleep=self._sleep,
                before_sleep=partial(self._failed, same),
            )
            await retrying(self._listen_once, same)
            await self._sleep(RECONNECT_SECONDS)

    async def _listen_once(self, same: Sequence[Any]) -> None:
        """Listens until the connection ends. Raises when no connection can be opened."""
        inbox = _StoreInbox(
            same, self._store, self._clock, on_asked=self._on_asked, on_connected=partial(self._show, same, None)
        )
        try:
            await same[0].listen(same, inbox)
        except Exception as error:
            if not inbox.was_connected:
                raise
            log.info("connection for decisions ended", sinks=_names(same), error=place_of(error))

    async def _failed(self, same: Sequence[Any], state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        reason, fix = (error.reason, error.fix) if isinstance(error, SinkBroken) else (NO_CONNECTION, "")
        if state.attempt_number == 1:
            log.warning("decisions not received", sinks=_names(same), reason=reason, fix=fix)
        await self._show(same, {"reason": reason, "fix": fix, "at": self._clock.now()})

    async def _show(self, same: Sequence[Any], state: Note | None) -> None:
        """Stores why sinks cannot listen, or that they can."""

        def job(connection: Connection) -> None:
            leases.register(connection, {each.name: self._types[each.name] for each in same})
            for each in same:
                store_notes.write(connection, each.name, each.destination, {LISTENING: state})

        with suppress(StoreUnavailable):
            await self._store.write(job)

    async def _sleep(self, seconds: float) -> None:
        await self._clock.wait(self._stopping, seconds)


class _StoreInbox:
    """The `connector.capabilities.Inbox` of one connection, for the sinks `same`. `on_connected` is called once the
    connection works.
    """

    def __init__(
        self,
        same: Sequence[Any],
        store: Store,
        clock: Clock,
        *,
        on_asked: Callable[[], None],
        on_connected: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._destinations: dict[str, str] = {each.name: each.destination for each in same}
        self._store = store
        self._clock = clock
        self._on_asked = on_asked
        self._on_connected = on_connected
        self._storing: asyncio.Task[None] | None = None
        self.was_connected = False

    def connected(self) -> None:
        self.was_connected = True
        log.info("decisions received", sinks=list(self._destinations))
        self._storing = asyncio.create_task(self._on_connected())

    async def look(self, sink: str, interview_id: str, notes: Sequence[str]) -> Known | None:
        destination, now = self._destinations[sink], self._clock.now()

        def query(connection: Connection) -> Known | None:
            mine = (interview.c.id == interview_id, interview.c.erased_at.is_(None))
            row = connection.execute(select(interview.c.id, interview.c.state).where(*mine)).first()
            if row is None:
                return None
            known = interview_of(row.id, decode(row.state))
            return Known(known, store_notes.read(connection, sink, destination, notes), now)

        return await self._store.query(query)

    async def ask(self, sink: str, request: DecisionRequest) -> StoredDecision:
        now = self._clock.now()
        stored = await self._store.write(lambda connection: decisions.ask(connection, request, now, sink_name=sink))
        self._on_asked()
        log.info("decision requested", sink=sink, interview=stored.interview_id, decision=stored.decision)
        found = replace(request, decision=stored.decision, actor=stored.actor, place=stored.place)
        return StoredDecision(found, str(stored.state), stored.requested_at)


def _names(same: Sequence[Any]) -> list[str]:
    return [each.name for each in same]
