"""Invariants of a channel, which hold after every fault."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from connector.emulators.slack.workspace import Channel, strings_of

TOKEN = re.compile(r"<[^>]*>?")
DATE = re.compile(r"<!date\^\d{1,10}\^[^<>|^]+(?:\^https://[^<>|^]+)?\|[^<>]+>\Z")


def problems(channels: Iterable[Channel], allowed: frozenset[str] = frozenset()) -> list[str]:
    """Returns a sentence for every broken rule: a delivery key twice in a channel, or a `<…>` that is not a date in
    seconds and not in `allowed` (mentions from the configuration).
    """
    return [problem for channel in channels for problem in _channel(channel, allowed)]


def _channel(channel: Channel, allowed: frozenset[str]) -> list[str]:
    messages = list(channel.messages.values())
    keys = Counter(message.key for message in messages if message.key)
    doubled = [f"{channel.name}: key {key} occurs {count} times" for key, count in keys.items() if count > 1]
    return doubled + [
        f"{channel.name}: {message.ts} holds {token!r}"
        for message in messages
        for token in foreign_tokens(message.text, message.blocks, allowed)
    ]


def foreign_tokens(text: str, blocks: object, allowed: frozenset[str] = frozenset()) -> list[str]:
    """Returns every `<…>` in text and blocks of a message that is not a date in seconds and not allowed."""
    tokens = (token for string in (text, *strings_of(blocks)) for token in TOKEN.findall(string))
    return [token for token in tokens if token not in allowed and not DATE.match(token)]
