"""The one place that wires: configuration in, running service out."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from connector import __version__
from connector.app.opening import Opened, Wanted, opened_database, opened_file
from connector.app.service import Service
from connector.config import Config
from connector.dispatch.clock import Clock
from connector.role import Role
from connector.store.plan import Directory, GroupPlan, Target
from connector.web.metrics import Metrics
from connector.web.refusals import Refusals
from connector.web.server import listen, signals, watch_file_handles

log = structlog.get_logger("connector")


@asynccontextmanager
async def running(
    config: Config,
    secrets: Sequence[str],
    role: Role = Role.ALL,
    *,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    hurry: asyncio.Event | None = None,
) -> AsyncIterator[Service]:
    """A service from start to graceful stop. `secrets` are the webhook secrets, generated ones included; `hurry` cuts
    calls off that a stop still waits for.

    A SQLite store is held for this process alone, and made or brought up to date first; a PostgreSQL store that is
    away is waited for, and `stop` is set when it turns out to be unusable. Raises `UsageError` when another process
    serves the store, `StoreUnavailable` and `SchemaMismatch` when it cannot be used.
    """
    sinks = [entry.cls(entry.name, entry.config) for entry in config.sinks.values()]
    metrics = Metrics()

    def on_group(plan: GroupPlan) -> None:
        metrics.group(plan)
        service.woken(plan.woken)

    directory = Directory(config.routing(), {sink.name: Target(sink.state, dict(sink.priority)) for sink in sinks})
    async with _opened(config, Wanted(directory, on_group, role), clock) as opened:
        service = Service(config, role, opened, sinks, metrics, keys=secrets)
        starting = asyncio.create_task(service.start())
        try:
            await _started(starting, opened, stop or asyncio.Event())
            yield service
        finally:
            starting.cancel()
            await asyncio.wait([starting])
            await service.stop(hurry)
        if not starting.cancelled():
            starting.result()


def _opened(config: Config, wanted: Wanted, clock: Clock | None) -> AbstractAsyncContextManager[Opened]:
    """The store that is configured."""
    if config.store.file is not None:
        return opened_file(config.store.file, wanted, clock)
    return opened_database(config.store.url.get_secret_value(), wanted)


async def _started(starting: asyncio.Task[None], opened: Opened, stop: asyncio.Event) -> None:
    """Waits for the start, unless the store is away: then the process lives, and ends if the start fails later."""
    if opened.is_there:
        await starting
    else:
        starting.add_done_callback(lambda task: stop.set() if task.cancelled() or task.exception() else None)


async def serve(
    config: Config,
    secrets: Sequence[str],
    on_started: Callable[[str], Awaitable[None]],
    stop: asyncio.Event | None = None,
    *,
    role: Role = Role.ALL,
) -> None:
    """Serves until SIGINT, SIGTERM, SIGHUP or `stop`, then stops intake, lets calls under way end, and returns.

    `on_started` is told the base address, `""` without one. A second signal cuts calls off: they come back at the next
    start, marked. Raises as `running`; `UsageError` when the address cannot be had.
    """
    stop, hurry = stop or asyncio.Event(), asyncio.Event()
    port = config.server.port if role.receives else config.server.worker_port

    async def started(base: str) -> None:
        log.info("started", version=__version__, role=role, address=base, sinks=list(config.sinks))
        await on_started(base)

    with signals(stop, hurry):
        async with running(config, secrets, role, stop=stop, hurry=hurry) as service, _watched(service.metrics):
            if service.front is None or port is None:
                await started("")
                await stop.wait()
            else:
                await listen(service.front, config.server.host, port, started, stop=stop, hurry=hurry)
    log.info("stopped")


@asynccontextmanager
async def _watched(metrics: Metrics) -> AsyncIterator[None]:
    """Counts and logs that no file handle is free, at most one line a minute."""
    lines, loop = Refusals(), asyncio.get_running_loop()

    def exhausted() -> None:
        metrics.file_handles_exhausted()
        if count := lines.add("file handles", int(loop.time() * 1000)):
            log.warning(
                "no file handle is free, connections are dropped",
                checks=count,
                limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                hint="close idle connections at the proxy, or raise LimitNOFILE",
            )

    watch = asyncio.create_task(watch_file_handles(exhausted))
    try:
        yield
    finally:
        watch.cancel()


def end_within(seconds: float) -> None:
    """Ends the process with exit code 0 after so many seconds, unless it has ended by then.

    Python waits without limit for threads that are blocked in a call of `asyncio.to_thread`, as in a sink that uses a
    blocking client.
    """
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()


def spare_the_collector() -> None:
    """Lets Python's collector of cycles leave alone what lives as long as the process, and look more rarely at all.

    It looked through every library once in a few thousand webhooks, and all requests waited. For a process of its
    own: what is frozen is never collected again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 20, 20)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a coroutine on the fast event loop."""
    import uvloop

    async def wrapped() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(wrapped())
