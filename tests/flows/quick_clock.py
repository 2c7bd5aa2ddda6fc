"""Runs a command of the connector with a faster clock, so that a test need not wait for minutes.

`python -m tests.flows.quick_clock serve …`; `QUICK_SINCE_MS` is the time at which the clock was right, the same for
every start.
"""

from __future__ import annotations

import asyncio
import os
import time

from connector import app
from connector.cli import main
from connector.delivery.clock import SystemClock

FACTOR = 60
SINCE_MS = int(os.environ.get("QUICK_SINCE_MS", "0"))


class QuickClock(SystemClock):
    """A minute takes a second."""

    def now(self) -> int:
        return SINCE_MS + (time.time_ns() // 1_000_000 - SINCE_MS) * FACTOR

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        return await super().wait(event, max(seconds / FACTOR, 0.01))


if __name__ == "__main__":
    app.SystemClock = QuickClock  # type: ignore[misc]
    main()
