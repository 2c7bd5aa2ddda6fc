"""Replays deliveries, and events that an earlier version could not read; dismisses dead letters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection

from connector.capabilities import Progress
from connector.config import Config
from connector.errors import UsageError
from connector.formats import counted
from connector.operations.sinks import make_routing_table, require_known
from connector.operations.store_access import OpenStore, now_in
from connector.store import audit, queries, replay
from connector.store.queries import ListingFilter
from connector.store.schema import AuditAction, DeliveryState
from connector.text import clean

T = TypeVar("T")

CHUNK_PAUSE_SECONDS = 0.02
"""Pause between two transactions, so that a running service can write."""

REASON_MAX = 300
"""Characters of the reason of a dismissal. The listing has to show it beside the reason of the failure."""


DISMISSED = {False: ("dead letter", "dead letters"), True: ("delivery", "deliveries")}
"""What a dismissal settles, in the singular and the plural, by whether the sink was removed."""


class Replayable(StrEnum):
    """What can be replayed: deliveries by state, and events by kind."""

    DEAD = "dead"
    DISMISSED = "dismissed"
    DELIVERED = "delivered"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
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
    reason: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def is_empty(self) -> bool:
        named = (self.sink, self.position, self.interview, self.event, self.state, self.reason, self.since, self.until)
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


def require_valid(settings: Config, request: ReplayRequest) -> None:
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


def wanted_deliveries(request: ReplayRequest) -> ListingFilter:
    """Returns the filter of a request for deliveries."""
    return ListingFilter(
        ids=request.ids,
        sink=request.sink,
        position=request.position,
        interview=request.interview,
        event=request.event,
        states=request.delivery_states,
        reason=request.reason,
        since=request.since,
        until=request.until,
    )


def wanted_events(request: ReplayRequest) -> ListingFilter:
    """Returns the filter of a request for events."""
    return ListingFilter(
        kind=str(request.state),
        event=request.event,
        interview=request.interview,
        position=request.position,
        since=request.since,
        until=request.until,
    )


def find_deliveries(connection: Connection, settings: Config, request: ReplayRequest) -> replay.ReplaySelection:
    """Returns the deliveries that a request selects, with counts by sink and state."""
    sinks = {name: entry.cls.state for name, entry in settings.sinks.items()}
    return replay.find_deliveries(connection, wanted_deliveries(request), sinks)


class ReplayEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay does at one sink.

    `states` are the numbers of deliveries by their present state. `rows` are the interviews that a state sink writes,
    each once. `messages` is the most that a message sink posts; it is fewer where the sink knows these facts already.
    """

    sink: str
    states: Mapping[str, int]
    rows: int | None = None
    messages: int | None = None

    @property
    def deliveries(self) -> int:
        return sum(self.states.values())

    @property
    def text(self) -> str:
        """A line such as `hiring_sheet: 12 deliveries (12 delivered), 9 rows`."""
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        line = f"{self.sink}: {counted(self.deliveries, 'delivery', 'deliveries')} ({states})"
        if self.rows is not None:
            return f"{line}, {counted(self.rows, 'row', 'rows')}"
        if not self.messages:
            return f"{line}, no new message; messages are updated, or a digest counts them"
        line = f"{line}, at most {counted(self.messages, 'new message', 'new messages')}"
        is_all = self.messages == self.deliveries
        return line if is_all else f"{line}; the others update messages, or a digest counts them"


def effects(settings: Config, found: replay.ReplaySelection) -> list[ReplayEffect]:
    """Returns what a replay of these deliveries does, by sink."""
    states: dict[str, dict[str, int]] = {}
    for (name, state), count in sorted(found.counts.items()):
        states.setdefault(name, {})[state] = count
    messages: Counter[str] = Counter()
    for (name, event), count in found.notifying.items():
        if not event or settings.sinks[name].config.announces(event):
            messages[name] += count
    return [
        ReplayEffect(sink=name, states=of_sink, messages=messages[name])
        if name in found.message_sinks
        else ReplayEffect(sink=name, states=of_sink, rows=found.rows[name])
        for name, of_sink in states.items()
    ]


def replay_deliveries(
    store: OpenStore, request: ReplayRequest, found: replay.ReplaySelection, progress: Progress, *, actor: str
) -> int:
    """Makes deliveries pending again: dead and dismissed letters with their ids, delivered ones with new ids.

    `actor` is who asks, for the audit log. Returns the number of pending deliveries.
    """
    dead, repeat = found.dead, found.repeat
    total = len(dead) + len(repeat)
    entry = AuditEntry(actor, AuditAction.REPLAY, selection(wanted_deliveries(request)), f"{total} deliveries")
    counts = in_chunks(
        store, dead, lambda connection, ids: replay.revive(connection, ids, now_in(connection), found.message_sinks),
        lambda done: progress(done, total), entry,
    )  # fmt: skip
    counts += in_chunks(
        store, repeat, lambda connection, ids: replay.repeat(connection, ids, now_in(connection), found.message_sinks),
        lambda done: progress(len(dead) + done, total), None if dead else entry,
    )  # fmt: skip
    return sum(counts)


def find_events(connection: Connection, request: ReplayRequest) -> replay.EventSelection:
    """Returns the events that a request selects."""
    return replay.find_events(connection, wanted_events(request))


def replay_events(
    store: OpenStore, settings: Config, request: ReplayRequest, ids: Sequence[int], progress: Progress, *, actor: str
) -> replay.ReadAgain:
    """Parses stored events again; merges and routes those that this version knows.

    `actor` is who asks, for the audit log.
    """
    routing = make_routing_table(settings)
    total = replay.ReadAgain()
    entry = AuditEntry(actor, AuditAction.REPLAY, selection(wanted_events(request)), f"{len(ids)} events")

    def read_again(connection: Connection, part: Sequence[int]) -> replay.ReadAgain:
        result = replay.ReadAgain()
        replay.read_again(connection, part, routing, now_in(connection), result)
        return result

    for result in in_chunks(store, ids, read_again, lambda done: progress(done, len(ids)), entry):
        total.applied += result.applied
        total.repeats += result.repeats
        total.still += result.still
    return total


class AuditEntry(NamedTuple):
    """The row of the audit log about an operation that has several transactions."""

    actor: str
    action: AuditAction
    target: str
    detail: str


def selection(wanted: ListingFilter) -> str:
    """Returns the filter of an operation in words, for the audit log."""
    parts = {
        "delivery": ",".join(map(str, wanted.ids)),
        "sink": wanted.sink,
        "position": wanted.position,
        "interview": wanted.interview,
        "event": wanted.event,
        "kind": wanted.kind,
        "state": ",".join(state.name.lower() for state in wanted.states),
        "reason": wanted.reason,
        "since": wanted.since,
        "until": wanted.until,
    }
    return " ".join(f"{name}={value}" for name, value in parts.items() if value not in {None, ""})


def in_chunks(
    store: OpenStore,
    ids: Sequence[int],
    work: Callable[[Connection, Sequence[int]], T],
    progress: Callable[[int], None],
    entry: AuditEntry | None,
) -> list[T]:
    """Runs one short transaction per chunk; returns the result of each. The first one writes the audit log."""
    results = []
    for start in range(0, len(ids), replay.CHUNK):
        part = ids[start : start + replay.CHUNK]
        results.append(store.change(partial(_apply, work, part, None if start else entry)))
        progress(start + len(part))
        time.sleep(CHUNK_PAUSE_SECONDS)
    return results


def _apply(
    work: Callable[[Connection, Sequence[int]], T],
    part: Sequence[int],
    entry: AuditEntry | None,
    connection: Connection,
) -> T:
    if entry is not None:
        audit.record(connection, *entry, now=now_in(connection))
    return work(connection, part)


def valid_reason(wanted: ListingFilter, reason: str) -> str:
    """Returns the reason without control characters.

    Raises `UsageError` for a request that selects nothing, and a reason that is empty or too long.
    """
    if wanted == ListingFilter():
        raise UsageError(
            "select what to dismiss: ids of deliveries, a sink, a position, an interview, an event or a time"
        )
    cleaned = clean(reason).strip()
    if not cleaned or len(cleaned) > REASON_MAX:
        raise UsageError(f"--reason: give a reason of 1 to {REASON_MAX} characters")
    return cleaned


def removed(settings: Config, wanted: ListingFilter) -> frozenset[str]:
    """Returns the sink that a selection names if no lane delivers to it, so that a dismissal settles all of it."""
    return frozenset({wanted.sink} if wanted.sink and wanted.sink not in settings.sinks else ())


def find_dismissible(connection: Connection, settings: Config, wanted: ListingFilter) -> dict[str, list[int]]:
    """Returns the ids of the deliveries that a dismissal settles, by sink.

    Raises `UsageError` for a sink that is neither configured nor in the store.
    """
    if wanted.sink is not None:
        require_known(wanted.sink, {*settings.sinks, *queries.sink_names(connection)})
    return replay.find_dead(connection, wanted, removed(settings, wanted))


def dismiss(
    store: OpenStore,
    settings: Config,
    wanted: ListingFilter,
    ids: Sequence[int],
    progress: Progress,
    *,
    reason: str,
    actor: str,
) -> int:
    """Settles these deliveries, which `find_dismissible` found, as dismissed. Returns the number of those still open.

    `actor` is who asks, for the audit log.
    """
    without_lane = removed(settings, wanted)
    entry = AuditEntry(actor, AuditAction.DISMISS, selection(wanted), f"{len(ids)} {DISMISSED[bool(without_lane)][1]}")
    counts = in_chunks(
        store,
        ids,
        lambda connection, part: replay.dismiss(connection, part, reason, now_in(connection), without_lane),
        lambda done: progress(done, len(ids)),
        entry,
    )
    return sum(counts)
