"""Runs the migrations in a child process, so that the service never loads Alembic."""

from __future__ import annotations

import asyncio
import sys

from connector.errors import StoreUnavailable


async def migrate_apart(url: str) -> None:
    """Brings the store at a SQLAlchemy URL to the newest revision.

    Raises `StoreUnavailable` with the last line of what the child said.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "connector.store.migrate",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await child.communicate(url.encode())
    if child.returncode != 0:
        lines = errors.decode(errors="replace").strip().splitlines() or ["no message"]
        raise StoreUnavailable(f"the store's schema could not be brought up to date: {lines[-1]}")
