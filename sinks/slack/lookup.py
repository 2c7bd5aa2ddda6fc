"""Finds out whether a message whose answer was lost stands in the channel (Slack, Message metadata)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from sinks.slack.answers import Kind, Reply
from sinks.slack.calls import WebApi
from sinks.slack.render import EVENT_TYPE

MARGIN = 60_000
"""Milliseconds before the first attempt from which the search starts."""
MOST_PAGES = 5
"""Pages of 200 messages; a busier channel than that between two attempts is not searched further."""


@dataclass(frozen=True, slots=True)
class Found:
    """The timestamps of the messages with the key, oldest first; `trouble` when Slack did not let us look."""

    all: tuple[str, ...] = ()
    trouble: Reply | None = None


async def find(gateway: WebApi, key: str, since: int, thread: str = "") -> Found:
    """Looks for our messages with the delivery key `key`, posted after `since` (epoch milliseconds of Slack's clock),
    in the thread of the message `thread`, or in the channel. A thread that is gone holds none.
    """
    cursor, oldest = "", timestamp(since - MARGIN)
    found: list[str] = []
    for _ in range(MOST_PAGES):
        page = await (gateway.replies(thread, oldest, cursor) if thread else gateway.history(oldest, cursor))
        if page.kind is Kind.GONE:
            return Found()
        if page.kind is not Kind.OK:
            return Found(trouble=page)
        found += matches(page.data.get("messages"), key)
        cursor = _next_cursor(page.data)
        if not cursor:
            break
    return Found(tuple(sorted(set(found))))


def matches(messages: object, key: str) -> list[str]:
    """The timestamps of the messages with our metadata and this key."""
    candidates: Iterable[Any] = messages if isinstance(messages, list) else ()
    return [
        str(message.get("ts"))
        for message in candidates
        if isinstance(message, dict) and _key_of(message.get("metadata")) == key
    ]


def timestamp(at: int) -> str:
    """Epoch milliseconds as Slack writes a message's time."""
    seconds, rest = divmod(max(at, 0), 1000)
    return f"{seconds}.{rest * 1000:06d}"


def offset(headers: Mapping[str, str], now: int) -> int | None:
    """How far Slack's clock is ahead of ours, milliseconds, by the `Date` of an answer; `None` when it says nothing."""
    try:
        return round(parsedate_to_datetime(headers.get("Date", "")).timestamp() * 1000) - now
    except (ValueError, OverflowError):
        return None


def _key_of(metadata: object) -> object:
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT_TYPE:
        return None
    payload = metadata.get("event_payload")
    return payload.get("k") if isinstance(payload, dict) else None


def _next_cursor(data: Mapping[str, Any]) -> str:
    meta = data.get("response_metadata")
    cursor = meta.get("next_cursor") if isinstance(meta, dict) else None
    return cursor if isinstance(cursor, str) else ""
