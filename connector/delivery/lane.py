"""One lane: the deliveries of one sink, one call at a time, from claim to settled outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from connector.capabilities import BatchesBursts, Debounce, Debounces
from connector.delivery import batches, outcomes
from connector.delivery.batches import IsRouted
from connector.delivery.clock import Clock
from connector.delivery.lease import LeaseKeeper, SeenLease
from connector.delivery.outcomes import FAILURES_BEFORE_REST, NO_REST, Answer, Failure, Policy, Rest
from connector.delivery.sink_call import SinkCaller
from connector.errors import LeaseLost, RateLimited, SinkBroken, StoreUnavailable
from connector.logging import place_of
from connector.sink import Delivery, Sink
from connector.store import claim, leases, rate_limit, settle
from connector.store.base import Store
from connector.store.claim import Claim, Work
from connector.store.leases import Lease
from connector.store.settle import Settlement

HOT_EVENTS_PER_SECOND = 100.0
"""Above this rate a lane pauses after each poll, because the receiver needs the processor."""
HOT_PAUSE_SECONDS = 0.25
"""That pause. A poll costs as much as a hundred events, whether it finds one delivery or a full batch."""
COSTLY_POLL_SECONDS = 0.1
"""A poll that finds nothing and takes more processor time than this is followed by a pause."""
COSTLY_POLL_FACTOR = 4.0
"""That pause, as a multiple of the processor time: all lanes poll through one thread."""
COSTLY_POLL_PAUSE_MAX_SECONDS = 1.5
"""The longest such pause."""
KEPT_REST_SECONDS = 30.0
"""A lane keeps its lease during a rest up to this long; longer ones end in any process."""
FAULT_PAUSE_SECONDS = 5.0
"""Pause of a lane after an unexpected exception in its own code."""
OUTDATED_POLL_SECONDS = 0.05
"""Time until the next poll when another process changed the rows that were found."""
STORE_RETRY_SECONDS = 1.0
"""Time between attempts while the store is unavailable; it doubles."""
STORE_RETRY_MAX_SECONDS = 8.0
"""The longest such time."""
CLOSE_SECONDS = 5.0
"""Time that a sink has to close."""

T = TypeVar("T")

log = structlog.get_logger("connector.delivery")


class DeliveryMetrics(Protocol):
    """Counts what lanes do. Each method is called after the call was settled."""

    def settled(self, sink: str, works: Sequence[Work], answer: Answer, settlement: Settlement) -> None:
        """A call to a sink was settled."""
        ...

    def broken(self, sink: str) -> None:
        """A sink paused itself, or its probe failed."""
        ...

    def called(self, sink: str, kind: str) -> None:
        """A sink called its destination."""
        ...


@dataclass(frozen=True, slots=True)
class Shared:
    """What all lanes of a process have in common. `owner` names the process in leases."""

    store: Store
    clock: Clock
    metrics: DeliveryMetrics
    owner: str
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll of the outbox found: rows to call with, or when to poll again (epoch milliseconds).

    `failing`: the last call, of any process, failed. `is_taken`: another process owns the sink.
    `is_burst`: so much is due that the lane waits for more.
    """

    seen: SeenLease
    claim: Claim | None = None
    deliveries: tuple[Delivery, ...] = ()
    poll_at: int | None = None
    paused: str | None = None
    failing: bool = False
    is_taken: bool = False
    is_burst: bool = False


class Poller:
    """Reads what is due for one lane; writes nothing. `instance` returns the name of the store."""

    def __init__(self, sink: Sink[Any], lease: LeaseKeeper, instance: Callable[[], str], is_routed: IsRouted) -> None:
        self._sink = sink
        self._lease = lease
        self._instance = instance
        self._is_routed = is_routed

    def was_resumed(self, connection: Connection) -> bool:
        """Whether a user ended the rest of the sink."""
        return bool(leases.row(connection, self._sink.name).rest_until == 0)

    def count_due(self, connection: Connection, now: int, limit: int) -> int:
        """Returns how many deliveries are due, counted up to `limit`."""
        return claim.count_due(connection, self._sink.name, now, limit)

    def poll(self, connection: Connection, now: int, bucket: str | None, above: int | None) -> Poll:
        """Polls the outbox. With a `bucket` it finds nothing until that bucket has a token. With `above` it finds no
        rows when more than so many are due, only that this is a burst.
        """
        row = leases.row(connection, self._sink.name)
        seen = SeenLease.of(row)
        if self._lease.is_taken(seen, now):
            return Poll(seen, is_taken=True)
        if above is not None and row.paused is None and self.count_due(connection, now, above + 1) > above:
            return Poll(seen, is_burst=True)
        if row.paused is not None and (row.paused != "broken" or row.probe_at > now):
            return Poll(seen, poll_at=row.probe_at, paused=row.paused)
        if not self._lease.is_owner and self._lease.is_resting(row.rest_until, now):
            return Poll(seen, poll_at=row.rest_until)
        if bucket is not None and (blocked_until := rate_limit.blocked_until(connection, bucket)) > now:
            return Poll(seen, poll_at=blocked_until)
        claimed = self._claim(connection, row, now)
        if claimed is None:
            return Poll(seen, poll_at=claim.next_due(connection, self._sink.name))
        deliveries = self._deliveries(connection, claimed, now)
        return Poll(seen, claimed, deliveries, paused=row.paused, failing=row.rest_until > 0)

    def _claim(self, connection: Connection, row: Any, now: int) -> Claim | None:
        sink = self._sink
        if sink.state:
            return batches.claim_states(connection, row, now, sink.max_batch)
        events = sink.batchable_events if isinstance(sink, BatchesBursts) else {}
        return batches.claim_messages(connection, sink.name, now, sink.max_batch, events)

    def _deliveries(self, connection: Connection, claimed: Claim, now: int) -> tuple[Delivery, ...]:
        return batches.deliveries_of(
            connection,
            claimed.works,
            self._instance(),
            events=not self._sink.state,
            now=now,
            max_age=self._sink.max_age,
            is_routed=self._is_routed,
        )


class Lane:
    """The worker loop of one sink. `step` makes at most one call; `run` repeats it until `stop`."""

    def __init__(self, sink: Sink[Any], shared: Shared, is_routed: IsRouted = lambda _: True) -> None:
        self.sink = sink
        self.name = sink.name
        self._shared = shared
        self._store = shared.store
        self._clock = shared.clock
        self._lease = LeaseKeeper(sink.name, shared.store, shared.clock, shared.owner, shared.policy.lease)
        self._poller = Poller(sink, self._lease, lambda: shared.store.instance, is_routed)
        self._caller = SinkCaller(
            sink,
            shared.store,
            shared.clock,
            on_call=shared.metrics.called,
            is_routed=is_routed,
            require_time=self._lease.require_time,
        )
        self._bucket: str | None = None
        """The bucket without tokens that the lane of a state sink waits for; its rows stay due."""
        self._collecting = sink.debounce if isinstance(sink, Debounces) else None
        self._failures = 0
        self._has_worked = False
        """Whether the destination worked in the last call that showed it."""
        self._doubt = NO_REST
        """The destination refused a call. Until the end of this time a second refusal pauses the sink."""
        self._fence = -1
        """Fence of the lease under which the failures were counted."""
        self._rest = NO_REST
        """After failures in a row. A user may end it."""
        self._break = NO_REST
        """For the receiver and the other lanes, or after an exception of the lane itself. Nothing ends it early."""
        self._was_full = False
        self._alerted: str | None = None
        self._stopping = False
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due: the lane polls."""
        self._wake.set()

    def stop(self) -> None:
        """No further call is started."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Steps until `stop`. While the store is unavailable it waits and tries again."""
        away = STORE_RETRY_SECONDS
        while not self._stopping:
            self._wake.clear()
            try:
                at = await self.step()
                away = STORE_RETRY_SECONDS
            except StoreUnavailable:
                at = self._clock.now() + int(away * 1000)
                away = min(2 * away, STORE_RETRY_MAX_SECONDS)
            except Exception as error:  # noqa: BLE001 - a lane that ends would never deliver its queue
                log.critical("lane failed", sink=self.name, error=error)
                self._break = Rest.of(self._clock.now(), FAULT_PAUSE_SECONDS)
                at = self._break.until
            if at is None:
                await self._wake.wait()
            else:
                await self._clock.wait(self._wake, (at - self._clock.now()) / 1000)

    async def close(self, *, at_rest: bool = True) -> None:
        """Closes the sink and releases the lease.

        On a shared store the lease is left to expire when a call was cancelled (`at_rest` is false) or the sink does
        not close: it may still write, and the next owner of an expired lease polls again before it calls.
        """
        closed = False
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._caller.close()
            closed = True
        finally:
            if not self._store.shared or (closed and at_rest):
                await self._lease.release()

    async def step(self) -> int | None:
        """Makes at most one call. Returns when to poll again (epoch milliseconds), `None` when nothing is pending.

        Raises `StoreUnavailable`.
        """
        now = self._clock.now()
        if self._break.holds(now):
            return self._break.until
        await self._lease.keep()
        if self._rest.holds(now) and not await self._store.read(self._poller.was_resumed):
            return await self._resting()
        poll, cost, now = await self._poll(None if self._was_full else self._collecting)
        if poll.is_burst:
            await self._debounce(poll.seen)
            poll, cost, now = await self._poll(None)
        if self._stopping:
            return None
        self._was_full = poll.claim is not None and batches.row_count(poll.claim) >= self.sink.max_batch
        if poll.claim is None:
            self._yield(cost)
            return await self._idle(poll)
        return await self._deliver(poll, poll.claim, now)

    async def _poll(self, debounce: Debounce | None) -> tuple[Poll, float, int]:
        """Polls the outbox. Returns what it found, the seconds of processor time, and the time of the poll."""
        now = self._clock.now()
        above = None if debounce is None else debounce.above
        poll, cost = await self._store.read(lambda c: _timed(lambda: self._poller.poll(c, now, self._bucket, above)))
        return poll, cost, now

    async def _resting(self) -> int:
        """Keeps the lease during short rests. After a longer one any process may call the sink."""
        self._yield()
        if self._lease.is_owner and not self._lease.is_worth_keeping(self._rest.until, KEPT_REST_SECONDS):
            await self._lease.release()
        return self._lease.next_renewal(self._rest.until)

    async def _idle(self, poll: Poll) -> int | None:
        """Releases the lease when nothing is due soon, and polls once more: another process that was woken in that
        moment did nothing, because this one owned the sink.
        """
        if poll.is_taken:
            self._lease.drop()
            return None
        if not self._lease.is_owner:
            return poll.poll_at
        if poll.poll_at is not None and self._lease.is_worth_keeping(poll.poll_at):
            return self._lease.next_poll(poll.poll_at)
        await self._lease.release()
        return self._clock.now()

    async def _deliver(self, poll: Poll, claimed: Claim, now: int) -> int:
        """Makes the call that a poll found, if this lane has the lease or can acquire it."""
        if not self._lease.is_owner and self._lease.is_left(poll.seen):
            await self._lease.acquire(poll.seen)
            return now  # its former owner may have written until now, so poll again
        lease = await self._lease.mark(claimed, poll.seen, state_sink=self.sink.state)
        if lease is None:
            return now + int((OUTDATED_POLL_SECONDS if self._store.shared else STORE_RETRY_SECONDS) * 1000)
        if self._store.shared and lease.fence != self._fence:
            # other processes called the sink meanwhile; its row holds whether the last call failed
            self._fence, self._failures = lease.fence, FAILURES_BEFORE_REST if poll.failing else 0
        await self._call(lease, poll, now)
        self._yield()
        return self._clock.now()

    def _yield(self, cost: float = 0.0) -> None:
        """Pauses the lane, even when it is woken: for the receiver while many events arrive, and for the other lanes
        after a costly poll that found nothing (`cost` in seconds of processor time).
        """
        is_hot = self._store.load.rate_at(asyncio.get_running_loop().time()) > HOT_EVENTS_PER_SECOND
        seconds = min(COSTLY_POLL_FACTOR * cost, COSTLY_POLL_PAUSE_MAX_SECONDS) if cost > COSTLY_POLL_SECONDS else 0.0
        self._break = Rest.of(self._clock.now(), max(seconds, HOT_PAUSE_SECONDS if is_hot else 0.0))

    async def _debounce(self, seen: SeenLease) -> None:
        """Waits for more deliveries of a burst."""
        debounce = self._collecting
        if debounce is None or not await self._owns(seen):
            return
        until = self._clock.now() + int(debounce.max_wait * 1000)
        count = await self._count_due()
        while (left := (until - self._clock.now()) / 1000) > 0 and not self._stopping:
            self._wake.clear()
            if not await self._clock.wait(self._wake, min(debounce.idle, left)):
                before, count = count, await self._count_due()
                if count == before:
                    return

    async def _owns(self, seen: SeenLease) -> bool:
        """Acquires the lease if this lane does not have it, so that no other process waits for the same burst."""
        return not self._store.shared or self._lease.is_owner or await self._lease.acquire(seen)

    async def _count_due(self) -> int:
        """Returns how many deliveries are due. On a store of one process 0: every new one wakes the lane."""
        if not self._store.shared:
            return 0
        limit = self.sink.max_batch + 1
        return await self._store.read(lambda c: self._poller.count_due(c, self._clock.now(), limit))

    async def _call(self, lease: Lease, poll: Poll, started_at: int) -> None:
        assert poll.claim is not None
        try:
            async with self._lease.renewing():
                answer = await self._caller.call(lease, poll.claim, poll.deliveries)
        except LeaseLost:
            log.warning("lease lost", sink=self.name)
            self._lease.drop()
            return
        try:
            await self._conclude(lease, poll, answer, started_at)
        except (StoreUnavailable, LeaseLost):
            raise
        except Exception as error:
            if isinstance(answer, Failure):
                raise
            # the notes are not JSON, or a delay is not a number: nothing was written
            log.warning("sink result invalid", sink=self.name, error=place_of(error))
            await self._conclude(lease, poll, Failure("unusable answer"), started_at)

    async def _conclude(self, lease: Lease, poll: Poll, answer: Answer, started_at: int) -> None:
        """Settles one answer, then updates what the lane knows about the destination."""
        assert poll.claim is not None
        answer = self._confirmed(answer, poll.claim)
        settlement = outcomes.settlement_of(poll.claim, answer, started_at, self._clock.now(), self._shared.policy)
        failures = outcomes.failures_after(answer, self._failures)
        rest = Rest.of(settlement.ended_at, outcomes.rest_after(answer, failures))
        settlement.rest_until = rest.until
        mended = outcomes.is_mended(answer, reached=self._caller.reached)
        settlement.resumed = poll.paused is not None and mended
        if self.sink.state:
            settlement.cured = outcomes.delivered_keys(poll.claim, settlement.delivered)
        if self.sink.state and isinstance(answer, RateLimited | SinkBroken):
            settlement.unsent = []
        if not await self._settle(lease, settlement):
            return
        self._failures, self._rest = failures, rest
        self._bucket = answer.bucket if isinstance(answer, RateLimited) and self.sink.state else None
        self._log(answer, poll, mended=mended)
        if settlement.dead:
            self._log_dead([reason for _, reason in settlement.dead])
        self._shared.metrics.settled(self.name, poll.claim.works, answer, settlement)

    def _confirmed(self, answer: Answer, claimed: Claim) -> Answer:
        """Returns the answer to settle: a first refusal of a destination that worked is called once more."""
        if isinstance(answer, SinkBroken):
            now = self._clock.now()
            is_first = outcomes.needs_confirmation(answer, has_worked=self._has_worked) and not self._doubt.holds(now)
            self._has_worked, self._doubt = False, Rest.of(now, outcomes.DOUBT_SECONDS)
            if is_first:
                log.info("sink refusal unconfirmed", sink=self.name, reason=answer.reason)
                return outcomes.unconfirmed(answer, len(claimed.works))
        elif outcomes.is_mended(answer, reached=self._caller.reached):
            self._has_worked = True
        return answer

    def _log(self, answer: Answer, poll: Poll, *, mended: bool) -> None:
        """Logs one error for each reason that a destination is broken, and a line when it works again."""
        if isinstance(answer, SinkBroken):
            if poll.paused is None or answer.reason != self._alerted:
                log.error("sink paused", sink=self.name, reason=answer.reason, fix=answer.fix)
            self._alerted = answer.reason
            self._shared.metrics.broken(self.name)
        elif mended:
            self._alerted = None
            if poll.paused is not None:
                log.info("sink resumed", sink=self.name)

    def _log_dead(self, reasons: Sequence[str]) -> None:
        """Logs one line for all dead letters of a call."""
        log.warning(
            "dead letters", sink=self.name, count=len(reasons), reason=outcomes.short("; ".join(dict.fromkeys(reasons)))
        )

    async def _settle(self, lease: Lease, settlement: Settlement) -> bool:
        """Writes the outcomes, and waits while the store is unavailable, because the calls were made.

        Returns `False` when the lease is lost and the outcomes are dropped.
        """
        destination = self.sink.destination
        while True:
            try:
                await self._store.write(lambda connection: settle.settle(connection, lease, destination, settlement))
            except StoreUnavailable:
                await self._clock.wait(asyncio.Event(), STORE_RETRY_SECONDS)
            except LeaseLost:
                log.warning("lease lost", sink=self.name)
                self._lease.drop()
                return False
            else:
                return True


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Returns the result of `work` and the seconds of processor time that its thread took."""
    before = time.thread_time()
    return work(), time.thread_time() - before
