"""Posts webhooks, each once, over a few persistent connections, and waits for all answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from benchmarks.bodies import Webhook


async def post_all(url: str, webhooks: Iterable[Webhook], *, clients: int = 16) -> list[float]:
    """Returns the seconds until each webhook was acknowledged. Raises when one was not accepted as new."""
    taken: list[float] = []
    waiting = iter(webhooks)
    await asyncio.gather(*(_client(url, waiting, taken) for _ in range(clients)))
    return taken


async def _client(url: str, waiting: Iterator[Webhook], taken: list[float]) -> None:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        for webhook in waiting:
            started = time.monotonic()
            writer.write(webhook.as_request())
            status = await _status(reader)
            taken.append(time.monotonic() - started)
            if status != 202:
                raise RuntimeError(f"a webhook was answered with {status}, not with 202")
    finally:
        writer.close()


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return int(head.split(None, 2)[1])
