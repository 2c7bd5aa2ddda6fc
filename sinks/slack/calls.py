"""The calls a sink makes, apart from the libraries that make them: those are heavy and loaded by `open` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sinks.slack.answers import Reply


class Gateway(Protocol):
    """What both modes can do. No method raises for an answer or for the lack of one."""

    async def post(self, message: Mapping[str, Any], thread: str = "", *, broadcast: bool = False) -> Reply:
        """Posts one message, once: into the thread of the message with the timestamp `thread`, if one is given, and
        with `broadcast` into the channel as well. A webhook knows no threads.
        """
        ...

    async def close(self) -> None: ...


class WebApi(Gateway, Protocol):
    """What a bot token can do besides."""

    channel: str

    async def edit(self, ts: str, message: Mapping[str, Any]) -> Reply:
        """Replaces the content of one of our messages; its metadata stays."""
        ...

    async def delete(self, ts: str) -> Reply:
        """Removes one of our messages."""
        ...

    async def history(self, oldest: str, cursor: str = "") -> Reply:
        """One page of the channel with metadata, newest first, from `oldest` (a Slack timestamp) on."""
        ...

    async def replies(self, thread: str, oldest: str, cursor: str = "") -> Reply:
        """One page of a thread with metadata, from `oldest` on; its first message may come along."""
        ...

    async def whoami(self) -> Reply:
        """The team and bot behind the token; the granted scopes stand in the header `x-oauth-scopes`."""
        ...

    async def look(self) -> Reply:
        """The channel's properties."""
        ...
