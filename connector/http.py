"""What every sink that speaks HTTP needs: one table of statuses, one reading of `Retry-After`, safe addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator
from tenacity import AsyncRetrying, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random

RETRY_AFTER_MAX = 900.0
"""Seconds; a longer wish is cut to this."""


class Answer(StrEnum):
    """What an HTTP status says about the request."""

    OK = "ok"
    THROTTLED = "throttled"
    """Not applied; come back later."""
    UNCLEAR = "unclear"
    """May have been applied."""
    DENIED = "denied"
    """Not applied; a person must act."""
    REFUSED = "refused"
    """Not applied and never will be."""


def classify(status: int) -> Answer:
    """The meaning of an HTTP status (RFC 9110 section 15, RFC 6585 section 4) for a request that changes something."""
    if 200 <= status < 300:  # noqa: PLR2004 - the classes of RFC 9110
        return Answer.OK
    if status in {408, 425, 429}:
        return Answer.THROTTLED
    if status in {401, 403, 404, 407, 410}:
        return Answer.DENIED
    if 400 <= status < 500:  # noqa: PLR2004
        return Answer.REFUSED
    return Answer.UNCLEAR


def retry_after(headers: Mapping[str, str], now: int) -> float | None:
    """Seconds that `Retry-After` asks for (RFC 9110 section 10.2.3: seconds or a date), at most `RETRY_AFTER_MAX`.

    `now` is epoch milliseconds. `None` without the header, or when it says nothing usable.
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
    return min(seconds, RETRY_AFTER_MAX)


def _seconds_until(text: str, now: int) -> float:
    when = epoch_ms(text)
    return -1.0 if when is None else max(0.0, (when - now) / 1000)


def epoch_ms(date: str) -> int | None:
    """Epoch milliseconds of an HTTP date (RFC 9110 section 5.6.7), as in the header `Date`; `None` if it is none."""
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def safe_url(url: str) -> str:
    """The address itself when credentials may be sent there: https, or loopback. Else `ValueError`."""
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
    """The host alone: what may be shown of an address that holds a secret."""
    return urlsplit(url).hostname or "?"


def utc(at: int) -> datetime:
    """Epoch milliseconds as an aware UTC time."""
    return datetime.fromtimestamp(at / 1000, tz=UTC)


def reading(*errors: type[Exception]) -> Retrying:
    """In-call retry for reads only: twice more at most, within 5 seconds. A write is never repeated in a call."""
    return Retrying(
        stop=stop_after_attempt(3) | stop_after_delay(5),
        wait=wait_random(0.1, 0.5),
        retry=retry_if_exception(lambda error: isinstance(error, errors)),
        reraise=True,
    )


def reading_async(*errors: type[Exception]) -> AsyncRetrying:
    """As `reading`, for coroutines."""
    return AsyncRetrying(
        stop=stop_after_attempt(3) | stop_after_delay(5),
        wait=wait_random(0.1, 0.5),
        retry=retry_if_exception(lambda error: isinstance(error, errors)),
        reraise=True,
    )
