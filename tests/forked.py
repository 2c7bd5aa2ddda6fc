"""`python -m MODULE` as a process of its own, forked from one that has imported the connector.

Importing takes most of a start, and the tests start a hundred processes. A test sees no difference: the process has its
own memory, environment, output and signals, and ends with an exit code. Other tests start the program itself.
"""

from __future__ import annotations

import gc
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryFile

ROOT = Path(__file__).parents[1]
RUN_SECONDS = 100
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


def start(
    module: str,
    *words: str,
    environ: Mapping[str, str],
    stdout: int,
    stderr: int,
    stdin: int | None = None,
    folder: Path = ROOT,
) -> Forked:
    """Runs a module with arguments in a folder, with open files as its output, and as its input if one is given."""
    files = [Connection(os.dup(stdout), readable=False), Connection(os.dup(stderr), readable=False)]
    if stdin is not None:
        files.append(Connection(os.dup(stdin), writable=False))
    process = _context.Process(target=_run, args=(module, words, dict(environ), folder, files), daemon=True)
    process.start()
    for file in files:
        file.close()
    return Forked(process)


def run(
    module: str, *words: str, environ: Mapping[str, str], stdin: int | None = None, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Runs a module to its end. Raises `subprocess.TimeoutExpired`."""
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        files = {"stdout": output.fileno(), "stderr": errors.fileno(), "stdin": stdin}
        process = start(module, *words, environ=environ, folder=folder, **files)
        try:
            code = process.wait(RUN_SECONDS)
        finally:
            process.kill()
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess([module, *words], code, output.read(), errors.read())


def _run(
    module: str, words: tuple[str, ...], environ: dict[str, str], folder: Path, files: Sequence[Connection]
) -> None:
    gc.freeze()  # it does not look at what was imported, which would copy the memory
    for file, number in zip(files, (1, 2, 0), strict=False):
        os.dup2(file.fileno(), number)
        file.close()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    time.tzset()
    sys.stdin = os.fdopen(0, closefd=False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
