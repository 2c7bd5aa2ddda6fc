"""How events enter the store: the queue and groups of waiting requests, and the plan of one group.

The plan is a pure function, the same for every database: events and stored rows in, rows to write out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from connector.errors import StoreUnavailable
from connector.hireflix.payload import EventKind, Reading
from connector.interview import Stage, Value
from connector.merge import State, decode, encode, merge, stage_of
from connector.routing import Routes
from connector.sink import Sink
from connector.store.base import Answer, Overloaded

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
)
INTERVIEW_COLUMNS = ("id", "state", "version", "position_id", "position_name", "stage", "updated_at", "entered")
DELIVERY_COLUMNS = ("sink", "key", "interview_id", "event_seq", "priority", "since", "silent")


DEFAULT_PRIORITY = 100
FILL_PRIORITY = 500
"""What is filled in comes after what happens now."""
FOLLOW_UP_PRIORITY = 1000
"""A follow-up comes after all events."""
VERIFY_PRIORITY = 2000
"""A verification comes after everything else, and does not count as pending."""


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """What planning needs to know of a sink. `edits`: a message sink that updates what it has shown."""

    state: bool
    priority: Mapping[str, int] = field(default_factory=dict)
    edits: bool = False


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The routes and the sinks they lead to. A sink outside `sinks` gets nothing."""

    routes: Routes
    sinks: Mapping[str, SinkSpec]
    states: frozenset[str] = field(init=False)
    """Names of the state sinks among them."""
    subscribing: frozenset[str] = field(init=False)
    """Names of those that get later events of an interview once a route chose one: all but chats that do not edit."""

    def __post_init__(self) -> None:
        states = frozenset(name for name, spec in self.sinks.items() if spec.state)
        edits = frozenset(name for name, spec in self.sinks.items() if spec.edits)
        object.__setattr__(self, "states", states)
        object.__setattr__(self, "subscribing", states | edits)

    @classmethod
    def of(cls, routes: Routes, sinks: Iterable[Sink[Any]]) -> Self:
        """For configured sinks."""
        return cls(routes, {s.name: SinkSpec(s.state, dict(s.priority), edits=s.edits and not s.state) for s in sinks})


class Incoming(NamedTuple):
    """One request: what was read from its body, and the body as it came."""

    reading: Reading
    body: bytes


class StoredInterview(NamedTuple):
    """An interview's row as read: the encoded state, its version, the sinks that show it (by comma)."""

    state: str
    version: int
    entered: str


@dataclass(slots=True)
class IngestPlan:
    """Rows to write, in the column order of `statements`, and what to tell whom."""

    answers: list[Answer] = field(default_factory=list)
    events: list[tuple[object, ...]] = field(default_factory=list)
    interviews: list[tuple[object, ...]] = field(default_factory=list)
    deliveries: list[tuple[object, ...]] = field(default_factory=list)
    woken: set[str] = field(default_factory=set)
    received: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    older: int = 0


@dataclass(slots=True)
class _Merged:
    """An interview as the events of a group change it; `stage` is known once one of them was applied."""

    state: State | None
    version: int
    entered: tuple[str, ...]
    stage: Stage = Stage.UNKNOWN


def plan_group(
    incoming: Sequence[Incoming],
    known: Mapping[str, int],
    stored: Mapping[str, StoredInterview],
    routing: RoutingTable,
    next_seq: int,
) -> IngestPlan:
    """Plans one transaction: new events numbered from `next_seq`, each interview written once, deliveries by route.

    `known` maps the identities that are stored already to their numbers and `stored` the interviews that exist.
    """
    plan = IngestPlan()
    seen = dict(known)
    merged: dict[str, _Merged] = {}
    for reading, body in incoming:
        seq = seen.get(reading.identity)
        if seq is not None:
            plan.answers.append(Answer(seq, duplicate=True))
            plan.duplicates += 1
            continue
        seq = seen[reading.identity] = next_seq
        next_seq += 1
        plan.answers.append(Answer(seq, duplicate=False))
        _add_event(plan, reading, body, seq)
        if reading.kind is EventKind.EVENT:
            apply_event(plan, reading, seq, _current(merged, stored, reading.interview_id), routing)
    plan.interviews = [_interview_row(id_, entry) for id_, entry in merged.items()]
    return plan


def plan_one(reading: Reading, seq: int, stored: StoredInterview | None, routing: RoutingTable) -> IngestPlan:
    """Plans the late application of an event that is stored already: merged and routed, no new event row."""
    plan = IngestPlan()
    merged: dict[str, _Merged] = {}
    existing = {} if stored is None else {reading.interview_id: stored}
    apply_event(plan, reading, seq, _current(merged, existing, reading.interview_id), routing)
    plan.interviews = [_interview_row(id_, entry) for id_, entry in merged.items()]
    return plan


def apply_event(plan: IngestPlan, reading: Reading, seq: int, entry: _Merged, routing: RoutingTable) -> None:
    """Merges one event into its interview and adds the deliveries that its routes ask for."""
    before = entry.state
    if before is not None and reading.occurred_at < before.base[0]:
        plan.older += 1
    state = entry.state = merge(before, reading)
    entry.stage = stage_of(state.values)
    sinks = _matching(routing.routes, reading.name, state.values, entry.stage)
    joined = [name for name in sinks if name in routing.subscribing and name not in entry.entered]
    if joined:
        entry.entered = tuple(sorted({*joined, *entry.entered}))
    id_, at = reading.interview_id, reading.received_at
    for name, silent in _receivers(sinks, entry.entered, routing):
        plan.woken.add(name)
        priority = routing.sinks[name].priority.get(reading.name, DEFAULT_PRIORITY)
        plan.deliveries.append((name, id_, id_, seq, priority, at, silent))


def _matching(routes: Routes, name: str, values: Mapping[str, Value], stage: Stage) -> tuple[str, ...]:
    return routes.match(name, text_of(values, "position_id"), text_of(values, "position_name"), stage, score_of(values))


def _receivers(sinks: Iterable[str], entered: Sequence[str], routing: RoutingTable) -> list[tuple[str, int]]:
    """The sinks that get an event, each with 1 when it is silent: the message sinks that the routes chose, the state
    sinks that the interview entered, and the chats that show it although no route chose this event.
    """
    chosen = [name for name in sinks if name not in routing.states and name in routing.sinks]
    known = [name for name in entered if name in routing.subscribing and name not in chosen]
    return [(name, 0) for name in chosen] + [(name, int(name not in routing.states)) for name in known]


def _current(merged: dict[str, _Merged], stored: Mapping[str, StoredInterview], interview_id: str) -> _Merged:
    entry = merged.get(interview_id)
    if entry is None:
        row = stored.get(interview_id)
        entry = (
            _Merged(None, 0, ())
            if row is None
            else _Merged(decode(row.state), row.version, subscribed_sinks(row.entered))
        )
        merged[interview_id] = entry
    return entry


def _add_event(plan: IngestPlan, reading: Reading, body: bytes, seq: int) -> None:
    label = reading.name if reading.kind is EventKind.EVENT else str(reading.kind)
    plan.received[label] = plan.received.get(label, 0) + 1
    for name in reading.unused:
        plan.unused[name] = plan.unused.get(name, 0) + 1
    plan.events.append(
        (
            seq,
            reading.identity,
            reading.sha256,
            str(reading.kind),
            reading.name,
            reading.interview_id,
            reading.occurred_at,
            reading.received_at,
            reading.remark,
            reading.reason,
            body,
        )
    )


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
        subscribed_text(entry.entered),
    )


def subscribed_sinks(text: str) -> tuple[str, ...]:
    """The sinks that show an interview, from `interview.entered`."""
    return tuple(text.split(",")) if text else ()


def subscribed_text(names: Iterable[str]) -> str:
    """What `interview.entered` holds: the names in one order, so that equal sets are equal texts."""
    return ",".join(sorted(set(names)))


def text_of(values: Mapping[str, Value], name: str) -> str:
    """A field as text, `""` when unknown or null."""
    value = values.get(name)
    return "" if value is None else str(value)


def score_of(values: Mapping[str, Value]) -> float | None:
    """The score, or `None`."""
    value = values.get("score")
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


GROUP_LIMIT = 512
"""Most requests in one transaction."""
GROUP_LEAST = 16
"""So many are never parted."""
GROUP_BYTES = 4 * 1024 * 1024
"""No request is added to a transaction whose bodies have this size already."""
INTAKE_BYTES = 64 * 1024 * 1024
"""Most bytes of bodies that wait."""


@dataclass(slots=True)
class Request:
    """An event that waits for its commit."""

    incoming: Incoming
    answer: asyncio.Future[Answer]


class Intake:
    """The queue of a writer; at most `limit` requests wait. Belongs to the loop that made it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._requests: deque[Request] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]:
        """Queues an event; the future is for the writer to resolve. Raises `Overloaded` when too many wait."""
        self.require_room()
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._requests.append(Request(Incoming(reading, body), future))
        self._bytes += len(body)
        return future

    def require_room(self) -> None:
        """Raises `Overloaded` when no further request may wait."""
        if len(self._requests) >= self._limit or self._bytes > INTAKE_BYTES:
            raise Overloaded("the intake is full")

    def next_group(self, limit: int = GROUP_LIMIT) -> list[Request]:
        """Takes the requests that go into the next transaction, at most `limit`."""
        group: list[Request] = []
        size = 0
        while self._requests and len(group) < limit and size < GROUP_BYTES:
            request = self._requests.popleft()
            size += len(request.incoming.body)
            group.append(request)
        self._bytes -= size
        return group

    def take_all(self) -> list[Request]:
        """Takes everything that waits."""
        taken = list(self._requests)
        self._requests.clear()
        self._bytes = 0
        return taken


def fair_share(waiting: int, answered: int) -> int:
    """How many of those that wait go into the next transaction, when so many have just been answered.

    About half of all there are, so that senders which wait for their answers form two groups: one is read and answered
    while the other is committed. In one group they would wait for the disk all together, and nobody had anything to do.
    When nobody was answered, nobody comes back while the others wait: all go.
    """
    if not answered:
        return GROUP_LIMIT
    return min(GROUP_LIMIT, max(GROUP_LEAST, (waiting + answered + 1) // 2))


def resolve(requests: Iterable[Request], answers: Iterable[Answer]) -> None:
    """Tells each request its answer; one that nobody waits for any more is passed over."""
    for request, answer in zip(requests, answers, strict=True):
        if not request.answer.done():
            request.answer.set_result(answer)


def refuse(futures: Iterable[asyncio.Future[Any]], reason: str) -> None:
    """Tells them that the store took nothing, each with an exception of its own."""
    for future in futures:
        if not future.done():
            future.set_exception(StoreUnavailable(f"the store takes no writes: {reason}"))
