"""Erases a person: from the store, then from every destination that can be reached, with a receipt."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from connector.capabilities import Erases, can_erase
from connector.config import Config, SinkEntry
from connector.errors import StoreUnavailable, UsageError
from connector.operations.store_access import OpenStore, changing, now, now_in
from connector.operations.verify import WORKERS_SECONDS, RunningLane, has_workers
from connector.store import audit, leases
from connector.store import erase as store_erase
from connector.store.erase import DestinationErase, Subject
from connector.store.ingest import hashes_of
from connector.store.schema import AuditAction, DeliveryState
from connector.store.sqlite import backup, database

WAIT_SECONDS = 60.0
"""Longest wait for the destinations; what is not done then stays queued."""
POLL_SECONDS = 0.3
"""Time between two reads of the state of the deliveries."""
COMPACT_SECONDS = 30.0
"""Longest wait until a running service leaves a moment to compact the store."""

OUT_OF_REACH = (
    "backups and copies of the store, of a workbook and of the logs",
    "destinations that a sink had before its settings changed",
    "what the console and webhook sinks passed on",
    "cells, messages and files that users wrote",
    "Hireflix itself",
)
"""What no erase can remove, with any configuration."""
CANNOT_ERASE = "the sink cannot change what it has sent: remove it at the destination"
POSTGRES_OUT_OF_REACH = "the write-ahead log and the backups of PostgreSQL and rows that VACUUM has not removed yet"


class Destination(msgspec.Struct, frozen=True):
    """The result at one sink for one interview, with what was done or why not.

    `result` is `erased`, `nothing there`, `waiting` (it is tried again), `failed` (a dead letter), `dismissed` (an
    operator decided that it is not tried again) or `not possible`.
    """

    sink: str
    type: str
    interview_id: str
    result: str
    detail: str = ""


class Receipt(msgspec.Struct, frozen=True):
    """What was erased, where and when (epoch milliseconds), and what was not and why. Has no personal data.

    `store` counts rows. `problems` are what could not be done in the store, to be repeated. `complete`: nothing waits,
    nothing failed and there are no problems; `out_of_reach` is outside of what erase can do.
    """

    at: int
    interviews: list[str]
    store: dict[str, int]
    destinations: list[Destination]
    problems: list[str]
    out_of_reach: list[str]
    complete: bool


def find_interviews(settings: Config, interview_ids: Sequence[str], email: str | None) -> list[Subject]:
    """Returns the interviews to erase that the store knows, for the preview. Raises `UsageError` and `StoreError`."""
    if bool(interview_ids) == bool(email):
        raise UsageError("name an INTERVIEW, or --email ADDRESS for all interviews of a person")

    def query(connection: Connection) -> list[Subject]:
        ids = list(dict.fromkeys(interview_ids)) if email is None else store_erase.ids_by_email(connection, email)
        return [found for id_ in ids if (found := store_erase.subject(connection, id_)) is not None]

    with changing(settings) as store:
        return store.read(query)


async def erase(
    settings: Config,
    interview_ids: Sequence[str],
    running_lane: RunningLane,
    *,
    actor: str,
    wait_seconds: float = WAIT_SECONDS,
) -> Receipt:
    """Erases the interviews, waits for the destinations and returns the receipt.

    Can be repeated: what is done stays done, what waits is waited for, and what failed is tried again. `actor` is who
    asks, for the audit log. Raises `StoreError`.
    """
    path = settings.store.file
    if path is not None:
        backup.add_tombstones(path, dict.fromkeys(hashes_of(interview_ids), now()))
    entries = _erasing(settings)
    with changing(settings) as store:
        counts = Counter[str]()
        for id_ in interview_ids:
            counts["unreadable events"] += store.change(partial(store_erase.strip_unreadable, interview_id=id_))
            counts.update(store.change(partial(_erase, interview_id=id_, entries=entries, actor=actor)))
        await _wait(store, settings, interview_ids, running_lane, wait_seconds)
        for id_ in interview_ids:
            store.change(partial(store_erase.finish, interview_id=id_))
        results = store.read(lambda connection: _results(connection, interview_ids))
    problems = []
    if path is not None:
        try:
            await asyncio.to_thread(compact, path)
        except StoreUnavailable as error:
            problems.append(str(error))
    return _receipt(settings, interview_ids, counts, results, problems)


def _erasing(settings: Config) -> list[SinkEntry]:
    """Returns the configured sinks that can erase."""
    return [entry for entry in settings.sinks.values() if can_erase(entry.cls, entry.config)]


def _receipt(
    settings: Config,
    interview_ids: Sequence[str],
    counts: Mapping[str, int],
    results: _Results,
    problems: list[str],
) -> Receipt:
    entries = _erasing(settings)
    destinations = [_destination(step, settings, results.pauses) for step in results.steps]
    destinations += [
        Destination(entry.name, entry.type, id_, "not possible", CANNOT_ERASE)
        for id_ in interview_ids
        for entry in settings.sinks.values()
        if entry not in entries
    ]
    return Receipt(
        results.at,
        list(interview_ids),
        dict(counts),
        destinations,
        problems,
        _out_of_reach(settings, entries, results.pauses),
        complete=not problems and not any(each.result in {"waiting", "failed"} for each in destinations),
    )


def _erase(connection: Connection, interview_id: str, entries: Sequence[SinkEntry], actor: str) -> dict[str, int]:
    store_erase.exclude_receivers(connection)
    leases.register(connection, {entry.name: entry.type for entry in entries})
    names = [entry.name for entry in entries]
    at = now_in(connection)
    done = store_erase.erase(connection, interview_id, names, at)
    (hash_,) = hashes_of([interview_id])
    audit.record(connection, actor, AuditAction.ERASE, hash_, f"{done.events} events", now=at)
    return {
        "events": done.events,
        "deliveries": done.deliveries,
        "dead letters": done.dead,
        "answers of destinations": done.attempts,
    }


async def _wait(
    store: OpenStore, settings: Config, interview_ids: Sequence[str], running_lane: RunningLane, seconds: float
) -> None:
    """Waits for the lanes of a running service, or runs the lanes, until all is done or the time is over."""

    def pending() -> set[str]:
        return store.read(lambda connection: _pending(connection, interview_ids))

    if store.read(has_workers) and await _until(lambda: not pending(), min(WORKERS_SECONDS, seconds)):
        return
    for name in sorted(pending() & settings.sinks.keys()):
        async with AsyncExitStack() as lane:
            with suppress(UsageError):  # a service holds the SQLite store, and runs the lanes
                await lane.enter_async_context(running_lane(settings, settings.sinks[name]))
            await _until(lambda name=name: name not in pending(), seconds)  # type: ignore[misc]


async def _until(is_done: Callable[[], bool], seconds: float) -> bool:
    """Polls until it is done, or the time is over. Returns whether it is done."""
    for _ in range(int(seconds / POLL_SECONDS)):
        if is_done():
            return True
        await asyncio.sleep(POLL_SECONDS)
    return is_done()


def _pending(connection: Connection, interview_ids: Sequence[str]) -> set[str]:
    """Returns the sinks with an erase that is pending and that are not paused."""
    pauses = _pauses(connection)
    steps = store_erase.steps(connection, interview_ids)
    return {step.sink for step in steps if step.state is DeliveryState.PENDING and not pauses.get(step.sink)}


def _pauses(connection: Connection) -> dict[str, str]:
    """Returns why each sink that the store knows is paused, `""` for one that is not."""
    return {
        row.name: "" if row.paused is None else f"paused: {row.reason}; {row.fix}" for row in leases.rows(connection)
    }


class _Results(NamedTuple):
    """What the store says at the end: the time, the state at each destination, and the pauses of all sinks."""

    at: int
    steps: list[DestinationErase]
    pauses: dict[str, str]


def _results(connection: Connection, interview_ids: Sequence[str]) -> _Results:
    return _Results(now_in(connection), store_erase.steps(connection, interview_ids), _pauses(connection))


_RESULTS = {
    DeliveryState.DELIVERED: "erased",
    DeliveryState.SUPERSEDED: "nothing there",
    DeliveryState.DISMISSED: "dismissed",
    DeliveryState.DEAD: "failed",
    DeliveryState.PENDING: "waiting",
    DeliveryState.WAITING: "waiting",
}


def _destination(step: DestinationErase, settings: Config, pauses: Mapping[str, str]) -> Destination:
    entry = settings.sinks.get(step.sink)
    result, detail = _RESULTS[step.state], step.detail
    if result == "waiting":
        detail = pauses.get(step.sink) or detail
    return Destination(step.sink, entry.type if entry else "", step.interview_id, result, detail)


def _out_of_reach(settings: Config, entries: Sequence[SinkEntry], known: Collection[str]) -> list[str]:
    found = list(OUT_OF_REACH)
    if settings.store.file is None:
        found.append(POSTGRES_OUT_OF_REACH)
    else:
        found += [f"{copy}: a copy of the store; delete it" for copy in database.copies_of(settings.store.file)]
    found += [f"{name}: a sink that is no longer configured" for name in known if name not in settings.sinks]
    for entry in entries:
        sink = entry.cls(entry.name, entry.config)
        assert isinstance(sink, Erases)
        found += [f"{entry.name}: {each}" for each in sink.erase_leaves()]
    return found


def compact(path: Path) -> None:
    """Writes the SQLite file without free pages and empties its log, so that no deleted value stays on the disk.

    A running service takes no webhooks meanwhile. Raises `StoreUnavailable` when it leaves no moment for that.
    """
    try:
        with closing(database.connect(path)) as connection:
            connection.execute(f"PRAGMA busy_timeout={int(COMPACT_SECONDS * 1000)}")
            is_log_empty = database.compact(connection)
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"the store was not compacted, its free pages may hold deleted values: {database.safe_message(error)}"
        ) from error
    if not is_log_empty:
        raise StoreUnavailable(
            "the log of the store could not be emptied while another program reads it, it may hold deleted values"
        )
