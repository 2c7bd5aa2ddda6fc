"""One lane: the deliveries of one sink, one call at a time, from claim to settled outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from connector.dispatch import load, rules
from connector.dispatch.clock import Clock
from connector.dispatch.context import LaneContext
from connector.dispatch.meter import Meter
from connector.dispatch.rules import Answer, Failure, Health, Policy
from connector.errors import LeaseLost, SinkBroken, StoreUnavailable, Wait
from connector.logs import place_of
from connector.sink import Batch, Delivery, Note, Result, Sink
from connector.store import claim, leases, notes, settle, tokens
from connector.store.claim import Claim, ClaimMoved
from connector.store.leases import LEASE_SECONDS, Lease
from connector.store.settle import Settlement
from connector.store.store import SqliteStore

T = TypeVar("T")

BUSY_REST = 0.1
"""Seconds that a lane with more to do rests while the intake is hot."""
HOT_GROUP = 8
HOT_SECONDS = 0.25
FAULT_REST = 5.0
"""Seconds that a lane rests after a fault of its own."""
STORE_REST = 1.0
"""Seconds between attempts to settle while the store takes no writes."""

log = structlog.get_logger("connector.dispatch")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all lanes of a process have in common. `owner` names it in leases."""

    store: SqliteStore
    clock: Clock
    meter: Meter
    owner: str
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the store found: rows to call with, or when to look again (epoch milliseconds)."""

    claim: Claim | None = None
    deliveries: tuple[Delivery, ...] = ()
    look_at: int | None = None
    paused: str | None = None


class Lane:
    """Delivers for one sink. `step` does one call at most; `run` goes on until `stop`."""

    def __init__(self, sink: Sink[Any], shared: Shared) -> None:
        self.sink = sink
        self.name = sink.name
        self._shared = shared
        self._store = shared.store
        self._clock = shared.clock
        self._lease: Lease | None = None
        self._failures = 0
        self._rest_until = 0
        self._bucket: str | None = None
        self._opened = False
        self._stopping = False
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due: a hint, never an order."""
        self._wake.set()

    def stop(self) -> None:
        """No further call is started."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Steps until `stop`; the store's absence is waited for."""
        while not self._stopping:
            self._wake.clear()
            try:
                at = await self.step()
            except StoreUnavailable:
                at = self._clock.now() + int(STORE_REST * 1000)
            except Exception as error:  # noqa: BLE001 - a lane that ended would keep its queue for ever
                log.critical("lane failed", sink=self.name, error=place_of(error))
                at = self._clock.now() + int(FAULT_REST * 1000)
            if at is None:
                await self._wake.wait()
            else:
                await self._clock.wait(self._wake, (at - self._clock.now()) / 1000)

    async def close(self) -> None:
        """Closes the sink and gives the lease back."""
        await self.sink.close()
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._store.write(lambda connection: leases.release(connection, lease))

    async def step(self) -> int | None:
        """Makes at most one call. Returns when to look again (epoch milliseconds), `None` when nothing is known.

        Raises `StoreUnavailable`.
        """
        if self._rest_until > self._clock.now():
            return self._rest_until
        await self._gather()
        now = self._clock.now()
        look = await self._store.read(lambda connection: self._look(connection, now))
        if look.claim is None:
            return look.look_at
        lease = await self._mark(look.claim, now)
        if lease is None:
            return now + int(STORE_REST * 1000)
        await self._call(lease, look, now)
        return self._pace(look.claim)

    def _pace(self, claimed: Claim) -> int:
        """The lane yields to the receiver while the intake is hot, if there is more to do."""
        now = self._clock.now()
        intake = self._store.load
        hot = intake.group >= HOT_GROUP and asyncio.get_running_loop().time() - intake.at < HOT_SECONDS
        full = len(claimed.works) >= self.sink.max_batch
        return max(self._rest_until, now + int(BUSY_REST * 1000) if hot and full else now)

    async def _gather(self) -> None:
        """Waits for company when a burst has begun."""
        gather = self.sink.gather
        if gather is None:
            return
        if not await self._store.read(lambda connection: self._is_burst(connection, gather.above)):
            return
        until = self._clock.now() + int(gather.at_most * 1000)
        while (left := (until - self._clock.now()) / 1000) > 0 and not self._stopping:
            self._wake.clear()
            if not await self._clock.wait(self._wake, min(gather.quiet, left)):
                return

    def _is_burst(self, connection: Connection, above: int) -> bool:
        if leases.row(connection, self.name).paused is not None:
            return False
        return claim.count_due(connection, self.name, self._clock.now(), above + 1) > above

    def _look(self, connection: Connection, now: int) -> _Look:
        row = leases.row(connection, self.name)
        if row.paused is not None and (row.paused != "broken" or row.probe_at > now):
            return _Look(look_at=row.probe_at, paused=row.paused)
        if self._bucket is not None and (opens_at := tokens.opens_at(connection, self._bucket)) > now:
            return _Look(look_at=opens_at)
        claimed = self._claim(connection, row, now)
        if claimed is None:
            return _Look(look_at=claim.next_due(connection, self.name))
        max_age = self.sink.max_age
        late_before = None if max_age is None else now - int(max_age * 1000)
        deliveries = load.deliveries_of(
            connection, claimed.works, self._store.instance, events=not self.sink.state, late_before=late_before
        )
        return _Look(claimed, deliveries, paused=row.paused)

    def _claim(self, connection: Connection, row: Any, now: int) -> Claim | None:
        if self.sink.state:
            return load.claim_states(connection, row, now, self.sink.max_batch)
        return load.claim_messages(connection, self.name, now, self.sink.max_batch)

    async def _mark(self, claimed: Claim, now: int) -> Lease | None:
        """Stores the batch id, with the lease in the same transaction; `None` when it cannot be had now."""

        def job(connection: Connection) -> Lease | None:
            lease = self._valid(connection, now)
            if lease is not None:
                claim.mark(connection, lease, claimed, state_sink=self.sink.state)
            return lease

        try:
            self._lease = await self._store.write(job)
        except (ClaimMoved, LeaseLost):
            self._lease = None
        return self._lease

    def _valid(self, connection: Connection, now: int) -> Lease | None:
        lease = self._lease
        if lease is not None and lease.until - now > LEASE_SECONDS * 500:
            return lease
        return leases.acquire(connection, self.name, self._shared.owner, now)

    async def _call(self, lease: Lease, look: _Look, started_at: int) -> None:
        assert look.claim is not None
        renewal = asyncio.create_task(self._renew())
        try:
            answer = await self._deliver(lease, look.claim, look.deliveries)
        except LeaseLost:
            log.warning("lease lost, batch dropped", sink=self.name)
            return
        finally:
            renewal.cancel()
        settlement = rules.settlement_of(look.claim, answer, started_at, self._clock.now(), self._shared.policy)
        self._after(answer, settlement, look)
        await self._settle(lease, settlement)
        self._shared.meter.settled(self.name, look.claim.works, answer, settlement)

    async def _deliver(self, lease: Lease, claimed: Claim, deliveries: tuple[Delivery, ...]) -> Answer:
        context = LaneContext(self._store, self._clock, lease, self.sink.destination, self._shared.meter.called)
        try:
            batch = await self._batch(claimed, deliveries)
            async with asyncio.timeout(self.sink.timeout):
                await self._open()
                result = await self.sink.deliver(batch, context)
        except (Wait, SinkBroken) as error:
            return error
        except (LeaseLost, StoreUnavailable):
            raise
        except TimeoutError:
            return Failure("timeout")
        except Exception as error:  # noqa: BLE001 - whatever a sink does, it is tried again and delays no other sink
            log.warning("sink raised", sink=self.name, error=place_of(error))
            return Failure(f"exception {type(error).__name__}")
        return self._checked(result, claimed)

    def _checked(self, result: object, claimed: Claim) -> Answer:
        if isinstance(result, Result) and len(result.outcomes) == len(claimed.works):
            return result
        log.warning("sink answered with a wrong number of outcomes", sink=self.name, expected=len(claimed.works))
        return Failure("wrong number of outcomes")

    async def _open(self) -> None:
        if not self._opened:
            await self.sink.open()
            self._opened = True

    async def _batch(self, claimed: Claim, deliveries: tuple[Delivery, ...]) -> Batch:
        keys = list(dict.fromkeys(key for delivery in deliveries for key in self.sink.keys(delivery)))
        remembered: dict[str, Note] = {}
        if keys:
            destination = self.sink.destination
            remembered = await self._store.read(lambda connection: notes.read(connection, self.name, destination, keys))
        return Batch(claimed.batch, claimed.started_at, deliveries, remembered, claimed.maybe_sent)

    async def _renew(self) -> None:
        """Keeps the lease while a call is under way."""
        never = asyncio.Event()
        while True:
            await self._clock.wait(never, LEASE_SECONDS / 3)
            await self._write_quietly(self._extend)

    def _extend(self, connection: Connection) -> Lease | None:
        return leases.acquire(connection, self.name, self._shared.owner, self._clock.now())

    async def _write_quietly(self, job: Callable[[Connection], T]) -> None:
        try:
            await self._store.write(job)
        except StoreUnavailable:
            log.warning("lease not renewed, the store takes no writes", sink=self.name)

    def _after(self, answer: Answer, settlement: Settlement, look: _Look) -> None:
        """What the lane itself learns from the answer: its health, its rest, its pause."""
        health = rules.health_of(answer)
        if health is Health.UP:
            self._failures = 0
        elif health is Health.DOWN:
            self._failures += 1
        self._bucket = answer.bucket if isinstance(answer, Wait) and self.sink.state else None
        rest = rules.rest_after(answer, self._failures)
        self._rest_until = settlement.rest_until = settlement.ended_at + int(rest * 1000) if rest > 0 else 0
        if self.sink.state and isinstance(answer, Wait | SinkBroken):
            settlement.waiting = []
        self._after_pause(answer, settlement, look)

    def _after_pause(self, answer: Answer, settlement: Settlement, look: _Look) -> None:
        if isinstance(answer, SinkBroken):
            if look.paused is None:
                log.error("sink paused", sink=self.name, reason=answer.reason, fix=answer.fix)
            self._shared.meter.broken(self.name)
        elif look.paused is not None and not isinstance(answer, Wait):
            settlement.resumed = rules.health_of(answer) is not Health.DOWN
            if settlement.resumed:
                log.info("sink resumed by itself", sink=self.name)

    async def _settle(self, lease: Lease, settlement: Settlement) -> None:
        """Writes the outcomes; waits for the store as long as it takes, because they are true already."""
        destination = self.sink.destination
        while True:
            try:
                await self._store.write(lambda connection: settle.settle(connection, lease, destination, settlement))
            except StoreUnavailable:
                if self._stopping:
                    return
                await self._clock.wait(asyncio.Event(), STORE_REST)
            except LeaseLost:
                log.warning("lease lost before settling, outcomes dropped", sink=self.name)
                self._lease = None
                return
            else:
                return
