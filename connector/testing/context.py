"""What the dispatcher lends to a sink, for tests: real rate limits on a manual clock, notes in a dictionary."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from connector.errors import LeaseLost, RateLimited
from connector.sink import Note, Subscription, Token
from connector.testing.clock import ManualClock

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


class FakeContext:
    """A `connector.sink.Context` without a store.

    `notes` is what is committed, `remembered` the calls of `save_notes` in order, `taken` the tokens in order,
    `blocked` the buckets that the sink blocked with their seconds, `calls` counts `count_call` by kind, `replies` are
    those of failed calls in order, `waits` counts the
    deliveries that wait by group, and `leases_lost` how often the sink was told that its lease is gone.
    """

    def __init__(self, clock: ManualClock | None = None, notes: Mapping[str, Note] | None = None) -> None:
        self.clock = clock or ManualClock()
        self.notes: dict[str, Note] = dict(notes or {})
        self.remembered: list[dict[str, Note | None]] = []
        self.taken: list[Token] = []
        self.blocked: list[tuple[str, float]] = []
        self.calls: Counter[str] = Counter()
        self.replies: list[tuple[int | None, str]] = []
        self.waits: Counter[str] = Counter()
        self.leases_lost = 0
        self.shown: dict[str, Subscription] = {}
        self._buckets = Buckets()
        self._refusals: deque[RateLimited] = deque()
        self._lost_after: int | None = None

    def refuse(self, bucket: str, seconds: float = 1.0) -> None:
        """Scripts one `take` that raises `RateLimited`; several calls script several."""
        self._refusals.append(RateLimited(bucket, seconds))

    def lose_lease(self, after: int = 0) -> None:
        """The lease is gone once `after` more calls of `take` or `save_notes` went well."""
        self._lost_after = after

    def now(self) -> int:
        return self.clock.now()

    async def take(self, *tokens: Token) -> None:
        self._check_lease()
        if self._refusals:
            raise self._refusals.popleft()
        self._buckets.take(tokens, self.now())
        self.taken.extend(tokens)

    async def block(self, bucket: str, seconds: float) -> None:
        self.blocked.append((bucket, seconds))
        self._buckets.block(bucket, seconds, self.now())

    async def save_notes(self, notes: Mapping[str, Note | None]) -> None:
        self._check_lease()
        self.remembered.append(dict(notes))
        self.apply(notes)

    async def get_notes(self, names: Sequence[str]) -> Mapping[str, Note]:
        return {name: self.notes[name] for name in names if name in self.notes}

    async def interviews(self, after: str, limit: int) -> Sequence[Subscription]:
        return [self.shown[key] for key in sorted(self.shown) if key > after][:limit]

    async def waiting(self, group: str) -> int:
        return self.waits[group]

    def count_call(self, kind: str) -> None:
        self.calls[kind] += 1

    def record_reply(self, status: int | None, text: str) -> None:
        self.replies.append((status, text))

    def apply(self, notes: Mapping[str, Note | None]) -> None:
        """Commits notes as the store does: through JSON, `None` deletes."""
        for key, note in notes.items():
            if note is None:
                self.notes.pop(key, None)
            else:
                self.notes[key] = json.loads(json.dumps(note, allow_nan=False))

    def _check_lease(self) -> None:
        if self._lost_after is None:
            return
        if self._lost_after == 0:
            self.leases_lost += 1
            raise LeaseLost("another worker writes to this sink")
        self._lost_after -= 1
