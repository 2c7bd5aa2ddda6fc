"""A web server in its own thread, so that tests, blocking clients and other processes can reach it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from connector.emulators.faults import Faults, apply_fault

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EmulatorServer:
    """Serves an aiohttp application on a free loopback port from a background thread.

    Subclasses add routes in `build`. Every request passes the fault script first. `url` has no trailing slash.
    State that tests touch from outside must be guarded by `self.lock`, which each handler may take as well.
    """

    def __init__(self) -> None:
        self.faults = Faults()
        self.lock = threading.RLock()
        self.url = ""
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None

    def build(self, app: web.Application) -> None:
        """Adds the routes."""
        raise NotImplementedError

    def kind_of(self, request: web.Request) -> str:
        """A short name of the call, which a fault may ask for."""
        return request.path

    def start(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the emulator did not start")
        return self

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run_soon(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine in the loop of the emulator, from any thread."""
        assert self._loop is not None, "the emulator is not started"
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = web.Application(middlewares=[self._faulty], client_max_size=64 * 1024 * 1024)
        self.build(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        self._ready.set()
        await self._stop.wait()
        self.faults.release()
        await runner.cleanup()

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = self.faults.next_for(self.kind_of(request))
        if fault is None:
            return await handler(request)
        return await apply_fault(fault, request, handler, self.faults)
