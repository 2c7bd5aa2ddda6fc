"""The processes that use a store: their heartbeats, and the runs of periodic tasks. Functions on an open connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec
from sqlalchemy import Connection, delete, select

from connector.store import schema
from connector.store.dialects import storable, upsert
from connector.store.rollup import count_refused
from connector.store.schema import periodic_task

BEAT_SECONDS = 10.0
"""Interval between two heartbeats."""
SILENT_SECONDS = 30.0
"""A process without a heartbeat for this time is silent: it hangs or has ended."""
FORGET_SECONDS = 3600.0
"""A process without a heartbeat for this time is removed, as is the run of a task that no process has any more."""


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


def deregister(connection: Connection, name: str, refused: Mapping[str, int], now: int) -> None:
    """Removes a process that ends at `now`, and stores what it refused since its last heartbeat, as `beat` does."""
    connection.execute(delete(schema.process).where(schema.process.c.name == name))
    if refused:
        count_refused(connection, refused, now)


def processes(connection: Connection, now: int) -> list[Process]:
    """Returns the processes, by name."""
    rows = connection.execute(select(schema.process).order_by(schema.process.c.name)).mappings()
    return [_with_state(Process(**row), now) for row in rows]


def _with_state(process: Process, now: int) -> Process:
    is_silent = now - process.seen_at > SILENT_SECONDS * 1000
    return msgspec.structs.replace(process, state="silent" if is_silent else "running")


class TaskRun(msgspec.Struct, frozen=True):
    """The last run of a periodic task. Times are epoch milliseconds; `error` is empty after a success.

    `succeeded_at` is the start of the last run without an error, `None` before the first one.
    """

    name: str
    started_at: int
    ended_at: int
    next_at: int
    error: str = ""
    counts: dict[str, int] = {}
    succeeded_at: int | None = None


class _Result(msgspec.Struct):
    """The stored JSON document of version 1."""

    v: int = 1
    counts: dict[str, int] = {}


def put_run(connection: Connection, run: TaskRun, tasks: Collection[str]) -> None:
    """Stores a run in place of the last one. `tasks` are all tasks of the process.

    Removes the runs of other tasks that were due `FORGET_SECONDS` ago: a setting or an upgrade ended those tasks.
    Processes of two versions may share a store for a while, so they are not removed at once.
    """
    values = msgspec.structs.asdict(run) | {"error": storable(run.error)}
    values["result"] = msgspec.json.encode(_Result(counts=values.pop("counts"))).decode()
    upsert(connection, periodic_task, [values], ["name"])
    overdue = periodic_task.c.next_at < run.ended_at - int(FORGET_SECONDS * 1000)
    connection.execute(delete(periodic_task).where(periodic_task.c.name.not_in(tasks), overdue))


def task_runs(connection: Connection) -> Mapping[str, TaskRun]:
    """Returns the last run of every task, by name."""
    rows = connection.execute(select(periodic_task).order_by(periodic_task.c.name))
    return {
        row.name: TaskRun(
            row.name,
            row.started_at,
            row.ended_at,
            row.next_at,
            row.error,
            _counts(row.result),
            row.succeeded_at,
        )
        for row in rows
    }


def _counts(text: str) -> dict[str, int]:
    """Returns the counts of a stored result, none when a newer version stored it."""
    try:
        return msgspec.json.decode(text, type=_Result).counts
    except msgspec.ValidationError:
        return {}
