"""Verifies sinks that can be read back, and repairs them with the lane of a running service or with its own lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, select
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from connector.capabilities import ASKED, REPORT, Progress, Report, Verifies
from connector.config import Config, SinkEntry
from connector.delivery import batches
from connector.errors import ConnectorError, RateLimited, SinkBroken, UsageError
from connector.operations.sinks import configured, open_sink
from connector.operations.store_access import OpenStore, changing, now, now_in
from connector.role import Role
from connector.sink import Note, Sink, Subscription, Token
from connector.store import audit, leases, notes, rate_limit, settle
from connector.store.processes import processes
from connector.store.schema import AuditAction
from connector.store.schema import sink as sink_table
from connector.store.status import sinks

REPAIR_SECONDS = 900.0
"""Longest wait for a repair."""
POLL_SECONDS = 0.3
"""Time between two reads of the state of a repair."""
WORKERS_SECONDS = 5.0
"""Wait for running workers, which poll every second, before this process runs its own lane."""
TOKEN_MARGIN_SECONDS = 0.01
"""Added to each wait for a token, because the clocks of this machine and of the store are read at different times."""


RunningLane: TypeAlias = Callable[[Config, SinkEntry], AbstractAsyncContextManager[None]]
"""Runs a lane for one sink. Raises `UsageError` when another process holds the store."""


class NotVerified(ConnectorError):
    """The sink could not be verified or repaired. The message says why."""


def verifiable(settings: Config, name: str) -> SinkEntry:
    """Returns the sink of a name. Raises `UsageError` when it is unknown or cannot be read back."""
    entry = configured(settings, name)
    if not issubclass(entry.cls, Verifies):
        raise UsageError(f"a sink of type {entry.type} cannot be read back, so it cannot be verified")
    return entry


def all_verifiable(settings: Config) -> list[SinkEntry]:
    """Returns every sink that can be read back. Raises `UsageError` when there is none."""
    found = [entry for entry in settings.sinks.values() if issubclass(entry.cls, Verifies)]
    if not found:
        raise UsageError("no configured sink can be read back, so there is nothing to verify")
    return found


async def verify(settings: Config, entry: SinkEntry, progress: Progress) -> Report:
    """Compares the destination with the store. Raises `StoreError`, `NotVerified`."""
    sink = entry.cls(entry.name, entry.config)
    assert isinstance(sink, Verifies)
    with changing(settings) as store:
        context = _VerifyContext(store, settings, sink)
        try:
            async with open_sink(sink):
                return await sink.verify(context, progress)
        except SinkBroken as error:
            raise NotVerified(f"{error.reason}; {error.fix}") from error


def _wait_for_token(state: RetryCallState) -> float:
    """Returns the seconds until the rate limit has a token again."""
    error = state.outcome.exception() if state.outcome is not None else None
    return error.seconds + TOKEN_MARGIN_SECONDS if isinstance(error, RateLimited) else TOKEN_MARGIN_SECONDS


class _VerifyContext:
    """The context of a verification outside of a lane. It has no lease, and writes only the tokens that it takes."""

    def __init__(self, store: OpenStore, settings: Config, sink: Sink[Any]) -> None:
        self._store = store
        self._sink = sink
        self._stays = settings.routing().staying(sink.name)

    def now(self) -> int:
        return now()

    async def take(self, *wanted: Token) -> None:
        """Waits for the tokens, because the service takes them from the same rate limit."""
        retrying = AsyncRetrying(retry=retry_if_exception_type(RateLimited), wait=_wait_for_token)
        await retrying(self._take, wanted)

    async def _take(self, wanted: Sequence[Token]) -> None:
        self._store.change(lambda connection: rate_limit.take(connection, wanted, now_in(connection)))

    async def block(self, bucket: str, seconds: float) -> None:
        self._store.change(lambda connection: rate_limit.block(connection, bucket, seconds, now_in(connection)))

    async def save_notes(self, remembered: Mapping[str, Note | None]) -> None:
        """Writes nothing."""

    async def get_notes(self, names: Sequence[str]) -> Mapping[str, Note]:
        sink = self._sink
        return self._store.read(lambda connection: notes.read(connection, sink.name, sink.destination, names))

    async def interviews(self, after: str, limit: int) -> Sequence[Subscription]:
        return self._store.read(
            lambda connection: batches.shown_interviews(connection, self._sink.name, after, limit, self._stays)
        )

    async def waiting(self, group: str) -> int:  # noqa: ARG002 - as the protocol names it
        """Nothing waits for a state sink."""
        return 0

    async def queued(self, events: Collection[str], limit: int) -> int:  # noqa: ARG002 - as the protocol names them
        """Nothing is queued."""
        return 0

    def count_call(self, kind: str) -> None:
        """Counts nothing."""

    def record_reply(self, status: int | None, text: str) -> None:
        """Ignores the reply: the error says what is wrong."""


async def repair(settings: Config, entry: SinkEntry, running_lane: RunningLane, *, actor: str) -> None:
    """Requests a repair from the lane of a running service, or runs a lane, and waits for the result.

    `actor` is who asks, for the audit log. Raises `NotVerified` and `StoreError`.
    """
    with changing(settings) as store:
        request = _RepairRequest(store, entry.cls(entry.name, entry.config), entry.type, actor)
        request.ask()
        if store.read(has_workers):
            with suppress(TimeoutError):
                async with asyncio.timeout(WORKERS_SECONDS):
                    await request.answered()
                    return
        async with AsyncExitStack() as lane:
            with suppress(UsageError):  # a service holds the SQLite store, and runs the lane
                await lane.enter_async_context(running_lane(settings, entry))
            await request.answered()


def request_repair(store: OpenStore, entry: SinkEntry, *, actor: str) -> None:
    """Requests a repair from the lane of a running service, and does not wait for it.

    `actor` is who asks, for the audit log. Raises `StoreError`.
    """
    _RepairRequest(store, entry.cls(entry.name, entry.config), entry.type, actor).ask()


def has_workers(connection: Connection) -> bool:
    """Whether a running process delivers from the store, by its heartbeat."""
    found = processes(connection, now_in(connection))
    return any(process.state == "running" and Role(process.role).works for process in found)


@dataclass(slots=True)
class _RepairRequest:
    """A repair that was requested from a lane, and its result."""

    store: OpenStore
    sink: Sink[Any]
    kind: str
    actor: str
    asked: int = 0

    def ask(self) -> None:
        """Stores the request for the sink, due at once."""
        self.store.change(self._ask)

    def _ask(self, connection: Connection) -> None:
        self.asked = now_in(connection)
        leases.register(connection, {self.sink.name: self.kind})
        notes.write(connection, self.sink.name, self.sink.destination, {ASKED: {"at": self.asked}})
        settle.ask_to_verify(connection, self.sink.name, self.asked)
        audit.record(connection, self.actor, AuditAction.REPAIR, self.sink.name, now=self.asked)

    async def answered(self) -> None:
        """Waits until a report is newer than the request and its repairs are done. Raises `NotVerified`."""
        for _ in range(int(REPAIR_SECONDS / POLL_SECONDS)):
            await asyncio.sleep(POLL_SECONDS)
            if self.store.read(self._is_answered):
                return
        raise NotVerified(
            f"{self.sink.name} was not repaired within {REPAIR_SECONDS / 60:g} minutes; `connector status` shows why"
        )

    def _is_answered(self, connection: Connection) -> bool:
        name = self.sink.name
        report = notes.read(connection, name, self.sink.destination, [REPORT]).get(REPORT, {})
        [current] = [each for each in sinks(connection, now_in(connection), None) if each.name == name]
        if current.state == "paused":
            raise NotVerified(f"{name} is paused: {current.reason}; {current.fix}")
        return bool(report.get("at", 0) >= self.asked and not current.pending and not _is_running(connection, name))


def _is_running(connection: Connection, name: str) -> bool:
    """Whether a batch is being delivered, or a verification is due."""
    running = connection.execute(select(sink_table.c.batch).where(sink_table.c.name == name)).scalar()
    return running is not None or settle.verifies_soon(connection, name, now_in(connection))
