"""Runs work on a large file in a child process (`python -m sinks.workbook.child`).

openpyxl would hold up the receiver for tenths of a second, and the memory is returned when the process ends. The work
is pickled to standard input and the answer to standard output, so that the list of processes contains no personal data.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from connector.sink import SinkBroken
from sinks.workbook.file import InUseError

CHILD_SECONDS = 170.0
"""Timeout of a child process; less than `timeout` of the sink."""

_RESULT = "result"
_ERROR = "error"
_BROKEN = "broken"

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


def run_in_child(work: Callable[[RequestT], ResultT], request: RequestT) -> ResultT:
    """Calls `work`, a function of a module, in a child process, and returns its result.

    Raises `InUseError` and `SinkBroken` as `work` does, and `RuntimeError` for any other exception.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sinks.workbook.child"],
        input=pickle.dumps((work, request)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a traceback could show a cell
        timeout=CHILD_SECONDS,
        env=child_environment(),
        check=True,
        start_new_session=True,  # Ctrl-C in the terminal stops the service, which stops the child
    )
    kind, answer = pickle.loads(done.stdout)  # noqa: S301 - our own module
    if kind == _BROKEN:
        reason, fix, until_resumed = answer
        raise SinkBroken(reason, fix, until_resumed=until_resumed)
    if kind == _ERROR:
        raise answer
    result: ResultT = answer
    return result


def child_environment() -> dict[str, str]:
    """Returns the environment of the child: without the connector's variables, which may be secrets, and with the
    import path.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("CONNECTOR_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _answer(work: Callable[[Any], Any], request: object) -> tuple[str, object]:
    """Returns the result of the work, or the form of its exception that is sent to the parent."""
    try:
        return _RESULT, work(request)
    except InUseError as error:
        return _ERROR, error
    except SinkBroken as broken:
        return _BROKEN, (broken.reason, broken.fix, broken.until_resumed)
    except Exception as error:  # noqa: BLE001 - the message could show a cell, so only the type is returned
        return _ERROR, RuntimeError(f"the work on the workbook failed with {type(error).__name__}")


def main() -> None:
    """Runs in the child process: reads the work, writes the answer."""
    gc.disable()  # the process ends soon, and garbage collection would take a quarter of its time
    work, request = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent
    sys.stdout.buffer.write(pickle.dumps(_answer(work, request)))


if __name__ == "__main__":
    main()
