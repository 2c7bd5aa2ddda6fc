"""The lease of one lane: taken before a call, renewed during it, given back at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Connection

from connector.dispatch.clock import Clock
from connector.errors import LeaseLost
from connector.logs import place_of
from connector.store import claim, leases
from connector.store.claim import Claim, ClaimMoved
from connector.store.leases import LEASE_SECONDS, Lease
from connector.store.store import Store

log = structlog.get_logger("connector.dispatch")


class Holding:
    """What one lane has of the right to write to its sink. `owner` names the process."""

    def __init__(self, sink: str, store: Store, clock: Clock, owner: str) -> None:
        self._sink = sink
        self._store = store
        self._clock = clock
        self._owner = owner
        self._lease: Lease | None = None

    async def mark(self, claimed: Claim, *, state_sink: bool) -> Lease | None:
        """Stores the batch id, with the lease in the same transaction; `None` when it cannot be had now.

        Raises `StoreUnavailable`.
        """

        def job(connection: Connection) -> Lease | None:
            lease = self._valid(connection)
            if lease is not None:
                claim.mark(connection, lease, claimed, state_sink=state_sink)
            return lease

        try:
            self._lease = await self._store.write(job)
        except (ClaimMoved, LeaseLost):
            self._lease = None
        return self._lease

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Keeps the lease while a call is under way."""
        renewal = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewal.cancel()

    def drop(self) -> None:
        """Another worker has it."""
        self._lease = None

    async def release(self) -> None:
        """Gives the lease back, if there is one. Raises `StoreUnavailable`."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._store.write(lambda connection: leases.release(connection, lease))

    def _valid(self, connection: Connection) -> Lease | None:
        lease = self._lease
        if lease is not None and lease.until - self._clock.now() > LEASE_SECONDS * 500:
            return lease
        return self._acquire(connection)

    def _acquire(self, connection: Connection) -> Lease | None:
        return leases.acquire(connection, self._sink, self._owner, self._clock.now())

    async def _renew(self) -> None:
        never = asyncio.Event()
        while True:
            await self._clock.wait(never, LEASE_SECONDS / 3)
            try:
                await self._store.write(self._acquire)
            except Exception as error:  # noqa: BLE001 - the next renewal may go well, and the settle asks for the fence
                log.warning("lease not renewed", sink=self._sink, error=place_of(error))
