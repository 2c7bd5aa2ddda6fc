"""Rate limits by GCRA (ITU-T I.371, virtual scheduling), shared by all processes through the table `bucket`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from connector.errors import RateLimited
from connector.sink import Token
from connector.store.dialects import Now, among, has_row_locks, insert_new, upsert, value_of
from connector.store.schema import bucket


class Bucket(NamedTuple):
    """A row of `bucket`: `full_at` is when all tokens are available again, the first one `burst_ms` before that."""

    full_at: int = 0
    burst_ms: int = 0


_UNUSED = Bucket()


def taken(buckets: Mapping[str, Bucket], tokens: Sequence[Token], now: int) -> dict[str, Bucket]:
    """Returns the buckets of the tokens after one token of each was taken.

    Raises `RateLimited` for the bucket with the longest wait when one of them has no token.
    """
    after: dict[str, Bucket] = {}
    waits = []
    for token in tokens:
        before = after.get(token.bucket) or buckets.get(token.bucket, _UNUSED)
        step = math.ceil(1000 / token.rate)
        burst_ms = step * (token.burst - 1)
        # the stored burst counts too: a bucket may be blocked before its burst is known
        blocked_until = before.full_at - min(burst_ms, before.burst_ms)
        if blocked_until > now:
            waits.append(RateLimited(token.bucket, (blocked_until - now) / 1000))
        after[token.bucket] = Bucket(max(before.full_at, now) + step, burst_ms)
    if waits:
        raise max(waits, key=lambda wait: wait.seconds)
    return after


def blocked(before: Bucket | None, seconds: float, now: int) -> Bucket:
    """Returns the bucket after it was blocked for `seconds`. One that is blocked for longer stays so."""
    before = before or _UNUSED
    full_at = now + math.ceil(seconds * 1000) + before.burst_ms
    return Bucket(max(full_at, before.full_at), before.burst_ms)


def take(connection: Connection, tokens: Sequence[Token], now: Now) -> None:
    """Takes one token of each bucket, or none. Raises `RateLimited` for the bucket with the longest wait."""
    before = _buckets(connection, [token.bucket for token in tokens])
    after = taken(before, tokens, value_of(connection, now))
    upsert(connection, bucket, [{"name": name, **each._asdict()} for name, each in after.items()], ["name"])


def block(connection: Connection, name: str, seconds: float, now: Now) -> None:
    """Blocks a bucket for `seconds`, for all processes. A bucket that is blocked for longer stays so."""
    before = _buckets(connection, [name]).get(name)
    after = blocked(before, seconds, value_of(connection, now))
    upsert(connection, bucket, [{"name": name, **after._asdict()}], ["name"])


def blocked_until(connection: Connection, name: str) -> int:
    """Returns when the bucket has a token again (epoch milliseconds); 0 for a bucket that was never used."""
    statement = select(bucket.c.full_at - bucket.c.burst_ms).where(bucket.c.name == name)
    return int(connection.execute(statement).scalar() or 0)


def _buckets(connection: Connection, names: Sequence[str]) -> dict[str, Bucket]:
    # rows are locked in one order where the database has row locks, so that two transactions cannot deadlock
    if has_row_locks(connection):  # a row that does not exist cannot be locked
        insert_new(connection, bucket, [{"name": name, **_UNUSED._asdict()} for name in sorted(set(names))], ["name"])
    statement = (
        select(bucket.c.name, bucket.c.full_at, bucket.c.burst_ms)
        .where(among(connection, bucket.c.name, names))
        .order_by(bucket.c.name)
        .with_for_update()
    )
    return {row.name: Bucket(row.full_at, row.burst_ms) for row in connection.execute(statement)}
