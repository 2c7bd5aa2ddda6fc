"""The HTTP server: binds its address, bounds what a connection may hold, and ends within a given time."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
import uvicorn
from litestar.types import ASGIApp

from connector.errors import UsageError

HEAD_BYTES = 64 * 1024
"""Most bytes of a request's head, of a chunk's header or of the trailers; Hireflix sends less than 1 KiB."""
CONNECTIONS_MAX = 1000
"""Connections from which on requests are answered with 503: just under the usual limit of 1,024 file handles."""
BACKLOG = 2048
"""Connections that the kernel keeps for us until they are accepted."""
GRACE_SECONDS = 10
"""Most seconds that requests under way have to be answered at a stop."""
HANDLES_CHECK_SECONDS = 1.0
"""Between two checks whether a file handle is free."""

log = structlog.get_logger("connector")


class _Server(uvicorn.Server):
    """Leaves the signals to `signals`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing. The server's own version raises the signal again when it has stopped, which would end the
        process before the lanes have stopped.
        """
        yield


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; port 0 is any free one. Raises `UsageError` that says what to do."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        raise UsageError(_bind_problem(error, host, port)) from None


def _bind_problem(error: OSError, host: str, port: int) -> str:
    address = f"cannot listen on {host}:{port}: "
    if error.errno == errno.EADDRINUSE:
        return address + "another program uses the port; stop it, or set another [server] port"
    if error.errno == errno.EADDRNOTAVAIL:
        return address + "the address does not belong to this machine; set [server] host"
    if error.errno == errno.EACCES:
        return address + "this user may not use the port; set [server] port to one above 1023"
    if error.errno in {socket.EAI_NONAME, socket.EAI_AGAIN}:
        return address + "the name has no address; set [server] host"
    return address + (os.strerror(error.errno) if error.errno else "unknown error")


def base_address(listener: socket.socket) -> str:
    """The address that a socket listens on, as `http://host:port`."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def serve_http(
    app: ASGIApp,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    hurry: asyncio.Event,
    grace_seconds: float = GRACE_SECONDS,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Answers requests until `stop`, then lets those under way end for `grace_seconds`, or until `hurry`.

    `trusted_proxies` are the addresses or networks of proxies whose X-Forwarded-For header is believed. The socket is
    closed in the end.
    """
    server = _Server(
        uvicorn.Config(
            app,
            loop="none",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_graceful_shutdown=int(min(grace_seconds, GRACE_SECONDS)),
        )
    )
    stopper = asyncio.create_task(_exit_after(server, stop, hurry))
    try:
        await server.serve(sockets=[listener])
    finally:
        stopper.cancel()
        listener.close()


async def _exit_after(server: uvicorn.Server, stop: asyncio.Event, hurry: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
    await hurry.wait()
    server.force_exit = True


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

    def remove_handlers() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
            remove_handlers()
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        remove_handlers()


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
