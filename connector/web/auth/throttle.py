"""Limits the attempts to sign in."""

from __future__ import annotations

from collections import OrderedDict, deque

ATTEMPTS = 5
"""Failed attempts of one client within `PERIOD_SECONDS`; then it has to wait."""
PERIOD_SECONDS = 900.0
CLIENTS_MAX = 10_000
"""Clients that are remembered; the one that failed the longest time ago is forgotten first."""


class Throttle:
    """Counts the failed attempts of each client. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_seconds(self, client: str, now: float) -> float:
        """Returns the time until the client may try again; 0 when it may try now."""
        times = self._failed.get(client)
        if times is None:
            return 0
        while times and times[0] <= now - PERIOD_SECONDS:
            times.popleft()
        return times[0] + PERIOD_SECONDS - now if len(times) >= ATTEMPTS else 0

    def attempt(self, client: str, now: float) -> None:
        """Counts an attempt as failed until `succeeded`, so that attempts at the same time are all counted."""
        self._failed.setdefault(client, deque(maxlen=ATTEMPTS)).append(now)
        self._failed.move_to_end(client)
        if len(self._failed) > CLIENTS_MAX:
            self._failed.popitem(last=False)

    def succeeded(self, client: str) -> None:
        """Forgets the failed attempts of a client that has signed in."""
        self._failed.pop(client, None)
