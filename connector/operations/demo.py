"""Sends a stream of signed sample webhooks to a service on the embedded default."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import httpx

from connector.config import Config, load
from connector.errors import UsageError
from connector.hireflix.samples.stream import stream
from connector.operations.send import TIMEOUT_SECONDS, headers
from connector.operations.store_access import now, reading
from connector.store.queries import status

POLL_SECONDS = 0.1
"""Time between two checks whether all deliveries are done; short, because a user waits."""


def demo_settings(folder: Path | None) -> Config:
    """Returns the embedded default for a folder, with any free port. Ignores the environment.

    Without a folder it creates a temporary one. Raises `UsageError` when the folder contains a configuration.
    """
    folder = folder or Path(tempfile.mkdtemp(prefix="connector-demo-"))
    if (folder / "config.toml").exists() or (folder / ".env").exists():
        raise UsageError(f"{folder} contains a configuration; name a folder without one")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return load(environ={"CONNECTOR_SERVER__PORT": "0"}, cwd=folder)


async def feed(url: str, secret: str, events: int, rate: float) -> Counter[str]:
    """Posts `events` webhooks, `rate` per second. Returns the numbers of `accepted`, `duplicate` and `refused`.

    Raises `httpx.TransportError` when the service stops.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    responses: Counter[str] = Counter()
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
        for number, body in enumerate(stream(events, now())):
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            response = await client.post(url, content=body, headers=headers(body, secret))
            responses[response.json()["status"] if response.is_success else "refused"] += 1
    return responses


async def all_delivered(settings: Config) -> None:
    """Returns when no delivery is pending or waits for a digest."""
    while await asyncio.to_thread(_unfinished, settings):  # noqa: ASYNC110 - the store is written by another component
        await asyncio.sleep(POLL_SECONDS)


def _unfinished(settings: Config) -> int:
    with reading(settings) as connection:
        return sum(sink.pending + sink.waiting for sink in status(connection, now(), None).sinks)
