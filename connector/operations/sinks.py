"""The configured sinks: find one by name, open one for one operation, and check all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import Any

from connector.config import Config, SinkEntry
from connector.errors import SinkBroken, UsageError
from connector.logging import place_of
from connector.sink import Finding, Sink
from connector.store.ingest import RoutingTable

CLOSE_SECONDS = 10.0


def require_known(name: str, known: Iterable[str], what: str = "sink") -> str:
    """The name itself, if it is known. Raises `UsageError` with the closest name."""
    names = sorted(known)
    if name in names:
        return name
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names) or 'none'}"
    raise UsageError(f"unknown {what} {name!r}; {hint}")


def configured(settings: Config, name: str) -> SinkEntry:
    """The sink of that name. Raises `UsageError` with the closest name."""
    return settings.sinks[require_known(name, settings.sinks)]


def make_routing_table(settings: Config) -> RoutingTable:
    """Routes and sinks in the form in which events are planned."""
    sinks = [entry.cls(entry.name, entry.config) for entry in settings.sinks.values()]
    return RoutingTable.of(settings.routing(), sinks)


@asynccontextmanager
async def opened(sink: Sink[Any]) -> AsyncIterator[None]:
    """Opens a sink, and closes it whatever happens, also when opening failed."""
    try:
        await sink.open()
        yield
    finally:
        async with asyncio.timeout(CLOSE_SECONDS):
            await sink.close()


def offline_findings(sink: Sink[Any]) -> Sequence[Finding]:
    """What a sink finds without the network. Never raises."""
    try:
        return sink.validate()
    except Exception as error:  # noqa: BLE001 - a third-party sink may raise anything; the others are still checked
        return [_failed(error)]


async def online_findings(sinks: Sequence[Sink[Any]]) -> list[Sequence[Finding]]:
    """What every sink finds at its destination, in order. Asks all at once; never raises."""
    return await asyncio.gather(*(_online_findings(sink) for sink in sinks))


async def _online_findings(sink: Sink[Any]) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(sink.timeout), opened(sink):
            return await sink.check_connection() or [Finding("ok", "this type of sink has no online check")]
    except SinkBroken as error:
        return [Finding("problem", error.reason, error.fix)]
    except TimeoutError:
        return [
            Finding(
                "problem",
                f"no answer within {sink.timeout:g} s",
                "check the network between this machine and the destination",
            )
        ]
    except Exception as error:  # noqa: BLE001 - a third-party sink may raise anything; the others are still checked
        return [_failed(error)]


def _failed(error: Exception) -> Finding:
    return Finding("problem", f"the check failed: {place_of(error)}", "report this to the author of the sink")
