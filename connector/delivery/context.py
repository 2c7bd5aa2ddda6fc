"""What a lane lends to its sink for one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection

from connector.delivery import load
from connector.delivery.clock import Clock
from connector.errors import RateLimited
from connector.interview import Interview
from connector.sink import Note, Subscription, Token
from connector.store import leases, notes, rate_limit, settle
from connector.store.base import Store
from connector.store.leases import Lease


class LaneContext:
    """The `connector.sink.Context` of a running service."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease: Lease,
        destination: str,
        on_call: Callable[[str, str], None],
        *,
        stays: Callable[[Interview], bool],
    ) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._destination = destination
        self._on_call = on_call
        self._refused = False
        self._stays = stays
        self.calls = 0
        """How many calls to the destination the sink has counted."""

    def now(self) -> int:
        return self._clock.now()

    async def take(self, *wanted: Token) -> None:
        def job(connection: Connection) -> None:
            leases.require(connection, self._lease)
            rate_limit.take(connection, wanted, self._clock.now())

        try:
            await self._store.write(job)
        except RateLimited:
            self._refused = True
            raise

    async def honour(self, wait: RateLimited) -> None:
        """Blocks the bucket of a `RateLimited` that the sink raised itself, so that the delivery is not due at once."""
        if not self._refused:
            await self.block(wait.bucket, wait.seconds)

    async def block(self, bucket: str, seconds: float) -> None:
        def job(connection: Connection) -> None:
            leases.require(connection, self._lease)
            rate_limit.block(connection, bucket, seconds, self._clock.now())

        await self._store.write(job)

    async def save_notes(self, remembered: Mapping[str, Note | None]) -> None:
        def job(connection: Connection) -> None:
            leases.require(connection, self._lease)
            notes.write(connection, self._lease.sink, self._destination, remembered)

        await self._store.write(job)

    async def get_notes(self, names: Sequence[str]) -> Mapping[str, Note]:
        sink, destination = self._lease.sink, self._destination
        return await self._store.read(lambda connection: notes.read(connection, sink, destination, names))

    async def interviews(self, after: str, limit: int) -> Sequence[Subscription]:
        sink, stays = self._lease.sink, self._stays
        return await self._store.read(lambda connection: load.subscriptions(connection, sink, after, limit, stays))

    async def waiting(self, group: str) -> int:
        sink = self._lease.sink
        return await self._store.read(lambda connection: settle.count_waiting(connection, sink, group))

    def count_call(self, kind: str) -> None:
        self.calls += 1
        self._on_call(self._lease.sink, kind)
