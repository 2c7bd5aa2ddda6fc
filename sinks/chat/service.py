"""The interface of a chat service: its calls and their results. A service whose messages cannot be edited implements
only `post` (see `ChatConfig.edits`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from connector.sink import Context, SinkBroken, Token
from sinks.chat.content import Content, as_text


class Status(StrEnum):
    """The outcome of a call, as far as the answer shows it."""

    OK = "ok"
    THROTTLED = "throttled"
    """Not applied; the service says when to call again."""
    TRANSIENT = "transient"
    """Not applied; worth another attempt."""
    UNCLEAR = "unclear"
    """May have been applied."""
    BROKEN = "broken"
    """Not applied; the credentials or the channel cannot be used until an operator acts."""
    MISSING = "missing"
    """Not applied; the message or thread does not exist any more."""
    LOCKED = "locked"
    """Not applied; the message can no longer be edited, or the thread takes no replies."""
    REJECTED = "rejected"
    """Not applied; the service will never accept this content."""
    UNKNOWN = "unknown"
    """Not applied, with an error that the sink does not know."""


GONE = frozenset({Status.OK, Status.MISSING})
"""Results of an edit or a deletion after which users no longer see the old content."""
LATER = frozenset({Status.THROTTLED, Status.TRANSIENT, Status.UNCLEAR, Status.BROKEN})
"""Results after which the same call may work later."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of one call. `error` is a short, fixed term without personal data, `""` when OK. `detail` explains a
    rejection. `message_id` is the id of the posted message, `""` when the service returns none. `retry_after` is the
    delay in seconds that the service asked for. `account_wide` says that the delay concerns all channels.
    """

    status: Status
    error: str = ""
    detail: str = ""
    message_id: str = ""
    retry_after: float | None = None
    account_wide: bool = False


# Names in the metadata of messages. Services limit its size, and messages of earlier releases have these names.
ABOUT_INTERVIEW = "i"
ABOUT_POSITION = "p"
ABOUT_REGULAR = "s"
"""A reminder or a weekly summary."""


@dataclass(frozen=True, slots=True)
class Marker:
    """Hidden metadata of a message, by which `ChatService.search` finds it. It has only opaque ids.

    `delivery_id` is the id of the delivery and `call` counts the calls that posted it. `subject` says what the message
    is about, for users who read the metadata: `{ABOUT_INTERVIEW: its id}`, `{ABOUT_POSITION: its id}` or
    `{ABOUT_REGULAR: its kind}`.
    """

    delivery_id: str
    call: int
    subject: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Post:
    """A message to post. If `thread` is not `""`, it is a reply in the thread of that message; with `broadcast` the
    channel shows the reply as well. `mention` is a mention in the syntax of the service.
    """

    content: Content
    marker: Marker
    thread: str = ""
    broadcast: bool = False
    mention: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """A message that a search found: its id, and the number of the call that posted it."""

    message_id: str
    call: int = 1


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The messages of one delivery, the newest call first. `failure` is set when the search failed, for any reason."""

    matches: tuple[Match, ...] = ()
    failure: CallResult | None = None


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """The tokens of each kind of call. `mention` limits how often messages contain a mention."""

    post: Sequence[Token] = ()
    edit: Sequence[Token] = ()
    delete: Sequence[Token] = ()
    search: Sequence[Token] = ()
    search_thread: Sequence[Token] = ()
    mention: Token = field(default=Token("chat-mention", 1 / 60))


class ChatService(ABC):
    """The calls to one channel. Methods return a `CallResult`, and do not raise for an answer or a lost connection."""

    limits: ChatLimits = ChatLimits()

    def render(self, content: Content) -> Mapping[str, Any]:
        """Returns the content in the format of the service. Equal results look the same to users."""
        return {"text": as_text(content)}

    @abstractmethod
    async def post(self, post: Post, context: Context) -> CallResult:
        """Posts one message, once."""

    async def edit(self, message_id: str, content: Content, context: Context) -> CallResult:
        """Replaces the content of one of our messages."""
        raise NotImplementedError

    async def post_ephemeral(self, user: str, text: str, context: Context) -> CallResult:
        """Posts a text that only one user sees, once. Needed for decisions."""
        raise NotImplementedError

    async def delete(self, message_id: str, context: Context) -> CallResult:
        """Deletes one of our messages."""
        raise NotImplementedError

    async def search(self, delivery_id: str, since_ms: int, thread: str, context: Context) -> SearchResult:
        """Finds the messages whose `Marker` has this delivery id, posted after `since_ms` by the connector's clock, in
        a thread or, with `thread=""`, in the channel.
        """
        raise NotImplementedError

    async def is_private(self, context: Context) -> bool | None:  # noqa: ARG002 - not every service can say
        """Whether only invited users see the channel; `None` when the service does not say. For `privacy = "auto"`."""
        return None

    def broken(self, result: CallResult) -> SinkBroken:
        """Returns the exception for a result with `Status.BROKEN`, with the fix."""
        return SinkBroken(result.error, "check the credentials and the channel of this sink")

    async def close(self) -> None:  # noqa: B027 - not every service keeps a connection
        """Closes the connection."""
