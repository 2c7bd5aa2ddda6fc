"""The state of periodic tasks: the last run of each, and the time of the next one. Functions on a connection."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, select

from connector.store.dialects import storable, upsert
from connector.store.schema import periodic_task


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


def put(connection: Connection, run: TaskRun) -> None:
    """Stores a run in place of the last one."""
    values = msgspec.structs.asdict(run) | {"error": storable(run.error)}
    values["result"] = msgspec.json.encode(_Result(counts=values.pop("counts"))).decode()
    upsert(connection, periodic_task, [values], ["name"])


def runs(connection: Connection) -> Mapping[str, TaskRun]:
    """Returns the last run of every task that ever ran, by name."""
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
