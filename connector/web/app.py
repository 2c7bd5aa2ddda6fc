"""Creates the Litestar application and checks the Host header of requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from litestar import Litestar
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from connector.errors import ConnectorError
from connector.http import is_loopback

LOOPBACK = "localhost"
REFUSED_HOST = b"invalid host header"
"""In the body of the answer of `AllowedHostsMiddleware`."""
log = structlog.get_logger("connector.web")
_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[^\[\]:/?#@\s]+))(?::\d*)?")


def create_app(
    routes: Sequence[ControllerRouterHandler],
    trusted_hosts: Sequence[str],
    refused: Callable[[str], None],
    exception_handlers: Mapping[Any, Any] | None = None,
    openapi: OpenAPIConfig | None = None,
) -> Litestar:
    """Returns an application with these routes.

    `trusted_hosts` are the names that a Host header may have; port and case are ignored. `*` allows every name and
    `*.example.org` every subdomain of example.org. An empty sequence allows everything. `localhost` and loopback
    addresses are always allowed, so that health checks and `connector send` work. `refused` is called with "host" for
    each refused request. `exception_handlers` answer exceptions in the place of Litestar, and
    `openapi` describes the API.
    """
    handlers = dict(exception_handlers or {})
    if not trusted_hosts:
        return Litestar(
            routes,
            openapi_config=openapi,
            logging_config=None,
            after_exception=[_log_unexpected],
            exception_handlers=handlers,
        )
    allowed = sorted({LOOPBACK, *map(host_name, trusted_hosts)})
    return Litestar(
        routes,
        openapi_config=openapi,
        logging_config=None,
        after_exception=[_log_unexpected],
        exception_handlers=handlers,
        allowed_hosts=AllowedHostsConfig(allowed, www_redirect=False),
        middleware=[DefineMiddleware(_host_as_name, refused=refused)],
    )


async def _log_unexpected(error: Exception, scope: Scope) -> None:
    """Logs an exception that Litestar answers with 500; the receiver logs its own."""
    if not isinstance(error, HTTPException | ConnectorError):
        log.error("request failed", path=scope["path"], error=error)


def host_name(host: str) -> str:
    """Returns the name or address of a Host header, in lower case and without the port (RFC 9110, section 7.2).

    Returns "localhost" for loopback addresses, and "" for a header without a valid name.
    """
    found = _HOST.fullmatch(host)
    name = (found["address"] or found["name"]).lower() if found else ""
    return LOOPBACK if is_loopback(name) else name


def _host_as_name(app: ASGIApp, refused: Callable[[str], None]) -> ASGIApp:
    """Middleware around `AllowedHostsMiddleware`, which compares the header unchanged, with its port and case."""

    async def with_name(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [
            (name, host_name(value.decode("latin-1")).encode("latin-1") if name == b"host" else value)
            for name, value in scope["headers"]
        ]

        status = 0

        async def counting(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            if status == 400 and REFUSED_HOST in message.get("body", b""):  # noqa: PLR2004 - 400 has other reasons too
                refused("host")
            await send(message)

        await app(scope, receive, counting)

    return with_name
