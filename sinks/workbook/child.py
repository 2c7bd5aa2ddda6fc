"""Rewrites of large tables in a process of their own, which neither holds up the receiver nor leaves memory behind.

The order comes pickled on standard input and the answer goes pickled to standard output, so that nothing personal
stands in the list of processes.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from typing import TypeAlias

from connector.sink import SinkBroken
from sinks.workbook.files import InUseError
from sinks.workbook.memory import Flushed, Order

CHILD_SECONDS = 170.0
"""The longest a rewrite may take; less than the sink's own `timeout`."""

_Answer: TypeAlias = Flushed | InUseError | RuntimeError | tuple[str, str, bool]


def flush_in_child(order: Order) -> Flushed:
    """As `flush.flush`, in a child process. Blocking."""
    done = subprocess.run(
        [sys.executable, "-m", "sinks.workbook"],
        input=pickle.dumps(order),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a traceback could show a cell
        timeout=CHILD_SECONDS,
        env=_environment(),
        check=True,
        start_new_session=True,  # Ctrl-C in the terminal is for the service, which ends in order
    )
    answer: _Answer = pickle.loads(done.stdout)  # noqa: S301 - our own module
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, tuple):
        reason, fix, until_person = answer
        raise SinkBroken(reason, fix, until_person=until_person)
    return answer


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("CONNECTOR_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _answer(order: Order) -> _Answer:
    from sinks.workbook.flush import flush

    try:
        return flush(order)
    except InUseError as error:
        return error
    except SinkBroken as broken:
        return broken.reason, broken.fix, broken.until_person
    except Exception as error:  # noqa: BLE001 - told by its kind alone, because a message could show a cell
        return RuntimeError(f"the rewrite failed with {type(error).__name__}")


def main() -> None:
    """The child's whole life: one order, one answer."""
    gc.disable()  # it ends before garbage matters, and collecting costs a quarter of its time
    sys.stdout.buffer.write(pickle.dumps(_answer(pickle.load(sys.stdin.buffer))))  # noqa: S301 - from our own parent
