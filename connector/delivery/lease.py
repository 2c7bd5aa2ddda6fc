"""The lease of one lane: acquired when a call is due, renewed while it is used, released when nothing is due.

In a store of one process a lane acquires the lease with its first call and keeps it. In a shared store a lane *owns*
its sink only while something is due, so that another process may deliver what comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import structlog
from sqlalchemy import Connection, Table

from connector.delivery.clock import Clock
from connector.errors import LeaseLost
from connector.logging import place_of
from connector.store import claim, leases, schema
from connector.store.base import Store
from connector.store.claim import Claim, ClaimMoved
from connector.store.leases import LEASE_SECONDS, Lease

KEEP_SECONDS = 5.0
"""A lane keeps the lease when something is due within this time."""
OWNER_POLL_SECONDS = 0.25
"""An owner polls this often, because a wake-up may have been lost."""
RESERVED_SHARE = 0.1
"""The last part of a lease, in which no call is made: a clock may be wrong, and a call slow to end."""

T = TypeVar("T")

log = structlog.get_logger("connector.delivery")


@dataclass(frozen=True, slots=True)
class SeenLease:
    """The lease of a sink as a poll found it. What the poll returned is valid as long as the fence stays the same."""

    fence: int
    owner: str | None
    until: int

    @classmethod
    def of(cls, row: Any) -> Self:
        """From the row of a sink; `None` for one that was renamed, whose lease cannot be acquired."""
        return cls(-1, None, 0) if row is None else cls(row.fence, row.lease_owner, row.lease_until)


class LeaseKeeper:
    """The exclusive right of one lane to write to its sink. `owner` is the name of the process; a lease lasts
    `seconds`. With the `table` `schema.lease` it is the lease of another task that one process does at a time.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        clock: Clock,
        owner: str,
        seconds: float = LEASE_SECONDS,
        *,
        table: Table = schema.sink,
    ) -> None:
        self._name = name
        self._store = store
        self._clock = clock
        self._owner = owner
        self._seconds = seconds
        self._table = table
        self._lease: Lease | None = None

    @property
    def is_owner(self) -> bool:
        """Whether this process owns the sink, as far as it knows."""
        return self._store.shared and self._lease is not None

    def is_taken(self, seen: SeenLease, now: int) -> bool:
        """Whether another running process owns the sink."""
        return self._store.shared and seen.owner not in {None, self._owner} and seen.until >= now

    def is_left(self, seen: SeenLease) -> bool:
        """Whether another process did not release the lease: it may write until this lane has acquired it."""
        return self._store.shared and seen.owner not in {None, self._owner}

    def is_resting(self, rest_until: int, now: int) -> bool:
        """Whether the sink rests after failures of another process. A lane remembers the failures of its own."""
        return self._store.shared and rest_until > now

    def is_worth_keeping(self, poll_at: int | None, seconds: float = KEEP_SECONDS) -> bool:
        """Whether something is due within `seconds`."""
        return poll_at is not None and poll_at - self._clock.now() <= seconds * 1000

    def next_poll(self, at: int) -> int:
        """Returns when to poll next, at the latest at `at`. Times are epoch milliseconds."""
        return min(at, self._clock.now() + int(OWNER_POLL_SECONDS * 1000)) if self.is_owner else at

    def next_renewal(self, at: int) -> int:
        """Returns when to renew the lease next, at the latest at `at`."""
        return min(at, self._clock.now() + int(self._seconds / 3 * 1000)) if self.is_owner else at

    async def acquire(self, seen: SeenLease) -> bool:
        """Acquires the lease, if the fence is still the one seen. Raises `StoreUnavailable`."""
        self._lease = await self._store.write(lambda connection: self._acquire(connection, seen))
        return self._lease is not None

    async def keep(self) -> None:
        """Renews the lease of an owner when a third of it is over. Raises `StoreUnavailable`."""
        lease = self._lease
        if lease is None or not self.is_owner or self._left(lease) > self._seconds * 2 / 3:
            return
        try:
            await self._renewed(lease)
        except LeaseLost:
            self.drop()

    async def mark(self, claimed: Claim, seen: SeenLease, *, state_sink: bool) -> Lease | None:
        """Stores the batch id and the lease in one transaction. Returns `None` when the poll is outdated.

        Raises `StoreUnavailable`.
        """

        def job(connection: Connection) -> Lease | None:
            lease = self._valid(connection, seen)
            if lease is not None:
                claim.mark(connection, lease, claimed, state_sink=state_sink)
            return lease

        try:
            self._lease = await self._store.write(job)
        except ClaimMoved:
            pass
        except LeaseLost:
            self._lease = None
        else:
            return self._lease
        return None

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renews the lease during a call. On a shared store it cancels a call whose lease is lost or about to end, and
        raises `LeaseLost`.
        """
        limit = asyncio.timeout(None)
        try:
            async with limit:
                helpers = [asyncio.create_task(self._renew(limit))]
                if self._store.shared:
                    helpers.append(asyncio.create_task(self._watch(limit)))
                try:
                    yield
                finally:
                    for helper in helpers:
                        helper.cancel()
        except TimeoutError:
            if not limit.expired():
                raise
            self.drop()
            raise LeaseLost(f"the lease on {self._name} could not be kept") from None

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Runs a job in a transaction that checks the lease first. Raises `LeaseLost` and `StoreUnavailable`."""
        lease = self._lease
        if lease is None:
            raise LeaseLost(f"the lease on {self._name} went to another worker")

        def checked(connection: Connection) -> T:
            leases.require(connection, lease)
            return job(connection)

        return await self._store.write(checked)

    def require_time(self) -> None:
        """Raises `LeaseLost` when too little of the lease is left to start a call, because the process was stopped."""
        lease = self._lease
        if self._store.shared and (lease is None or self._left(lease) <= self._seconds * RESERVED_SHARE):
            raise LeaseLost(f"the lease on {self._name} ended before the call")

    def drop(self) -> None:
        """Forgets the lease, because another process has it or may have it."""
        self._lease = None

    async def release(self) -> None:
        """Releases the lease, if there is one. Raises `StoreUnavailable`."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._store.write(lambda connection: leases.release(connection, lease))

    def _valid(self, connection: Connection, seen: SeenLease) -> Lease | None:
        lease = self._lease
        if lease is None or not self._store.shared:
            return lease if lease is not None and self._is_fresh(lease) else self._acquire(connection, seen)
        if lease.fence != seen.fence:
            return None
        if self._is_fresh(lease):
            return lease
        return leases.renew(connection, lease, self._clock.in_sql(), self._seconds)

    def _is_fresh(self, lease: Lease) -> bool:
        return self._left(lease) > self._seconds / 2

    def _left(self, lease: Lease) -> float:
        """Seconds until the lease ends."""
        return (lease.until - self._clock.now()) / 1000

    def _acquire(self, connection: Connection, seen: SeenLease) -> Lease | None:
        fence = seen.fence if self._store.shared else None
        # a file has one process: another owner was killed, and its lease protects nothing
        is_over = not self._store.shared and seen.owner not in {None, self._owner}
        return leases.acquire(
            connection,
            self._name,
            self._owner,
            self._clock.in_sql(),
            by_force=is_over,
            seen_fence=fence,
            seconds=self._seconds,
            table=self._table,
        )

    async def _renewed(self, lease: Lease) -> None:
        renewed = await self._store.write(
            lambda connection: leases.renew(connection, lease, self._clock.in_sql(), self._seconds)
        )
        if self._lease is lease:
            self._lease = renewed

    async def _renew(self, limit: asyncio.Timeout) -> None:
        never = asyncio.Event()
        while True:
            await self._clock.wait(never, self._seconds / 3)
            lease = self._lease
            if lease is None:
                return
            try:
                await self._renewed(lease)
            except LeaseLost:
                self._end(limit)
                return
            except Exception as error:  # noqa: BLE001 - the next renewal may succeed, and settling checks the fence
                log.warning("lease renewal failed", lease=self._name, error=place_of(error))

    async def _watch(self, limit: asyncio.Timeout) -> None:
        """Cancels the call when the reserved part of the lease begins."""
        never = asyncio.Event()
        while (lease := self._lease) is not None:
            left = self._left(lease) - self._seconds * RESERVED_SHARE
            if left <= 0:
                log.warning("call cancelled before lease end", lease=self._name)
                break
            await self._clock.wait(never, left)
        self._end(limit)

    def _end(self, limit: asyncio.Timeout) -> None:
        """Cancels the call. On a store of one process no other process can have taken over."""
        if self._store.shared:
            limit.reschedule(asyncio.get_running_loop().time())
