"""`python -m MODULE` as a process of its own, forked from one that has imported the connector.

Importing takes most of a start, and the tests start a hundred processes. A test sees no difference: the process has its
own memory, environment, output and signals, and ends with an exit code. Other tests start the program itself.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTED = [
    "connector.cli.serve",
    "connector.store.postgres.store",
    "aiohttp",
    "gspread",
    "openpyxl",
    "sinks.console",
    "sinks.google_sheets",
    "sinks.slack",
    "sinks.webhook",
    "sinks.workbook",
    "slack_sdk.web.async_client",
    "uvloop",
]

_context = get_context("forkserver")
_context.set_forkserver_preload(IMPORTED)


class Forked:
    """The part of `subprocess.Popen` that the tests use."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(module: str, *words: str, environ: Mapping[str, str], stdout: int, stderr: int) -> Forked:
    """Runs a module with arguments, in the root of the project, with open files as its output."""
    with Connection(os.dup(stdout), readable=False) as output, Connection(os.dup(stderr), readable=False) as errors:
        process = _context.Process(target=_run, args=(module, words, dict(environ), output, errors), daemon=True)
        process.start()
    return Forked(process)


def _run(module: str, words: tuple[str, ...], environ: dict[str, str], output: Connection, errors: Connection) -> None:
    for file, number in ((output, 1), (errors, 2)):
        os.dup2(file.fileno(), number)
        file.close()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(ROOT)
    time.tzset()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through="PYTHONUNBUFFERED" in environ)  # type: ignore[union-attr]
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
