"""The HTTP server: binds the address, limits what a connection may use, and stops within a given time."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from connector.errors import UsageError

HEAD_BYTES = 64 * 1024
"""Most bytes of a request head, a chunk header or trailers. The documented headers of a webhook need 1 KiB at most."""
CONNECTIONS_MAX = 1000
"""With more connections, requests are answered with 503. Just below the usual limit of 1,024 file handles."""
BACKLOG = 2048
"""Connections that wait in the kernel until they are accepted; the default of uvicorn."""
GRACE_SECONDS = 10
"""At a stop requests that take longer than this are ended without an answer."""
HANDLES_CHECK_SECONDS = 1.0
"""Time between two checks for a free file handle."""
PEER = "connector.peer"
"""The key of the scope with the address of the peer."""

log = structlog.get_logger("connector")


class _Server(uvicorn.Server):
    """Does not handle signals; `signals` does."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing. The method of uvicorn raises the signal again after the server has stopped, which would end the
        process before the lanes have stopped.
        """
        yield


def bind(host: str, port: int) -> socket.socket:
    """Returns a listening socket. Port 0 is any free port. Raises `UsageError` with the setting to change."""
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
    """Returns the address of a listening socket as `http://host:port`."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def serve_http(
    app: ASGIApp,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    force: asyncio.Event,
    grace_seconds: float = GRACE_SECONDS,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Answers requests until `stop`, then lets running requests finish until `grace_seconds` or `force`.

    HEAD is answered like GET, without the body: monitors and load balancers ask by it (RFC 9110, 9.1 and 9.3.2).
    `trusted_proxies` are addresses or networks of proxies whose X-Forwarded-For header is used. Closes the socket at
    the end.
    """
    if trusted_proxies:
        app = _with_peer(ProxyHeadersMiddleware(app, list(trusted_proxies)))  # type: ignore[arg-type]
    server = _Server(
        uvicorn.Config(
            _head_as_get(app),
            loop="none",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_graceful_shutdown=int(min(grace_seconds, GRACE_SECONDS)),
        )
    )
    stopper = asyncio.create_task(_exit_after(server, stop, force))
    try:
        await server.serve(sockets=[listener])
    finally:
        stopper.cancel()
        listener.close()


def _head_as_get(app: ASGIApp) -> ASGIApp:
    """Middleware that lets the application answer HEAD as GET. The server sends no body for HEAD."""

    async def with_get(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "HEAD":
            asked: Any = {**scope, "method": "GET"}  # a copy, because the server reads its own scope
            await app(asked, receive, send)
        else:
            await app(scope, receive, send)

    return with_get


def _with_peer(app: ASGIApp) -> ASGIApp:
    """Middleware that keeps the address of the peer, before `ProxyHeadersMiddleware` replaces it."""

    async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER] = scope.get("client")  # type: ignore[literal-required]
        await app(scope, receive, send)

    return with_peer


def peer_of(scope: Scope) -> str:
    """Returns the address at the other end of the connection: of the proxy when there is one, `""` when unknown."""
    peer: Any = scope.get(PEER) or scope.get("client")
    return str(peer[0]) if peer else ""


async def _exit_after(server: uvicorn.Server, stop: asyncio.Event, force: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
    await force.wait()
    server.force_exit = True


@contextmanager
def signals(stop: asyncio.Event, force: asyncio.Event) -> Iterator[None]:
    """Handles SIGINT, SIGTERM and SIGHUP: the first one sets `stop`, the second one `force`, the third one has its
    default effect.

    The kernel sends SIGHUP when the terminal of the process closes. Under `nohup` the process ignores it.
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
            force.set()
            remove_handlers()
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        remove_handlers()


async def watch_file_handles(on_exhausted: Callable[[], None]) -> None:
    """Calls `on_exhausted` after each check that finds no free file handle. Runs until it is cancelled.

    The event loop does not report this: libuv closes new connections while no file handle is free (`uv__emfile_trick`
    in its src/unix/stream.c).
    """
    while True:
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            on_exhausted()
        await asyncio.sleep(HANDLES_CHECK_SECONDS)
