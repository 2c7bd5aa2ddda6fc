"""Road: what one webhook costs inside the process until its sheet cell is written and its delivery is settled.

The service runs in this process, on SQLite and an emulated Google, and one event at a time goes through it. Counted are
only functions of `connector` and `sinks`, without the emulator.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from benchmarks import tables
from benchmarks.bodies import SECRET, invited_and_finished
from benchmarks.burst import sheet_config
from benchmarks.posting import post_all
from connector.app import serve
from connector.config import load
from connector.emulators.google import GoogleEmulator

ROOT = Path(__file__).resolve().parent.parent
OWN = (f"{ROOT}/connector/", f"{ROOT}/sinks/")
FOREIGN = f"{ROOT}/connector/emulators/"
ENTERED = 0
"""Argument of the RESUME instruction at the start of a function; others continue a coroutine or generator
(https://docs.python.org/3/library/dis.html#opcode-RESUME).
"""
READS = {"SqliteStore.read", "SqliteStore.look"}
EVENTS = 7
"""Events that are measured, one after the other; the median counts."""
EVENTS_QUICK = 2
"""The same for a trial run."""
PAUSE_SECONDS = 3.0
"""Before each measured event, so that it finds a token of Google's quota and nothing else is due."""
WITHIN_SECONDS = 30.0


@dataclass(slots=True)
class Road:
    """What one event took."""

    calls: int = 0
    continued: int = 0
    files: set[str] = field(default_factory=set)
    switches: int = 0
    commits: int = 0
    reads: int = 0
    thread: int = 0


class Recorder:
    """Counts own calls of all threads started after `installed`, and commits of the connections opened after it."""

    def __init__(self) -> None:
        self.road: Road | None = None
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook that learns of every SQLite connection, which is not usable yet when the hook is called."""
        if event == "sqlite3.connect/handle":
            self._connections.append(arguments[0])

    def start(self) -> Road:
        """Begins to count, on the connections that are open now."""
        for connection in self._connections:
            with suppress(sqlite3.ProgrammingError):  # it was closed
                connection.set_trace_callback(self._statement)
        self._connections.clear()
        self.road = Road()
        return self.road

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Profiles this thread and every new one. Nothing is counted while `road` is `None`."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]  # the documented way to end it

    def _statement(self, sql: str) -> None:
        """Counts a statement that a connection runs."""
        road = self.road
        if road is not None and sql.upper().startswith("COMMIT"):
            road.commits += 1

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        road = self.road
        if road is None or event != "call":
            return
        code = frame.f_code
        if not code.co_filename.startswith(OWN) or code.co_filename.startswith(FOREIGN):
            return
        with self._lock:
            if code.co_code[frame.f_lasti + 1] != ENTERED:
                road.continued += 1
            else:
                road.calls += 1
                road.reads += code.co_qualname in READS
            road.files.add(code.co_filename)
            road.switches += road.thread not in {0, threading.get_ident()}
            road.thread = threading.get_ident()


async def run(*, quick: bool = False) -> None:
    """Measures and prints the median of several events."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory(prefix="road-") as name, GoogleEmulator() as emulator, recorder.installed():
        roads = await _measured(recorder, emulator, Path(name), EVENTS_QUICK if quick else EVENTS)
    rows = [
        ("calls of own functions", _median(road.calls for road in roads), 333),
        ("continued coroutines and generators", _median(road.continued for road in roads), ""),
        ("files", _median(len(road.files) for road in roads), ""),
        ("thread switches", _median(road.switches for road in roads), 10),
        ("commits", _median(road.commits for road in roads), 3),
        ("reads", _median(road.reads for road in roads), 2),
    ]
    tables.show("Road: one event to one sheet cell, settled", ("", "median", "goal"), rows)


async def _measured(recorder: Recorder, emulator: GoogleEmulator, folder: Path, count: int) -> list[Road]:
    store = folder / "store.db"
    file = folder / "config.toml"
    file.write_text(
        f'[store]\nurl = "sqlite:///{store}"\n[logs]\nlevel = "error"\n[server]\nport = 0\n'
        f'[hireflix]\nwebhook_secrets = ["{SECRET}"]\n' + sheet_config(emulator, emulator.add_spreadsheet(), folder)
    )
    sys.addaudithook(recorder.audit)
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def started(url: str) -> None:
        address.set_result(url)

    service = asyncio.create_task(serve(load(file, {}, folder), [SECRET], started, stop))
    try:
        await asyncio.wait([service, address], return_when=asyncio.FIRST_COMPLETED)
        if service.done():
            service.result()
        return [await _one(recorder, address.result(), store, number) for number in range(count)]
    finally:
        stop.set()
        await service


async def _one(recorder: Recorder, url: str, store: Path, number: int) -> Road:
    """The road of an update: the interview's row is there already."""
    invited, finished = invited_and_finished(number)
    await post_all(url, [invited], clients=1)
    await _settled(store, 2 * number + 1)
    await asyncio.sleep(PAUSE_SECONDS)
    road = recorder.start()
    await post_all(url, [finished], clients=1)
    await _settled(store, 2 * number + 2)
    recorder.road = None
    return road


async def _settled(store: Path, count: int) -> None:
    """Waits until so many deliveries about interviews are settled."""
    until = time.monotonic() + WITHIN_SECONDS
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        query = "SELECT count(*) FROM delivery WHERE purpose = '' AND state <> 0"
        while connection.execute(query).fetchone()[0] < count:
            if time.monotonic() > until:
                raise RuntimeError("a delivery was not settled in time")
            await asyncio.sleep(0.002)
    finally:
        connection.close()


def _median(figures: Iterator[int]) -> int:
    return round(median(figures))
