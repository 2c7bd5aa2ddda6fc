"""A store that is killed while it writes has everything that was acknowledged."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.store.kit import rows

ROOT = Path(__file__).resolve().parents[2]


async def acknowledged_until_killed(path, begin):
    """The events that a process acknowledged before a kill -9 while it was writing."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.store.ingesting",
        str(path),
        str(begin),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    acknowledged = [await child.stdout.readline() for _ in range(500)]
    child.kill()
    rest, _ = await child.communicate()
    # a line cut by the kill may be no whole identity
    return {line.decode().strip() for line in [*acknowledged, *rest.splitlines(keepends=True)] if line.endswith(b"\n")}


async def test_every_acknowledged_event_survives_a_kill(path):
    """Three rounds on one file: all acknowledged events are stored once, without gaps, with their deliveries."""
    acknowledged = set()
    for number in range(3):
        acknowledged |= await acknowledged_until_killed(path, 1_700_000_000_000 + number * 10_000_000)
    stored = [identity.replace("\t", "|") for (identity,) in rows(path, "SELECT identity FROM event")]
    assert len(acknowledged) >= 1500
    assert acknowledged <= set(stored)
    assert rows(path, "SELECT count(*), min(seq), max(seq) FROM event") == [(len(stored), 1, len(stored))]
    assert rows(path, "SELECT sink, count(DISTINCT event_seq), count(*) FROM delivery GROUP BY sink") == [
        ("chat", len(stored), len(stored)),
        ("sheet", len(stored), len(stored)),
    ]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
