"""Sinks without a destination, so that a benchmark measures only the service."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from pydantic import Field

from connector.sink import Batch, Context, Delivered, Delivery, LocalPath, Result, Sink, SinkBroken, SinkConfig


class NoopConfig(SinkConfig):
    """`off` pauses the sink at its first call, so that its deliveries stay queued."""

    off: bool = Field(default=False, description="Be broken from the start.")


class NoopMessages(Sink[NoopConfig]):
    """Reports every delivery as delivered."""

    Config = NoopConfig
    max_batch = 500

    async def deliver(self, batch: Batch, context: Context) -> Result:  # noqa: ARG002 - needs no context
        if self.config.off:
            raise SinkBroken("switched off", "set off = false", until_resumed=True)
        return Result([Delivered()] * len(batch.deliveries))


class NoopState(NoopMessages):
    """The same as a state sink."""

    state = True


class TimingConfig(SinkConfig):
    """The file to write to."""

    path: LocalPath = Field(description="File that gets one line per delivery.")


class Timing(Sink[TimingConfig]):
    """Writes the machine's monotonic clock and the key at each call."""

    Config = TimingConfig
    max_batch = 100

    async def deliver(self, batch: Batch, context: Context) -> Result:  # noqa: ARG002 - needs no context
        now = time.monotonic_ns()
        with self.config.path.open("a") as file:
            file.writelines(f"{now} {delivery.key}\n" for delivery in batch.deliveries)
        return Result([Delivered()] * len(batch.deliveries))


class RecordingConfig(TimingConfig):
    """The file to write to, and the duration of a call."""

    seconds: float = Field(default=0.3, description="Seconds of one call.")


class Recording(Sink[RecordingConfig]):
    """Writes a line when a call begins and one when it ends: monotonic nanoseconds, process, batch, what is in it."""

    Config = RecordingConfig
    max_batch = 500

    async def deliver(self, batch: Batch, context: Context) -> Result:  # noqa: ARG002 - needs no context
        items = [[each.id, each.key, self.order_of(each)] for each in batch.deliveries]
        self._write("begin", batch, items)
        await asyncio.sleep(self.config.seconds)
        self._write("end", batch, [])
        return Result([Delivered()] * len(batch.deliveries))

    @staticmethod
    def order_of(delivery: Delivery) -> int:
        """A number that grows from one delivery of a key to the next."""
        return int(delivery.event.id) if delivery.event else 0

    def _write(self, what: str, batch: Batch, items: list[list[Any]]) -> None:
        line = [what, time.monotonic_ns(), os.getpid(), batch.id, batch.maybe_sent, items]
        with self.config.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class RecordingState(Recording):
    """The same for the newest state; its order is that of the interview's newest event."""

    state = True

    @staticmethod
    def order_of(delivery: Delivery) -> int:
        return int(delivery.interview.updated_at or 0) if delivery.interview else 0
