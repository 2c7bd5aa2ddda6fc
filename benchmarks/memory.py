"""Memory: the resident set when idle, at the peak of a burst into a sheet, and during 100,000 events."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

from benchmarks import burst, ingest, processes, tables
from benchmarks.bodies import invited_and_finished, stream
from benchmarks.posting import post_all
from benchmarks.processes import Running
from connector.emulators.slack.server import SlackEmulator

IDLE_AFTER = 5.0
"""Seconds after the start at which a service counts as idle."""
SETTLED_WITHIN = 600.0
EMBEDDED = '[sinks.workbook]\ntype = "workbook"\npath = "data/interviews.xlsx"\n[sinks.console]\ntype = "console"\n'


async def run(*, quick: bool = False) -> None:
    """Measures and prints; sizes in MB of 10^6 bytes."""
    count, events = (200, 500) if quick else (5_000, 100_000)
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        tables.progress("idle")
        async with processes.service(folder / "embedded", EMBEDDED) as running:
            rows.append(
                ("embedded (workbook and console), idle, nothing received yet", *await _idle(quick, running), 105)
            )
            await _deliver_one(running)
            rows.append(("the same, idle after a first delivery", *await _idle(quick, running), 105))
        rows += await _sheets_and_slack(folder, count, quick=quick)
        flat = await _flat(folder, events)
    tables.show("Memory: resident set, MB", ("", "now", "of it not shared", "peak", "goal"), rows)
    tables.show(
        f"Memory over {events:,} events, one third of them updates, delivered to two sinks without a destination",
        ("events", "resident set, MB", "of it not shared"),
        flat,
    )


async def _idle(quick: bool, running: Running) -> tuple[str, str, str]:  # noqa: FBT001 - passed on
    await asyncio.sleep(0 if quick else IDLE_AFTER)
    return _now(running)


async def _deliver_one(running: Running) -> None:
    """Sends an invitation and a finish through every sink, so that all lazy imports are done."""
    await post_all(running.url, invited_and_finished(), clients=1)
    await _settled(running)


def _now(running: Running) -> tuple[str, str, str]:
    return tuple(f"{size:.0f}" for size in (running.memory(), running.memory_own(), running.memory_peak()))


async def _sheets_and_slack(folder: Path, count: int, *, quick: bool) -> list[tuple[object, ...]]:
    """Idle, then through a burst of new interviews that go to the sheet; Slack is configured for finishes."""
    with SlackEmulator() as slack:
        chat = (
            f'[sinks.chat]\ntype = "slack"\ntoken = "{slack.token}"\nchannel = "{slack.add_channel("recruiting")}"\n'
            f'api_url = "{slack.api_url}"\n[[routes]]\nsinks = ["sheet"]\n'
            '[[routes]]\nevents = ["interview.finish"]\nsinks = ["chat"]\n'
        )
        async with burst.rig(folder / "sheets", chat) as (emulator, sheet, running):
            idle = await _idle(quick, running)
            await _deliver_one(running)
            used = await _idle(quick, running)
            running.forget_peak()
            tables.progress(f"burst of {count}")
            await burst.burst(emulator, sheet, running, count)
            after = await _idle(quick, running)
    return [
        ("Google Sheets and Slack, idle, nothing received yet", *idle, 130),
        ("the same, idle after a first delivery to each", *used, 130),
        (f"through a burst of {count:,} new interviews into the sheet", *after, 170),
    ]


async def _flat(folder: Path, events: int) -> list[tuple[object, ...]]:
    """The resident set after each tenth of the events, all of them delivered."""
    webhooks = stream()
    rows: list[tuple[object, ...]] = []
    async with processes.service(folder / "flat", ingest.config("sheet", "chat")) as running:
        rows.append((0, *_now(running)[:2]))
        for index in range(1, 11):
            await post_all(running.url, islice(webhooks, events // 10), clients=32)
            await _settled(running)
            rows.append((f"{events // 10 * index:,}", *_now(running)[:2]))
            tables.progress(f"{events // 10 * index:,} events, {rows[-1][1]} MB")
    return rows


async def _settled(running: Running) -> None:
    until = time.monotonic() + SETTLED_WITHIN
    with closing(running.store()) as connection:
        while connection.execute("SELECT count(*) FROM delivery WHERE state = 0 AND purpose <> 'verify'").fetchone()[0]:
            if time.monotonic() > until:
                raise RuntimeError("deliveries are still pending")
            await asyncio.sleep(0.1)
