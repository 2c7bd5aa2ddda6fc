"""Runs receivers and workers as processes on one PostgreSQL server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bodies import SECRET
from benchmarks.processes import PLUGIN, ROOT
from connector.store.migrate import migrate_postgres
from tests import postgres

READY_WITHIN = 60.0
CONFIG = """
[store]
url = "{url}"
[hireflix]
webhook_secrets = ["{secret}"]
[server]
port = 0
[logs]
format = "json"
"""


class Member:
    """A process that writes its output to a file."""

    def __init__(self, folder: Path, role: str, number: int) -> None:
        self.output = folder / f"{role}{number}.log"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "connector.cli",
                    "serve",
                    "--role",
                    role,
                    "--config",
                    str(folder / "config.toml"),
                ],
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGIN}", "PYTHONUNBUFFERED": "1"},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.output.read_text())
        return found.group() if found else ""

    def until_ready(self) -> None:
        until = time.monotonic() + READY_WITHIN
        while '"event": "started"' not in self.output.read_text():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"it did not start:\n{self.output.read_text()[-2000:]}")
            time.sleep(0.01)


class Crew:
    """A durable server and the processes that use it."""

    def __init__(self, folder: Path) -> None:
        self.server = postgres.Server("fsync=on")
        self.folder = folder
        self.members: list[Member] = []

    async def open(self, toml: str) -> None:
        """Starts the server, makes the schema and writes the configuration."""
        self.server.start()
        await migrate_postgres(self.server.url)
        (self.folder / "config.toml").write_text(CONFIG.format(url=self.server.url, secret=SECRET) + toml)

    def start(self, *roles: str) -> list[Member]:
        made = [Member(self.folder, role, len(self.members) + number) for number, role in enumerate(roles)]
        self.members += made
        for member in made:
            member.until_ready()
        return made

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return postgres.rows(self.server.url, sql)

    def close(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.process.send_signal(signal.SIGCONT)
                member.process.terminate()
        for member in self.members:
            member.process.wait(30)
        self.server.remove()


@contextmanager
def crew(folder: Path) -> Iterator[Crew]:
    """Runs a crew and stops it at the end of the block."""
    made = Crew(folder)
    try:
        yield made
    finally:
        made.close()
