"""The state of a Slack workspace: apps with tokens, channels, messages, and the rules that hold after every fault."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Returns epoch seconds."""
PING = re.compile(r"<(?:!(?:channel|here|everyone|subteam\^\w+)|@\w+)[^>]*>")


@dataclass(slots=True)
class Bot:
    """An installed app: its token, its scopes, and the error that Slack answers to it, if any."""

    token: str
    scopes: tuple[str, ...]
    bot_id: str
    user_id: str
    name: str
    error: str = ""


@dataclass(slots=True)
class Message:
    """A stored message. `raw` is the call that created it, without the token."""

    channel: str
    ts: str
    bot_id: str
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any]
    raw: dict[str, Any]
    thread_ts: str = ""
    broadcast: bool = False
    edited: bool = False

    @property
    def is_reply(self) -> bool:
        return bool(self.thread_ts) and self.thread_ts != self.ts

    @property
    def key(self) -> str:
        """The delivery key `k` of the metadata, `""` without one."""
        return str(self.metadata.get("event_payload", {}).get("k", ""))

    @property
    def pings(self) -> list[str]:
        """Returns the mentions in the text and in mrkdwn objects, which notify users."""
        return [ping for text in (self.text, *mrkdwn_of(self.blocks)) for ping in PING.findall(text)]

    def wire(self, *, metadata: bool) -> dict[str, Any]:
        """Returns the message in the form of the API."""
        shown: dict[str, Any] = {"type": "message", "ts": self.ts, "bot_id": self.bot_id, "text": self.text}
        optional = {
            "blocks": self.blocks,
            "thread_ts": self.thread_ts,
            "edited": {"user": self.bot_id, "ts": self.ts} if self.edited else None,
            "subtype": "thread_broadcast" if self.broadcast else None,
            "metadata": self.metadata if metadata else None,
        }
        return shown | {name: value for name, value in optional.items() if value}


def strings_of(node: Any) -> Iterator[str]:
    """Yields every string in a JSON value, without keys."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings_of(value)


def mrkdwn_of(node: Any) -> Iterator[str]:
    """The text of every mrkdwn object in blocks."""
    if isinstance(node, dict):
        if node.get("type") == "mrkdwn" and isinstance(node.get("text"), str):
            yield node["text"]
        for value in node.values():
            yield from mrkdwn_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from mrkdwn_of(value)


@dataclass(slots=True)
class Ephemeral:
    """A message that only one user sees."""

    channel: str
    user: str
    text: str


@dataclass(slots=True)
class Channel:
    id: str
    name: str
    private: bool = False
    archived: bool = False
    read_only: bool = False
    members: set[str] = field(default_factory=set)
    messages: dict[str, Message] = field(default_factory=dict)


class Workspace:
    """The state, without HTTP. Not thread-safe without the lock of the emulator."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.team = "Example Team"
        self.team_id = "T0EXAMPLE1"
        self.bots: dict[str, Bot] = {}
        self.channels: dict[str, Channel] = {}
        self.hooks: dict[str, str] = {}
        self.ephemerals: list[Ephemeral] = []
        self.views: list[dict[str, Any]] = []
        self.view_opened = threading.Condition()
        """The dialogs that apps opened, the newest last."""
        self.groups: dict[str, list[str]] = {}
        """The members of each user group."""
        self.triggers: set[str] = set()
        """Ids with which a dialog may still be opened."""
        self._last_ts = 0

    def add_bot(self, token: str, scopes: tuple[str, ...]) -> Bot:
        number = len(self.bots) + 1
        name = "hireflix" if number == 1 else f"hireflix{number}"
        bot = Bot(token, scopes, f"B{number:08d}X", f"U{number:08d}X", name)
        self.bots[token] = bot
        return bot

    def next_ts(self) -> str:
        """Returns a timestamp that is unique and increasing in the workspace: seconds, a dot, six digits."""
        self._last_ts = max(self._last_ts + 1, int(self.clock() * 1_000_000))
        seconds, micros = divmod(self._last_ts, 1_000_000)
        return f"{seconds}.{micros:06d}"


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
