"""Helpers for sinks that use HTTP: classes of status codes, `Retry-After`, safe URLs, retries of reads."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random

RETRY_AFTER_MAX_SECONDS = 900.0
"""A longer `Retry-After` is reduced to this: the longest delay of the backoff."""
RETRY_AFTER_MIN_SECONDS = 1.0
"""A shorter `Retry-After` is raised to this: with 0 or a past date the call would be repeated without a pause."""
READ_TRIES = 3
"""Tries of a read in one call; a third failure is probably not a short interruption."""
READ_SECONDS = 5.0
"""A read is not tried again after this time, because the lane waits for it."""


class ResponseClass(StrEnum):
    """The meaning of an HTTP status for the request."""

    OK = "ok"
    THROTTLED = "throttled"
    """Not applied; try again later."""
    UNCLEAR = "unclear"
    """May have been applied."""
    DENIED = "denied"
    """Not applied; an operator must act."""
    REFUSED = "refused"
    """Not applied and never will be."""


def classify(status: int) -> ResponseClass:
    """Returns the meaning of a status (RFC 9110 section 15, RFC 6585 section 4) for a request that changes data."""
    if 200 <= status < 300:  # noqa: PLR2004 - the classes of RFC 9110
        return ResponseClass.OK
    if status in {408, 425, 429}:
        return ResponseClass.THROTTLED
    if status in {401, 403, 404, 407, 410}:
        return ResponseClass.DENIED
    if 400 <= status < 500:  # noqa: PLR2004
        return ResponseClass.REFUSED
    return ResponseClass.UNCLEAR


def retry_after(headers: Mapping[str, str], now: int) -> float | None:
    """Returns the seconds of `Retry-After` (RFC 9110 section 10.2.3: seconds or a date), from
    `RETRY_AFTER_MIN_SECONDS` to `RETRY_AFTER_MAX_SECONDS`.

    `now` is epoch milliseconds. Returns `None` when the header is missing or invalid.
    """
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, now)
    if not 0 <= seconds < float("inf"):
        return None
    return min(max(seconds, RETRY_AFTER_MIN_SECONDS), RETRY_AFTER_MAX_SECONDS)


def _seconds_until(text: str, now: int) -> float:
    when = epoch_ms(text)
    return -1.0 if when is None else max(0.0, (when - now) / 1000)


def epoch_ms(date: str) -> int | None:
    """Returns the epoch milliseconds of an HTTP date (RFC 9110 section 5.6.7), `None` when it is invalid."""
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def is_loopback(host: str) -> bool:
    """Whether a host is `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def safe_url(url: str) -> str:
    """Returns the URL when credentials may be sent to it: https, or http to loopback. Raises `ValueError` otherwise."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return url
    if parts.scheme == "http" and is_loopback(host):
        return url
    raise ValueError("must be an https:// address, or http:// on this machine")


SafeUrl = Annotated[str, AfterValidator(safe_url)]
"""A setting that credentials are sent to: https or loopback."""


def host_of(url: str) -> str:
    """Returns the host of a URL, the only part that may be shown of a URL with a secret; "?" without one."""
    return urlsplit(url).hostname or "?"


def utc(at: int) -> datetime:
    """Returns epoch milliseconds as a time with the zone UTC."""
    return datetime.fromtimestamp(at / 1000, tz=UTC)


def reading(*errors: type[Exception]) -> Retrying:
    """Returns a tenacity retry for reads: at most `READ_TRIES` tries within `READ_SECONDS`.

    A sink must not use it for a write: the dispatcher repeats writes.
    """
    return Retrying(
        stop=stop_after_attempt(READ_TRIES) | stop_after_delay(READ_SECONDS),
        wait=wait_random(0.1, 0.5),
        retry=retry_if_exception(lambda error: isinstance(error, errors)),
        reraise=True,
    )
