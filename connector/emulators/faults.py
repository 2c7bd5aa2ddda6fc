"""Fault scripts: faults of a call, before or after it is applied."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp import web


class FaultKind(StrEnum):
    REFUSE = "refuse"  # closes the connection, nothing applied
    DROP = "drop"  # applied, then closes the connection without an answer
    HANG = "hang"  # never answers, nothing applied
    APPLY_HANG = "apply-hang"  # applied, never answers
    STATUS = "status"  # answers `status` with `body`, nothing applied
    APPLY_STATUS = "apply-status"  # applied, then answers `status` with `body`
    TRUNCATE = "truncate"  # applied, sends half of the answer, then closes the connection
    BROKEN_JSON = "broken-json"  # applied, status 200, half of the JSON, properly ended
    LATE = "late"  # closes the connection at once, applied when `release` is called


@dataclass(frozen=True)
class Fault:
    """A fault. `match` is the kind of call that it applies to (`None` = any); `times` is the number of calls."""

    kind: FaultKind
    match: str | None = None
    times: int = 1
    status: int = 503
    body: str | bytes = "<html><body>503 Service Unavailable</body></html>"
    content_type: str = "text/html"
    headers: dict[str, str] = field(default_factory=dict)


class Faults:
    """The script: faults apply to calls in the order in which they were added. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._script: deque[list[object]] = deque()
        self._choose: Callable[[str], Fault | None] | None = None
        self._late = 0
        self._settled = threading.Condition(self._lock)
        self._released: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._script.extend([fault, fault.times] for fault in faults)

    def choose(self, chooser: Callable[[str], Fault | None] | None) -> None:
        """Calls `chooser` for each call without a scripted fault; used for random faults with a seed."""
        self._choose = chooser

    def clear(self) -> None:
        with self._lock:
            self._script.clear()
            self._choose = None

    @property
    def pending(self) -> int:
        with self._lock:
            return len(self._script)

    def next_for(self, call: str) -> Fault | None:
        with self._lock:
            for entry in self._script:
                fault, left = entry
                assert isinstance(fault, Fault)
                assert isinstance(left, int)
                if fault.match in {None, call}:
                    entry[1] = left - 1
                    if left <= 1:
                        self._script.remove(entry)
                    return fault
        return self._choose(call) if self._choose is not None else None

    def release(self) -> None:
        """Continues all calls that hang."""
        with self._lock:
            waiting, self._released = self._released, []
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    def settle(self, seconds: float = 60) -> None:
        """Waits until the calls that `release` continued are done; the emulator runs in its own thread."""
        with self._settled:
            assert self._settled.wait_for(lambda: self._late <= len(self._released), seconds)

    def count_late(self, change: int) -> None:
        with self._settled:
            self._late += change
            self._settled.notify_all()

    async def wait_released(self) -> None:
        event = asyncio.Event()
        with self._lock:
            self._released.append((asyncio.get_running_loop(), event))
        await event.wait()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def apply_fault(fault: Fault, request: web.Request, handler: Handler, faults: Faults) -> web.StreamResponse:
    if fault.kind in {FaultKind.REFUSE, FaultKind.HANG, FaultKind.STATUS, FaultKind.LATE}:
        await request.read()
        return await _before(fault, request, handler, faults)
    answer = await handler(request)
    return await _after(fault, request, answer, faults)


async def _before(fault: Fault, request: web.Request, handler: Handler, faults: Faults) -> web.StreamResponse:
    if fault.kind is FaultKind.STATUS:
        return _answer(fault)
    if fault.kind in {FaultKind.REFUSE, FaultKind.LATE}:
        _cut(request)
    if fault.kind is FaultKind.LATE:
        return await _late(request, handler, faults)
    if fault.kind is FaultKind.HANG:
        await faults.wait_released()
    return web.Response(status=500)


async def _late(request: web.Request, handler: Handler, faults: Faults) -> web.StreamResponse:
    faults.count_late(1)
    try:
        await faults.wait_released()
        return await handler(request)
    finally:
        faults.count_late(-1)


async def _after(fault: Fault, request: web.Request, answer: web.StreamResponse, faults: Faults) -> web.StreamResponse:
    assert isinstance(answer, web.Response)
    if fault.kind is FaultKind.APPLY_STATUS:
        return _answer(fault)
    if fault.kind is FaultKind.APPLY_HANG:
        await faults.wait_released()
        return answer
    if fault.kind is FaultKind.DROP:
        _cut(request)
        return answer
    body = answer.body if isinstance(answer.body, bytes) else b""
    half = body[: len(body) // 2]
    if fault.kind is FaultKind.BROKEN_JSON:
        return web.Response(status=200, body=half, content_type="application/json")
    cut = web.StreamResponse(status=200, headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
    await cut.prepare(request)
    await cut.write(half)
    _cut(request)
    return cut


def _answer(fault: Fault) -> web.Response:
    body = fault.body.encode() if isinstance(fault.body, str) else fault.body
    kind = f"{fault.content_type}; charset=utf-8"
    return web.Response(status=fault.status, body=body, headers={"Content-Type": kind, **fault.headers})


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


REFUSE = Fault(FaultKind.REFUSE)
DROP = Fault(FaultKind.DROP)
HANG = Fault(FaultKind.HANG)
APPLY_HANG = Fault(FaultKind.APPLY_HANG)
TRUNCATE = Fault(FaultKind.TRUNCATE)
BROKEN_JSON = Fault(FaultKind.BROKEN_JSON)
LATE = Fault(FaultKind.LATE)
HTML_503 = Fault(FaultKind.STATUS)
APPLY_503 = Fault(FaultKind.APPLY_STATUS)
