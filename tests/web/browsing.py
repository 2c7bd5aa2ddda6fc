"""A dashboard over real HTTP, with a client that keeps cookies as a browser does."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tests.serving import CONSOLE_ONLY, PLAIN, Served, serving

PASSWORD = "correct horse battery"
VIEW_PASSWORD = "only looking around"


def quick_hash(password: str) -> str:
    """A hash by which each test signs in within a millisecond; the hashes of the connector are slow on purpose."""
    kdf = Argon2id(salt=bytes(16), length=32, iterations=1, lanes=1, memory_cost=8)
    return kdf.derive_phc_encoded(password.encode())


DASHBOARD = f"""
[dashboard]
password = "{quick_hash(PASSWORD)}"
view_password = "{quick_hash(VIEW_PASSWORD)}"
"""
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
HTML = {"accept": "text/html"}


def browser(service: Served) -> httpx.AsyncClient:
    """A client with a cookie jar of its own, which asks for pages and follows no redirect."""
    return httpx.AsyncClient(base_url=service.url, headers=HTML, verify=PLAIN, timeout=30)


async def sign_in(client: httpx.AsyncClient, password: str = PASSWORD, then: str = "/") -> httpx.Response:
    return await client.post("/sign-in", data={"password": password, "then": then}, headers=SAME_ORIGIN)


def note_changes(folder: Path, count: int) -> None:
    """Adds changes of operators to the audit log."""
    with closing(sqlite3.connect(folder / "data" / "connector.db")) as store, store:
        rows = [(number, "cli:ada", "pause", f"row{number}", "") for number in range(count)]
        store.executemany("INSERT INTO audit (at, actor, action, target, detail) VALUES (?, ?, ?, ?, ?)", rows)


def token_in(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


@asynccontextmanager
async def dashboard(
    folder: Path, toml: str = CONSOLE_ONLY + DASHBOARD, password: str | None = PASSWORD
) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    """A served dashboard and a browser, signed in unless `password` is `None`."""
    async with serving(folder, toml) as service, browser(service) as client:
        if password is not None:
            assert (await sign_in(client, password)).status_code == 303
        yield service, client
