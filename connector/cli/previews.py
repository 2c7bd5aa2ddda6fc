"""Asks a sink what it would write, and lets it write nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from connector.cli.online import opened
from connector.errors import SinkBroken
from connector.logs import place_of
from connector.sink import Batch, Delivery, Expected, Note, Previews, Sink, Token

PREVIEW_SECONDS = 30.0


async def preview(sink: Sink[Any], delivery: Delivery, remembered: Mapping[str, Note], at: int) -> str:
    """What the sink would write for a delivery at `at` (epoch milliseconds), or in brackets why that cannot be said."""
    if not isinstance(sink, Previews):
        return "(this type of sink shows no preview)"
    batch = Batch("explain", at, [delivery], remembered)
    try:
        async with asyncio.timeout(PREVIEW_SECONDS), opened(sink):
            return "\n".join(await sink.preview(batch, _Idle(at, remembered)))
    except SinkBroken as error:
        return f"(no preview: {error.reason}; {error.fix})"
    except Exception as error:  # noqa: BLE001 - a sink of anybody's; the others are explained all the same
        return f"(no preview: {place_of(error)})"


class _Idle:
    """The context of a preview: tells the time, and nothing that is done here lasts."""

    def __init__(self, at: int, notes: Mapping[str, Note]) -> None:
        self._at = at
        self._notes = notes

    def now(self) -> int:
        return self._at

    async def take(self, *tokens: Token) -> None:
        """Every token is there: nothing is sent."""

    async def close(self, bucket: str, seconds: float) -> None:
        """Nobody else is told."""

    async def remember(self, remembered: Mapping[str, Note | None]) -> None:
        """Nothing is written."""

    async def recall(self, names: Sequence[str]) -> Mapping[str, Note]:
        """Those that the delivery asked for, and no others."""
        return {name: self._notes[name] for name in names if name in self._notes}

    async def expected(self, after: str, limit: int) -> Sequence[Expected]:  # noqa: ARG002 - as the protocol names them
        """A preview is about one interview."""
        return []

    def count_call(self, kind: str) -> None:
        """Nothing is counted."""
