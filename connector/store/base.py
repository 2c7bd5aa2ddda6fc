"""The store as the rest of the service sees it, whichever database it is, and the errors of every database."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.schema import REVISION

T = TypeVar("T")

LOAD_SECONDS = 0.25
"""How far back the load looks: an event of so long ago counts for a third."""


class Answer(NamedTuple):
    """What the sender is told: the event's number, and whether it was known before."""

    seq: int
    duplicate: bool


class Overloaded(StoreUnavailable):
    """More requests wait than the intake takes."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the intake is: events per second at a loop time, of which those of long ago count less and less."""

    rate: float = 0.0
    at: float = 0.0

    def rate_at(self, now: float) -> float:
        """What is left of the rate at a later loop time, when no more events came."""
        return self.rate * math.exp((self.at - now) / LOAD_SECONDS)

    def with_group(self, size: int, now: float) -> Load:
        """The load after so many events more."""
        return Load(self.rate_at(now) + size / LOAD_SECONDS, now)


class Store(Protocol):
    """Takes events, runs jobs and answers queries. Everything is called on the loop that made it.

    A job runs in a transaction of its own or in one that it shares, and may run more than once as long as none of its
    changes was committed. A query sees one commit, and the newest one.
    """

    @property
    def instance(self) -> str:
        """A random name for this store, so that delivery ids are unique in the world."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may deliver from it too, so that a lease is held only while it is used."""
        ...

    @property
    def load(self) -> Load:
        """How busy the intake of this process is."""
        ...

    @property
    def log_bytes(self) -> int:
        """The size of the write-ahead log that this process looks after, 0 where the database server does."""
        ...

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]:
        """Takes an event; the future is done after its commit. Raises `StoreUnavailable`, at once or there."""
        ...

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Runs a job and returns after its commit. Raises what the job raises, its changes undone, or
        `StoreUnavailable`.
        """
        ...

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a query for a lane. Raises `StoreUnavailable`."""
        ...

    async def query(self, query: Callable[[Connection], T]) -> T:
        """Runs a query for people and metrics, which may take long without holding up a lane."""
        ...

    async def probe(self, now: int) -> None:
        """Writes something the way events are written, where this process takes them. Raises `StoreUnavailable`
        whenever `offer` would.
        """
        ...

    async def close(self) -> None:
        """Finishes what waits and lets go of the database."""
        ...


def cause_of(error: BaseException) -> BaseException:
    """The driver's error, whether or not SQLAlchemy stands around it."""
    inner = getattr(error, "orig", None)
    return inner if isinstance(inner, BaseException) else error


def require_revision(found: str | None, *, to_make: str, to_update: str) -> None:
    """Raises `SchemaMismatch` unless the schema is this version's; the two texts say what makes and updates it."""
    if found == REVISION:
        return
    if found is None:
        raise SchemaMismatch(f"the store is empty: {to_make}")
    require_older(found)
    raise SchemaMismatch(f"the store's schema is {found}, this version works with {REVISION}: {to_update}")


def require_older(found: str, newest: str = REVISION) -> None:
    """Raises `SchemaMismatch` for a schema that a newer version made; revisions sort as texts."""
    if found > newest:
        raise SchemaMismatch(
            f"the store's schema is {found}, this version knows {newest} at most: run the newest connector"
        )
