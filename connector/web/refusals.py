"""Which refusals are worth a line in the log: anybody may cause them, as often as they like. Pure."""

from __future__ import annotations

SILENCE_MS = 60_000


class Refusals:
    """Counts refusals by their reason, a fixed word."""

    def __init__(self, silence_ms: int = SILENCE_MS) -> None:
        self._silence_ms = silence_ms
        self._told_at: dict[str, int] = {}
        self._untold: dict[str, int] = {}

    def add(self, reason: str, now: int) -> int:
        """Counts one refusal at `now` (epoch milliseconds). Returns how many came since the last line when it is time
        for one, this one included; 0 when the last one was told less than a minute ago.
        """
        count = self._untold.get(reason, 0) + 1
        told_at = self._told_at.get(reason)
        if told_at is not None and told_at <= now < told_at + self._silence_ms:
            self._untold[reason] = count
            return 0
        self._untold[reason] = 0
        self._told_at[reason] = now
        return count
