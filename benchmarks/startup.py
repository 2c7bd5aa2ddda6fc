"""Time from start to ready, and from a webhook to the call of its sink in an idle service."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TypeAlias

from benchmarks import processes, tables
from benchmarks.bodies import invited_and_finished
from benchmarks.memory import EMBEDDED
from benchmarks.postgres import server, store_on
from benchmarks.posting import post_all
from benchmarks.processes import Running

GOAL_SECONDS = 1.5
PAUSE = 0.03
"""Seconds between webhooks, so that each finds the service idle."""
CALLED_WITHIN = 30.0
TIMING = '[sinks.timing]\ntype = "timing"\npath = "calls.txt"\n'


async def run(*, quick: bool = False) -> None:
    """Measures and prints."""
    starts, webhooks = (1, 5) if quick else (10, 300)
    with tempfile.TemporaryDirectory(prefix="startup-") as name:
        folder = Path(name)
        await _starts(folder, starts)
        with server() as database:
            found = {
                "SQLite": await _of_one(folder / "one", webhooks, None),
                "PostgreSQL": await _of_one(folder / "two", webhooks, await store_on(database, "one")),
            }
        disk = tables.disk(folder)
    show_latencies(found, disk)


Latencies: TypeAlias = tuple[list[float], list[float]]
"""Milliseconds until webhooks are acknowledged, and until their sink is called."""


async def _of_one(folder: Path, webhooks: int, database: str | None) -> Latencies:
    async with processes.service(folder, TIMING, database=database) as running:
        return await latencies(running, webhooks)


async def _starts(folder: Path, count: int) -> None:
    """Starts the service in a new folder, where migrations create the store, and again on the existing store."""
    first: list[Running] = []
    again: list[Running] = []
    cpu: dict[int, float] = {}
    for index in range(count):
        tables.progress(f"start {index + 1} of {count}")
        for started in (first, again):
            async with processes.service(folder / str(index), EMBEDDED) as running:
                cpu[running.pid] = running.cpu(children=True)
                started.append(running)
    rows = [
        (name, _seconds([each.ready - each.started for each in started]), _seconds([cpu[each.pid] for each in started]))
        for name, started in (("first start, makes the store", first), ("later start", again))
    ]
    tables.show(
        f"Start of the embedded default to the first 200 of /health/ready ({count} starts)",
        ("", "seconds (range)", "CPU seconds (range)"),
        rows,
        f"goal: {GOAL_SECONDS} s on a quiet machine",
    )


def _seconds(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


async def latencies(running: Running, count: int) -> Latencies:
    """Sends one webhook after another, each to an idle service."""
    sent: dict[str, int] = {}
    acknowledged: list[float] = []
    for number in range(count):
        webhook, _ = invited_and_finished(number)
        sent[webhook.interview_id] = time.monotonic_ns()
        acknowledged += await post_all(running.url, [webhook], clients=1)
        await asyncio.sleep(PAUSE)
    calls = await _calls(running.folder / "calls.txt", count)
    return [each * 1e3 for each in acknowledged], [(at - sent[key]) / 1e6 for key, at in calls.items()]


async def _calls(file: Path, count: int) -> dict[str, int]:
    """Returns the time of the call for each interview, by the same clock."""
    until = time.monotonic() + CALLED_WITHIN
    while len(lines := _lines(file)) < count:
        if time.monotonic() > until:
            raise RuntimeError(f"only {len(lines)} of {count} deliveries reached the sink")
        await asyncio.sleep(0.05)
    return {key: int(at) for at, key in (line.split() for line in lines)}


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def show_latencies(found: Mapping[str, Latencies], disk: str) -> None:
    """Prints them below each other."""
    rows = [
        (f"{store}: {name}", *(tables.number(tables.percentile(values, share)) for share in (0.5, 0.95, 0.99)))
        for store, measured in found.items()
        for name, values in zip(("acknowledged", "sink called"), measured, strict=True)
    ]
    tables.show(
        "One webhook at a time, the service idle, from sending it",
        ("", "p50 ms", "p95 ms", "p99 ms"),
        rows,
        "goal: 95 of 100 sinks called within 50 ms",
        disk,
    )
