"""What the conformance suite is made of: the author's hooks, and calls of the sink as the dispatcher makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from connector.errors import RateLimited
from connector.sink import Batch, Delivered, Delivery, Finding, Outcome, Result, Sink, SinkBroken
from connector.testing.context import FakeContext
from connector.testing.make import make_delivery, make_event, make_interview
from connector.testing.run import notes_for, run_batch, run_until_settled


class SinkHarness:
    """Hooks that the author of a sink implements; only `make_sink` is required."""

    may_double = False
    """Set it when the destination cannot detect a repeat (a terminal cannot): a retry may then show an entry twice."""

    def make_sink(self) -> Sink[Any]:
        """A new sink; within one test each has the same settings."""
        raise NotImplementedError("define make_sink")

    def delivered(self) -> Sequence[object]:
        """What the destination holds now: one entry per row or message, comparable with `==`."""
        raise NotImplementedError

    def break_destination(self) -> None:
        """From now on the destination answers with an error, or not at all."""
        raise NotImplementedError

    def mend_destination(self) -> None:
        """Undoes `break_destination`."""
        raise NotImplementedError

    def _one(self, sink: Sink[Any], *, number: int = 1, late: bool = False, **values: Any) -> Delivery:
        interview = make_interview(number=number, **values)
        return make_delivery(make_event(number=number, **values), interview, state=sink.state, late=late)

    def _some(self, sink: Sink[Any], count: int) -> list[Delivery]:
        return [self._one(sink, number=number) for number in range(1, count + 1)]

    def _deliver(self, make: Callable[[Sink[Any]], Sequence[Delivery]]) -> Result:
        async def deliver() -> Result:
            async with opened(self.make_sink()) as sink:
                return await run_batch(sink, make(sink), FakeContext())

        return asyncio.run(deliver())

    def _settle(self, make: Callable[[Sink[Any]], Sequence[Delivery]]) -> dict[str, Outcome]:
        async def settle() -> dict[str, Outcome]:
            async with opened(self.make_sink()) as sink:
                deliveries = make(sink)
                outcomes = await run_until_settled(sink, deliveries, FakeContext())
                return {delivery.id: outcomes[delivery.id] for delivery in deliveries}

        return asyncio.run(settle())

    async def _call_and_die(self, context: FakeContext, started_at: int, *, maybe_sent: bool) -> None:
        """One call in a process of its own, whose outcome and notes are never stored."""
        async with opened(self.make_sink()) as sink:
            some = self._some(sink, min(3, sink.max_batch))
            batch = Batch("batch-1", started_at, some, notes_for(sink, some, context), maybe_sent)
            await _patiently(lambda: sink.deliver(batch, context), context)

    def _reasons(self) -> list[str]:
        async def reasons() -> list[str]:
            async with opened(self.make_sink()) as sink:
                try:
                    result = await run_batch(sink, self._some(sink, min(3, sink.max_batch)), FakeContext())
                except SinkBroken as broken:
                    return [broken.reason, broken.fix]
            return [outcome.reason for outcome in result.outcomes if not isinstance(outcome, Delivered)]

        return asyncio.run(reasons())

    async def _check(self) -> list[Finding]:
        async with opened(self.make_sink()) as sink:
            return await sink.check_connection()

    def _held(self) -> list[object] | None:
        return list(self.delivered()) if self._has("delivered") else None

    def _has(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(SinkHarness, name)

    def _needs(self, name: str) -> None:
        if not self._has(name):
            pytest.skip(f"{name}() is not defined")


@asynccontextmanager
async def opened(sink: Sink[Any]) -> AsyncIterator[Sink[Any]]:
    """As the dispatcher does: `close` is called also when `open` failed."""
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


async def _patiently(call: Callable[[], Awaitable[Result]], context: FakeContext) -> Result:
    """The call, once its tokens are there."""
    for _ in range(10):
        try:
            return await call()
        except RateLimited as wait:
            context.clock.advance(wait.seconds + 0.001)
    raise AssertionError("ten waits in a row")


def secrets_of(config: BaseModel) -> Iterator[str]:
    for name in type(config).model_fields:
        yield from _secrets_in(getattr(config, name))


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        yield from secrets_of(value)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets_in(inner)
