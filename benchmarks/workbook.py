"""Workbook: time, processor time and stored bytes of one call of the workbook sink, by the number of its rows."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import openpyxl

from benchmarks import tables
from connector.sink import Batch, Delivered, Interview, Stage
from connector.testing import FakeContext, make_delivery, make_interview
from connector.testing.context import notes_for
from sinks.workbook import Workbook, WorkbookConfig

SIZES = (1_000, 9_000)
GOAL_SECONDS = 2.0
"""Most seconds for one changed cell among 9,000 rows."""
ROUNDS = 5
PAUSE_SECONDS = 30
"""On the clock of the sink, so that its own rate limit does not delay a call."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one call. `note_bytes` are those of the notes that it stores, `notes` is their number."""

    seconds: float
    cpu: float
    notes: int
    note_bytes: int


async def run(*, quick: bool = False) -> None:
    """Measures and prints."""
    sizes, rounds = ((20,), 1) if quick else (SIZES, ROUNDS)
    rows = []
    with tempfile.TemporaryDirectory(prefix="workbook-") as folder:
        for size in sizes:
            tables.progress(f"{size:,} rows")
            rows += await _measure(Path(folder) / f"{size}.xlsx", size, rounds)
    tables.show(
        "One call of the workbook sink, child process included",
        ["rows", "call", "seconds", "CPU seconds", "notes", "bytes of notes"],
        rows,
        f"median of {rounds}; goal: one changed cell among 9,000 rows below {GOAL_SECONDS} s",
    )


async def _measure(path: Path, size: int, rounds: int) -> list[list[object]]:
    sink, context = Workbook("hiring", WorkbookConfig(path=path)), FakeContext()
    await sink.open()
    try:
        first = await _call(sink, context, [_interview(number) for number in range(size)])
        changed = [await _call(sink, context, [_interview(7, score)]) for score in range(1, rounds + 1)]
        added = [await _call(sink, context, [_interview(size + number)]) for number in range(rounds)]
        saved = [await _after_a_save(sink, context, path)]
    finally:
        await sink.close()
    return [
        _row(size, "all rows, new file", [first]),
        _row(size, "one changed cell", changed),
        _row(size, "one new row", added),
        _row(size, "one changed cell, after another program saved the file", saved),
    ]


async def _after_a_save(sink: Workbook, context: FakeContext, path: Path) -> Cost:
    book = openpyxl.load_workbook(path, rich_text=True)
    book.worksheets[0]["N2"] = "note of a user"
    book.save(path)
    return await _call(sink, context, [_interview(7, -1)])


async def _call(sink: Workbook, context: FakeContext, interviews: Sequence[Interview]) -> Cost:
    context.clock.advance(PAUSE_SECONDS)
    deliveries = [make_delivery(interview=interview, state=True) for interview in interviews]
    batch = Batch("b", context.now(), deliveries, notes_for(sink, deliveries, context))
    started, cpu = time.perf_counter(), _cpu()
    result = await sink.deliver(batch, context)
    seconds, cpu = time.perf_counter() - started, _cpu() - cpu
    assert result.outcomes == [Delivered()] * len(deliveries)
    await context.save_notes(result.notes)
    return Cost(seconds, cpu, len(result.notes), sum(len(json.dumps(note)) for note in result.notes.values()))


def _interview(number: int, score: float | None = None) -> Interview:
    position = f"Position {number % 20}"
    return make_interview(number=number, position_name=position, stage=Stage.TO_EVALUATE, score=score)


def _cpu() -> float:
    """Processor seconds of this process and its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _row(size: int, name: str, costs: Sequence[Cost]) -> list[object]:
    def middle(read: Callable[[Cost], float]) -> float:
        return median(read(cost) for cost in costs)

    return [
        f"{size:,}",
        name,
        f"{middle(lambda cost: cost.seconds):.2f}",
        f"{middle(lambda cost: cost.cpu):.2f}",
        f"{middle(lambda cost: cost.notes):.0f}",
        f"{middle(lambda cost: cost.note_bytes):,.0f}",
    ]
