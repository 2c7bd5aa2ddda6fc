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


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """A message of ours: its timestamp, and which call with its key it was."""

    ts: str
    call: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """The messages with the key, the newest call first; `trouble` when Slack did not let us look."""

    all: tuple[Match, ...] = ()
    trouble: Reply | None = None


async def find(gateway: WebApi, key: str, since: int, thread: str = "") -> Found:
    """Looks for our messages with the delivery key `key`, posted after `since` (epoch milliseconds of Slack's clock),
    in the thread of the message `thread`, or in the channel. A thread that is gone holds none.
    """
    cursor, oldest = "", timestamp(since - MARGIN)
    found: list[Match] = []
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
    return Found(tuple(sorted(set(found), key=lambda match: (-match.call, match.ts))))


def matches(messages: object, key: str) -> list[Match]:
    """The messages with our metadata and this key."""
    candidates: Iterable[Any] = messages if isinstance(messages, list) else ()
    return [
        Match(str(message.get("ts")), _call_of(payload))
        for message in candidates
        if isinstance(message, dict) and (payload := _payload_of(message.get("metadata"))).get("k") == key
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


def _payload_of(metadata: object) -> Mapping[str, Any]:
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT_TYPE:
        return {}
    payload = metadata.get("event_payload")
    return payload if isinstance(payload, dict) else {}


def _call_of(payload: Mapping[str, Any]) -> int:
    call = payload.get("r")
    return call if isinstance(call, int) else 1


def _next_cursor(data: Mapping[str, Any]) -> str:
    meta = data.get("response_metadata")
    cursor = meta.get("next_cursor") if isinstance(meta, dict) else None
    return cursor if isinstance(cursor, str) else ""
