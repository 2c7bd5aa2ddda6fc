"""The one place that wires: configuration in, running service out."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from litestar import Litestar
from litestar.middleware import DefineMiddleware
from litestar.types import ASGIApp

from connector import __version__
from connector.config import Config
from connector.dispatch.clock import Clock, SystemClock
from connector.dispatch.dispatcher import Dispatcher
from connector.dispatch.lane import Shared
from connector.dispatch.rules import Policy
from connector.errors import UsageError
from connector.hireflix.signature import Verifier
from connector.sink import Sink
from connector.store.plan import Directory, GroupPlan, Target
from connector.store.sqlite.lock import StoreLock
from connector.store.sqlite.prepare import prepare
from connector.store.sqlite.store import SqliteStore
from connector.store.store import Store
from connector.web.health import Health, health_routes
from connector.web.hosts import TrustedHosts, guard
from connector.web.metrics import Metrics
from connector.web.receiver import Receiver, route_handler
from connector.web.refusals import Refusals
from connector.web.server import listen, signals
from connector.web.shortcut import Hook

INTAKE_LIMIT = 4096
"""Requests that may wait for the store at once; a body has at most 1 MiB, usually one or two KiB."""

log = structlog.get_logger("connector")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service without its HTTP server."""

    app: ASGIApp
    store: Store
    dispatcher: Dispatcher
    metrics: Metrics
    hook: Hook | None = None


def store_path(config: Config) -> Path:
    """The file of the store. Raises `UsageError` for a store that this version cannot serve."""
    if config.store.file is None:
        raise UsageError("store.url: this version serves SQLite stores only; use sqlite:///data/connector.db")
    return config.store.file


@asynccontextmanager
async def running(
    config: Config, secrets: Sequence[str], *, clock: Clock | None = None, hurry: asyncio.Event | None = None
) -> AsyncIterator[Service]:
    """A service from start to graceful stop. `secrets` are the webhook secrets, generated ones included; `hurry` cuts
    calls off that a stop still waits for.

    Holds the store for itself, and makes it or brings its schema up to date first. Raises `UsageError` when another
    process serves it, `StoreUnavailable` and `SchemaMismatch` when the file cannot be used.
    """
    clock = clock or SystemClock()
    path = store_path(config)
    with StoreLock(path):
        copy = await prepare(path)
        if copy is not None:
            log.info("store copied before its schema changed", copy=copy.name)
        sinks = [entry.cls(entry.name, entry.config) for entry in config.sinks.values()]
        service = _wire(config, secrets, path, sinks, clock)
        try:
            await service.dispatcher.start()
            yield service
        finally:
            try:
                await service.dispatcher.stop(config.delivery.stop_timeout, hurry)
            finally:
                await service.store.close()


def _wire(config: Config, secrets: Sequence[str], path: Path, sinks: Sequence[Sink[Any]], clock: Clock) -> Service:
    routes = config.routing()
    targets = {sink.name: Target(sink.state, dict(sink.priority)) for sink in sinks}
    metrics = Metrics()

    def on_group(plan: GroupPlan) -> None:
        metrics.group(plan)
        dispatcher.wake(plan.woken)

    store = SqliteStore(path, Directory(routes, targets), on_group, intake=INTAKE_LIMIT)
    policy = Policy(config.delivery.retry_window, config.delivery.probe_interval)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    dispatcher = Dispatcher(
        sinks,
        routes,
        Shared(store, clock, metrics, owner, policy),
        types={name: entry.type for name, entry in config.sinks.items()},
        formerly={name: entry.formerly for name, entry in config.sinks.items() if entry.formerly},
    )
    refused = _refused(metrics, clock)
    receiver = Receiver(store, Verifier(secrets), clock.now, refused, allow_unsigned=config.hireflix.allow_unsigned)
    health = health_routes(Health(store, clock, list(config.sinks)), metrics)
    hosts = config.server.trusted_hosts
    app = Litestar(
        [route_handler(config.hireflix.webhook_path, receiver), health],
        openapi_config=None,
        middleware=[DefineMiddleware(guard, trusted=TrustedHosts(hosts), refused=refused)] if hosts else [],
        logging_config=None,
    )
    # trusted hosts are the framework's to check, so that then nothing goes past it
    hook = None if hosts else Hook(config.hireflix.webhook_path.encode(), receiver)
    return Service(app, store, dispatcher, metrics, hook)


def _refused(metrics: Metrics, clock: Clock) -> Callable[[str], None]:
    """Counts a refusal, and tells the log now and then."""
    refusals = Refusals()

    def refused(reason: str) -> None:
        metrics.refused(reason)
        if count := refusals.add(reason, clock.now()):
            log.warning("requests refused", reason=reason, count=count)

    return refused


async def serve(
    config: Config,
    secrets: Sequence[str],
    on_started: Callable[[str], Awaitable[None]],
    stop: asyncio.Event | None = None,
) -> None:
    """Serves until SIGINT, SIGTERM or `stop`, then stops intake, lets calls under way end, and returns.

    `on_started` is told the base address. A second signal cuts calls off: they come back at the next start, marked.
    Raises as `running`; `UsageError` when the address cannot be had.
    """
    stop, hurry = stop or asyncio.Event(), asyncio.Event()

    async def started(base: str) -> None:
        log.info("started", version=__version__, address=base, sinks=list(config.sinks))
        await on_started(base)

    with signals(stop, hurry):
        async with running(config, secrets, hurry=hurry) as service:
            await listen(
                service.app,
                config.server.host,
                config.server.port,
                started,
                stop=stop,
                hurry=hurry,
                hook=service.hook,
            )
    log.info("stopped")


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
