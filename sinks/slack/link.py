"""The address behind the button: ours to show, or none. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

_HOST = re.compile(r"[a-z0-9.-]+")
_MOST = 3000


def link(url: str, hosts: Iterable[str]) -> str | None:
    """The address, percent-encoded, when it is https and its host is one of `hosts` or below one; else `None`.

    User names, ports, backslashes and control characters are ways to look like another host: refused.
    """
    if any(char <= " " or char in "\\\x7f" for char in url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = parts.netloc.lower()
    if parts.scheme != "https" or not _HOST.fullmatch(host) or not _is_below(host, hosts):
        return None
    encoded = quote(url, safe=":/?#[]@!$&'()*+,;=%-._~", errors="replace")
    return encoded if len(encoded) <= _MOST else None


def _is_below(host: str, hosts: Iterable[str]) -> bool:
    return any(host == one or host.endswith(f".{one}") for one in hosts)
