"""Asks every sink what it can tell: of what lies on this machine, or of its destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from connector.config import Config
from connector.errors import SinkBroken
from connector.logs import place_of
from connector.sink import Finding, Sink

CLOSE_SECONDS = 10.0


async def findings_of(settings: Config) -> list[tuple[str, Sequence[Finding]]]:
    """The findings of every sink, in configured order; all are asked at once. Never raises for an answer."""
    sinks = [entry.cls(entry.name, entry.config) for entry in settings.sinks.values()]
    found = await asyncio.gather(*(_findings(sink) for sink in sinks))
    return [(sink.name, findings) for sink, findings in zip(sinks, found, strict=True)]


def looked_at(sink: Sink[Any]) -> Sequence[Finding]:
    """What a sink tells without the network. Never raises."""
    try:
        return sink.look()
    except Exception as error:  # noqa: BLE001 - a sink of anybody's; the others are asked all the same
        return [_failed(error)]


async def _findings(sink: Sink[Any]) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(sink.timeout), opened(sink):
            return await sink.check() or [Finding("ok", "nothing to ask")]
    except SinkBroken as error:
        return [Finding("problem", error.reason, error.fix)]
    except TimeoutError:
        return [Finding("problem", f"no answer within {sink.timeout:g} s", "see whether this machine reaches it")]
    except Exception as error:  # noqa: BLE001 - a sink of anybody's; the others are asked all the same
        return [_failed(error)]


def _failed(error: Exception) -> Finding:
    return Finding("problem", f"the check failed: {place_of(error)}", "tell the author of the sink")


@asynccontextmanager
async def opened(sink: Sink[Any]) -> AsyncIterator[None]:
    """A sink that is open, and closed whatever happens, also when opening failed."""
    try:
        await sink.open()
        yield
    finally:
        async with asyncio.timeout(CLOSE_SECONDS):
            await sink.close()
