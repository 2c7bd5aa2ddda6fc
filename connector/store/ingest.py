"""Ingest of a group of events: a pure plan of the rows, and the statements that write them to any database.

`plan_group` takes events and stored rows and returns the rows to write. `write_group` reads what the plan needs and
writes its rows, in the order of `TABLES`. A new table needs a line there and its rows in the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from hashlib import sha256
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, Table, bindparam, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from connector.errors import ConnectorError
from connector.hireflix.payload import SILENT_MARKS, SYNTHETIC_MARKS, EventKind, Reading, read
from connector.interview import Stage, Value, score_of, text_of
from connector.merge import InterviewState, changed_at, decode, encode, merge, stage_of
from connector.routing import Routes
from connector.sink import Sink, SinkConfig
from connector.store import parsed, words
from connector.store.base import IngestResult
from connector.store.dialects import (
    Statement,
    has_row_locks,
    listed,
    listed_values,
    new_numbers,
    notifications,
    numbers_of,
    run_together,
)
from connector.store.rollup import RECEIVED_COLUMNS, hour_of, received_rows
from connector.store.schema import (
    delivery,
    event,
    event_body,
    interview,
    interview_word,
    rollup,
    subscription,
    tombstone,
)
from connector.store.words import WORD_COLUMNS

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
)
BODY_COLUMNS = ("event_seq", "received_at", "body", "parsed")
INTERVIEW_COLUMNS = ("id", "state", "version", "position_id", "position_name", "stage", "updated_at")
SUBSCRIPTION_COLUMNS = ("sink", "interview_id")
DELIVERY_COLUMNS = ("sink", "key", "interview_id", "event_seq", "priority", "since", "silent")


ROWS_MAX = 64
"""Rows of one statement. The driver gives way to other threads once per statement, so a statement per row would let the
writer wait for the event loop at every row.
"""
SYNTHETIC_LABEL = "synthetic"
"""Counts events that the connector made, in the place of the name of the event."""
DEFAULT_PRIORITY = 100
FILL_PRIORITY = 500
"""Priority of backfilled interviews: after new events."""
FOLLOW_UP_PRIORITY = 1000
"""Priority of a follow-up: after all events."""
VERIFY_PRIORITY = 2000
"""Priority of a verification: after everything else. A verification does not count as pending."""


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


class IncomingEvent(NamedTuple):
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
    bodies: list[tuple[object, ...]] = field(default_factory=list)
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

    state: InterviewState | None
    version: int
    sinks: tuple[str, ...]
    stage: Stage = Stage.UNKNOWN
    before: InterviewState | None = None
    """The stored state."""


def plan_group(
    incoming: Sequence[IncomingEvent],
    known: Mapping[str, int],
    stored: Mapping[str, StoredInterview],
    routing: RoutingTable,
    numbers: Iterator[int],
    *,
    erased: Collection[str] = (),
) -> IngestPlan:
    """Plans one transaction: new events numbered by `numbers`, each interview written once, deliveries by route.

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
        if reading.mark not in SYNTHETIC_MARKS:
            new.append(reading)
        seq = seen[reading.identity] = next(numbers)
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
    if before is not None and reading.occurred_at < changed_at(before):
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
        )
    )
    if body is not None:
        plan.bodies.append((seq, reading.received_at, body, parsed.encode(reading)))


def _label(reading: Reading) -> str:
    """Returns the name of a known event, else its kind, so that the number of labels is bounded."""
    if reading.mark in SYNTHETIC_MARKS:
        return SYNTHETIC_LABEL
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
        changed_at(state),
    )


def hashes_of(interview_ids: Iterable[str]) -> dict[str, str]:
    """Returns interview ids by their hash: what a tombstone keeps of an erased one."""
    return {sha256(id_.encode()).hexdigest(): id_ for id_ in interview_ids}


class RowWrite(Enum):
    """How the rows of a plan are written."""

    INSERT = auto()
    """They are new, unless the plan is wrong."""
    INSERT_OR_REPLAN = auto()
    """They are new, unless another receiver was faster: `GroupConflict`."""
    INSERT_OR_KEEP = auto()
    """A row that exists stays."""
    NEXT_VERSION = auto()
    """A row that exists is updated if it has the version that the plan was made from, else `GroupConflict`."""
    ADD = auto()
    """Numbers are added to those of a row that exists."""
    DELETE = auto()
    """They are deleted."""


class GroupConflict(ConnectorError):
    """Another receiver stored the same events or interviews, so the group must be read and planned again."""


class PlannedTable(NamedTuple):
    """A table that a plan writes: the attribute of `IngestPlan` with its rows, their columns, and how they are written.

    Rows are written in the order of `sort_by`, if given, so that two receivers lock rows in the same order.
    """

    table: Table
    rows: str
    columns: Sequence[str]
    write: RowWrite
    sort_by: str | None = None


TABLES = (
    PlannedTable(event, "events", EVENT_COLUMNS, RowWrite.INSERT_OR_REPLAN, "identity"),
    PlannedTable(event_body, "bodies", BODY_COLUMNS, RowWrite.INSERT),
    PlannedTable(interview, "interviews", INTERVIEW_COLUMNS, RowWrite.NEXT_VERSION, "id"),
    PlannedTable(subscription, "subscriptions", SUBSCRIPTION_COLUMNS, RowWrite.INSERT_OR_KEEP),
    PlannedTable(interview_word, "old_words", WORD_COLUMNS, RowWrite.DELETE),
    PlannedTable(interview_word, "words", WORD_COLUMNS, RowWrite.INSERT_OR_KEEP),
    PlannedTable(delivery, "deliveries", DELIVERY_COLUMNS, RowWrite.INSERT),
    PlannedTable(rollup, "rollup", RECEIVED_COLUMNS, RowWrite.ADD),
)
"""In the order in which they are written: a row comes after those that it refers to. The counts are the last, so that a
receiver that waits for them keeps no other one waiting.
"""
_CONFLICT = "other receivers stored the same events or interviews at the same time"
FOREIGN_KEY_VIOLATION = "23503"
"""PostgreSQL, Appendix A, Error Codes."""
_CHECKED = {RowWrite.INSERT_OR_REPLAN, RowWrite.NEXT_VERSION}


@cache
def _reads(dialect: str) -> tuple[str, ...]:
    """Returns the queries for what a plan needs; each has one parameter, a list.

    An erase locks the table of tombstones (`connector.store.erase.exclude_receivers`), which conflicts with the row
    locks of the first query, held until the commit. So an erase either waits for this group and finds its events, or
    the group reads the tombstone. Interviews are locked in the order of their ids, so that receivers merge into one
    interview one after the other and cannot deadlock. A query that waits for a lock sees other tables as they were
    before, so the subscriptions come after the locks, in a query of their own.
    """
    queries = (
        select(tombstone.c.interview_hash)
        .where(listed(dialect, tombstone.c.interview_hash))
        .with_for_update(read=True, key_share=True),
        select(interview.c.id, interview.c.state, interview.c.version)
        .where(listed(dialect, interview.c.id))
        .order_by(interview.c.id)
        .with_for_update(key_share=True),
        select(subscription.c.sink, subscription.c.interview_id).where(listed(dialect, subscription.c.interview_id)),
        select(event.c.identity, event.c.seq).where(listed(dialect, event.c.identity)),
    )
    return tuple(str(query.compile(dialect=_POSITIONAL[dialect])) for query in queries)


def write_group(connection: Connection, incoming: Sequence[IncomingEvent], routing: RoutingTable) -> IngestPlan:
    """Reads what a group needs, plans it and writes it. Returns the plan; the caller commits.

    Raises `GroupConflict` when another receiver stored the same events or interviews meanwhile.
    """
    plan = _planned(connection, incoming, routing)
    written = [(planned, rows) for planned in TABLES for rows in _portions(connection, planned, plan)]
    statements = [_writing(connection, planned, rows) for planned, rows in written]
    if has_row_locks(connection):
        statements += notifications(plan.woken)
    try:
        results = run_together(connection, statements)
    except Exception as error:
        if getattr(error, "sqlstate", None) == FOREIGN_KEY_VIOLATION:  # a row about an event that was not inserted
            raise GroupConflict(_CONFLICT) from error
        raise
    for (planned, rows), done in zip(written, results, strict=False):
        if planned.write in _CHECKED and done.changed < len(rows):
            raise GroupConflict(_CONFLICT)
    return plan


def _planned(connection: Connection, incoming: Sequence[IncomingEvent], routing: RoutingTable) -> IngestPlan:
    dialect = connection.dialect.name
    ids = sorted({each.reading.interview_id for each in incoming if each.reading.interview_id})
    identities = list({each.reading.identity for each in incoming})
    hashes = hashes_of(ids)
    values = (list(hashes), ids, ids, identities)
    queries = [(text, (listed_values(dialect, each),)) for text, each in zip(_reads(dialect), values, strict=True)]
    done = run_together(connection, [*queries, new_numbers(dialect, len(identities))])
    erased, states, subscriptions, repeats, numbers = (each.rows for each in done)
    return plan_group(
        incoming,
        dict(repeats),
        stored_interviews(states, subscriptions),
        routing,
        numbers_of(dialect, numbers),
        erased={hashes[hash_] for (hash_,) in erased},
    )


def try_group(connection: Connection, routing: RoutingTable, now: int) -> None:
    """Writes a group and rolls it back, so that it fails whenever events would be refused."""
    event_of_probe = IncomingEvent(read(_PROBE, now), _PROBE)
    connection.exec_driver_sql("SAVEPOINT probe")
    write_group(connection, [event_of_probe], routing)
    connection.exec_driver_sql("ROLLBACK TO SAVEPOINT probe")
    connection.exec_driver_sql("RELEASE SAVEPOINT probe")


_PROBE = b'{"event": "interview.create", "date": 1, "data": {"id": "probe"}}'


def _portions(connection: Connection, planned: PlannedTable, plan: IngestPlan) -> Iterator[Sequence[Sequence[object]]]:
    """Yields the rows of a table, for one statement each."""
    rows: Sequence[Sequence[object]] = getattr(plan, planned.rows)
    if planned.sort_by is not None and has_row_locks(connection):
        place = planned.columns.index(planned.sort_by)
        rows = sorted(rows, key=lambda row: str(row[place]))
    for start in range(0, len(rows), ROWS_MAX):
        yield rows[start : start + ROWS_MAX]


def _writing(connection: Connection, planned: PlannedTable, rows: Sequence[Sequence[object]]) -> Statement:
    """Returns the statement that writes the rows: values on SQLite; on PostgreSQL an array for each column, which
    costs the driver a third less.
    """
    if has_row_locks(connection):
        return _statement(planned, 1, "postgresql"), tuple(list(column) for column in zip(*rows, strict=True))
    return _statement(planned, len(rows), "sqlite"), tuple(chain.from_iterable(rows))


_POSITIONAL = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": postgresql.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]  # SQLAlchemy types it so
}


@cache
def _statement(planned: PlannedTable, count: int, dialect: str) -> str:
    """Returns SQL text for the driver, with the columns of each row as positional parameters.

    Compiling and binding through SQLAlchemy for each row would cost twice the time of the driver.
    """
    table = planned.table
    values: dict[str, Any] = {name: bindparam(name) for name in planned.columns}
    statement: Any = (postgresql if dialect == "postgresql" else sqlite).insert(table).inline().values(values)
    keys = list(table.primary_key)
    written = {name: statement.excluded[name] for name in planned.columns if name not in table.primary_key}
    match planned.write:
        case RowWrite.INSERT:
            pass
        case RowWrite.DELETE:
            key, markers = ", ".join(planned.columns), ", ".join(["?"] * len(planned.columns))
            text = f"DELETE FROM {table} WHERE ({key}) IN (VALUES ({markers}))"  # noqa: S608 - names of the schema
            return _with_rows(text, planned, count, dialect)
        case RowWrite.INSERT_OR_REPLAN | RowWrite.INSERT_OR_KEEP:
            statement = statement.on_conflict_do_nothing()
        case RowWrite.NEXT_VERSION:
            follows = statement.excluded.version == table.c.version + literal_column("1")
            statement = statement.on_conflict_do_update(index_elements=keys, set_=written, where=follows)
        case RowWrite.ADD:
            sums = {name: table.c[name] + value for name, value in written.items()}
            statement = statement.on_conflict_do_update(index_elements=keys, set_=sums)
    compiled = statement.compile(dialect=_POSITIONAL[dialect])
    assert tuple(compiled.positiontup or ()) == tuple(planned.columns)  # the order of the table, and of the rows
    return _with_rows(str(compiled), planned, count, dialect)


def _with_rows(statement: str, planned: PlannedTable, count: int, dialect: str) -> str:
    """Returns a statement that has one row of VALUES with parameters for `count` rows, or for arrays of any length."""
    before, values, rest = statement.partition("VALUES (")
    row, end, after = rest.partition(")")
    if dialect == "postgresql":
        types = (planned.table.c[name].type.compile(_POSITIONAL[dialect]).partition(" ")[0] for name in planned.columns)
        arrays = ", ".join(f"%s::{each}[]" for each in types)
        return f"{before}SELECT * FROM unnest({arrays}){after}"  # noqa: S608 - types of the schema
    return before + values + f"{row}), (" * (count - 1) + row + end + after
