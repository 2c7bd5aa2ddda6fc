"""Sinks without a destination, so that a measurement shows what the service costs and nothing else."""

from __future__ import annotations

import time

from pydantic import Field

from connector.sink import Batch, Context, Delivered, LocalPath, Result, Sink, SinkBroken, SinkConfig


class NoopConfig(SinkConfig):
    """`off` pauses the sink at its first call, until a person resumes it: then its deliveries only queue up."""

    off: bool = Field(default=False, description="Be broken from the start.")


class NoopMessages(Sink[NoopConfig]):
    """Agrees to everything."""

    Config = NoopConfig
    max_batch = 500

    async def deliver(self, batch: Batch, context: Context) -> Result:  # noqa: ARG002 - asks for nothing
        if self.config.off:
            raise SinkBroken("switched off", "set off = false", until_person=True)
        return Result([Delivered()] * len(batch.deliveries))


class NoopState(NoopMessages):
    """The same, as a sheet would be called."""

    state = True


class TimingConfig(SinkConfig):
    """Where to write."""

    path: LocalPath = Field(description="File that gets one line per delivery.")


class Timing(Sink[TimingConfig]):
    """Writes the machine's monotonic clock and the key at each call."""

    Config = TimingConfig
    max_batch = 100

    async def deliver(self, batch: Batch, context: Context) -> Result:  # noqa: ARG002 - asks for nothing
        now = time.monotonic_ns()
        with self.config.path.open("a") as file:
            file.writelines(f"{now} {delivery.key}\n" for delivery in batch.deliveries)
        return Result([Delivered()] * len(batch.deliveries))
