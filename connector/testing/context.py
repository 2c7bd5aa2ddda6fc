"""Test doubles for one call of `deliver`: a manual clock, and a context without a store."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from connector.errors import LeaseLost, RateLimited
from connector.sink import Batch, Delivery, Note, Result, Sink, Subscription, Token
from connector.store import rate_limit
from connector.store.rate_limit import Bucket

START = 1_757_500_000_000
"""Start of every manual clock: 2025-09-10 10:26:40 UTC, epoch milliseconds."""


class ManualClock:
    """Returns epoch milliseconds from `now()` or from a call."""

    def __init__(self, at: int = START) -> None:
        self._at = at

    def now(self) -> int:
        return self._at

    def in_sql(self) -> int:
        return self._at

    def __call__(self) -> int:
        return self._at

    def advance(self, seconds: float) -> int:
        """Advances by `seconds` and returns the new time. Raises `ValueError` for a negative number."""
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._at += round(seconds * 1000)
        return self._at


class FakeContext:
    """A `connector.sink.Context` without a store, for one call.

    `notes` are the committed notes, `saved` the calls of `save_notes` in order, `taken` the tokens in order,
    `blocked` the buckets that the sink blocked with their seconds, `calls` counts `count_call` by kind, `replies` are
    those of failed calls in order, `waits` the waiting deliveries by group. `leases_lost` counts the calls that raised
    `LeaseLost`. `interviews` returns `shown`.
    """

    def __init__(self, clock: ManualClock | None = None, notes: Mapping[str, Note] | None = None) -> None:
        self.clock = clock or ManualClock()
        self.notes: dict[str, Note] = dict(notes or {})
        self.saved: list[dict[str, Note | None]] = []
        self.taken: list[Token] = []
        self.blocked: list[tuple[str, float]] = []
        self.calls: Counter[str] = Counter()
        self.replies: list[tuple[int | None, str]] = []
        self.waits: Counter[str] = Counter()
        self.leases_lost = 0
        self.queue: Counter[str] = Counter()
        """Due deliveries by the name of their event."""
        self.shown: dict[str, Subscription] = {}
        self._buckets: dict[str, Bucket] = {}
        self._refusals: deque[RateLimited] = deque()
        self._lost_after: int | None = None

    def refuse(self, bucket: str, seconds: float = 1.0) -> None:
        """Makes the next `take` raise `RateLimited`. Each call of `refuse` is for one further call of `take`."""
        self._refusals.append(RateLimited(bucket, seconds))

    def lose_lease(self, after: int = 0) -> None:
        """Makes `take`, `block` and `save_notes` raise `LeaseLost` after this number of successful calls."""
        self._lost_after = after

    def now(self) -> int:
        return self.clock.now()

    async def take(self, *tokens: Token) -> None:
        self._check_lease()
        if self._refusals:
            raise self._refusals.popleft()
        self._buckets |= rate_limit.taken(self._buckets, tokens, self.now())
        self.taken.extend(tokens)

    async def block(self, bucket: str, seconds: float) -> None:
        self._check_lease()
        self.blocked.append((bucket, seconds))
        self._buckets[bucket] = rate_limit.blocked(self._buckets.get(bucket), seconds, self.now())

    async def save_notes(self, notes: Mapping[str, Note | None]) -> None:
        self._check_lease()
        self.saved.append(dict(notes))
        self.apply(notes)

    async def get_notes(self, names: Sequence[str]) -> Mapping[str, Note]:
        return {name: self.notes[name] for name in names if name in self.notes}

    async def interviews(self, after: str, limit: int) -> Sequence[Subscription]:
        return [self.shown[key] for key in sorted(self.shown) if key > after][:limit]

    async def waiting(self, group: str) -> int:
        return self.waits[group]

    async def queued(self, events: Collection[str], limit: int) -> int:
        return min(sum(self.queue[name] for name in events), limit)

    def count_call(self, kind: str) -> None:
        self.calls[kind] += 1

    def record_reply(self, status: int | None, text: str) -> None:
        self.replies.append((status, text))

    def apply(self, notes: Mapping[str, Note | None]) -> None:
        """Commits notes as JSON, like the store; `None` deletes a note."""
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


def notes_for(sink: Sink[Any], deliveries: Sequence[Delivery], context: FakeContext) -> dict[str, Note]:
    """Returns the committed notes that the sink asks for with `note_keys`."""
    wanted = {key for delivery in deliveries for key in sink.note_keys(delivery)}
    return {key: context.notes[key] for key in sorted(wanted) if key in context.notes}


async def run_batch(
    sink: Sink[Any],
    deliveries: Sequence[Delivery],
    context: FakeContext,
    *,
    id: str = "batch-1",  # noqa: A002 - named as the field it fills
    started_at: int | None = None,
    maybe_sent: bool = False,
) -> Result:
    """Calls `deliver` once with the notes that the sink asks for, and commits the notes of its result to `context`.

    Raises what the sink raises; then only the notes of `save_notes` are committed. Raises `ValueError` for a wrong
    number of outcomes.
    """
    batch = Batch(
        id=id,
        started_at=context.now() if started_at is None else started_at,
        deliveries=tuple(deliveries),
        notes=notes_for(sink, deliveries, context),
        maybe_sent=maybe_sent,
    )
    result = await sink.deliver(batch, context)
    if len(result.outcomes) != len(batch.deliveries):
        raise ValueError(f"{len(batch.deliveries)} deliveries, but {len(result.outcomes)} outcomes")
    context.apply(result.notes)
    return result
