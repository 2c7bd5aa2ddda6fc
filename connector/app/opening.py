"""The store that a configuration names, opened for a process: a file of its own, or a database shared with others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from connector.dispatch.clock import Clock, SharedClock, SystemClock
from connector.role import Role
from connector.store.late import LateStore
from connector.store.plan import Directory, GroupPlan
from connector.store.sqlite.lock import StoreLock
from connector.store.sqlite.prepare import prepare
from connector.store.sqlite.store import SqliteStore
from connector.store.store import Store

INTAKE_LIMIT = 4096
"""Requests that may wait for the store at once; a body has at most 1 MiB, usually one or two KiB."""

log = structlog.get_logger("connector")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a store has to know: who gets which event, whom to tell of each committed group, and what for."""

    directory: Directory
    on_group: Callable[[GroupPlan], None]
    role: Role


@dataclass(frozen=True, slots=True)
class Opened:
    """A store and the clock that counts in it. `is_there` is false while its database is away; `ready` waits for it,
    and raises `SchemaMismatch` when that turns out to be another version's.
    """

    store: Store
    clock: Clock
    is_there: bool
    ready: Callable[[], Awaitable[None]]


@asynccontextmanager
async def opened_file(path: Path, wanted: Wanted, clock: Clock | None) -> AsyncIterator[Opened]:
    """A SQLite file, held for this process alone, made or brought up to date first.

    Raises `UsageError` when another process serves it, `StoreUnavailable` and `SchemaMismatch` when it cannot be used.
    """
    with StoreLock(path):
        copy = await prepare(path)
        if copy is not None:
            log.info("store copied before its schema changed", copy=copy.name)
        store = SqliteStore(path, wanted.directory, wanted.on_group, intake=INTAKE_LIMIT)
        try:
            yield Opened(store, clock or SystemClock(), is_there=True, ready=_at_once)
        finally:
            await store.close()


@asynccontextmanager
async def opened_database(url: str, wanted: Wanted) -> AsyncIterator[Opened]:
    """A PostgreSQL database, there or not. Raises `SchemaMismatch` when it is another version's, and `UsageError`."""
    from connector.store.postgres import hints_schema
    from connector.store.postgres.clock import DatabaseClock
    from connector.store.postgres.store import PostgresStore

    machine, clocks = SystemClock(), list[DatabaseClock]()

    async def opening() -> Store:
        real = await PostgresStore.open(
            url, wanted.directory, wanted.on_group, intake=INTAKE_LIMIT, receiver=wanted.role.receives
        )
        try:
            await real.look(hints_schema.require_current)
            clock = DatabaseClock(real.read)
            await clock.start()
        except BaseException:
            await real.close()
            raise
        clocks.append(clock)
        return real

    store = LateStore(opening)
    shared = SharedClock(lambda: clocks[0].now() if clocks else machine.now())
    try:
        yield Opened(store, shared, is_there=await store.try_open(), ready=store.open)
    finally:
        for clock in clocks:
            await clock.stop()
        await store.close()


async def _at_once() -> None:
    """There is nothing to wait for."""
