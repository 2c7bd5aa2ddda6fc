"""The published rate limits (Slack, Rate limits) as leaky buckets with the clock of the emulator."""

from __future__ import annotations

import math
from dataclasses import dataclass

from connector.emulators.slack.workspace import Clock

TIER_OF = {
    "chat.update": 3,
    "chat.delete": 3,
    "conversations.history": 3,
    "conversations.replies": 3,
    "conversations.info": 3,
    "chat.postEphemeral": 4,
    "views.open": 4,
    "usergroups.users.list": 2,
}


@dataclass(frozen=True)
class Rate:
    per_second: float
    burst: int


class Limits:
    """Posts have a bucket per channel and one for the workspace. Each other method has one bucket."""

    def __init__(self) -> None:
        self.channel = Rate(1.0, 4)
        self.workspace = Rate(5.0, 30)
        self.tiers = {2: Rate(20 / 60, 5), 3: Rate(50 / 60, 10), 4: Rate(100 / 60, 20)}
        self.special = Rate(10.0, 100)
        self._full_at: dict[str, float] = {}

    def refuse(self, clock: Clock, method: str, channel: str) -> int | None:
        """Takes a token of each bucket and returns `None`, or returns the whole seconds to wait."""
        buckets = self._buckets(method, channel)
        now = clock()
        waits = [self._wait(name, rate, now) for name, rate in buckets.items()]
        if max(waits) > 1e-6:
            return max(1, math.ceil(max(waits)))
        for name, rate in buckets.items():
            self._full_at[name] = max(self._full_at.get(name, now), now) + 1 / rate.per_second
        return None

    def _buckets(self, method: str, channel: str) -> dict[str, Rate]:
        if method in {"chat.postMessage", "webhook"}:
            return {f"post:{channel}": self.channel, "post": self.workspace}
        tier = TIER_OF.get(method)
        return {method: self.special if tier is None else self.tiers[tier]}

    def _wait(self, name: str, rate: Rate, now: float) -> float:
        spare = (rate.burst - 1) / rate.per_second
        return max(self._full_at.get(name, now), now) - now - spare
