"""Checks sinks: offline by what is on this machine, online by asking their destinations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from connector.errors import SinkBroken
from connector.logs import place_of
from connector.sink import Finding, Sink

CLOSE_SECONDS = 10.0


async def online_findings(sinks: Sequence[Sink[Any]]) -> list[Sequence[Finding]]:
    """The findings of every sink about its destination, in order; all are asked at once. Never raises for an answer."""
    return await asyncio.gather(*(_findings(sink) for sink in sinks))


def offline_findings(sink: Sink[Any]) -> Sequence[Finding]:
    """What a sink finds without the network. Never raises."""
    try:
        return sink.look()
    except Exception as error:  # noqa: BLE001 - a sink of any author; the other sinks are still checked
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
