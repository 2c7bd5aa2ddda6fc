"""Rate tokens by GCRA (ITU-T I.371, the virtual scheduling form), shared by all processes through their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy import Connection, select

from connector.errors import Wait
from connector.sink import Token
from connector.store.portable import among, upsert
from connector.store.schema import bucket


def take(connection: Connection, tokens: Sequence[Token], now: int) -> None:
    """Takes one token of each bucket or none at all. Raises `Wait` for the bucket that opens last."""
    full_at = _full_at(connection, [token.bucket for token in tokens])
    rows: dict[str, dict[str, object]] = {}
    worst: Wait | None = None
    for token in tokens:
        step = math.ceil(1000 / token.rate)
        burst_ms = step * (token.burst - 1)
        at = max(full_at.get(token.bucket, 0), now)
        if at - burst_ms > now and (worst is None or (at - burst_ms - now) / 1000 > worst.seconds):
            worst = Wait(token.bucket, (at - burst_ms - now) / 1000)
        full_at[token.bucket] = at + step
        rows[token.bucket] = {"name": token.bucket, "full_at": at + step, "burst_ms": burst_ms}
    if worst is not None:
        raise worst
    upsert(connection, bucket, list(rows.values()), ["name"])


def close(connection: Connection, name: str, seconds: float, now: int) -> None:
    """No token from this bucket for `seconds`, for anybody; a bucket that is shut for longer stays so."""
    row = connection.execute(select(bucket.c.full_at, bucket.c.burst_ms).where(bucket.c.name == name)).first()
    burst_ms = 0 if row is None else row.burst_ms
    opens_at = now + math.ceil(seconds * 1000)
    full_at = max(opens_at + burst_ms, 0 if row is None else row.full_at)
    upsert(connection, bucket, [{"name": name, "full_at": full_at, "burst_ms": burst_ms}], ["name"])


def opens_at(connection: Connection, name: str) -> int:
    """When the bucket has a token again, epoch milliseconds; 0 when nobody has used it."""
    row = connection.execute(select(bucket.c.full_at, bucket.c.burst_ms).where(bucket.c.name == name)).first()
    return 0 if row is None else int(row.full_at - row.burst_ms)


def _full_at(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    rows = connection.execute(select(bucket.c.name, bucket.c.full_at).where(among(connection, bucket.c.name, names)))
    return {row.name: row.full_at for row in rows}
