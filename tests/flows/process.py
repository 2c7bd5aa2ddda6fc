"""The real service as a separate process, which tests start, post to, kill and start again."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
from typer.testing import CliRunner

from connector.cli import app
from connector.hireflix.signature import sign
from tests import forked
from tests.stores import make_store_file

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hfx_test_secret_9f2c"
ANY_AGE_SECONDS = 10**10
"""`max_age` of a chat whose test sends events with fixed dates, which would only be counted in a digest otherwise."""
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


def default_signals() -> None:
    """Sets the default signals in a child process, because a job in the background ignores some."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


class Service:
    """`connector serve` in its own folder. `output` collects standard output, `logs` the log.

    `before` precedes the command, such as `nohup`; `module` runs the command instead of the connector. The service
    starts with an empty store, because the first start would take a third of its time for the schema; other tests start
    without one.
    """

    def __init__(
        self, folder: Path, toml: str = "", before: Sequence[str] = (), module: str = "connector.cli", **environ: str
    ) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.config.write_text(
            f'{toml}\n[hireflix]\nwebhook_secrets = ["{SECRET}"]\n[server]\nport = 0\n[logs]\nformat = "json"\n'
        )
        self.store.parent.mkdir(mode=0o700, exist_ok=True)
        if not self.store.exists():
            make_store_file(self.store)
        self.before = before
        self.module = module
        self.environ = environ
        self.url = ""
        self.output: list[str] = []
        self.logs: list[str] = []
        self.process: forked.Forked | subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []

    def start(self) -> Self:
        """Starts and waits until the service prints its address."""
        (output, stdout), (logs, stderr) = os.pipe(), os.pipe()
        self.process = self._launch(stdout, stderr)
        os.close(stdout)
        os.close(stderr)
        has_address = threading.Event()
        for file, lines in ((output, self.output), (logs, self.logs)):
            self._readers.append(threading.Thread(target=self._read, args=(file, lines, has_address), daemon=True))
            self._readers[-1].start()
        if not has_address.wait(60) or not self.url:
            self.kill()
            raise AssertionError(f"the service did not start: {self.output[-5:]} {self.logs[-10:]}")
        return self

    def _launch(self, stdout: int, stderr: int) -> forked.Forked | subprocess.Popen[bytes]:
        """Forks the service, unless it needs a start of its own: what it is started by, or with, matters then."""
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
        environ = {**foreign, "PYTHONUNBUFFERED": "1", **self.environ}
        words = ("serve", "--config", str(self.config))
        if not self.before and not self.environ.keys() & {"LD_PRELOAD", "PYTHONPATH"}:
            return forked.start(self.module, *words, environ=environ, stdout=stdout, stderr=stderr)
        return subprocess.Popen(
            [*self.before, sys.executable, "-m", self.module, *words],
            cwd=ROOT,
            env=environ,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=default_signals,  # noqa: PLW1509 - it takes no lock
        )

    def _read(self, file: int, lines: list[str], has_address: threading.Event) -> None:
        with open(file) as stream:
            for line in stream:
                lines.append(line.rstrip("\n"))
                found = ADDRESS.search(line)
                if lines is self.output and found and not has_address.is_set():
                    self.url = found.group()
                    has_address.set()
        has_address.set()

    def kill(self) -> None:
        """Kills the process: nothing is flushed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal and waits for the end. Returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(100)
        self._close()
        return code

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs another command with the same configuration in this process, which is much faster."""
        command = [words[0], "--config", str(self.config), *words[1:]]
        foreign = {name: None for name in os.environ if name.startswith("CONNECTOR_")}
        done = CliRunner().invoke(app, command, env={**foreign, **self.environ})
        return subprocess.CompletedProcess(command, done.exit_code, done.stdout, done.stderr)

    def _close(self) -> None:
        for reader in self._readers:
            reader.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    @property
    def hook(self) -> str:
        return f"{self.url}/webhooks/hireflix"

    @property
    def store(self) -> Path:
        return self.folder / "data" / "connector.db"

    def query(self, sql: str) -> list[Any]:
        connection = sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def settled(self, seconds: float = 100, *, looks: bool = False) -> None:
        """Waits until no delivery is pending but the regular verification.

        With `looks` until Slack's second looks, a minute later, are over too.
        """
        later = "" if looks else " AND purpose NOT IN ('find-doubles', 'repeat-edit')"
        try:
            self.until(
                lambda: (
                    not self.query(f"SELECT 1 FROM delivery WHERE state = 0 AND purpose <> 'verify'{later} LIMIT 1")
                ),
                seconds,
            )
        except AssertionError:
            columns = "sink, key, attempts, reason, bucket, blocks_key"
            left = self.query(f"SELECT {columns} FROM delivery WHERE state = 0 LIMIT 5")
            paused = self.query("SELECT name, paused, reason, fix, rest_until FROM sink")
            raise AssertionError(f"still pending: {left}; sinks: {paused}; logs: {self.logs[-10:]}") from None

    @staticmethod
    def until(condition: Any, seconds: float = 100) -> None:
        """Waits for a condition of another process, which cannot signal it."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("it did not come to pass in time")
            threading.Event().wait(0.02)


def signed(payload: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A payload's bytes and headers."""
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    return body, {"x-hireflix-signature": sign(SECRET, body), "content-type": "application/json"}


def post(client: httpx.Client, hook: str, payload: dict[str, Any]) -> int:
    """Posts a signed payload and returns the status."""
    body, headers = signed(payload)
    return client.post(hook, content=body, headers=headers).status_code
