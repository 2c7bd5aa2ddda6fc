"""`python -m MODULE` as a process of its own, forked from one that has imported the connector.

Importing takes most of a start, and the tests start a hundred processes. A test sees no difference: the process has its
own memory, environment, output and signals, and ends with an exit code. Other tests start the program itself.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
IMPORTED = (
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
)
READ_BYTES = 65_536
NUMBER_BYTES = 12
"""The size of a process id or an exit code in a message, because one may follow the other at once."""
START_SECONDS = 60
_lock = threading.Lock()


class Forked:
    """The part of `subprocess.Popen` that the tests use."""

    def __init__(self, pid: int, ended: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self._ended.settimeout(timeout)
            try:
                code = self._ended.recv(NUMBER_BYTES)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0) from None
            self._ended.close()
            self.returncode = int(code)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(module: str, *words: str, environ: Mapping[str, str], stdout: int, stderr: int) -> Forked:
    """Runs a module with arguments, in the root of the project, with open files as its output."""
    request = json.dumps({"module": module, "words": words, "environ": dict(environ)}) + "\n"
    ours, theirs = socket.socketpair()
    with theirs, _lock:
        control = _parent()
        socket.send_fds(control, [request.encode()], [theirs.fileno(), stdout, stderr])
        ours.settimeout(START_SECONDS)
        return Forked(int(ours.recv(NUMBER_BYTES)), ours)


@cache
def _parent() -> socket.socket:
    """Starts the process that forks, and returns the connection to it. It ends with this one, and ends the others."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C does not reach it
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


# --- in the process that forks


class Parent:
    """Forks for each request, and sends the exit code of each child to who asked for it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno())

    def run(self) -> dict[str, Any] | None:
        """Returns a request, in the child that does it, and None when there are no more requests."""
        with selectors.DefaultSelector() as selector:
            for source in (self._control, self._woken):
                selector.register(source, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    self._woken.recv(READ_BYTES)
                    self._reap()
                if self._control in ready:
                    request, files = self._receive()
                    if request is None:
                        self._end()
                        return None
                    if not self._fork(files):
                        return request

    def _receive(self) -> tuple[dict[str, Any] | None, list[int]]:
        data, files, _, _ = socket.recv_fds(self._control, READ_BYTES, 3)
        while data and not data.endswith(b"\n"):
            data += self._control.recv(READ_BYTES)
        return (json.loads(data) if data else None), list(files)

    def _fork(self, files: list[int]) -> bool:
        """Whether this is still the parent."""
        ended, *output = files
        pid = os.fork()
        if pid == 0:
            self._be_child(ended, output)
            return False
        self._children[pid] = socket.socket(fileno=ended)
        self._children[pid].send(_packed(pid))
        for file in output:
            os.close(file)
        return True

    def _be_child(self, ended: int, output: list[int]) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in (
            (signal.SIGCHLD, signal.SIG_DFL),
            (signal.SIGHUP, signal.SIG_DFL),
            (signal.SIGINT, signal.default_int_handler),
        ):
            signal.signal(number, handler)
        for connection in (self._control, self._woken, self._wake, *self._children.values()):
            connection.close()
        os.close(ended)
        for place, file in enumerate(output, 1):
            os.dup2(file, place)
            os.close(file)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._children.pop(pid) as ended:
                ended.send(_packed(os.waitstatus_to_exitcode(status)))

    def _end(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)


def _packed(number: int) -> bytes:
    return str(number).rjust(NUMBER_BYTES).encode()


def main() -> None:
    for name in IMPORTED:
        import_module(name)
    request = Parent(socket.socket(fileno=int(sys.argv[1]))).run()
    if request is None:
        return
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through="PYTHONUNBUFFERED" in os.environ)  # type: ignore[union-attr]
    sys.argv = [request["module"], *request["words"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
