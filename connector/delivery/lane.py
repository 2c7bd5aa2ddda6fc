"""One lane: the deliveries of one sink, one call at a time, from claim to settled outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from connector.backoff import FAILURES_BEFORE_REST
from connector.delivery import load, rules
from connector.delivery.call import Caller
from connector.delivery.clock import Clock
from connector.delivery.holding import Holding, Seen
from connector.delivery.load import Stays
from connector.delivery.look import Look, Looker, costed
from connector.delivery.meter import Meter
from connector.delivery.rules import NO_REST, Answer, Failure, Policy, Rest
from connector.errors import LeaseLost, RateLimited, SinkBroken, StoreUnavailable
from connector.logging import place_of
from connector.sink import Sink
from connector.store import settle
from connector.store.base import Store
from connector.store.claim import Claim
from connector.store.leases import Lease
from connector.store.settle import Settlement

BUSY_REST = 0.25
"""Seconds that a lane leaves the machine to the receiver after each look in hot times: a look costs as much as a
hundred events, whether it finds one delivery or a full batch.
"""
HOT_RATE = 100.0
"""Events per second above which times are hot."""
LOOK_DEAR, LOOK_SHARE, LOOK_REST = 0.1, 4.0, 1.5
"""A look in vain that cost more than so many seconds of work is followed by a break so many times as long, with a
limit in seconds.
"""
REST_KEPT = 30.0
"""Seconds: the longest rest through which a lane keeps a sink that others share."""
FAULT_REST = 5.0
"""Seconds that a lane rests after a fault of its own."""
MOVED_REST = 0.05
"""Seconds after which a lane looks again when others changed what it had found."""
STORE_REST, STORE_REST_MOST = 1.0, 8.0
"""Seconds between attempts while the store is away; they double, up to the second, unless something wakes the lane."""
CLOSE_SECONDS = 5.0
"""A sink has this long to close."""

log = structlog.get_logger("connector.delivery")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all lanes of a process have in common. `owner` names it in leases."""

    store: Store
    clock: Clock
    meter: Meter
    owner: str
    policy: Policy = field(default_factory=Policy)


class Lane:
    """Delivers for one sink. `step` does one call at most; `run` goes on until `stop`.

    `stays` says whether an interview still meets a route to a state sink.
    """

    def __init__(self, sink: Sink[Any], shared: Shared, stays: Stays = lambda _: True) -> None:
        self.sink = sink
        self.name = sink.name
        self._shared = shared
        self._store = shared.store
        self._clock = shared.clock
        self._holding = Holding(sink.name, shared.store, shared.clock, shared.owner, shared.policy.lease)
        self._looker = Looker(sink, self._holding, lambda: shared.store.instance, stays)
        self._caller = Caller(
            sink,
            store=shared.store,
            clock=shared.clock,
            meter=shared.meter,
            stays=stays,
            before=self._holding.require_time,
        )
        self._failures = 0
        self._has_worked = False
        """The destination worked in the last call that showed whether it does."""
        self._doubt = NO_REST
        """The destination refused a call; until the end of this a second refusal pauses the sink."""
        self._fence = -1
        """Of the lease that the failures were counted under."""
        self._rest = NO_REST
        """The destination is down; a person may end it."""
        self._break = NO_REST
        """A moment for others, or after a fault of our own; nobody ends it."""
        self._was_full = False
        self._alerted: str | None = None
        self._stopping = False
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due: the lane looks."""
        self._wake.set()

    def stop(self) -> None:
        """No further call is started."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Steps until `stop`; the store's absence is waited for."""
        away = STORE_REST
        while not self._stopping:
            self._wake.clear()
            try:
                at = await self.step()
                away = STORE_REST
            except StoreUnavailable:
                at = self._clock.now() + int(away * 1000)
                away = min(2 * away, STORE_REST_MOST)
            except Exception as error:  # noqa: BLE001 - a lane that ended would keep its queue for ever
                log.critical("lane failed", sink=self.name, error=error)
                self._break = Rest.of(self._clock.now(), FAULT_REST)
                at = self._break.until
            if at is None:
                await self._wake.wait()
            else:
                await self._clock.wait(self._wake, (at - self._clock.now()) / 1000)

    async def close(self, *, at_rest: bool = True) -> None:
        """Closes the sink and gives the lease back.

        On a shared store the lease is left to run out when a call was cut off (`at_rest` is false) or the sink does
        not close: something of it may still write, and who takes an abandoned sink looks again before it calls.
        """
        closed = False
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._caller.close()
            closed = True
        finally:
            if not self._store.shared or (closed and at_rest):
                await self._holding.release()

    async def step(self) -> int | None:
        """Makes at most one call. Returns when to look again (epoch milliseconds), `None` when nothing is known.

        Raises `StoreUnavailable`.
        """
        now = self._clock.now()
        if self._break.holds(now):
            return self._break.until
        await self._holding.keep()
        if self._rest.holds(now) and not await self._store.read(self._looker.was_resumed):
            return await self._resting()
        await self._debounce()
        now = self._clock.now()
        look, cost = await self._store.read(lambda connection: costed(lambda: self._looker.look(connection, now)))
        if self._stopping:
            return None
        self._was_full = look.claim is not None and load.row_count(look.claim) >= self.sink.max_batch
        if look.claim is None:
            self._yield(cost)
            return await self._idle(look)
        return await self._deliver(look, look.claim, now)

    async def _resting(self) -> int:
        """Keeps the sink through the rests that failures bring; a longer one any worker may end."""
        self._yield()
        if self._holding.is_owner and not self._holding.is_worth_keeping(self._rest.until, REST_KEPT):
            await self._holding.release()
        return self._holding.next_renewal(self._rest.until)

    async def _idle(self, look: Look) -> int | None:
        """Gives the sink back when nothing will be due soon, and then looks once more: another worker that was told
        of something new in that moment went away, because we had the sink.
        """
        if look.is_taken:
            self._holding.drop()
            return None
        if not self._holding.is_owner:
            return look.look_at
        if look.look_at is not None and self._holding.is_worth_keeping(look.look_at):
            return self._holding.next_look(look.look_at)
        await self._holding.release()
        return self._clock.now()

    async def _deliver(self, look: Look, claimed: Claim, now: int) -> int:
        """Makes the call that a look asks for, if the sink is ours or can be had."""
        if not self._holding.is_owner and self._holding.is_left(look.seen):
            await self._holding.take(look.seen)
            return now  # whoever left it may have written until now, so look again
        lease = await self._holding.mark(claimed, look.seen, state_sink=self.sink.state)
        if lease is None:
            return now + int((MOVED_REST if self._store.shared else STORE_REST) * 1000)
        if self._store.shared and lease.fence != self._fence:
            # what the sink did meanwhile, other workers know; its row tells the last of it
            self._fence, self._failures = lease.fence, FAILURES_BEFORE_REST if look.failing else 0
        await self._call(lease, look, now)
        self._yield()
        return self._clock.now()

    def _yield(self, cost: float = 0.0) -> None:
        """Takes a break, whoever wakes the lane: for the receiver while the intake is hot, and for the other lanes
        after a look in vain that was dear (`cost` in seconds), because all look through one thread.
        """
        is_hot = self._store.load.rate_at(asyncio.get_running_loop().time()) > HOT_RATE
        seconds = min(LOOK_SHARE * cost, LOOK_REST) if cost > LOOK_DEAR else 0.0
        self._break = Rest.of(self._clock.now(), max(seconds, BUSY_REST if is_hot else 0.0))

    async def _debounce(self) -> None:
        """Waits for company when a burst has begun; a batch that was full needs none."""
        debounce = self.sink.debounce
        if debounce is None or self._was_full:
            return
        seen = await self._store.read(lambda c: self._looker.burst(c, self._clock.now(), debounce.above))
        if seen is None or not await self._owns(seen):
            return
        until = self._clock.now() + int(debounce.max_wait * 1000)
        count = await self._count_due()
        while (left := (until - self._clock.now()) / 1000) > 0 and not self._stopping:
            self._wake.clear()
            if not await self._clock.wait(self._wake, min(debounce.idle, left)):
                before, count = count, await self._count_due()
                if count == before:
                    return

    async def _owns(self, seen: Seen) -> bool:
        """Whether the sink is ours, or became ours, so that nobody else gathers for it too."""
        return not self._store.shared or self._holding.is_owner or await self._holding.take(seen)

    async def _count_due(self) -> int:
        """How much company there is: on a shared store nobody need have told us. 0 = those who come tell."""
        if not self._store.shared:
            return 0
        limit = self.sink.max_batch + 1
        return await self._store.read(lambda c: self._looker.count_due(c, self._clock.now(), limit))

    async def _call(self, lease: Lease, look: Look, started_at: int) -> None:
        assert look.claim is not None
        try:
            async with self._holding.renewing():
                answer = await self._caller.call(lease, look.claim, look.deliveries)
        except LeaseLost:
            log.warning("lease lost", sink=self.name)
            self._holding.drop()
            return
        try:
            await self._conclude(lease, look, answer, started_at)
        except (StoreUnavailable, LeaseLost):
            raise
        except Exception as error:
            if isinstance(answer, Failure):
                raise
            # notes that are no JSON, a delay that is no number: nothing of it was written
            log.warning("sink result invalid", sink=self.name, error=place_of(error))
            await self._conclude(lease, look, Failure("unusable answer"), started_at)

    async def _conclude(self, lease: Lease, look: Look, answer: Answer, started_at: int) -> None:
        """Settles one answer, then learns from it."""
        assert look.claim is not None
        answer = self._confirmed(answer, look.claim)
        settlement = rules.settlement_of(look.claim, answer, started_at, self._clock.now(), self._shared.policy)
        failures = rules.failures_after(answer, self._failures)
        rest = Rest.of(settlement.ended_at, rules.rest_after(answer, failures))
        settlement.rest_until = rest.until
        mended = rules.is_mended(answer, reached=self._caller.reached)
        settlement.resumed = look.paused is not None and mended
        if self.sink.state:
            settlement.cured = rules.delivered_keys(look.claim, settlement.delivered)
        if self.sink.state and isinstance(answer, RateLimited | SinkBroken):
            settlement.unsent = []
        if not await self._settle(lease, settlement):
            return
        self._failures, self._rest = failures, rest
        self._looker.bucket = answer.bucket if isinstance(answer, RateLimited) and self.sink.state else None
        self._tell(answer, look, mended=mended)
        if settlement.dead:
            self._tell_dead([reason for _, reason in settlement.dead])
        self._shared.meter.settled(self.name, look.claim.works, answer, settlement)

    def _confirmed(self, answer: Answer, claimed: Claim) -> Answer:
        """The answer to settle: the first refusal of a destination that worked is only a reason to ask again."""
        if isinstance(answer, SinkBroken):
            now = self._clock.now()
            is_first = rules.needs_confirmation(answer, has_worked=self._has_worked) and not self._doubt.holds(now)
            self._has_worked, self._doubt = False, Rest.of(now, rules.DOUBT_SECONDS)
            if is_first:
                log.info("sink refusal unconfirmed", sink=self.name, reason=answer.reason)
                return rules.unconfirmed(answer, len(claimed.works))
        elif rules.health_of(answer) is rules.Health.UP:
            self._has_worked = True
        return answer

    def _tell(self, answer: Answer, look: Look, *, mended: bool) -> None:
        """Logs one alert for each reason that a destination is broken, and a line when it works again."""
        if isinstance(answer, SinkBroken):
            if look.paused is None or answer.reason != self._alerted:
                log.error("sink paused", sink=self.name, reason=answer.reason, fix=answer.fix)
            self._alerted = answer.reason
            self._shared.meter.broken(self.name)
        elif mended:
            self._alerted = None
            if look.paused is not None:
                log.info("sink resumed", sink=self.name)

    def _tell_dead(self, reasons: Sequence[str]) -> None:
        """One line for all that a call gave up."""
        log.warning(
            "dead letters", sink=self.name, count=len(reasons), reason=rules.short("; ".join(dict.fromkeys(reasons)))
        )

    async def _settle(self, lease: Lease, settlement: Settlement) -> bool:
        """Writes the outcomes; waits for the store as long as it takes, because they are true already.

        `False` when the lease is gone and they no longer count.
        """
        destination = self.sink.destination
        while True:
            try:
                await self._store.write(lambda connection: settle.settle(connection, lease, destination, settlement))
            except StoreUnavailable:
                await self._clock.wait(asyncio.Event(), STORE_REST)
            except LeaseLost:
                log.warning("lease lost", sink=self.name)
                self._holding.drop()
                return False
            else:
                return True
