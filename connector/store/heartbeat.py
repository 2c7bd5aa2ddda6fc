"""The heartbeats of the processes that use a store. Functions on an open connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from sqlalchemy import Connection, delete, select

from connector.store import schema
from connector.store.dialects import upsert
from connector.store.rollup import count_refused

BEAT_SECONDS = 10.0
"""Interval between two heartbeats."""
SILENT_SECONDS = 30.0
"""A process without a heartbeat for this time is silent: it hangs or has ended."""
FORGET_SECONDS = 3600.0
"""A process without a heartbeat for this time is removed."""


class Process(msgspec.Struct, frozen=True):
    """One process. `started_at` and `seen_at` are epoch milliseconds; `state` is `silent` without recent heartbeats.

    `name` is unique among the processes of a store; `host` and `pid` identify the process on its machine.
    """

    name: str
    role: str
    started_at: int
    seen_at: int
    state: Literal["running", "silent"] = "running"
    host: str = ""
    pid: int = 0
    version: str = ""


def beat(
    connection: Connection, process: Process, refused: Mapping[str, int] | None = None, *, alone: bool = False
) -> None:
    """Stores a heartbeat, and removes processes that have been silent for `FORGET_SECONDS`.

    `refused` are the requests that the process refused since its last heartbeat, by reason. `alone`: no other process
    can use the store, so all others have ended.
    """
    values = msgspec.structs.asdict(process)
    del values["state"]
    upsert(connection, schema.process, [values], ["name"])
    if refused:
        count_refused(connection, refused, process.seen_at)
    others = schema.process.c.name != process.name
    forgotten = schema.process.c.seen_at < process.seen_at - int(FORGET_SECONDS * 1000)
    connection.execute(delete(schema.process).where(others if alone else forgotten))


def deregister(connection: Connection, name: str) -> None:
    """Removes a process that ends."""
    connection.execute(delete(schema.process).where(schema.process.c.name == name))


def processes(connection: Connection, now: int) -> list[Process]:
    """Returns the processes, by name."""
    rows = connection.execute(select(schema.process).order_by(schema.process.c.name)).mappings()
    return [_judged(Process(**row), now) for row in rows]


def _judged(process: Process, now: int) -> Process:
    is_silent = now - process.seen_at > SILENT_SECONDS * 1000
    return msgspec.structs.replace(process, state="silent" if is_silent else "running")
