"""Migrations in a child process: the service never loads Alembic."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from connector.errors import StoreUnavailable

SCRIPTS = Path(__file__).parent / "migrations"


async def migrate_apart(url: str, scripts: Path = SCRIPTS) -> None:
    """Brings the store at a SQLAlchemy URL to the newest revision.

    Raises `StoreUnavailable` with the last line of what the child said.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "connector.store.migrate",
            str(scripts),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise StoreUnavailable(
            f"the store's schema could not be brought up to date: no process can be started for it ({error.strerror}); "
            f"see that {sys.executable} may be run, and whether memory or processes are limited"
        ) from error
    _, errors = await child.communicate(url.encode())
    if child.returncode != 0:
        lines = errors.decode(errors="replace").strip().splitlines() or ["no message"]
        raise StoreUnavailable(f"the store's schema could not be brought up to date: {lines[-1]}")
