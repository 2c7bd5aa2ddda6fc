"""The load generator wrk, with one thread and prepared requests."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec

from benchmarks.bodies import PATH, BodyFile

SCRIPT = Path(__file__).with_name("load.lua")
MISSING = "the load generator wrk is not installed: apt-get install wrk (Debian, Ubuntu) or brew install wrk (macOS)"


class Missing(Exception):
    """A required tool is missing. The message says what to install."""


class Load(msgspec.Struct, frozen=True):
    """The result of a run; latencies in milliseconds. `sent` may exceed `answered` by the number of clients."""

    answered: int
    sent: int
    exhausted: int
    refused: int
    broken: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return self.answered / self.seconds


def is_installed() -> bool:
    return shutil.which("wrk") is not None


async def load(url: str, bodies: BodyFile, first: int, *, clients: int, seconds: int) -> Load:
    """Sends requests from number `first` on for some seconds. Raises `Missing`, or when a request was refused."""
    if not is_installed():
        raise Missing(MISSING)
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT), url + PATH]
    child = await asyncio.create_subprocess_exec(
        *command,
        "--",
        str(bodies.path),
        str(bodies.offset(first)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await child.communicate()
    lines = [line for line in output.splitlines() if line.startswith(b"RESULT ")]
    if not lines:
        raise RuntimeError(f"wrk failed:\n{output.decode()}")
    result = msgspec.json.decode(lines[0].removeprefix(b"RESULT "), type=Load)
    if result.refused or result.broken or result.exhausted:
        raise RuntimeError(f"not every request was answered with success: {result}")
    return result
