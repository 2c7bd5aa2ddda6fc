"""Sheet: the cost of a flush, by the size of the sheet and the number of new and changed rows."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import tables
from connector.emulators.google import GoogleEmulator
from connector.interview import Interview
from connector.languages import language
from connector.sink import Delivered, Delivery
from connector.testing import FakeContext, make_interview, run_batch
from sinks.google_sheets import GoogleSheetsSink
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.state import RowNote, row_name
from sinks.google_sheets.write_planner import sheet_cells, zone_of
from sinks.spreadsheet.columns import KEY, SPECS
from sinks.spreadsheet.values import LINK_TEXT, CellKind

TAB = "Interviews"
_SERVER = """
from multiprocessing.connection import Connection
from pathlib import Path
from benchmarks.sheet import serve_google
serve_google(Connection({fd}), Path({folder!r}), {size})
"""
ZONE = "Etc/GMT"


@dataclass(frozen=True, slots=True)
class Cost:
    """One flush: calls, bytes on the wire, seconds in all, seconds of our own work, megabytes before and at most."""

    calls: int
    sent: int
    received: int
    seconds: float
    ours: float
    idle: float
    peak: float


async def run(*, quick: bool = False) -> None:
    """Measures every combination, each in processes of its own."""
    sizes, amounts = ((0, 1_000), (1, 100)) if quick else ((0, 10_000, 100_000), (1, 100, 5_000))
    rows = []
    for size in sizes:
        for kind in ("new", "changed"):
            for amount in amounts:
                if kind == "changed" and amount > size:
                    continue
                tables.progress(f"{amount:,} {kind} in {size:,} rows")
                rows.append(
                    [f"{size:,}", f"{amount:,} {kind}", *_shown(await asyncio.to_thread(_apart, size, kind, amount))]
                )
    columns = [
        "rows there",
        "flush of",
        "calls",
        "sent kB",
        "received kB",
        "seconds",
        "our CPU s",
        "idle MB",
        "peak MB",
    ]
    tables.show(
        "One flush of a google_sheets sink", columns, rows, "the emulator of Google runs in a process of its own"
    )


def _shown(cost: Cost) -> Sequence[str]:
    sizes = [tables.number(size / 1000) for size in (cost.sent, cost.received)]
    return [str(cost.calls), *sizes, *map(tables.number, (cost.seconds, cost.ours, cost.idle, cost.peak))]


def _apart(size: int, kind: str, amount: int) -> Cost:
    """Runs in a new process, so that the memory is that of this flush only."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (size, kind, amount))


def _measured(size: int, kind: str, amount: int) -> Cost:
    return asyncio.run(_measure(size, kind, amount))


async def _measure(size: int, kind: str, amount: int) -> Cost:
    with tempfile.TemporaryDirectory(prefix="sheet-") as folder, _google(Path(folder), size) as google:
        url, sheet = google.recv()
        config = GoogleSheetsConfig(spreadsheet=sheet, credentials_file=Path(folder) / "key.json", api_url=url)
        sink, context = GoogleSheetsSink("sheet", config), FakeContext()
        chosen = range(size, size + amount) if kind == "new" else range(size - amount, size)
        await sink.open()
        idle = _megabytes()
        if size:
            # only the requested ones: the service stores the notes of all rows
            there = [_interview(number) for number in {0, *chosen} if number < size]
            context.notes |= {row_name(each.id): _note(each) for each in there}
            await _flush(sink, context, [_interview(0)])
        news = [_interview(number) if kind == "new" else _changed(number) for number in chosen]
        context.clock.advance(60)
        _ask(google, "forget")
        started, cpu = time.monotonic(), time.process_time()
        await _flush(sink, context, news)
        seconds, ours = time.monotonic() - started, time.process_time() - cpu
        calls, sent, received = _ask(google, "calls")
        await sink.close()
        return Cost(calls, sent, received, seconds, ours, idle, _megabytes())


def _megabytes() -> float:
    """Returns the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _flush(sink: Any, context: FakeContext, interviews: Sequence[Interview]) -> None:
    deliveries = [Delivery(id=each.id, key=each.id, event=None, interview=each) for each in interviews]
    result = await run_batch(sink, deliveries, context)
    assert set(result.outcomes) == {Delivered()}


def _interview(number: int) -> Interview:
    return make_interview(number=number)


def _changed(number: int) -> Interview:
    known = _interview(number)
    return replace(known, updated_at=known.updated_at + 60_000, values={**known.values, "score": 4})


def _note(interview: Interview) -> Any:
    cells = sheet_cells(interview, GoogleSheetsConfig.model_fields["columns"].default, zone_of(ZONE), language("en"))
    return RowNote({name: value for name, value in cells.items() if name != KEY}).encode()


@contextmanager
def _google(folder: Path, size: int) -> Iterator[Connection]:
    """Runs an emulator in its own process. It first sends its address and the id of the spreadsheet."""
    here, there = multiprocessing.Pipe()
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER.format(fd=there.fileno(), folder=str(folder), size=size)],
        pass_fds=[there.fileno()],
    )
    try:
        yield here
    finally:
        here.send("stop")
        server.wait()


def serve_google(pipe: Connection, folder: Path, size: int) -> None:
    with GoogleEmulator() as google:
        google.service_account_file(folder / "key.json")
        sheet = google.add_spreadsheet(tabs=[TAB] if size else (), timezone=ZONE)
        if size:
            google.fill(sheet, TAB, _rows(size))
        pipe.send((google.url, sheet))
        while (asked := pipe.recv()) != "stop":
            pipe.send(_told(google) if asked == "calls" else google.forget_calls())


def _told(google: GoogleEmulator) -> tuple[int, int, int]:
    calls = [call for call in google.calls if call.kind != "token"]
    return len(calls), sum(call.bytes_in for call in calls), sum(call.bytes_out for call in calls)


def _ask(pipe: Connection, what: str) -> Any:
    pipe.send(what)
    return pipe.recv()


def _rows(size: int) -> Iterator[list[Any]]:
    columns = GoogleSheetsConfig.model_fields["columns"].default
    yield [column.title for column in columns]
    for number in range(size):
        cells = sheet_cells(_interview(number), columns, zone_of(ZONE), language("en"))
        links = {name: LINK_TEXT for name, value in cells.items() if SPECS[name].kind is CellKind.LINK and value}
        yield [(cells | links)[column.field] for column in columns]
