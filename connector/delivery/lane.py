"""One lane: the deliveries of one sink, one call at a time, from claim to settled outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection
from tenacity import wait_exponential, wait_fixed

from connector.capabilities import Debounce, Debounces
from connector.delivery import batches, outcomes
from connector.delivery.batches import IsRouted, Poll, Poller
from connector.delivery.clock import Clock, store_retries
from connector.delivery.lease import LeaseKeeper, SeenLease
from connector.delivery.outcomes import (
    EMPTY,
    FAILURES_BEFORE_REST,
    CallFailure,
    Policy,
    RefusalConfirmation,
    SinkResponse,
    Span,
    failures_after,
    has_recovered,
    rest_after,
)
from connector.delivery.sink_call import SinkCaller
from connector.errors import LeaseLost, RateLimited, SinkBroken, StoreUnavailable
from connector.logging import place_of
from connector.sink import Sink
from connector.store import decisions, settle
from connector.store.base import Store
from connector.store.claim import Claim, ClaimedDelivery
from connector.store.dialects import storable, value_of
from connector.store.leases import Lease
from connector.store.settle import Settlement
from connector.store.subscriptions import subscribed

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
"""Time between attempts while the store is unavailable. Between polls it doubles."""
STORE_RETRY_MAX_SECONDS = 8.0
"""The longest time between polls while the store is unavailable."""
CLOSE_SECONDS = 5.0
"""Time that a sink has to close."""

T = TypeVar("T")

log = structlog.get_logger("connector.delivery")


class DeliveryMetrics(Protocol):
    """Counts what lanes do. Each method is called after the call was settled."""

    def settled(
        self, sink: str, works: Sequence[ClaimedDelivery], response: SinkResponse, settlement: Settlement
    ) -> None:
        """A call to a sink was settled."""
        ...

    def broken(self, sink: str) -> None:
        """A sink paused itself, or its probe failed."""
        ...

    def called(self, sink: str, kind: str) -> None:
        """A sink called its destination."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryRuntime:
    """What all lanes of a process use. `owner` names the process in leases."""

    store: Store
    clock: Clock
    metrics: DeliveryMetrics
    owner: str
    policy: Policy = field(default_factory=Policy)


class Lane:
    """The worker loop of one sink. `step` makes at most one call; `run` repeats it until `stop`.

    A step has these parts, in this order:

    1. Pause and rest: the lane makes no call while it gives way to the receiver or rests after failures.
    2. Poll: a read transaction finds due rows and builds their deliveries.
    3. Mark: a write transaction stores the lease and the batch id in the rows.
    4. Call: the sink delivers, while the lease is renewed.
    5. Settle: a write transaction stores the outcomes, notes and follow-ups.
    """

    def __init__(self, sink: Sink[Any], runtime: DeliveryRuntime, is_routed: IsRouted = lambda _: True) -> None:
        self.sink = sink
        self.name = sink.name
        self._store = runtime.store
        self._clock = runtime.clock
        self._metrics = runtime.metrics
        self._policy = runtime.policy
        self._lease = LeaseKeeper(sink.name, runtime.store, runtime.clock, runtime.owner, runtime.policy.lease)
        self._poller = Poller(sink, self._lease, lambda: runtime.store.instance, is_routed)
        self._caller = SinkCaller(
            sink,
            runtime.store,
            runtime.clock,
            on_call=runtime.metrics.called,
            is_routed=is_routed,
            require_time=self._lease.require_time,
        )
        self._debounce = sink.debounce if isinstance(sink, Debounces) else None
        self._confirmation = RefusalConfirmation()
        self._awaited_bucket: str | None = None
        """The bucket without tokens that the lane of a state sink waits for; its rows stay due."""
        self._failures = 0
        """Failed calls in a row."""
        self._failures_fence = -1
        """Fence of the lease under which the failures were counted."""
        self._rest = EMPTY
        """After failures in a row. `connector resume` ends it."""
        self._pause = EMPTY
        """A pause for the receiver and the other lanes, or after an exception in the lane itself. A wake-up does not
        end it.
        """
        self._was_full = False
        """Whether the last call took a full batch."""
        self._logged_reason: str | None = None
        """The last reason for a pause of the sink that was logged."""
        self.running_call = ""
        """The call that runs now: the sink and the kinds of its deliveries, without personal data; `""` for none."""
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
        """Steps until `stop`. While the store is unavailable it retries."""
        wait = wait_exponential(multiplier=STORE_RETRY_SECONDS, max=STORE_RETRY_MAX_SECONDS)
        retrying = store_retries(self._clock, wait, self._wake, lambda: self._stopping)
        while not self._stopping:
            poll_at: int | None = await retrying(self._step_safely)
            if poll_at is None:
                await self._wake.wait()
            else:
                await self._clock.wait(self._wake, (poll_at - self._clock.now()) / 1000)

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
        if self._pause.contains(now):
            return self._pause.until
        await self._lease.keep()
        if self._rest.contains(now) and not await self._store.read(self._poller.was_resumed):
            return await self._keep_resting()
        poll, cpu_seconds, polled_at = await self._poll_debounced()
        if self._stopping:
            return None
        self._was_full = poll.claim is not None and batches.row_count(poll.claim) >= self.sink.max_batch
        if poll.claim is None:
            self._give_way(cpu_seconds)
            return await self._idle(poll)
        return await self._deliver(poll, poll.claim, polled_at)

    async def _step_safely(self) -> int | None:
        """Makes a step. After an unexpected exception it returns the end of a pause, because a lane that ends would
        never deliver its queue. Raises `StoreUnavailable`.
        """
        if self._stopping:
            return None
        self._wake.clear()
        try:
            return await self.step()
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one step must not end the lane
            log.critical("lane failed", sink=self.name, error=error)
            self._pause = Span.of(self._clock.now(), FAULT_PAUSE_SECONDS)
            return self._pause.until

    # before a call

    async def _poll_debounced(self) -> tuple[Poll, float, int]:
        """Polls, and collects more deliveries first when a burst has begun. After a full batch it does not wait."""
        if self._debounce is None or self._was_full:
            return await self._poll(None)
        found = await self._poll(self._debounce.above)
        if not found[0].is_burst:
            return found
        await self._collect_burst(self._debounce, found[0].seen)
        return await self._poll(None)

    async def _poll(self, above: int | None) -> tuple[Poll, float, int]:
        """Returns what was found, the processor time of the poll in seconds, and the time of the poll."""

        def query(connection: Connection) -> tuple[Poll, float, int]:
            now = value_of(connection, self._clock.in_sql())
            poll, cpu_seconds = _timed(lambda: self._poller.poll(connection, now, self._awaited_bucket, above))
            return poll, cpu_seconds, now

        return await self._store.read(query)

    async def _collect_burst(self, debounce: Debounce, seen: SeenLease) -> None:
        """Waits until no new delivery arrived for `debounce.idle` seconds, at most `debounce.max_wait` seconds."""
        if not await self._acquire_for_burst(seen):
            return
        span = Span.of(self._clock.now(), debounce.max_wait)
        count = await self._count_due()
        while span.contains(now := self._clock.now()) and not self._stopping:
            self._wake.clear()
            if not await self._clock.wait(self._wake, min(debounce.idle, (span.until - now) / 1000)):
                before, count = count, await self._count_due()
                if count == before:
                    return

    async def _acquire_for_burst(self, seen: SeenLease) -> bool:
        """Acquires the lease if this lane does not have it, so that no other process waits for the same burst."""
        return not self._store.shared or self._lease.is_owner or await self._lease.acquire(seen)

    async def _count_due(self) -> int:
        """Returns how many deliveries are due. On a store of one process 0: every new one wakes the lane."""
        if not self._store.shared:
            return 0
        limit = self.sink.max_batch + 1
        return await self._store.read(
            lambda connection: self._poller.count_due(connection, self._clock.in_sql(), limit)
        )

    # without a call

    async def _keep_resting(self) -> int:
        """Keeps the lease during short rests. After a longer one any process may call the sink."""
        self._give_way()
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

    def _give_way(self, cpu_seconds: float = 0.0) -> None:
        """Pauses the lane: for the receiver while many events arrive, and for the other lanes after a poll that found
        nothing and took `cpu_seconds` of processor time.
        """
        is_hot = self._store.load.rate_at(asyncio.get_running_loop().time()) > HOT_EVENTS_PER_SECOND
        seconds = HOT_PAUSE_SECONDS if is_hot else 0.0
        if cpu_seconds > COSTLY_POLL_SECONDS:
            seconds = max(seconds, min(COSTLY_POLL_FACTOR * cpu_seconds, COSTLY_POLL_PAUSE_MAX_SECONDS))
        self._pause = Span.of(self._clock.now(), seconds)

    # the call

    async def _deliver(self, poll: Poll, claimed: Claim, polled_at: int) -> int:
        """Makes the call that a poll found, if this lane has the lease or can acquire it."""
        if not self._lease.is_owner and self._lease.is_left(poll.seen):
            await self._lease.acquire(poll.seen)
            return polled_at  # its former owner may have written until now, so poll again
        lease = await self._lease.mark(claimed, poll.seen, state_sink=self.sink.state)
        if lease is None:
            seconds = OUTDATED_POLL_SECONDS if self._store.shared else STORE_RETRY_SECONDS
            return polled_at + int(seconds * 1000)
        self._inherit_failures(lease, poll)
        response = await self._call(lease, poll, claimed)
        if response is not None:
            await self._conclude_safely(lease, poll, claimed, response, polled_at)
        self._give_way()
        return self._clock.now()

    def _inherit_failures(self, lease: Lease, poll: Poll) -> None:
        """After other processes called the sink, its row holds whether the last call failed."""
        if self._store.shared and lease.fence != self._failures_fence:
            self._failures_fence, self._failures = lease.fence, FAILURES_BEFORE_REST if poll.failing else 0

    async def _call(self, lease: Lease, poll: Poll, claimed: Claim) -> SinkResponse | None:
        """Calls the sink. Returns `None` when the lease was lost meanwhile: another process repeats the call."""
        kinds = sorted({work.purpose or "event" for work in claimed.works})
        self.running_call = f"{self.name}: {', '.join(kinds)}"
        try:
            async with self._lease.renewing():
                return await self._caller.call(lease, claimed, poll.deliveries)
        except LeaseLost:
            self._lose_lease()
            return None
        finally:
            self.running_call = ""

    # after the call

    async def _conclude_safely(
        self, lease: Lease, poll: Poll, claimed: Claim, response: SinkResponse, started_at: int
    ) -> None:
        """Settles a response. One that cannot be stored is settled as a failure: nothing was written."""
        try:
            await self._conclude(lease, poll, claimed, response, started_at)
        except (StoreUnavailable, LeaseLost):
            raise
        except Exception as error:
            if isinstance(response, CallFailure):
                raise
            # the notes are not JSON, or a delay is not a number
            log.warning("sink result invalid", sink=self.name, error=place_of(error))
            await self._conclude(lease, poll, claimed, CallFailure("unusable result"), started_at)

    async def _conclude(
        self, lease: Lease, poll: Poll, claimed: Claim, response: SinkResponse, started_at: int
    ) -> None:
        """Settles one response, then updates what the lane knows about the destination."""
        response = self._confirmed(response, claimed)
        failures = failures_after(response, self._failures)
        recovered = has_recovered(response, reached=self._caller.reached)

        def job(connection: Connection) -> Settlement:
            ended_at = value_of(connection, self._clock.in_sql())
            settlement = outcomes.settlement_of(
                claimed,
                response,
                started_at,
                ended_at,
                self._policy,
                state_sink=self.sink.state,
                reply=self._caller.reply,
            )
            settlement.rest_until = Span.of(ended_at, rest_after(response, failures)).until
            settlement.resumed = poll.paused is not None and recovered
            _write(connection, lease, self.sink.destination, settlement)
            return settlement

        settlement = await self._settle(job)
        if settlement is None:
            return
        self._failures, self._rest = failures, Span(settlement.ended_at, settlement.rest_until)
        self._awaited_bucket = response.bucket if isinstance(response, RateLimited) and self.sink.state else None
        self._log(response, settlement, was_paused=poll.paused is not None, recovered=recovered)
        self._metrics.settled(self.name, claimed.works, response, settlement)

    def _confirmed(self, response: SinkResponse, claimed: Claim) -> SinkResponse:
        """Returns the response to settle. A first refusal of a destination that worked needs a second call."""
        confirmed = self._confirmation.apply(
            response, len(claimed.works), self._clock.now(), reached=self._caller.reached
        )
        if isinstance(response, SinkBroken) and confirmed is not response:
            log.info("sink refusal unconfirmed", sink=self.name, reason=response.label)
        return confirmed

    async def _settle(self, job: Callable[[Connection], Settlement]) -> Settlement | None:
        """Writes the outcomes. It retries while the store is unavailable, because the call was made.

        Returns `None` when the lease is lost and the outcomes are dropped.
        """
        retrying = store_retries(self._clock, wait_fixed(STORE_RETRY_SECONDS), asyncio.Event())
        try:
            settlement: Settlement = await retrying(self._store.write, job)
        except LeaseLost:
            self._lose_lease()
            return None
        return settlement

    def _lose_lease(self) -> None:
        log.warning("lease lost", sink=self.name)
        self._lease.drop()

    def _log(self, response: SinkResponse, settlement: Settlement, *, was_paused: bool, recovered: bool) -> None:
        """Logs one error for each reason that a destination is broken, one line when it works again, and one line for
        all dead letters of a call.
        """
        if isinstance(response, SinkBroken):
            if not was_paused or response.reason != self._logged_reason:
                log.error("sink paused", sink=self.name, reason=response.label, fix=response.fix)
            self._logged_reason = response.reason
            self._metrics.broken(self.name)
        elif recovered:
            self._logged_reason = None
            if was_paused:
                log.info("sink resumed", sink=self.name)
        if settlement.dead:
            reasons = "; ".join(dict.fromkeys(reason for _, reason in settlement.dead))
            log.warning("dead letters", sink=self.name, count=len(settlement.dead), reason=outcomes.short(reasons))


def _write(connection: Connection, lease: Lease, destination: str, settlement: Settlement) -> None:
    """Stores the outcome of a call, with the decisions of users about interviews that the sink shows."""
    settle.settle(connection, lease, destination, settlement)
    if not settlement.decisions:
        return
    # users can enter any id at a destination, but they may decide only about the interviews that they see there
    shown = subscribed(connection, lease.sink, [storable(each.interview_id) for each in settlement.decisions])
    for request in settlement.decisions:
        if request.interview_id in shown:
            decisions.ask(connection, request, settlement.ended_at, sink_name=lease.sink)
        else:
            log.warning("decision ignored: the sink does not show the interview", sink=lease.sink)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Returns the result of `work` and the seconds of processor time that its thread took."""
    before = time.thread_time()
    return work(), time.thread_time() - before
