"""The address behind the button: ours to show, or none. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from connector.text import web_link

_HOST = re.compile(r"[a-z0-9.-]+")


def link(url: str, hosts: Iterable[str]) -> str | None:
    """The address, percent-encoded, when it is https and its host is one of `hosts` or below one; else `None`.

    User names, ports, backslashes and control characters are ways to look like another host: refused.
    """
    encoded = web_link(url)
    if encoded is None:
        return None
    parts = urlsplit(encoded)
    host = parts.netloc.lower()
    return encoded if parts.scheme == "https" and _HOST.fullmatch(host) and _is_below(host, hosts) else None


def _is_below(host: str, hosts: Iterable[str]) -> bool:
    return any(host == one or host.endswith(f".{one}") for one in hosts)
