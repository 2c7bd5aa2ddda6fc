"""The lease of one lane: taken when there is something to do, kept while it is used, given back when it is not.

In a store of one process a lane takes the lease with its first call and keeps it. In one that is shared it *owns* its
sink only while it has something to do there, so that another process may do the next piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import structlog
from sqlalchemy import Connection

from connector.delivery.clock import Clock
from connector.errors import LeaseLost
from connector.logging import place_of
from connector.store import claim, leases
from connector.store.base import Store
from connector.store.claim import Claim, ClaimMoved
from connector.store.leases import LEASE_SECONDS, Lease

KEEP_SECONDS = 5.0
"""A sink that has something to do within this time is kept."""
OWN_LOOK = 0.25
"""Seconds after which an owner looks by itself: a wake-up may have been lost."""
LAST_PART = 0.1
"""The part of a lease that nothing is done in any more, because a clock may be wrong and a call slow to end."""

log = structlog.get_logger("connector.delivery")


@dataclass(frozen=True, slots=True)
class Seen:
    """The lease of a sink as a look found it: what the look says holds only as long as the fence stays the same."""

    fence: int
    owner: str | None
    until: int

    @classmethod
    def of(cls, row: Any) -> Self:
        """From the row of a sink."""
        return cls(row.fence, row.lease_owner, row.lease_until)


class Holding:
    """What one lane has of the right to write to its sink. `owner` names the process, a lease lasts `seconds`."""

    def __init__(self, sink: str, store: Store, clock: Clock, owner: str, seconds: float = LEASE_SECONDS) -> None:
        self._sink = sink
        self._store = store
        self._clock = clock
        self._owner = owner
        self._seconds = seconds
        self._lease: Lease | None = None

    @property
    def is_owner(self) -> bool:
        """Whether the sink is ours for now, as far as we know."""
        return self._store.shared and self._lease is not None

    def is_taken(self, seen: Seen, now: int) -> bool:
        """Whether a living other has the sink, so that there is nothing for us to do."""
        return self._store.shared and seen.owner not in {None, self._owner} and seen.until >= now

    def is_left(self, seen: Seen) -> bool:
        """Whether another left the sink without giving it back: it may still write until the lease is ours."""
        return self._store.shared and seen.owner not in {None, self._owner}

    def is_resting(self, rest_until: int, now: int) -> bool:
        """Whether the sink rests after failures that another process saw; our own lane remembers its own."""
        return self._store.shared and rest_until > now

    def is_worth_keeping(self, look_at: int | None, seconds: float = KEEP_SECONDS) -> bool:
        """Whether there will be something to do soon."""
        return look_at is not None and look_at - self._clock.now() <= seconds * 1000

    def next_look(self, at: int) -> int:
        """When an owner that knows nothing before `at` (epoch milliseconds) has to look all the same."""
        return min(at, self._clock.now() + int(OWN_LOOK * 1000)) if self.is_owner else at

    def next_renewal(self, at: int) -> int:
        """As `next_look`, for one that only has to keep the lease."""
        return min(at, self._clock.now() + int(self._seconds / 3 * 1000)) if self.is_owner else at

    async def take(self, seen: Seen) -> bool:
        """Takes the sink, if the fence is still as seen. Raises `StoreUnavailable`."""
        self._lease = await self._store.write(lambda connection: self._acquire(connection, seen))
        return self._lease is not None

    async def keep(self) -> None:
        """Renews an owner's lease when a third of it is over; what is lost is dropped. Raises `StoreUnavailable`."""
        lease = self._lease
        if lease is None or not self.is_owner or self._left(lease) > self._seconds * 2 / 3:
            return
        try:
            await self._renewed(lease)
        except LeaseLost:
            self.drop()

    async def mark(self, claimed: Claim, seen: Seen, *, state_sink: bool) -> Lease | None:
        """Stores the batch id, with the lease in the same transaction; `None` when the look no longer holds.

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
        """Keeps the lease while a call is under way. On a shared store a call whose lease is gone, or could not be
        renewed until near its end, is ended: raises `LeaseLost`.
        """
        patience = asyncio.timeout(None)
        try:
            async with patience:
                helpers = [asyncio.create_task(self._renew(patience))]
                if self._store.shared:
                    helpers.append(asyncio.create_task(self._watch(patience)))
                try:
                    yield
                finally:
                    for helper in helpers:
                        helper.cancel()
        except TimeoutError:
            if not patience.expired():
                raise
            self.drop()
            raise LeaseLost(f"the lease on {self._sink} could not be kept") from None

    def require_time(self) -> None:
        """Raises `LeaseLost` when this process stood still for so long that a call must not begin any more."""
        lease = self._lease
        if self._store.shared and (lease is None or self._left(lease) <= self._seconds * LAST_PART):
            raise LeaseLost(f"the lease on {self._sink} ended before the call")

    def drop(self) -> None:
        """Another worker has it, or may have."""
        self._lease = None

    async def release(self) -> None:
        """Gives the lease back, if there is one. Raises `StoreUnavailable`."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._store.write(lambda connection: leases.release(connection, lease))

    def _valid(self, connection: Connection, seen: Seen) -> Lease | None:
        lease = self._lease
        if lease is None or not self._store.shared:
            return lease if lease is not None and self._is_fresh(lease) else self._acquire(connection, seen)
        if lease.fence != seen.fence:
            return None
        if self._is_fresh(lease):
            return lease
        return leases.renew(connection, lease, self._clock.now(), self._seconds)

    def _is_fresh(self, lease: Lease) -> bool:
        return self._left(lease) > self._seconds / 2

    def _left(self, lease: Lease) -> float:
        """Seconds until the lease ends."""
        return (lease.until - self._clock.now()) / 1000

    def _acquire(self, connection: Connection, seen: Seen) -> Lease | None:
        fence = seen.fence if self._store.shared else None
        now = self._clock.now()
        return leases.acquire(connection, self._sink, self._owner, now, seen_fence=fence, seconds=self._seconds)

    async def _renewed(self, lease: Lease) -> None:
        renewed = await self._store.write(lambda c: leases.renew(c, lease, self._clock.now(), self._seconds))
        if self._lease is lease:
            self._lease = renewed

    async def _renew(self, patience: asyncio.Timeout) -> None:
        never = asyncio.Event()
        while True:
            await self._clock.wait(never, self._seconds / 3)
            lease = self._lease
            if lease is None:
                return
            try:
                await self._renewed(lease)
            except LeaseLost:
                self._end(patience)
                return
            except Exception as error:  # noqa: BLE001 - the next renewal may go well, and the settle asks for the fence
                log.warning("lease renewal failed", sink=self._sink, error=place_of(error))

    async def _watch(self, patience: asyncio.Timeout) -> None:
        """Ends the call when the last part of the lease begins."""
        never = asyncio.Event()
        while (lease := self._lease) is not None:
            left = self._left(lease) - self._seconds * LAST_PART
            if left <= 0:
                log.warning("call cancelled before lease end", sink=self._sink)
                break
            await self._clock.wait(never, left)
        self._end(patience)

    def _end(self, patience: asyncio.Timeout) -> None:
        """Ends what the patience is for; on a store of our own nobody else can have gone on."""
        if self._store.shared:
            patience.reschedule(asyncio.get_running_loop().time())
