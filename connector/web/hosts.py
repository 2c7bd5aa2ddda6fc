"""Which names a request may call us by: those that are configured, and those of this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from connector.http import is_loopback

_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[^\[\]:/?#@\s]+))(?::\d*)?")
REFUSAL = b'{"error":"this host name is not trusted, see [server] trusted_hosts"}'


def name_of(host: str) -> str:
    """The name or address in a Host header, in lower case and without its port (RFC 9110, section 7.2); `""` when it
    holds none.
    """
    found = _HOST.fullmatch(host)
    return (found["address"] or found["name"]).lower() if found else ""


class TrustedHosts:
    """Names that are trusted; `*` is any, and `*.example.org` any below that one. Ports do not count.

    Loopback is always trusted, so that health checks and `connector send` on this machine work.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        names = {name_of(host) for host in hosts}
        self._any = "*" in names
        self._names = {name for name in names if not name.startswith("*")}
        self._suffixes = tuple(name.removeprefix("*") for name in names if name.startswith("*."))

    def accept(self, host: str) -> bool:
        """Whether a Host header names one of them."""
        name = name_of(host)
        if not name:
            return False
        return self._any or name in self._names or name.endswith(self._suffixes) or is_loopback(name)


def guard(app: ASGIApp, trusted: TrustedHosts, refused: Callable[[str], None]) -> ASGIApp:
    """The application behind the check; `refused` counts by a fixed word."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        if trusted.accept(host.decode("latin-1")):
            await app(scope, receive, send)
            return
        refused("host")
        await ASGIResponse(body=REFUSAL, status_code=400, media_type="application/json")(scope, receive, send)

    return guarded
