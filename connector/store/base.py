"""The `Store` protocol that the rest of the service uses, and the errors that both databases share."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, update

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.schema import REVISION, meta, metadata

T = TypeVar("T")

LOAD_SECONDS = 0.25
"""Time constant of `Load`: an event counts for 1/e, about a third, after this time."""


class IngestResult(NamedTuple):
    """The number of a stored event, and whether it had been stored before."""

    seq: int
    duplicate: bool


class Overloaded(StoreUnavailable):
    """The queue of incoming events is full, or closed."""


@dataclass(frozen=True, slots=True)
class Load:
    """Events per second as an exponentially decaying average. `at` is a time of the event loop in seconds."""

    rate: float = 0.0
    at: float = 0.0

    def rate_at(self, now: float) -> float:
        """Returns the rate at a later time of the loop, without further events."""
        return self.rate * math.exp((self.at - now) / LOAD_SECONDS)

    def with_group(self, size: int, now: float) -> Load:
        """Returns the load after `size` further events at `now`."""
        return Load(self.rate_at(now) + size / LOAD_SECONDS, now)


class Store(Protocol):
    """Stores events, runs jobs and answers queries. Every method is called on the event loop that created the store.

    A job runs in its own transaction or shares one. It may run more than once, as long as none of its changes was
    committed. A query runs on one snapshot: the newest commit.
    """

    @property
    def instance(self) -> str:
        """A random name of this store. It makes delivery ids unique across stores."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may deliver from this store. A lease is then held only while it is used."""
        ...

    @property
    def load(self) -> Load:
        """The rate at which this process stores events."""
        ...

    @property
    def log_bytes(self) -> int:
        """The size of the write-ahead log of a SQLite file; 0 on PostgreSQL, whose server manages its own log."""
        ...

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        """Queues an event. The future resolves after the commit. Raises `StoreUnavailable`, here or in the future."""
        ...

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Runs a job and returns its result after the commit.

        Raises the exception of the job, whose changes are then rolled back, or `StoreUnavailable`.
        """
        ...

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a short query of a lane. Raises `StoreUnavailable`."""
        ...

    async def query(self, query: Callable[[Connection], T]) -> T:
        """Runs a query of an operator or of the metrics. It may be slow without delaying a lane."""
        ...

    async def probe(self, now: int) -> None:
        """Writes through the code path that stores events, for the readiness check.

        Raises `StoreUnavailable` whenever `offer` would.
        """
        ...

    async def close(self) -> None:
        """Finishes queued work and closes the connections."""
        ...


def touch(connection: Connection, now: int) -> None:
    """Stores the time, which proves that the store can be written."""
    connection.execute(update(meta).where(meta.c.key == "written").values(value=str(now)))


def cause_of(error: BaseException) -> BaseException:
    """Returns the error of the driver, also when SQLAlchemy wrapped it."""
    inner = getattr(error, "orig", None)
    return inner if isinstance(inner, BaseException) else error


def effective_revision(found: str, compatible: str | None) -> str:
    """Returns `REVISION` when the schema is newer and its migration says that this version can use it.

    `compatible` is the row `compatible_from` of `meta`: the revision that wrote the row, a space, and the oldest
    revision whose code works with it. It counts only while the schema is at the revision that wrote it, so that a later
    migration without such a row does not count as compatible. Revisions are ordered as text.
    """
    if found <= REVISION or compatible is None:
        return found
    written_by, _, oldest = compatible.partition(" ")
    return REVISION if written_by == found and "" < oldest <= REVISION else found


def require_revision(found: str | None, *, to_make: str, to_update: str) -> None:
    """Raises `SchemaMismatch` unless `found` is `REVISION`. The texts say how to create and update it."""
    if found == REVISION:
        return
    if found is None:
        raise SchemaMismatch(f"the store is empty: {to_make}")
    require_older(found)
    raise SchemaMismatch(f"the store's schema is {found}, this version works with {REVISION}: {to_update}")


def require_older(found: str, newest: str = REVISION) -> None:
    """Raises `SchemaMismatch` when a newer version created the schema. Revisions are ordered as text."""
    if found > newest:
        raise SchemaMismatch(
            f"the store's schema is {found}, this version knows {newest} at most: run the newest connector"
        )


def require_complete(columns: Iterable[tuple[str, str]]) -> None:
    """Raises `SchemaMismatch` when a column of `REVISION` is missing among these names of tables and columns.

    While a revision is in development its number does not change, so a store of that time has the number and not all
    columns.
    """
    known = {(table.name, column.name) for table in metadata.tables.values() for column in table.columns}
    if missing := known - set(columns):
        raise SchemaMismatch(
            f"the store was made by a version in development and has no {'.'.join(min(missing))}: "
            "name another store ([store] url); this version cannot update it"
        )
