"""Builds a running service from a configuration. No other module creates the long-lived objects of a process."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from litestar import Litestar, Router
from litestar.types import ControllerRouterHandler
from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

from connector import __version__
from connector.config import Config, SinkEntry
from connector.delivery.clock import Clock, ServerClock, SystemClock
from connector.delivery.dispatcher import Dispatcher, log_running_calls
from connector.delivery.heartbeat import Heartbeat
from connector.delivery.lane import DeliveryRuntime
from connector.delivery.listening import Listening
from connector.delivery.outcomes import Policy
from connector.delivery.periodic import PeriodicTasks
from connector.delivery.tasks import Retention, ScheduledCalls
from connector.errors import StoreUnavailable
from connector.hireflix.signature import Verifier
from connector.logging import LogLimit
from connector.operations.alert_task import Alerting
from connector.operations.decision_worker import DecisionWorker
from connector.operations.password import can_sign_in
from connector.operations.position_names import RenamedPositions
from connector.operations.sinks import make_routing_table
from connector.operations.source import open_api, open_api_for_user
from connector.operations.source_tasks import Enriching, SourceTasks
from connector.role import Role
from connector.secretsfile import WEBHOOK_SECRET, make_private
from connector.sink import Sink
from connector.store.base import Store
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.migrate import prepare_sqlite
from connector.store.reconnecting import ReconnectingStore
from connector.store.retention import DAY_MS, RetentionKind
from connector.store.sqlite.database import StoreLock, files_of
from connector.store.sqlite.store import SqliteStore
from connector.web.app import create_app
from connector.web.dashboard.app import make_dashboard
from connector.web.health import HealthChecks, health_routes, live
from connector.web.metrics import Metrics
from connector.web.receiver import Bodies, Receiver, webhook_route
from connector.web.server import base_address, bind, serve_http, signals, watch_file_handles

if TYPE_CHECKING:
    from connector.delivery.cluster import Listener

INTAKE_LIMIT = 4096
"""Most requests that wait for the store at once; a body has at most 1 MiB, usually one or two KiB."""
START_WAIT_SECONDS = 1.0
"""Wait between attempts to start the lanes when the database becomes unavailable during the start."""
CALLS_SHARE = 0.9
"""The part of `stop_timeout` that running calls may use; the rest is for settling outcomes and closing the store."""

log = structlog.get_logger("connector")

OnGroup = Callable[[IngestPlan], None]


@dataclass(frozen=True, slots=True)
class StoreHandle:
    """A store and its clock.

    `was_available` is false when the database was unavailable at the start. `ready` waits until it is available, and
    raises `SchemaMismatch` when the schema belongs to another version.
    """

    store: Store
    clock: Clock
    was_available: bool
    ready: Callable[[], Awaitable[None]]


@asynccontextmanager
async def open_sqlite(
    path: Path, routing: RoutingTable, on_group: OnGroup, clock: Clock | None = None
) -> AsyncIterator[StoreHandle]:
    """Opens a SQLite file for this process only; creates or migrates it first.

    Raises `UsageError` when another process serves it, `StoreUnavailable` and `SchemaMismatch` when it cannot be used.
    """
    with StoreLock(path):
        copy = await prepare_sqlite(path)
        if copy is not None:
            log.info("store copied before migration", copy=copy.name)
        store = SqliteStore(path, routing, on_group, intake=INTAKE_LIMIT)
        try:
            yield StoreHandle(store, clock or SystemClock(), was_available=True, ready=_at_once)
        finally:
            await store.close()


async def _at_once() -> None:
    """Returns at once: an open SQLite store is ready."""


@asynccontextmanager
async def open_postgres(url: str, routing: RoutingTable, on_group: OnGroup) -> AsyncIterator[StoreHandle]:
    """Opens a PostgreSQL store; its database may be unavailable for now.

    Raises `UsageError` for a bad URL, and `SchemaMismatch` when the schema belongs to another version.
    """
    from connector.store.postgres.store import PostgresStore

    clock = ServerClock()

    async def opening() -> Store:
        return await PostgresStore.open(url, routing, on_group, intake=INTAKE_LIMIT, observe=clock.observe)

    store = ReconnectingStore(opening)
    try:
        yield StoreHandle(store, clock, was_available=await store.try_open(), ready=store.open)
    finally:
        await store.close()


class Wakeups:
    """Notifies subscribers of sinks with new deliveries. A notification before the first subscription is dropped."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Iterable[str]], object]] = []

    def subscribe(self, subscriber: Callable[[Iterable[str]], object]) -> None:
        """Adds a subscriber; `send` calls it with the names of the sinks."""
        self._subscribers.append(subscriber)

    def send(self, sinks: Iterable[str]) -> None:
        """Calls every subscriber."""
        for subscriber in self._subscribers:
            subscriber(sinks)


class BackgroundComponent(Protocol):
    """A component that starts although the store may be unavailable, and ends without a deadline of its own."""

    def start(self) -> None:
        """Starts its tasks."""
        ...

    async def stop(self) -> None:
        """Ends its tasks."""
        ...


class Service:
    """The components of one process: a receiver, a dispatcher, or both.

    `http` is the application that the process serves, `None` for a worker without a port; `metrics_http` the one at
    `metrics_port`, if that is set. `dispatcher` and `decisions` are `None` for a receiver. `background` stops together
    with them.
    """

    def __init__(
        self,
        opened: StoreHandle,
        *,
        heartbeat: Heartbeat,
        listener: Listener | None,
        dispatcher: Dispatcher | None,
        decisions: DecisionWorker | None,
        background: Sequence[BackgroundComponent],
        bodies: Bodies,
        http: Litestar | None,
        metrics_http: Litestar | None = None,
        stop_timeout: float,
    ) -> None:
        self.store = opened.store
        self.dispatcher = dispatcher
        self.http = http
        self.metrics_http = metrics_http
        self._opened = opened
        self._heartbeat = heartbeat
        self._listener = listener
        self._decisions = decisions
        self._background = background
        self._bodies = bodies
        self._stop_timeout = stop_timeout

    async def start(self) -> None:
        """Waits for the store, then starts all components. Raises `SchemaMismatch`."""
        await self._opened.ready()
        self._heartbeat.start()
        if self._listener is not None:
            self._listener.start()
        if self.dispatcher is not None and self.store.shared:
            is_away = retry_if_exception_type(StoreUnavailable)
            await AsyncRetrying(retry=is_away, wait=wait_fixed(START_WAIT_SECONDS))(self.dispatcher.start)
        elif self.dispatcher is not None:
            await self.dispatcher.start()
        if self._decisions is not None:
            self._decisions.start()
        for component in self._background:
            component.start()

    def running_calls(self) -> list[str]:
        """Returns the calls that run now, with sink and kind, without personal data."""
        return [call for caller in self._callers() for call in caller.running_calls()]

    def _callers(self) -> list[Dispatcher | DecisionWorker]:
        return [caller for caller in (self.dispatcher, self._decisions) if caller is not None]

    async def stop(self, force: asyncio.Event) -> None:
        """Ends incomplete requests. Running calls may finish until `stop_timeout` or `force`, also when another
        component cannot be stopped.
        """
        self._bodies.stop()
        reporting = asyncio.create_task(log_running_calls(self.running_calls, self._opened.clock))
        ends = await asyncio.gather(
            *(caller.stop(self._stop_timeout * CALLS_SHARE, force) for caller in self._callers()),
            *(component.stop() for component in self._background),
            return_exceptions=True,
        )
        reporting.cancel()
        for error in ends:
            if isinstance(error, Exception):
                log.error("stop failed", error=error)
        if self._listener is not None:
            await self._listener.stop()
        await self._heartbeat.stop()


@asynccontextmanager
async def running(
    config: Config,
    webhook_secrets: Sequence[str],
    role: Role = Role.ALL,
    *,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    force: asyncio.Event | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[Service]:
    """Runs a service until `stop` is set or the block ends.

    `webhook_secrets` include generated ones. `force` cancels the calls that a stop still waits for. A SQLite store is
    opened for this process only, and created or migrated first. When a PostgreSQL store is unavailable, the service
    waits for it in the background, and sets `stop` when the store turns out to be unusable. Raises `UsageError` when
    another process serves the store, `StoreUnavailable` and `SchemaMismatch` when the store cannot be used.
    """
    stop, force, metrics = stop or asyncio.Event(), force or asyncio.Event(), metrics or Metrics()
    _protect_files(config)
    sinks = [entry.cls(entry.name, entry.config) for entry in config.sinks.values()] if role.works else []
    wakeups = Wakeups()

    def on_group(plan: IngestPlan) -> None:
        metrics.group(plan)
        wakeups.send(plan.woken)

    async with _open_store(config, make_routing_table(config), on_group, clock) as opened:
        service = _service(
            config,
            role,
            opened,
            sinks=sinks,
            metrics=metrics,
            wakeups=wakeups,
            webhook_secrets=webhook_secrets,
        )
        starting = asyncio.create_task(service.start())
        stopping = asyncio.create_task(_stop_after(stop, force, starting, service))
        try:
            await _started(starting, opened, stop)
            yield service
        finally:
            stop.set()
            await stopping
        if not starting.cancelled():
            starting.result()


def _protect_files(config: Config) -> None:
    """Lets only the owner read the data folder, the generated secret and the files of a SQLite store."""
    paths = [config.data_folder, config.data_folder / WEBHOOK_SECRET]
    if config.store.file is not None:
        paths += files_of(config.store.file)
    if changed := make_private(paths):
        log.info("access of other users removed", files=sorted(path.name for path in changed))


def _open_store(
    config: Config, routing: RoutingTable, on_group: OnGroup, clock: Clock | None
) -> AbstractAsyncContextManager[StoreHandle]:
    """Opens the configured store."""
    if config.store.file is not None:
        return open_sqlite(config.store.file, routing, on_group, clock)
    return open_postgres(config.store.url.get_secret_value(), routing, on_group)


@asynccontextmanager
async def open_event_store(config: Config) -> AsyncIterator[StoreHandle]:
    """Opens the store for a command that adds events. Raises `StoreHeld` when a service holds the SQLite file."""
    async with _open_store(config, make_routing_table(config), lambda _: None, None) as opened:
        await opened.ready()
        yield opened


async def _started(starting: asyncio.Task[None], opened: StoreHandle, stop: asyncio.Event) -> None:
    """Waits for the start. With an unavailable store it does not wait, and sets `stop` if the start fails later."""
    if not opened.was_available:
        starting.add_done_callback(lambda task: stop.set() if task.cancelled() or task.exception() else None)
        return
    await asyncio.wait([starting])
    if not starting.cancelled():
        starting.result()


async def _stop_after(
    stop: asyncio.Event, force: asyncio.Event, starting: asyncio.Task[None], service: Service
) -> None:
    await stop.wait()
    log.info("stopping", calls=service.running_calls())
    starting.cancel()
    await asyncio.wait([starting])
    await service.stop(force)


def _service(
    config: Config,
    role: Role,
    opened: StoreHandle,
    *,
    sinks: Sequence[Sink[Any]],
    metrics: Metrics,
    wakeups: Wakeups,
    webhook_secrets: Sequence[str],
) -> Service:
    owner = _owner()
    dispatcher = None
    if role.works:
        dispatcher = _dispatcher(config, opened, sinks=sinks, metrics=metrics, owner=owner)
        wakeups.subscribe(dispatcher.wake)
    heartbeat = Heartbeat(owner, role, opened.store, opened.clock)
    listener = None
    if opened.store.shared and dispatcher is not None:
        from connector.delivery.cluster import Listener

        listener = Listener(config.store.url.get_secret_value(), dispatcher.wake)
    refused = _refusal_counter(metrics, heartbeat)
    bodies = Bodies()
    receiver = _receiver(config, opened, webhook_secrets, refused, bodies) if role.receives else None
    source_tasks = _source_tasks(config, opened, metrics) if role.works else None
    decisions = None if dispatcher is None else _decisions(config, opened, owner, dispatcher)
    background: list[BackgroundComponent | None] = [source_tasks, _listening(config, opened, sinks, decisions)]
    if role.works:
        background.append(_periodic(config, opened, sinks, metrics, owner=owner, source_tasks=source_tasks))
    return Service(
        opened,
        heartbeat=heartbeat,
        listener=listener,
        dispatcher=dispatcher,
        decisions=decisions,
        background=[component for component in background if component is not None],
        bodies=bodies,
        http=_http(config, role, opened, metrics=metrics, receiver=receiver, refused=refused, bodies=bodies),
        metrics_http=(
            None if config.server.metrics_port is None else create_app([_health(config, opened, metrics)], (), refused)
        ),
        stop_timeout=config.delivery.stop_timeout,
    )


def _dispatcher(
    config: Config,
    opened: StoreHandle,
    *,
    sinks: Sequence[Sink[Any]],
    metrics: Metrics,
    owner: str,
) -> Dispatcher:
    return Dispatcher(
        sinks,
        config.routing(),
        DeliveryRuntime(opened.store, opened.clock, metrics, owner, _policy(config)),
        types={name: entry.type for name, entry in config.sinks.items()},
        renamed_from={name: entry.renamed_from for name, entry in config.sinks.items() if entry.renamed_from},
    )


def _source_tasks(config: Config, opened: StoreHandle, metrics: Metrics) -> SourceTasks | None:
    """Returns the tasks that use the API of Hireflix, `None` without an API key."""
    if config.hireflix.api_key is None:
        return None
    return SourceTasks(
        partial(open_api, config),
        opened.store,
        opened.clock,
        config.hireflix.reconcile_interval,
        enriching=Enriching(config.hireflix.enrich, config.hireflix.enrich_per_minute, config.hireflix.share_days),
        on_reconciled=metrics.reconciled,
    )


def _decisions(config: Config, opened: StoreHandle, owner: str, dispatcher: Dispatcher) -> DecisionWorker | None:
    """Returns the worker that carries out decisions of users, `None` without an API key."""
    if config.hireflix.api_key is None:
        return None
    open_client = partial(open_api_for_user, config)
    return DecisionWorker(open_client, opened.store, opened.clock, owner, wake=dispatcher.wake)


def _listening(
    config: Config, opened: StoreHandle, sinks: Sequence[Sink[Any]], decisions: DecisionWorker | None
) -> Listening | None:
    """Returns the connections for decisions in chats, `None` without a worker that carries them out."""
    if decisions is None:
        return None
    types = {name: entry.type for name, entry in config.sinks.items()}
    return Listening(sinks, opened.store, opened.clock, types, on_asked=decisions.look)


def _periodic(
    config: Config,
    opened: StoreHandle,
    sinks: Sequence[Sink[Any]],
    metrics: Metrics,
    *,
    owner: str,
    source_tasks: SourceTasks | None,
) -> PeriodicTasks:
    periods = config.retention
    days = {
        RetentionKind.BODIES: periods.bodies_days,
        RetentionKind.DELIVERIES: periods.deliveries_days,
        RetentionKind.ATTEMPTS: periods.attempts_days,
        RetentionKind.DECISIONS: periods.deliveries_days,
    }
    retention = Retention(opened.clock, days, on_deleted=metrics.deleted, file=config.store.file)
    tasks = [retention.task, RenamedPositions(opened.store).task, *ScheduledCalls(sinks).tasks]
    tasks += source_tasks.tasks if source_tasks is not None else []
    if config.alerts.sinks or config.alerts.email is not None:
        entries = {**config.sinks, **config.unrouted}
        alerting = Alerting(
            config.alerts,
            entries,
            list(config.sinks),
            opened.store,
            opened.clock,
            on_call=metrics.called,
            file=config.store.file,
            mail_language=config.language,
        )
        tasks.append(alerting.task)
    return PeriodicTasks(
        tasks,
        opened.store,
        opened.clock,
        owner,
        on_run=metrics.task_ended,
        lease_seconds=config.delivery.lease,
    )


def _owner() -> str:
    """Returns a name for this process that is unique among the processes of a store."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def _policy(config: Config) -> Policy:
    delivery = config.delivery
    return Policy(delivery.retry_window, delivery.probe_interval, delivery.lease)


def _receiver(
    config: Config,
    opened: StoreHandle,
    webhook_secrets: Sequence[str],
    refused: Callable[[str], None],
    bodies: Bodies,
) -> Receiver:
    tolerance = config.hireflix.tolerance_days
    return Receiver(
        opened.store,
        Verifier(webhook_secrets),
        opened.clock.now,
        refused,
        allow_unsigned=config.hireflix.allow_unsigned,
        tolerance_ms=None if tolerance is None else tolerance * DAY_MS,
        bodies=bodies,
    )


def _http(
    config: Config,
    role: Role,
    opened: StoreHandle,
    *,
    metrics: Metrics,
    receiver: Receiver | None,
    refused: Callable[[str], None],
    bodies: Bodies,
) -> Litestar | None:
    routes: list[ControllerRouterHandler] = [live]
    if config.server.metrics_port is None:
        routes.append(_health(config, opened, metrics))
    if receiver is not None:
        routes.append(webhook_route(config.hireflix.webhook_path, receiver))
    elif config.server.worker_port is None:
        return None
    handlers, openapi = None, None
    if role.works and can_sign_in(config):
        dashboard = make_dashboard(config, opened.store, opened.clock, bodies)
        routes += dashboard.routes
        handlers, openapi = dashboard.exception_handlers, dashboard.openapi
    return create_app(routes, config.server.trusted_hosts if role.receives else (), refused, handlers, openapi)


def _health(config: Config, opened: StoreHandle, metrics: Metrics) -> Router:
    return health_routes(HealthChecks(opened.store, opened.clock, list(config.sinks), config.store.file), metrics)


def _refusal_counter(metrics: Metrics, heartbeat: Heartbeat) -> Callable[[str], None]:
    """Counts refused requests by reason, and logs each reason at most once a minute."""
    limit = LogLimit()

    def refused(reason: str) -> None:
        metrics.refused(reason)
        heartbeat.refused(reason)
        if count := limit.add(reason, time.monotonic()):
            log.warning("requests refused", reason=reason, count=count)

    return refused


@asynccontextmanager
async def running_lane(config: Config, entry: SinkEntry) -> AsyncIterator[None]:
    """Runs the lane of one sink, for a command such as `verify --repair`.

    Raises `UsageError` when another process serves the SQLite store, and the other exceptions of `running`.
    """
    async with _open_store(config, make_routing_table(config), lambda _: None, None) as opened:
        await opened.ready()
        dispatcher = Dispatcher(
            [entry.cls(entry.name, entry.config)],
            config.routing(),
            DeliveryRuntime(opened.store, opened.clock, Metrics(), _owner(), _policy(config)),
            types={entry.name: entry.type},
            renamed_from={entry.name: entry.renamed_from} if entry.renamed_from else {},
        )
        try:
            await dispatcher.start()
            yield
        finally:
            await dispatcher.stop()


async def serve(
    config: Config,
    webhook_secrets: Sequence[str],
    on_started: Callable[[str], Awaitable[None]],
    stop: asyncio.Event | None = None,
    *,
    role: Role = Role.ALL,
) -> None:
    """Serves until SIGINT, SIGTERM, SIGHUP or `stop`, then stops intake, lets running calls finish, and returns.

    `on_started` is called with the base address, or with `""` when the process opens no port. A second signal cancels
    running calls; the next start repeats them with `maybe_sent` set. Raises the exceptions of `running`, and
    `UsageError` when the address cannot be used.
    """
    stop, force, metrics = stop or asyncio.Event(), asyncio.Event(), Metrics()
    server = config.server
    port = server.port if role.receives else server.worker_port
    with ExitStack() as listeners:
        listener, metrics_listener = (
            None if number is None else listeners.enter_context(closing(bind(host, number)))
            for host, number in ((server.host, port), (server.metrics_host, server.metrics_port))
        )
        with signals(stop, force):
            async with (
                running(config, webhook_secrets, role, stop=stop, force=force, metrics=metrics) as service,
                _watched_file_handles(metrics),
            ):
                address = "" if listener is None else base_address(listener)
                log.info("started", version=__version__, role=role, address=address, sinks=list(config.sinks))
                await on_started(address)
                # a full collection would visit everything that was loaded, and delay requests by about 0.1 s
                gc.freeze()
                async with asyncio.TaskGroup() as serving:
                    for app, socket_ in ((service.http, listener), (service.metrics_http, metrics_listener)):
                        if app is not None and socket_ is not None:
                            serving.create_task(
                                serve_http(
                                    app,
                                    socket_,
                                    stop=stop,
                                    force=force,
                                    grace_seconds=config.delivery.stop_timeout * CALLS_SHARE,
                                    trusted_proxies=server.trusted_proxies,
                                )
                            )
                    await stop.wait()
    log.info("stopped")


@asynccontextmanager
async def _watched_file_handles(metrics: Metrics) -> AsyncIterator[None]:
    """Counts the checks that find no free file handle, and logs them at most once a minute."""
    limit = LogLimit()

    def exhausted() -> None:
        metrics.file_handles_exhausted()
        if count := limit.add("file handles", time.monotonic()):
            log.warning(
                "file handles exhausted",
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
    """Ends the process with exit code 0 after this many seconds, unless it has ended before.

    At exit Python waits without limit for the threads of `asyncio.to_thread` (documentation of
    `concurrent.futures.ThreadPoolExecutor`). A sink with a blocking client may keep such a thread busy.
    """
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a coroutine function on uvloop."""
    import uvloop

    async def wrapped() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(wrapped())
