"""Rate limits in memory: the same arithmetic as the store's, on whatever clock the caller reads."""

from __future__ import annotations

from collections.abc import Sequence

from connector.errors import RateLimited
from connector.sink import Token

ROUNDING = 0.001
"""Milliseconds that sums of intervals may be off."""


class Buckets:
    """Token buckets by the generic cell rate algorithm (ITU-T I.371, Annex A): one number per bucket, the time at
    which it would be empty again.
    """

    def __init__(self) -> None:
        self._empty_at: dict[str, float] = {}
        self._closed_until: dict[str, float] = {}

    def take(self, tokens: Sequence[Token], now: int) -> None:
        """Takes all tokens, or none and raises `RateLimited` for the bucket that opens last; `now` is epoch ms."""
        taken = dict(self._empty_at)
        waits = [RateLimited(token.bucket, self._take(token, taken, now) / 1000) for token in tokens]
        longest = max(waits, key=lambda wait: wait.seconds, default=None)
        if longest is not None and longest.seconds > 0:
            raise longest
        self._empty_at = taken

    def block(self, bucket: str, seconds: float, now: int) -> None:
        """Blocks a bucket for `seconds`; a later end that was set before stays."""
        until = now + seconds * 1000
        self._closed_until[bucket] = max(until, self._closed_until.get(bucket, until))

    def _take(self, token: Token, taken: dict[str, float], now: int) -> float:
        """Milliseconds to wait; takes the token when that is 0."""
        interval = 1000 / token.rate
        empty_at = max(taken.get(token.bucket, now), now)
        free_at = max(empty_at - (token.burst - 1) * interval, self._closed_until.get(token.bucket, now))
        if free_at > now + ROUNDING:
            return free_at - now
        taken[token.bucket] = empty_at + interval
        return 0.0
