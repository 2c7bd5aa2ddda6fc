"""The events that wait for their commit, bounded by number and by size, and the groups they are written in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.plan import Answer, Arrival
from connector.store.store import Overloaded

GROUP_LIMIT = 512
"""Most requests in one transaction."""
GROUP_LEAST = 16
"""So many are never parted."""
GROUP_BYTES = 4 * 1024 * 1024
"""No request is added to a transaction whose bodies have this size already."""
INTAKE_BYTES = 64 * 1024 * 1024
"""Most bytes of bodies that wait."""


@dataclass(slots=True)
class Request:
    """An event that waits for its commit."""

    arrival: Arrival
    answer: asyncio.Future[Answer]


class Intake:
    """The queue of a writer; at most `limit` requests wait. Belongs to the loop that made it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._requests: deque[Request] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]:
        """Queues an event; the future is for the writer to resolve. Raises `Overloaded` when too many wait."""
        self.require_room()
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._requests.append(Request(Arrival(reading, body), future))
        self._bytes += len(body)
        return future

    def require_room(self) -> None:
        """Raises `Overloaded` when no further request may wait."""
        if len(self._requests) >= self._limit or self._bytes > INTAKE_BYTES:
            raise Overloaded("the intake is full")

    def next_group(self, limit: int = GROUP_LIMIT) -> list[Request]:
        """Takes the requests that go into the next transaction, at most `limit`."""
        group: list[Request] = []
        size = 0
        while self._requests and len(group) < limit and size < GROUP_BYTES:
            request = self._requests.popleft()
            size += len(request.arrival.body)
            group.append(request)
        self._bytes -= size
        return group

    def take_all(self) -> list[Request]:
        """Takes everything that waits."""
        taken = list(self._requests)
        self._requests.clear()
        self._bytes = 0
        return taken


def fair_share(waiting: int, answered: int) -> int:
    """How many of those that wait go into the next transaction, when so many have just been answered.

    About half of all there are, so that senders which wait for their answers form two groups: one is read and answered
    while the other is committed. In one group they would wait for the disk all together, and nobody had anything to do.
    When nobody was answered, nobody comes back while the others wait: all go.
    """
    if not answered:
        return GROUP_LIMIT
    return min(GROUP_LIMIT, max(GROUP_LEAST, (waiting + answered + 1) // 2))


def resolve(requests: Iterable[Request], answers: Iterable[Answer]) -> None:
    """Tells each request its answer; one that nobody waits for any more is passed over."""
    for request, answer in zip(requests, answers, strict=True):
        if not request.answer.done():
            request.answer.set_result(answer)


def refuse(futures: Iterable[asyncio.Future[Any]], reason: str) -> None:
    """Tells them that the store took nothing, each with an exception of its own."""
    for future in futures:
        if not future.done():
            future.set_exception(StoreUnavailable(f"the store takes no writes: {reason}"))
