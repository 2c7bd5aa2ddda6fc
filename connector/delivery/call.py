"""One call to a sink: opened once, given its notes, timed; whatever it does becomes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from connector.delivery.clock import Clock
from connector.delivery.context import LaneContext
from connector.delivery.load import Stays
from connector.delivery.meter import Meter
from connector.delivery.rules import Answer, Failure
from connector.errors import LeaseLost, RateLimited, SinkBroken, StoreUnavailable
from connector.sink import Batch, Delivery, Note, Result, Sink
from connector.store import notes
from connector.store.base import Store
from connector.store.claim import Claim
from connector.store.leases import Lease

log = structlog.get_logger("connector.delivery")


class Caller:
    """Calls one sink, and closes it at the end. `before` is called last before each call, and may
    raise `LeaseLost`.
    """

    def __init__(
        self,
        sink: Sink[Any],
        *,
        store: Store,
        clock: Clock,
        meter: Meter,
        stays: Stays,
        before: Callable[[], None],
    ) -> None:
        self._sink = sink
        self._store = store
        self._clock = clock
        self._meter = meter
        self._stays = stays
        self._before = before
        self._opened = False
        self._calls = 0

    async def call(self, lease: Lease, claimed: Claim, deliveries: tuple[Delivery, ...]) -> Answer:
        """Hands the batch over. Raises `LeaseLost` and `StoreUnavailable`; all else that goes wrong is an answer."""
        context = LaneContext(
            self._store, self._clock, lease, self._sink.destination, self._meter.called, stays=self._stays
        )
        try:
            return await self._answer(context, claimed, deliveries)
        finally:
            self._calls = context.calls

    @property
    def reached(self) -> bool:
        """Whether the last call of the sink called the destination, as far as the sink counts that."""
        return self._calls > 0 or not self._sink.counts_calls

    async def _answer(self, context: LaneContext, claimed: Claim, deliveries: tuple[Delivery, ...]) -> Answer:
        sink = self._sink
        try:
            batch = await self._batch(claimed, deliveries)
            async with asyncio.timeout(sink.timeout):
                await self._open()
                self._before()
                result = await sink.deliver(batch, context)
        except SinkBroken as error:
            return error
        except RateLimited as error:
            await context.honour(error)
            return error
        except (LeaseLost, StoreUnavailable):
            raise
        except TimeoutError:
            return Failure("timeout")
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            return self._raised(error)  # something inside the sink was cancelled, not we
        except Exception as error:  # noqa: BLE001 - whatever a sink does, it is tried again and delays no other sink
            return self._raised(error)
        return self._checked(result, claimed)

    async def close(self) -> None:
        """Closes the sink, whether or not it was opened."""
        await self._sink.close()

    def _raised(self, error: BaseException) -> Failure:
        log.error("sink call failed", sink=self._sink.name, error=error)
        return Failure(f"exception {type(error).__name__}")

    def _checked(self, result: object, claimed: Claim) -> Answer:
        expected = len(claimed.works)
        outcomes: object = result.outcomes if isinstance(result, Result) else None
        if isinstance(result, Result) and isinstance(outcomes, Sequence) and len(outcomes) == expected:
            return result
        log.warning("sink outcomes mismatched", sink=self._sink.name, expected=expected)
        return Failure("wrong number of outcomes")

    async def _open(self) -> None:
        if not self._opened:
            await self._sink.open()
            self._opened = True

    async def _batch(self, claimed: Claim, deliveries: tuple[Delivery, ...]) -> Batch:
        keys = list(dict.fromkeys(key for delivery in deliveries for key in self._sink.note_keys(delivery)))
        remembered: dict[str, Note] = {}
        if keys:
            name, destination = self._sink.name, self._sink.destination
            remembered = await self._store.read(lambda connection: notes.read(connection, name, destination, keys))
        return Batch(claimed.batch, claimed.started_at, deliveries, remembered, claimed.maybe_sent)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
