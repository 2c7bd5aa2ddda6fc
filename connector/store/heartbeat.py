"""The heartbeats of the processes that share a store. Functions on an open connection."""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import Connection, delete, select

from connector.store.dialects import upsert
from connector.store.schema import meta

PREFIX = "process:"
"""Prefix of the keys of processes in `meta`."""
BEAT_SECONDS = 10.0
"""Interval between two heartbeats."""
SILENT_SECONDS = 30.0
"""A process without a heartbeat for this time is silent: it hangs or has ended."""
FORGET_SECONDS = 3600.0
"""A process without a heartbeat for this time is removed."""


class Process(msgspec.Struct, frozen=True):
    """One process. `started_at` and `seen_at` are epoch milliseconds; `state` is `silent` without recent heartbeats."""

    name: str
    role: str
    started_at: int
    seen_at: int
    state: Literal["running", "silent"] = "running"


def beat(connection: Connection, process: Process) -> None:
    """Stores a heartbeat, and removes processes that have been silent for `FORGET_SECONDS`."""
    value = msgspec.json.encode(process).decode()
    upsert(connection, meta, [{"key": PREFIX + process.name, "value": value}], ["key"])
    for other in _all(connection):
        if process.seen_at - other.seen_at > FORGET_SECONDS * 1000:
            deregister(connection, other.name)


def deregister(connection: Connection, name: str) -> None:
    """Removes a process that ends."""
    connection.execute(delete(meta).where(meta.c.key == PREFIX + name))


def processes(connection: Connection, now: int) -> list[Process]:
    """Returns the processes, by name."""
    return [_judged(process, now) for process in _all(connection)]


def _all(connection: Connection) -> list[Process]:
    mine = meta.c.key.startswith(PREFIX, autoescape=True)
    rows = connection.execute(select(meta.c.value).where(mine).order_by(meta.c.key)).scalars()
    return [msgspec.json.decode(value, type=Process) for value in rows]


def _judged(process: Process, now: int) -> Process:
    is_silent = now - process.seen_at > SILENT_SECONDS * 1000
    return msgspec.structs.replace(process, state="silent" if is_silent else "running")
