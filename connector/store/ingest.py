"""How events enter the store: the queue and groups of waiting requests, and the plan of one group.

The plan is a pure function, the same for every database: events and stored rows in, rows to write out.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from connector.errors import StoreUnavailable
from connector.hireflix.payload import SILENT_MARKS, EventKind, Reading
from connector.interview import Stage, Value
from connector.merge import State, decode, encode, merge, stage_of
from connector.routing import Routes
from connector.sink import Sink, SinkConfig
from connector.store import parsed, words
from connector.store.base import IngestResult, Overloaded
from connector.store.rollup import hour_of, received_rows

EVENT_COLUMNS = (
    "seq",
    "identity",
    "sha256",
    "kind",
    "name",
    "interview_id",
    "occurred_at",
    "received_at",
    "mark",
    "reason",
    "body",
    "parsed",
)
INTERVIEW_COLUMNS = ("id", "state", "version", "position_id", "position_name", "stage", "updated_at")
SUBSCRIPTION_COLUMNS = ("sink", "interview_id")
DELIVERY_COLUMNS = ("sink", "key", "interview_id", "event_seq", "priority", "since", "silent")


DEFAULT_PRIORITY = 100
FILL_PRIORITY = 500
"""Backfilled interviews come after new events."""
FOLLOW_UP_PRIORITY = 1000
"""A follow-up comes after all events."""
VERIFY_PRIORITY = 2000
"""A verification comes after everything else, and does not count as pending."""


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """The properties of a sink that planning needs. `edits`: a message sink that updates its messages."""

    state: bool
    priority: Mapping[str, int] = field(default_factory=dict)
    edits: bool = False


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The routes and their sinks. A sink that is not in `sinks` receives nothing."""

    routes: Routes
    sinks: Mapping[str, SinkSpec]
    renamed: Mapping[str, str] = field(default_factory=dict)
    """New names of renamed sinks by the old ones. A receiver may see a subscription before a worker moves it."""
    states: frozenset[str] = field(init=False)
    """Names of the state sinks."""
    subscribing: frozenset[str] = field(init=False)
    """Sinks that receive all later events of an interview after a route matched one: state sinks, and message sinks
    that edit their messages.
    """

    def __post_init__(self) -> None:
        states = frozenset(name for name, spec in self.sinks.items() if spec.state)
        edits = frozenset(name for name, spec in self.sinks.items() if spec.edits)
        object.__setattr__(self, "states", states)
        object.__setattr__(self, "subscribing", states | edits)

    @classmethod
    def of(
        cls,
        routes: Routes,
        sinks: Mapping[str, tuple[type[Sink[Any]], SinkConfig]],
        renamed: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Returns the table for configured sinks: name -> class and settings. Needs no secret of a sink."""
        specs = {
            name: SinkSpec(kind.state, dict(kind.priority), edits=config.edits and not kind.state)
            for name, (kind, config) in sinks.items()
        }
        return cls(routes, specs, renamed)

    def present_names(self, sinks: Iterable[str]) -> tuple[str, ...]:
        """Returns the sinks by their present names, sorted."""
        return tuple(sorted({self.renamed.get(name, name) for name in sinks})) if self.renamed else tuple(sinks)


class Incoming(NamedTuple):
    """One webhook: the parsed event and the raw body."""

    reading: Reading
    body: bytes


class StoredInterview(NamedTuple):
    """What is stored about an interview: encoded state, version, and the names of the subscribed sinks, sorted."""

    state: str
    version: int
    sinks: tuple[str, ...] = ()


def stored_interviews(
    states: Iterable[tuple[str, str, int]], subscriptions: Iterable[tuple[str, str]]
) -> dict[str, StoredInterview]:
    """Returns the interviews by id, from rows (id, state, version) and (sink, interview id)."""
    sinks: dict[str, list[str]] = {}
    for name, id_ in sorted(subscriptions):
        sinks.setdefault(id_, []).append(name)
    return {id_: StoredInterview(state, version, tuple(sinks.get(id_, ()))) for id_, state, version in states}


@dataclass(slots=True)
class IngestPlan:
    """The rows that a transaction writes, in the column order above, the answers, and counts for the metrics."""

    answers: list[IngestResult] = field(default_factory=list)
    events: list[tuple[object, ...]] = field(default_factory=list)
    interviews: list[tuple[object, ...]] = field(default_factory=list)
    subscriptions: list[tuple[str, str]] = field(default_factory=list)
    """New ones only. Their interviews exist or are in `interviews`."""
    words: list[tuple[str, str]] = field(default_factory=list)
    """New words of the search, with their interviews."""
    old_words: list[tuple[str, str]] = field(default_factory=list)
    """Words that their interviews no longer have."""
    deliveries: list[tuple[object, ...]] = field(default_factory=list)
    woken: set[str] = field(default_factory=set)
    received: dict[str, int] = field(default_factory=dict)
    rollup: list[tuple[object, ...]] = field(default_factory=list)
    """Counts to add to those of the hour."""
    unused: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    older: int = 0


@dataclass(slots=True)
class _Merged:
    """An interview while the events of a group are merged into it. `stage` is valid after the first of them."""

    state: State | None
    version: int
    sinks: tuple[str, ...]
    stage: Stage = Stage.UNKNOWN
    before: State | None = None
    """The stored state."""


def plan_group(
    incoming: Sequence[Incoming],
    known: Mapping[str, int],
    stored: Mapping[str, StoredInterview],
    routing: RoutingTable,
    next_seq: int,
    *,
    erased: Collection[str] = (),
) -> IngestPlan:
    """Plans one transaction: new events numbered from `next_seq`, each interview written once, deliveries by route.

    `known` maps the identities that are stored already to their numbers and `stored` the interviews that exist.
    Of an event about an `erased` interview the row is written, without its body and parsed fields.
    """
    plan = IngestPlan()
    seen = dict(known)
    merged: dict[str, _Merged] = {}
    new: list[Reading] = []
    for reading, body in incoming:
        seq = seen.get(reading.identity)
        if seq is not None:
            plan.answers.append(IngestResult(seq, duplicate=True))
            plan.duplicates += 1
            continue
        new.append(reading)
        seq = seen[reading.identity] = next_seq
        next_seq += 1
        plan.answers.append(IngestResult(seq, duplicate=False))
        is_erased = reading.interview_id in erased
        _add_event(plan, reading, None if is_erased else body, seq)
        if reading.kind is EventKind.EVENT and not is_erased:
            apply_event(plan, reading, seq, _current(merged, stored, reading.interview_id, routing), routing)
    _add_interviews(plan, merged)
    plan.rollup = received_rows(Counter((_label(each), hour_of(each.received_at)) for each in new))
    return plan


def plan_one(reading: Reading, seq: int, stored: StoredInterview | None, routing: RoutingTable) -> IngestPlan:
    """Plans the late application of an event that is stored already: merged and routed, no new event row."""
    plan = IngestPlan()
    merged: dict[str, _Merged] = {}
    existing = {} if stored is None else {reading.interview_id: stored}
    apply_event(plan, reading, seq, _current(merged, existing, reading.interview_id, routing), routing)
    _add_interviews(plan, merged)
    return plan


def apply_event(plan: IngestPlan, reading: Reading, seq: int, entry: _Merged, routing: RoutingTable) -> None:
    """Merges one event into its interview and adds the deliveries that its routes ask for."""
    before = entry.state
    if before is not None and reading.occurred_at < before.base[0]:
        plan.older += 1
    state = entry.state = merge(before, reading)
    entry.stage = stage_of(state.values)
    is_silent = reading.mark in SILENT_MARKS
    sinks = _matching(routing, None if is_silent else reading.name, state.values, entry.stage)
    id_, at = reading.interview_id, reading.received_at
    joined = sorted({name for name in sinks if name in routing.subscribing and name not in entry.sinks})
    if joined:
        entry.sinks = tuple(sorted([*joined, *entry.sinks]))
        plan.subscriptions += [(name, id_) for name in joined]
    for name, silent in _receivers(sinks, entry.sinks, routing):
        plan.woken.add(name)
        priority = FILL_PRIORITY if is_silent else routing.sinks[name].priority.get(reading.name, DEFAULT_PRIORITY)
        plan.deliveries.append((name, id_, id_, seq, priority, at, silent))


def _matching(routing: RoutingTable, name: str | None, values: Mapping[str, Value], stage: Stage) -> tuple[str, ...]:
    """Returns the sinks whose routes match. Without the name of an event, as in a backfill, only state sinks."""
    about = (text_of(values, "position_id"), text_of(values, "position_name"), stage, score_of(values))
    if name is not None:
        return routing.routes.match(name, *about)
    return tuple(sink for sink in sorted(routing.states) if routing.routes.entry(sink, *about))


def _receivers(sinks: Iterable[str], subscribed: Sequence[str], routing: RoutingTable) -> list[tuple[str, int]]:
    """Returns the sinks that receive an event, each with 1 when the delivery is silent.

    These are the message sinks of the matching routes, and the subscribed sinks. A subscribed message sink whose routes
    do not match is silent.
    """
    chosen = [name for name in sinks if name not in routing.states and name in routing.sinks]
    known = [name for name in subscribed if name in routing.subscribing and name not in chosen]
    return [(name, 0) for name in chosen] + [(name, int(name not in routing.states)) for name in known]


def _current(
    merged: dict[str, _Merged], stored: Mapping[str, StoredInterview], interview_id: str, routing: RoutingTable
) -> _Merged:
    entry = merged.get(interview_id)
    if entry is None:
        row = stored.get(interview_id)
        if row is None:
            entry = _Merged(None, 0, ())
        else:
            state = decode(row.state)
            entry = _Merged(state, row.version, routing.present_names(row.sinks), before=state)
        merged[interview_id] = entry
    return entry


def _add_event(plan: IngestPlan, reading: Reading, body: bytes | None, seq: int) -> None:
    label = _label(reading)
    plan.received[label] = plan.received.get(label, 0) + 1
    for name in reading.unused:
        plan.unused[name] = plan.unused.get(name, 0) + 1
    plan.events.append(
        (
            seq,
            reading.identity,
            b"" if body is None else reading.sha256,
            str(reading.kind),
            reading.name,
            reading.interview_id,
            reading.occurred_at,
            reading.received_at,
            reading.marks,
            reading.reason,
            body,
            None if body is None else parsed.encode(reading),
        )
    )


def _label(reading: Reading) -> str:
    """Returns the name of a known event, else its kind, so that the number of labels is bounded."""
    return reading.name if reading.kind is EventKind.EVENT else str(reading.kind)


def _add_interviews(plan: IngestPlan, merged: Mapping[str, _Merged]) -> None:
    """Adds the rows of the merged interviews, and their words where name or e-mail address changed."""
    plan.interviews = [_interview_row(id_, entry) for id_, entry in merged.items()]
    for id_, entry in merged.items():
        before = {} if entry.before is None else entry.before.values
        after = {} if entry.state is None else entry.state.values
        if words.have_changed(before, after):
            old, new = words.words_of(before), words.words_of(after)
            plan.words += [(word, id_) for word in sorted(new - old)]
            plan.old_words += [(word, id_) for word in sorted(old - new)]


def _interview_row(interview_id: str, entry: _Merged) -> tuple[object, ...]:
    state = entry.state
    assert state is not None
    values = state.values
    return (
        interview_id,
        encode(state),
        entry.version + 1,
        text_of(values, "position_id"),
        text_of(values, "position_name"),
        entry.stage.value,
        state.base[0],
    )


def hashes_of(interview_ids: Iterable[str]) -> dict[str, str]:
    """Returns interview ids by their hash: what a tombstone keeps of an erased one."""
    return {sha256(id_.encode()).hexdigest(): id_ for id_ in interview_ids}


def text_of(values: Mapping[str, Value], name: str) -> str:
    """Returns a field as text, `""` when it is unknown or null."""
    value = values.get(name)
    return "" if value is None else str(value)


def score_of(values: Mapping[str, Value]) -> float | None:
    """Returns the score, or `None`."""
    value = values.get("score")
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


GROUP_LIMIT = 512
"""Largest number of requests in one transaction."""
GROUP_MIN = 16
"""A group of up to this number of requests is not split in two."""
GROUP_BYTES = 4 * 1024 * 1024
"""A transaction takes no further request when its bodies have reached this size."""
INTAKE_BYTES = 64 * 1024 * 1024
"""Largest total size of waiting bodies."""


@dataclass(slots=True)
class Request:
    """An event that waits for its commit."""

    incoming: Incoming
    answer: asyncio.Future[IngestResult]


class Intake:
    """The queue of a writer. At most `limit` requests wait. Used only on the event loop that created it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._requests: deque[Request] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        """Queues an event; the writer resolves the future. Raises `Overloaded` when the queue is full."""
        self.require_room()
        future: asyncio.Future[IngestResult] = self._loop.create_future()
        self._requests.append(Request(Incoming(reading, body), future))
        self._bytes += len(body)
        return future

    def require_room(self) -> None:
        """Raises `Overloaded` when the queue is full."""
        if len(self._requests) >= self._limit or self._bytes > INTAKE_BYTES:
            raise Overloaded("the intake is full")

    def next_group(self, limit: int = GROUP_LIMIT) -> list[Request]:
        """Removes and returns the requests of the next transaction, at most `limit`."""
        group: list[Request] = []
        size = 0
        while self._requests and len(group) < limit and size < GROUP_BYTES:
            request = self._requests.popleft()
            size += len(request.incoming.body)
            group.append(request)
        self._bytes -= size
        return group

    def take_all(self) -> list[Request]:
        """Removes and returns all waiting requests."""
        taken = list(self._requests)
        self._requests.clear()
        self._bytes = 0
        return taken


def fair_share(waiting: int, answered: int) -> int:
    """Returns how many of `waiting` requests the next transaction takes, when the last one answered `answered`.

    It takes about half of the outstanding requests, so that one half is received and parsed while the other half is
    written to the disk. With a single group, clients and disk would be idle in turns. When the last transaction
    answered no request there is nothing to overlap with, and the limit is the size of a group.
    """
    if not answered:
        return GROUP_LIMIT
    return min(GROUP_LIMIT, max(GROUP_MIN, (waiting + answered + 1) // 2))


def resolve(requests: Iterable[Request], answers: Iterable[IngestResult]) -> None:
    """Sets the answer of each request; a cancelled one is skipped."""
    for request, answer in zip(requests, answers, strict=True):
        if not request.answer.done():
            request.answer.set_result(answer)


def refuse(futures: Iterable[asyncio.Future[Any]], reason: str) -> None:
    """Fails the futures with `StoreUnavailable`, each with its own exception."""
    for future in futures:
        if not future.done():
            future.set_exception(StoreUnavailable(f"the store takes no writes: {reason}"))
