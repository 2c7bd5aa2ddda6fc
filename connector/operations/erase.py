"""Erases a person: from the store, then from every destination that can be reached, with a receipt."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing, suppress
from functools import partial
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from connector.capabilities import Erases, can_erase
from connector.config import Config, SinkEntry
from connector.errors import StoreUnavailable, UsageError
from connector.operations.store_access import OpenStore, changing, now, now_in
from connector.operations.verify import WORKERS_SECONDS, RunningLane, has_workers
from connector.store import audit, leases
from connector.store import erase as store_erase
from connector.store.erase import Step, Subject
from connector.store.ingest import hashes_of
from connector.store.schema import Action, DeliveryState
from connector.store.sqlite import database, tombstones
from connector.store.status import sinks as sink_states

WAIT_SECONDS = 60.0
"""Longest wait for the destinations; what is not done then stays queued."""
POLL_SECONDS = 0.3
"""Time between two reads of the state of the deliveries."""
COMPACT_SECONDS = 30.0
"""Longest wait until a running service leaves a moment to compact the store."""

OUT_OF_REACH = (
    "backups and copies of the store, of a workbook and of the logs",
    "what the console and webhook sinks passed on",
    "Hireflix itself",
)
"""What no erase reaches, whatever the configuration."""
CANNOT_ERASE = "the sink cannot change what it has sent: remove it at the destination"
POSTGRES_OUT_OF_REACH = "the write-ahead log of PostgreSQL and rows that VACUUM has not removed yet"


class Destination(msgspec.Struct, frozen=True):
    """The result at one sink for one interview: `erased`, `nothing there`, `waiting`, `failed` or `not possible`."""

    sink: str
    type: str
    interview_id: str
    result: str
    detail: str = ""


class Receipt(msgspec.Struct, frozen=True):
    """What was erased, where and when (epoch milliseconds), and what was not and why. Has no personal data.

    `store` counts rows. `complete`: nothing waits and nothing failed; `out_of_reach` is outside of what erase can do.
    """

    at: int
    interviews: list[str]
    store: dict[str, int]
    destinations: list[Destination]
    out_of_reach: list[str]
    complete: bool


def find(settings: Config, interview_id: str | None, email: str | None) -> list[Subject]:
    """Returns the interviews to erase, for the preview. Raises `UsageError` and `StoreError`."""
    if (interview_id is None) == (email is None):
        raise UsageError("name one INTERVIEW, or --email ADDRESS for all interviews of a person")

    def query(connection: Connection) -> list[Subject]:
        ids = [interview_id] if interview_id else store_erase.ids_by_email(connection, email or "")
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
        tombstones.add(path, dict.fromkeys(hashes_of(interview_ids), now()))
    entries = [entry for entry in settings.sinks.values() if can_erase(entry.cls, entry.config)]
    with changing(settings) as store:
        counts = Counter[str]()
        for id_ in interview_ids:
            counts.update(store.change(partial(_erase, interview_id=id_, entries=entries, actor=actor)))
        await _wait(store, settings, interview_ids, running_lane, wait_seconds)
        for id_ in interview_ids:
            store.change(partial(store_erase.finish, interview_id=id_))
        at, done, paused = store.read(lambda connection: _results(connection, interview_ids))
    if path is not None:
        await asyncio.to_thread(compact, path)
    destinations = [_destination(step, settings, paused) for step in done]
    destinations += [
        Destination(entry.name, entry.type, id_, "not possible", CANNOT_ERASE)
        for id_ in interview_ids
        for entry in settings.sinks.values()
        if entry not in entries
    ]
    return Receipt(
        at,
        list(interview_ids),
        dict(counts),
        destinations,
        _out_of_reach(settings, entries),
        complete=not any(each.result in {"waiting", "failed"} for each in destinations),
    )


def _erase(connection: Connection, interview_id: str, entries: Sequence[SinkEntry], actor: str) -> dict[str, int]:
    store_erase.exclude_receivers(connection)
    leases.register(connection, {entry.name: entry.type for entry in entries})
    names = [entry.name for entry in entries]
    at = now_in(connection)
    done = store_erase.erase(connection, interview_id, names, at)
    (hash_,) = hashes_of([interview_id])
    audit.record(connection, actor, Action.ERASE, hash_, f"{done.events} events", now=at)
    return {
        "events": done.events,
        "unreadable events": done.unreadable,
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
    paused = _paused(connection)
    steps = store_erase.steps(connection, interview_ids)
    return {step.sink for step in steps if step.state is DeliveryState.PENDING and step.sink not in paused}


def _paused(connection: Connection) -> dict[str, str]:
    states = sink_states(connection, now_in(connection), None)
    return {each.name: f"paused: {each.reason}; {each.fix}" for each in states if each.state == "paused"}


def _results(connection: Connection, interview_ids: Sequence[str]) -> tuple[int, list[Step], dict[str, str]]:
    return now_in(connection), store_erase.steps(connection, interview_ids), _paused(connection)


_RESULTS = {
    DeliveryState.DELIVERED: "erased",
    DeliveryState.SUPERSEDED: "nothing there",
    DeliveryState.DISMISSED: "failed",
    DeliveryState.DEAD: "failed",
    DeliveryState.PENDING: "waiting",
    DeliveryState.WAITING: "waiting",
}


def _destination(step: Step, settings: Config, paused: dict[str, str]) -> Destination:
    entry = settings.sinks.get(step.sink)
    result, detail = _RESULTS[step.state], step.detail
    if result == "waiting":
        detail = paused.get(step.sink, detail)
    return Destination(step.sink, entry.type if entry else "", step.interview_id, result, detail)


def _out_of_reach(settings: Config, entries: Sequence[SinkEntry]) -> list[str]:
    found = list(OUT_OF_REACH)
    if settings.store.file is None:
        found.append(POSTGRES_OUT_OF_REACH)
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
            connection.execute("VACUUM")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"the person is erased, but the store was not compacted: {database.safe_message(error)}; run it again"
        ) from error
    if busy:
        raise StoreUnavailable(
            "the person is erased, but the log of the store could not be emptied while the service reads; run it again"
        )
