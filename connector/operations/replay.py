"""Replays deliveries, and events that an earlier version did not understand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeAlias, TypeVar

from sqlalchemy import Connection

from connector.config import Config
from connector.errors import UsageError
from connector.operations.sinks import make_routing_table, require_known
from connector.operations.store_access import OpenStore, now_in
from connector.store import replay
from connector.store.queries import Wanted
from connector.store.schema import DeliveryState

T = TypeVar("T")

CHUNK_PAUSE_SECONDS = 0.02
"""Pause between two transactions, so that a running service can write."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of finished rows and of all rows."""


class Replayable(StrEnum):
    """What can be replayed: deliveries by state, and events by kind."""

    DEAD = "dead"
    DISMISSED = "dismissed"
    DELIVERED = "delivered"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Selects what to replay. `None` and empty match everything. `since` and `until` are epoch milliseconds.

    Without a state it selects dead letters, and with ids or an event also dismissed and
    delivered deliveries.
    """

    ids: tuple[int, ...] = ()
    sink: str | None = None
    position: str | None = None
    interview: str | None = None
    event: int | None = None
    state: Replayable | None = None
    since: int | None = None
    until: int | None = None

    @property
    def is_empty(self) -> bool:
        named = (self.sink, self.position, self.interview, self.event, self.state, self.since, self.until)
        return not self.ids and all(value is None for value in named)

    @property
    def is_of_events(self) -> bool:
        return self.state in {Replayable.UNREADABLE, Replayable.UNKNOWN}

    @property
    def delivery_states(self) -> tuple[DeliveryState, ...]:
        if self.state is not None:
            return (DeliveryState[self.state.name],)
        is_named = bool(self.ids) or self.event is not None
        if not is_named:
            return (DeliveryState.DEAD,)
        return (DeliveryState.DEAD, DeliveryState.DISMISSED, DeliveryState.DELIVERED)


def require_valid(settings: Config, request: Request) -> None:
    """Raises `UsageError` for a request that selects nothing, names an unknown sink or mixes deliveries and events."""
    if request.is_empty:
        raise UsageError(
            "select what to replay: ids of deliveries, a sink, a position, an interview, an event, a state or a time"
        )
    if request.sink is not None:
        require_known(request.sink, settings.sinks)
    if request.is_of_events and (request.ids or request.sink is not None):
        raise UsageError(
            f"state {request.state} selects events: use it with an event, an interview, a position or a time, "
            "not with a sink or ids of deliveries"
        )


def find_deliveries(connection: Connection, settings: Config, request: Request) -> replay.Found:
    """Returns the deliveries that a request selects, with counts by sink and state."""
    wanted = Wanted(
        ids=request.ids,
        sink=request.sink,
        position=request.position,
        interview=request.interview,
        event=request.event,
        states=request.delivery_states,
        since=request.since,
        until=request.until,
    )
    return replay.find(connection, wanted, {name: entry.cls.state for name, entry in settings.sinks.items()})


def replay_deliveries(store: OpenStore, found: replay.Found, progress: Progress) -> int:
    """Makes deliveries pending again: dead and dismissed letters with their ids, delivered ones with new ids.

    Returns the number of pending deliveries.
    """
    dead, repeat = found.dead, found.repeat
    total = len(dead) + len(repeat)
    counts = in_chunks(
        store, dead, lambda connection, ids: replay.revive(connection, ids, now_in(connection)),
        lambda done: progress(done, total),
    )  # fmt: skip
    counts += in_chunks(
        store, repeat, lambda connection, ids: replay.repeat(connection, ids, now_in(connection)),
        lambda done: progress(len(dead) + done, total),
    )  # fmt: skip
    return sum(counts)


def find_events(connection: Connection, request: Request) -> list[int]:
    """Returns the ids of the events that a request selects."""
    wanted = Wanted(
        kind=str(request.state),
        event=request.event,
        interview=request.interview,
        position=request.position,
        since=request.since,
        until=request.until,
    )
    return replay.find_events(connection, wanted)


def replay_events(store: OpenStore, settings: Config, ids: Sequence[int], progress: Progress) -> replay.ReadAgain:
    """Parses stored events again; merges and routes those that this version knows."""
    routing = make_routing_table(settings)
    total = replay.ReadAgain()

    def read_again(connection: Connection, part: Sequence[int]) -> replay.ReadAgain:
        result = replay.ReadAgain()
        replay.read_again(connection, part, routing, now_in(connection), result)
        return result

    for result in in_chunks(store, ids, read_again, lambda done: progress(done, len(ids))):
        total.applied += result.applied
        total.repeats += result.repeats
        total.still += result.still
    return total


def in_chunks(
    store: OpenStore,
    ids: Sequence[int],
    work: Callable[[Connection, Sequence[int]], T],
    progress: Callable[[int], None],
) -> list[T]:
    """Runs one short transaction per chunk; returns the result of each."""
    results = []
    for start in range(0, len(ids), replay.CHUNK):
        part = ids[start : start + replay.CHUNK]
        results.append(store.change(partial(_apply, work, part)))
        progress(start + len(part))
        time.sleep(CHUNK_PAUSE_SECONDS)
    return results


def _apply(work: Callable[[Connection, Sequence[int]], T], part: Sequence[int], connection: Connection) -> T:
    return work(connection, part)
