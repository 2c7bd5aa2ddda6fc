"""Refuses connections to other machines, and records the attempts. Python reports every look-up of a name and every
connection to audit hooks (Python, Audit events table). A hook cannot be removed, so there is one for the process.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

attempts: list[str] = []
"""The other machines that the running test tried to reach."""


REFUSED_SILENTLY = {"iamcredentials.googleapis.com"}
"""google-auth asks this host in a thread of its own where an account may be used, and has no setting against it."""


def guard() -> None:
    """Starts to refuse."""
    sys.addaudithook(_refuse)


def _refuse(name: str, arguments: tuple[Any, ...]) -> None:
    if name == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a path is a socket of this machine
    elif name == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host or ""
    if not _is_here(host):
        if host not in REFUSED_SILENTLY:
            attempts.append(host)
        raise ConnectionRefusedError(f"tests connect to this machine only, not to {host}")


def _is_here(host: str) -> bool:
    if host in {"", "localhost"} or host.endswith((".invalid", ".localhost")):  # RFC 6761: never another machine
        return True
    try:
        address = ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
