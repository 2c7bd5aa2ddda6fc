"""Reconcile: compares the store with the API of Hireflix, and adds an event for each difference.

One small call per position compares its counters; pages are read only where they differ, or all of them in a complete
run. An interview that is not listed counts as deleted only when Hireflix does not know its id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from connector.capabilities import Progress
from connector.hireflix.api import Counters
from connector.hireflix.snapshot import DELETED, Position, id_of
from connector.interview import Stage
from connector.operations.source import SourceReader, put
from connector.store import source
from connector.store.source import RECONCILE_KEY, Compared, Reconcile

SETTLE_SECONDS = 120.0
"""A scheduled run ignores changes of this time, because their webhooks may still arrive."""
HELD_ABOVE = 10
HELD_SHARE = 0.2
"""More deletions at once than both the number and the share of the stored interviews must be confirmed: a wrong API key
or an incomplete listing must not empty a sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to reconcile. `complete` reads every page. `scheduled`: without an operator, see `SETTLE_SECONDS`.

    `accept` adds deletions that must be confirmed. `asked_at` identifies the request of a command.
    """

    complete: bool = True
    scheduled: bool = False
    accept: bool = False
    asked_at: int | None = None


@dataclass(slots=True)
class _Gone:
    """Interviews that Hireflix does not know any more, and when it was asked (epoch milliseconds)."""

    position: Position
    ids: set[str]
    at: int


@dataclass(slots=True)
class _Found:
    """What one run found so far."""

    interviews: int = 0
    pages: int = 0
    added: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    gone: list[_Gone] = field(default_factory=list)
    theirs: dict[str, str] = field(default_factory=dict)


async def reconcile(reader: SourceReader, options: Options, progress: Progress) -> Reconcile:
    """Runs one reconcile and stores its result. Raises `OtherAccount` and the exceptions of `HireflixApi`."""
    return await _Run(reader, options).run(progress)


class _Run:
    """One run of reconcile."""

    def __init__(self, reader: SourceReader, options: Options) -> None:
        self._reader = reader
        self._options = options
        self._found = _Found()
        self._settled_before = reader.now() - int(SETTLE_SECONDS * 1000) if options.scheduled else None

    async def run(self, progress: Progress) -> Reconcile:
        store = self._reader.store
        before = await store.query(lambda connection: source.read(connection, RECONCILE_KEY, Reconcile)) or Reconcile()
        listed = await self._reader.positions()
        ours = await store.query(source.counts)
        known = {each.id: each.name for each in listed}
        renamed = await store.query(lambda connection: source.renamed(connection, known))
        unlisted = await store.query(lambda connection: source.positions(connection, known))
        wanted = [*listed, *unlisted]
        for number, position in enumerate(wanted):
            progress(number, len(wanted))
            last = before.positions.get(position.id)
            await self._compare(position, ours.get(position.id, {}), last, is_renamed=position.id in renamed)
        held = await self._delete(sum(sum(stages.values()) for stages in ours.values()))
        progress(len(wanted), len(wanted))
        result = await self._result(before, held)
        await put(store, RECONCILE_KEY, result)
        return result

    async def _compare(
        self, position: Position, ours: Mapping[Stage, int], last: Compared | None, *, is_renamed: bool
    ) -> None:
        """Compares the counters of a position, and its pages where they or the name of the position differ."""
        counters = await self._reader.api.counters(position.id)
        if counters is None:
            await self._take_gone(position)
            return
        self._found.interviews += counters.total
        theirs = self._found.theirs[position.id] = _text(counters)
        same = Compared(theirs, _text_of(ours))
        if self._options.complete or is_renamed or not (_are_equal(counters, ours) or same == last):
            await self._read(position)

    async def _take_gone(self, position: Position) -> None:
        """Collects the interviews of a position that Hireflix does not know any more."""
        reader = self._reader
        present = await reader.store.query(lambda connection: source.present_at(connection, position.id))
        row, at = await reader.api.interview(min(present)) if present else (None, 0)
        if present and row is None:  # an interview that exists has moved to another position, and is found there
            self._found.gone.append(_Gone(position, present, at))

    async def _read(self, position: Position) -> None:
        seen: set[str] = set()
        async for page, stage in self._reader.pages(position):
            self._found.pages += 1
            seen.update(id_of(row) for row in page.rows)
            self._found.added += await self._reader.take(position, page, stage, settled_before=self._settled_before)
        self._found.seen |= seen
        store = self._reader.store
        present = await store.query(lambda connection: source.present_at(connection, position.id))
        for id_ in sorted(present - seen):
            row, at = await self._reader.api.interview(id_)
            if row is None:
                self._found.gone.append(_Gone(position, {id_}, at))

    async def _delete(self, stored: int) -> int:
        """Adds the deletions. Returns the number of those that an operator must confirm first."""
        for gone in self._found.gone:
            gone.ids -= self._found.seen  # an interview that moved to another position
        count = sum(len(gone.ids) for gone in self._found.gone)
        if count > HELD_ABOVE and count > stored * HELD_SHARE and not self._options.accept:
            return count
        for gone in self._found.gone:
            self._found.added[DELETED] += await self._reader.delete(gone.position, gone.ids, gone.at)
        return 0

    async def _result(self, before: Reconcile, held: int) -> Reconcile:
        store, found, options = self._reader.store, self._found, self._options
        ours = await store.query(source.counts)
        webhook_at = await store.query(source.last_webhook_at)
        now = self._reader.now()
        added = {name: count for name, count in found.added.items() if count}
        missed = sum(added.values()) if options.scheduled else before.missed
        return Reconcile(
            ended_at=now,
            complete_at=now if options.complete else before.complete_at,
            asked_at=options.asked_at or before.asked_at,
            interviews=found.interviews,
            pages=found.pages,
            added=added,
            held=held,
            missed=missed,
            silent_since=_silent_since(before, webhook_at, missed if options.scheduled else 0, now),
            positions={
                id_: Compared(theirs, _text_of(ours.get(id_, {}))) for id_, theirs in sorted(found.theirs.items())
            },
        )


def _silent_since(before: Reconcile, webhook_at: int | None, missed: int, now: int) -> int | None:
    """Returns since when changes are found in Hireflix and no webhook arrives, `None` when webhooks arrive."""
    if before.ended_at is not None and (webhook_at or 0) >= before.ended_at:
        return None
    if before.silent_since is not None and (webhook_at or 0) < before.silent_since:
        return before.silent_since
    return (webhook_at or before.ended_at or now) if missed else None


def _are_equal(counters: Counters, ours: Mapping[Stage, int]) -> bool:
    if counters.stages is None:
        return counters.total == sum(ours.values())
    return {stage: count for stage, count in counters.stages.items() if count} == dict(ours)


def _text(counters: Counters) -> str:
    return f"total={counters.total}" if counters.stages is None else _text_of(counters.stages)


def _text_of(counts: Mapping[Stage, int]) -> str:
    return " ".join(f"{stage}={count}" for stage, count in sorted(counts.items()) if count)
