"""Runs the service and the programs that it is compared with as processes, and reads their figures from Linux."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.bodies import SECRET

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = Path(__file__).parent / "plugin"
READY_WITHIN = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Running:
    """A process that answers at `url`; `started` is when it was started, by the monotonic clock in seconds.

    `database` is the URL of its PostgreSQL store; without one its store is a SQLite file in `folder`.
    """

    url: str
    pid: int
    folder: Path
    started: float
    ready: float
    database: str | None = None

    def cpu(self, *, children: bool = False) -> float:
        """Seconds of CPU time used so far, of all its threads, with `children` of processes it waited for too."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11 : 15 if children else 13])) / TICKS

    def cpu_of_threads(self) -> float:
        """Seconds of CPU time of the threads that run now, to the nanosecond (Linux, sched-stats: the first value)."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> float:
        """Resident set, in MB of 10^6 bytes."""
        return self._status("VmRSS")

    def memory_own(self) -> float:
        """The part of the resident set that is not file pages, in MB."""
        return self._status("RssAnon")

    def memory_peak(self) -> float:
        """Greatest resident set since the start or the last `forget_peak`, in MB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Resets the measurement of the peak (Linux, proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError(f"/proc has no {name}")

    def store(self) -> sqlite3.Connection:
        """Opens its SQLite store read-only."""
        return sqlite3.connect(f"file:{self.folder / 'data' / 'connector.db'}?mode=ro", uri=True)

    def count(self, sql: str) -> int:
        """Returns the count of a query of its store."""
        if self.database is None:
            with closing(self.store()) as file:
                return int(file.execute(sql).fetchone()[0])
        import psycopg

        with psycopg.connect(self.database, autocommit=True) as server:
            row = server.execute(sql).fetchone()
            assert row is not None
            return int(row[0])

    def soundness(self) -> str:
        """Returns the result of the integrity check of SQLite, or the server of the store."""
        if self.database is not None:
            return "on PostgreSQL"
        with closing(self.store()) as file:
            return f"integrity_check {file.execute('PRAGMA integrity_check').fetchone()[0]}"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def service(
    folder: Path,
    toml: str,
    *,
    database: str | None = None,
    options: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Running]:
    """Starts the real service with a configuration in its own folder; `data/` there is kept. `database`: the URL of a
    PostgreSQL store with the current schema. `options` are the command's, `environ` is added to its environment.
    """
    port = free_port()
    config = _write_config(folder, toml, port, database)
    command = ["-m", "connector.cli", "serve", "--config", str(config), *options]
    async with _process(command, folder, port, "/health/ready", environ or {}) as running:
        yield replace(running, database=database)


def _write_config(folder: Path, toml: str, port: int, database: str | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.toml"
    server = f"[server]\nport = {port}\nworker_port = {port}\n"
    own = f'[logs]\nlevel = "warning"\n{server}[hireflix]\nwebhook_secrets = ["{SECRET}"]\n'
    store = "" if database is None else f'[store]\nurl = "{database}"\n'
    file.write_text(f"{toml}\n{own}{store}")
    return file


@asynccontextmanager
async def ceiling(folder: Path) -> AsyncIterator[Running]:
    """The plain handler."""
    port = free_port()
    async with _process(["-m", "benchmarks.ceiling", str(port)], folder, port, "/", {}) as running:
        yield running


@asynccontextmanager
async def _process(
    command: Sequence[str], folder: Path, port: int, probe: str, more: Mapping[str, str]
) -> AsyncIterator[Running]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    environ |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGIN}", **more}
    with (folder / "output.log").open("ab") as output:
        started = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=output, stderr=output, env=environ, cwd=folder
        )
    try:
        await _until_ready(child, port, probe, folder)
        yield Running(f"http://127.0.0.1:{port}", child.pid, folder, started, time.monotonic())
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
            await asyncio.wait_for(child.wait(), READY_WITHIN)


async def _until_ready(child: asyncio.subprocess.Process, port: int, probe: str, folder: Path) -> None:
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until and child.returncode is None:
        status = await _status_of(port, probe)
        if status and status < 500:
            return
        await asyncio.sleep(0.005)
    if child.returncode is None:
        child.kill()
        await child.wait()
    raise RuntimeError(f"it did not start:\n{(folder / 'output.log').read_text()[-2000:]}")


async def _status_of(port: int, path: str) -> int:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    finally:
        writer.close()
