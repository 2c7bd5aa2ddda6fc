"""The HTTP server around the application: tells its address, ends gently on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, cast

import structlog
import uvicorn
from litestar.types import ASGIApp

from connector.errors import UsageError
from connector.web.shortcut import Hook, ShortcutProtocol

GRACE_SECONDS = 10
"""Requests under way have this long to be answered at a stop."""
HANDLES_CHECK_SECONDS = 1.0
"""Between two checks whether a file handle is free."""

log = structlog.get_logger("connector")


class Front(NamedTuple):
    """What answers: the application, and the short way of webhooks past it, if there is one."""

    app: ASGIApp
    hook: Hook | None = None


class _Server(uvicorn.Server):
    """Tells its address once it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def exit_after(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        await stop.wait()
        log.info("stopping: what is under way has a moment to end")
        self.should_exit = True
        await hurry.wait()
        self.force_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The server's own way raises the signal again at the end, which would kill us before the lanes have ended."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            await self._on_started(f"http://{f'[{host}]' if ':' in host else host}:{port}")


@contextmanager
def signals(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP: the first sets `stop`, the second `hurry`, the third ends the process as usual.

    SIGHUP comes when the terminal or the SSH connection of the process closes; `nohup` has it ignored, and then it
    stays ignored.
    """
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def listen_no_more() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
            listen_no_more()
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        listen_no_more()


async def watch_file_handles(on_exhausted: Callable[[], None]) -> None:
    """Calls `on_exhausted` for each check that finds no free file handle. Runs until it is cancelled.

    The event loop reports nothing: libuv closes connections that come in while the process has no handle left
    (`uv__emfile_trick` in its src/unix/stream.c).
    """
    while True:
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            on_exhausted()
        await asyncio.sleep(HANDLES_CHECK_SECONDS)


async def listen(
    front: Front,
    host: str,
    port: int,
    on_started: Callable[[str], Awaitable[None]],
    *,
    stop: asyncio.Event,
    hurry: asyncio.Event,
) -> None:
    """Takes requests until `stop`, and lets those under way end, at most until `hurry`.

    `on_started` is told the base address. Raises `UsageError` when the address cannot be had.
    """
    server = _Server(
        uvicorn.Config(
            front.app,
            host=host,
            port=port,
            loop="none",
            http=cast("type[asyncio.Protocol]", partial(ShortcutProtocol, hook=front.hook)),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        on_started,
    )
    stopper = asyncio.create_task(server.exit_after(stop, hurry))
    try:
        await server.serve()
    except SystemExit:
        raise UsageError(
            f"cannot listen on {host}:{port}; is another program using the port? "
            "Or does the address belong to another machine? ([server] port and host)"
        ) from None
    finally:
        stopper.cancel()
