"""Prints the results, and the machine that they were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

console = Console(width=None if os.isatty(1) else 140)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *notes: str) -> None:
    """Prints one table; the first column is text, the others are figures."""
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    console.print()
    console.print(table)
    for note in notes:
        console.print(note, markup=False)


def progress(text: str) -> None:
    """Prints the progress."""
    console.print(text, style="dim", markup=False, highlight=False)


def number(value: float) -> str:
    """A figure with three significant digits and separated thousands."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def span(values: Sequence[float]) -> str:
    """The median, and the range in brackets."""
    return f"{number(median(values))} ({number(min(values))}..{number(max(values))})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> str:
    """Returns the properties of the machine in one line."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {_model()}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, load average {load:.1f}"
    )


def disk(folder: Path, times: int = 100) -> str:
    """Measures the time of a sync on the disk of a folder, which every commit waits for."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(times):
            file.seek(0)
            file.write(os.urandom(8192))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - started) * 1000)
    slow = percentile(taken, 0.99)
    return f"a write of 8 KiB is durable (fdatasync) after {number(median(taken))} ms, p99 {number(slow)} ms"


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
