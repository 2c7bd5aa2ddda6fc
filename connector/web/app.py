"""The Litestar application: which routes a process answers, and for which Host headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from litestar import Litestar
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.middleware import DefineMiddleware
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from connector.http import is_loopback

LOOPBACK = "localhost"
_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[^\[\]:/?#@\s]+))(?::\d*)?")


def create_app(
    routes: Sequence[ControllerRouterHandler], trusted_hosts: Sequence[str], refused: Callable[[str], None]
) -> Litestar:
    """An application with these routes.

    `trusted_hosts` are the names that a Host header may have, whatever the port and the case; `*` is any name and
    `*.example.org` any below that one. This machine's own names are always allowed, so that health checks and
    `connector send` work. Empty allows everything. `refused` is called with "host" for each request that is refused.
    """
    if not trusted_hosts:
        return Litestar(routes, openapi_config=None, logging_config=None)
    allowed = sorted({LOOPBACK, *map(host_name, trusted_hosts)})
    return Litestar(
        routes,
        openapi_config=None,
        logging_config=None,
        allowed_hosts=AllowedHostsConfig(allowed, www_redirect=False),
        middleware=[DefineMiddleware(_host_as_name, refused=refused)],
    )


def host_name(host: str) -> str:
    """The name or address in a Host header, in lower case and without its port (RFC 9110, section 7.2).

    Returns `localhost` for each address of this machine, and "" for a header without a name.
    """
    found = _HOST.fullmatch(host)
    name = (found["address"] or found["name"]).lower() if found else ""
    return LOOPBACK if is_loopback(name) else name


def _host_as_name(app: ASGIApp, refused: Callable[[str], None]) -> ASGIApp:
    """Middleware around `AllowedHostsMiddleware`, which compares the header as it came, port and case included."""

    async def with_name(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [
            (name, host_name(value.decode("latin-1")).encode("latin-1") if name == b"host" else value)
            for name, value in scope["headers"]
        ]

        async def counting(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 400:  # noqa: PLR2004 - see below
                refused("host")  # no route of ours answers 400
            await send(message)

        await app(scope, receive, counting)

    return with_name
