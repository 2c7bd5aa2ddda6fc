"""The one place that wires: configuration in, running service out."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from litestar import Litestar
from litestar.config.allowed_hosts import AllowedHostsConfig

from connector.config import Config
from connector.dispatch.clock import Clock, SystemClock
from connector.dispatch.dispatcher import Dispatcher
from connector.dispatch.lane import Shared
from connector.dispatch.rules import Policy
from connector.errors import UsageError
from connector.hireflix.signature import Verifier
from connector.sink import Sink
from connector.store.lock import StoreLock
from connector.store.migrate_apart import prepare
from connector.store.plan import Directory, GroupPlan, Target
from connector.store.store import SqliteStore
from connector.web.health import Health, health_routes
from connector.web.metrics import Metrics
from connector.web.receiver import Receiver, route_handler

INTAKE_LIMIT = 4096
"""Requests that may wait for the store at once; a body has at most 1 MiB, usually one or two KiB."""

log = structlog.get_logger("connector")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service without its HTTP server."""

    app: Litestar
    store: SqliteStore
    dispatcher: Dispatcher
    metrics: Metrics


def store_path(config: Config) -> Path:
    """The file of the store. Raises `UsageError` for a store that this version cannot serve."""
    if config.store.file is None:
        raise UsageError("store.url: this version serves SQLite stores only; use sqlite:///data/connector.db")
    return config.store.file


@asynccontextmanager
async def running(config: Config, secrets: Sequence[str], *, clock: Clock | None = None) -> AsyncIterator[Service]:
    """A service from start to graceful stop. `secrets` are the webhook secrets, generated ones included.

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
            await service.dispatcher.stop(config.delivery.stop_timeout)
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
    receiver = Receiver(
        store, Verifier(secrets), clock.now, metrics.refused, allow_unsigned=config.hireflix.allow_unsigned
    )
    health = health_routes(Health(store, clock, list(config.sinks)), metrics)
    hosts = config.server.trusted_hosts
    app = Litestar(
        [route_handler(config.hireflix.webhook_path, receiver), health],
        openapi_config=None,
        allowed_hosts=AllowedHostsConfig(allowed_hosts=hosts) if hosts else None,
        logging_config=None,
    )
    return Service(app, store, dispatcher, metrics)


class _Server(uvicorn.Server):
    """Tells its address once it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def exit_after(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The server's own way raises the signal again at the end, which would kill us before the lanes have ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            await self._on_started(f"http://{f'[{host}]' if ':' in host else host}:{port}")


async def serve(
    config: Config,
    secrets: Sequence[str],
    on_started: Callable[[str], Awaitable[None]],
    stop: asyncio.Event | None = None,
) -> None:
    """Serves until SIGINT, SIGTERM or `stop`, then stops intake, lets calls under way end, and returns.

    `on_started` is told the base address. Raises as `running`; `UsageError` when the address cannot be had.
    """
    async with running(config, secrets) as service:
        server = _Server(
            uvicorn.Config(
                service.app,
                host=config.server.host,
                port=config.server.port,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=10,
            ),
            on_started,
        )
        stopper = asyncio.create_task(server.exit_after(stop or asyncio.Event()))
        try:
            await server.serve()
        except SystemExit:
            raise UsageError(
                f"cannot listen on {config.server.host}:{config.server.port}; is another program using the port? "
                "Or does the address belong to another machine? ([server] port and host)"
            ) from None
        finally:
            stopper.cancel()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a coroutine on the fast event loop."""
    import uvloop

    async def wrapped() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(wrapped())
