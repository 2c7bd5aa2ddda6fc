"""A service without its HTTP server: what takes webhooks, what delivers, or both, on an open store."""

from __future__ import annotations

import asyncio
import os
import secrets as random
import socket
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from connector.app.front import front_of
from connector.app.opening import Opened
from connector.config import Config
from connector.dispatch.dispatcher import Dispatcher
from connector.dispatch.lane import Shared
from connector.dispatch.rules import Policy
from connector.errors import StoreUnavailable
from connector.role import Role
from connector.sink import Sink
from connector.web.metrics import Metrics

START_REST = 1.0
"""Seconds between attempts to set up the lanes, when the store went away in that moment."""

if TYPE_CHECKING:
    from connector.dispatch.fleet import Fleet


class Service:
    """One process on a store. `front` is `None` for a worker that opens no port."""

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
        self.metrics = metrics
        self._opened = opened
        self._stop_timeout = config.delivery.stop_timeout
        name = f"{socket.gethostname()}:{os.getpid()}:{random.token_hex(3)}"
        url = config.store.url.get_secret_value()
        self._fleet = _fleet(url, name, role, opened) if opened.store.shared else None
        self.dispatcher = self._dispatcher(config, sinks, metrics, name) if role.works else None
        self.front = front_of(config, role, opened, metrics, keys)

    def _dispatcher(self, config: Config, sinks: Sequence[Sink[Any]], metrics: Metrics, name: str) -> Dispatcher:
        delivery = config.delivery
        policy = Policy(delivery.retry_window, delivery.probe_interval, delivery.lease)
        dispatcher = Dispatcher(
            sinks,
            config.routing(),
            Shared(self.store, self._opened.clock, metrics, name, policy),
            types={name: entry.type for name, entry in config.sinks.items()},
            formerly={name: entry.renamed_from for name, entry in config.sinks.items() if entry.renamed_from},
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
        if self._fleet is not None:
            self._fleet.take_no_more()
        if self.dispatcher is not None:
            await self.dispatcher.stop(self._stop_timeout, hurry)
        if self._fleet is not None:
            await self._fleet.stop()


def _fleet(url: str, name: str, role: Role, opened: Opened) -> Fleet:
    from connector.dispatch.fleet import Fleet

    return Fleet(url, name, role, opened.store, opened.clock)
