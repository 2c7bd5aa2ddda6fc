"""A service without its HTTP server: what takes webhooks, what delivers, or both, on an open store."""

from __future__ import annotations

import asyncio
import os
import secrets as random
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Litestar
from litestar.middleware import DefineMiddleware

from connector.app.opening import Opened
from connector.config import Config
from connector.dispatch.clock import Clock
from connector.dispatch.dispatcher import Dispatcher
from connector.dispatch.lane import Shared
from connector.dispatch.rules import Policy
from connector.errors import StoreUnavailable
from connector.hireflix.signature import Verifier
from connector.role import Role
from connector.sink import Sink
from connector.web.health import Health, health_routes
from connector.web.hosts import TrustedHosts, guard
from connector.web.metrics import Metrics
from connector.web.receiver import Receiver, route_handler
from connector.web.refusals import Refusals
from connector.web.server import Front
from connector.web.shortcut import Hook

START_REST = 1.0
"""Seconds between attempts to set up the lanes, when the store went away in that moment."""

if TYPE_CHECKING:
    from connector.dispatch.fleet import Fleet

log = structlog.get_logger("connector")


class Service:
    """One process on a store. `front` is what answers over HTTP, `None` for a worker that opens no port."""

    def __init__(
        self,
        config: Config,
        role: Role,
        opened: Opened,
        sinks: Sequence[Sink[Any]],
        metrics: Metrics,
        *,
        keys: Sequence[str],
    ) -> None:
        self.store = opened.store
        self._opened = opened
        self._stop_timeout = config.delivery.stop_timeout
        name = f"{socket.gethostname()}:{os.getpid()}:{random.token_hex(3)}"
        url = config.store.url.get_secret_value()
        self._fleet = _fleet(url, name, role, opened) if opened.store.shared else None
        self.dispatcher = self._dispatcher(config, sinks, metrics, name) if role.works else None
        self.front = _front(config, role, opened, metrics, keys)

    def _dispatcher(self, config: Config, sinks: Sequence[Sink[Any]], metrics: Metrics, name: str) -> Dispatcher:
        delivery = config.delivery
        policy = Policy(delivery.retry_window, delivery.probe_interval, delivery.lease)
        dispatcher = Dispatcher(
            sinks,
            config.routing(),
            Shared(self.store, self._opened.clock, metrics, name, policy),
            types={name: entry.type for name, entry in config.sinks.items()},
            formerly={name: entry.formerly for name, entry in config.sinks.items() if entry.formerly},
            hint=None if self._fleet is None else self._fleet.hint,
        )
        if self._fleet is not None:
            self._fleet.on_wake = dispatcher.wake
        return dispatcher

    def woken(self, sinks: Iterable[str]) -> None:
        """Rows were added for these sinks. Our own lanes find out who has a sink, so others need no word from us."""
        if self.dispatcher is not None:
            self.dispatcher.wake(sinks)
        elif self._fleet is not None:
            self._fleet.hint(sinks)

    async def start(self) -> None:
        """Starts what there is to start, as soon as the store is there. Raises `SchemaMismatch`."""
        await self._opened.ready()
        if self._fleet is not None:
            await self._fleet.start()
        while self.dispatcher is not None:
            try:
                await self.dispatcher.start()
            except StoreUnavailable:
                if not self.store.shared:
                    raise
                await asyncio.sleep(START_REST)
            else:
                return

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Lets calls under way end, or until `hurry`."""
        if self.dispatcher is not None:
            await self.dispatcher.stop(self._stop_timeout, hurry)
        if self._fleet is not None:
            await self._fleet.stop()


def _fleet(url: str, name: str, role: Role, opened: Opened) -> Fleet:
    from connector.dispatch.fleet import Fleet

    return Fleet(url, name, role, opened.store, opened.clock)


def _front(config: Config, role: Role, opened: Opened, metrics: Metrics, keys: Sequence[str]) -> Front | None:
    """What answers over HTTP: the receiver with health and metrics, or a worker's health alone."""
    health = health_routes(Health(opened.store, opened.clock, list(config.sinks)), metrics)
    if role.receives:
        return _receiving(config, opened, metrics, keys, health)
    if config.server.worker_port is None:
        return None
    return Front(Litestar([health], openapi_config=None, logging_config=None))


def _receiving(config: Config, opened: Opened, metrics: Metrics, keys: Sequence[str], health: Any) -> Front:
    path, hosts = config.hireflix.webhook_path, config.server.trusted_hosts
    refused = _refused(metrics, opened.clock)
    receiver = Receiver(
        opened.store, Verifier(keys), opened.clock.now, refused, allow_unsigned=config.hireflix.allow_unsigned
    )
    app = Litestar(
        [route_handler(path, receiver), health],
        openapi_config=None,
        middleware=[DefineMiddleware(guard, trusted=TrustedHosts(hosts), refused=refused)] if hosts else [],
        logging_config=None,
    )
    # trusted hosts are the framework's to check, so that then nothing goes past it
    return Front(app, None if hosts else Hook(path.encode(), receiver))


def _refused(metrics: Metrics, clock: Clock) -> Callable[[str], None]:
    """Counts a refusal, and tells the log now and then."""
    refusals = Refusals()

    def refused(reason: str) -> None:
        metrics.refused(reason)
        if count := refusals.add(reason, clock.now()):
            log.warning("requests refused", reason=reason, count=count)

    return refused
