"""A whole service in this process, over real HTTP, for tests that look at it from outside."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from connector.app import serve
from connector.config import load
from connector.hireflix.signature import sign
from tests.stores import make_store_file

SECRET = "hfx_test_secret_9f2c"
SAMPLES = Path(__file__).parent / "samples"

PLAIN = False
"""`verify` of a client that speaks plain HTTP: it need not read the certificates, which takes longer than a request."""
CONSOLE_ONLY = """
[sinks.console]
type = "console"
"""


def sample(name: str, **data: Any) -> dict[str, Any]:
    """A documented payload by its event name, with changes to its interview."""
    payload: dict[str, Any] = json.loads((SAMPLES / f"interview.{name}.json").read_text())
    payload["data"].update(data)
    return payload


@dataclass
class Served:
    """A running service: its address, and a client that signs."""

    url: str
    client: httpx.AsyncClient
    folder: Path
    path: str = "/webhooks/hireflix"

    async def post(
        self, body: bytes | dict[str, Any], *, secret: str | None = SECRET, **headers: str
    ) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if secret is not None:
            headers["x-hireflix-signature"] = sign(secret, raw)
        return await self.client.post(self.url + self.path, content=raw, headers=headers)

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(self.url + path)


async def until(look: Callable[[], Any], seconds: float = 100) -> Any:
    """Waits for a fact about another thread or process, which cannot signal it; returns what `look` found.

    `look` may be a coroutine function. The limit ends before that of a test, so that the failure has a reason.
    """
    end = time.monotonic() + seconds
    while True:
        found = look()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not true within {seconds} s: {inspect.getsource(look)}")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(
    folder: Path, toml: str = CONSOLE_ONLY, *, secrets: tuple[str, ...] = (SECRET,)
) -> AsyncIterator[Served]:
    """Serves a configuration in `folder` on a free port until the end of the block."""
    file = folder / "config.toml"
    listed = json.dumps(list(secrets))
    # a section of the test's own may follow: the hireflix table is written only when it brings none
    hireflix = "" if "[hireflix]" in toml else f"[hireflix]\nwebhook_secrets = {listed}\n"
    server = "" if "[server]" in toml else "[server]\nport = 0\n"
    file.write_text(f"{toml}\n{hireflix}\n{server}")
    store = folder / "data" / "connector.db"
    if not store.exists():
        store.parent.mkdir(mode=0o700, exist_ok=True)
        make_store_file(store)
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def on_started(url: str) -> None:
        started.set_result(url)

    stop = asyncio.Event()
    task = asyncio.create_task(serve(load(file, {}, folder), secrets, on_started, stop))
    try:
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        async with httpx.AsyncClient(trust_env=False, verify=PLAIN, timeout=30) as client:
            yield Served(started.result(), client, folder)
    finally:
        stop.set()
        await task
