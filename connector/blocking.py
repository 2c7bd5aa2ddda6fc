"""A daemon thread for blocking clients, so that they never delay the exit of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")


class BlockingThread:
    """Runs blocking calls one at a time in a daemon thread. The first call starts the thread.

    Python waits without limit for the threads of `concurrent.futures` and `asyncio.to_thread` before the process ends
    (https://docs.python.org/3/library/concurrent.futures.html, ThreadPoolExecutor), so a destination that does not
    answer would keep the process alive. Python does not wait for daemon threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._closed = False

    async def run(self, call: Callable[[], T]) -> T:
        """Returns what `call` returns, or raises what it raises.

        When the caller is cancelled, a waiting call is dropped. A running call continues in the thread, and its result
        is dropped. Raises `RuntimeError` after `close`.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the thread {self._name} is closed")
            self._calls.put((future, call))
            if self._thread is None:
                self._thread = Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
        return await asyncio.wrap_future(future)

    def close(self, last: Callable[[], Any] | None = None) -> None:
        """Ends the thread after the waiting calls and then `last`. Returns at once."""
        with self._lock:
            if not self._closed and self._thread is not None:
                if last is not None:
                    self._calls.put((Future(), last))
                self._calls.put(None)
            self._closed = True

    async def finish(self) -> None:
        """Waits for all calls, then ends the thread."""
        if self._thread is not None and not self._closed:
            await self.run(lambda: None)
        self.close()

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            future, call = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - `run` raises it
                future.set_exception(error)
            else:
                future.set_result(result)
            del entry, future, call
