"""Kinds of values that a setting can have, each with a message that says what it must be."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, SecretStr, ValidationInfo

from connector.hireflix import EVENT_NAMES

SINK_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""No double and no last underscore: two of them part the names of a variable such as `CONNECTOR_SINKS__A__TOKEN`."""

_OURS = ("/health", "/metrics", "/api", "/schema")


def known_timezone(name: str) -> str:
    """The IANA name itself when it exists, else `ValueError`."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones, such as America
        folded = {zone.casefold(): zone for zone in available_timezones()}
        close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.8)
        hint = f"; did you mean {folded[close[0]]}?" if close else ""
        raise ValueError(f"must be an IANA time zone such as Europe/Madrid{hint}") from None
    return name


def _secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text:
        raise ValueError("must not be empty")
    return SecretStr(text)


def _url_path(path: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError("must be a path such as /webhooks/hireflix, with no / at its end")
    if any(path == ours or path.startswith(f"{ours}/") for ours in _OURS):
        raise ValueError(f"must not begin with one of our own paths: {', '.join(_OURS)}")
    return path


def _trusted_host(host: str) -> str:
    if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?", host):
        raise ValueError("must be a host name such as hooks.example.org or *.example.org, without https:// and path")
    return host


def _store_url(secret: SecretStr, info: ValidationInfo) -> SecretStr:
    url = secret.get_secret_value()
    if url.startswith("postgresql://"):
        return secret
    file = url.removeprefix("sqlite:///")
    if file == url or not file or file == ":memory:" or "?" in file:
        raise ValueError("must be sqlite:///path/of/a/file or postgresql://user:password@host/name")
    folder = (info.context or {}).get("folder")
    return SecretStr(f"sqlite:///{Path(folder) / file}") if folder is not None else secret


def _event_name(name: str) -> str:
    close = get_close_matches(name, EVENT_NAMES, n=1, cutoff=0.8)
    if name not in EVENT_NAMES and close:
        raise ValueError(f"no such event; did you mean {close[0]}?")
    return name


Timezone = Annotated[str, AfterValidator(known_timezone)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
StoreUrl = Annotated[SecretStr, AfterValidator(_store_url)]
TrustedHost = Annotated[str, AfterValidator(_trusted_host)]
EventName = Annotated[str, AfterValidator(_event_name)]
