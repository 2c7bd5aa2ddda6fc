"""The tasks of a service that use the API of Hireflix: the first backfill, reconcile, and requests of commands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import structlog

from connector.delivery.clock import Clock
from connector.delivery.periodic import Counts, PeriodicTask, TaskContext
from connector.errors import ConnectorError, StoreUnavailable, UsageError
from connector.hireflix import EnrichedField
from connector.hireflix.api import HireflixApi, HireflixError
from connector.hireflix.snapshot import Origin
from connector.logging import place_of
from connector.operations.backfill import EVERYTHING, Selection, backfill
from connector.operations.enrichment import Enrichment
from connector.operations.reconcile import Options, reconcile
from connector.operations.source import Progress, SourceReader, put
from connector.operations.status import HELD_FIX, SILENT_FIX
from connector.store import source
from connector.store.base import Store
from connector.store.source import ASKED_KEY, BACKFILL_KEY, RECONCILE_KEY, Asked, Backfill, Reconcile

BACKFILL_INTERVAL_SECONDS = 86_400.0
"""A finished backfill is not repeated; a failed one is continued after a minute."""
RECONCILE_DELAY_SECONDS = 120.0
"""Delay of the first reconcile, so that webhooks that were sent during a restart arrive first."""
COMPLETE_SECONDS = 86_400.0
"""Interval between two runs that read every page, because a change that leaves all counters equal is found only there.
"""
JITTER_SHARE = 0.1
"""The part of the interval by which a run is delayed at random, so that not all installations call at once."""
ENRICHMENT_INTERVAL_SECONDS = 60.0
REQUEST_POLL_SECONDS = 1.0
"""Interval between two checks for the request of a command."""

NOT_READ_YET = (
    "the existing interviews of Hireflix were not read yet, so every interview would be announced "
    "as missed: run `connector backfill` first"
)

log = structlog.get_logger("connector.source")


@dataclass(frozen=True, slots=True)
class Enriching:
    """The settings of the enrichment: fields, most interviews in a minute, and days that a link to a video is valid."""

    fields: Sequence[EnrichedField] = ()
    per_minute: int = 30
    share_days: int = 365


NOT_ENRICHING = Enriching()


class _StoppedError(Exception):
    """The process stops; the progress is stored."""


class SourceTasks:
    """Runs one operation on the API at a time. `on_reconciled` gets the result of each reconcile.

    `interval_seconds` is the time between two reconciles, 0 for none.
    """

    def __init__(
        self,
        open_api: Callable[[], HireflixApi],
        store: Store,
        clock: Clock,
        interval_seconds: float,
        *,
        enriching: Enriching = NOT_ENRICHING,
        on_reconciled: Callable[[Reconcile], None],
    ) -> None:
        self._open_api = open_api
        self._store = store
        self._clock = clock
        self._interval = interval_seconds
        self._enriching = enriching
        self._on_reconciled = on_reconciled
        self._one_at_a_time = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._requests: asyncio.Task[None] | None = None

    @property
    def tasks(self) -> list[PeriodicTask]:
        """The tasks that one process of an installation runs."""
        tasks = [PeriodicTask("backfill", BACKFILL_INTERVAL_SECONDS, self._backfill)]
        if self._interval:
            tasks.append(PeriodicTask("reconcile", self._interval, self._reconcile, RECONCILE_DELAY_SECONDS))
        if self._enriching.fields:
            tasks.append(PeriodicTask("enrichment", ENRICHMENT_INTERVAL_SECONDS, self._enrich))
        return tasks

    def start(self) -> None:
        """Starts to answer requests. Only a file needs them: with PostgreSQL a command works on the store itself."""
        if not self._store.shared:
            self._requests = asyncio.create_task(self._answer_requests(), name="source requests")

    async def stop(self) -> None:
        """Ends the request that runs; its progress is stored."""
        self._stopping.set()
        if self._requests is not None:
            self._requests.cancel()
            await asyncio.wait([self._requests])

    async def _backfill(self, context: TaskContext) -> Counts | None:
        """Runs or continues the first backfill. Returns what it read, `None` when the process stops."""
        if await self._is_backfilled():
            return {}
        try:
            done = await self._run_backfill(EVERYTHING, _until(context.stopping))
        except _StoppedError:
            return None
        except HireflixError as error:
            await self._store_failure(Asked(BACKFILL_KEY, 0), error)
            raise
        return {"read": done.read, "added": done.added}

    async def _reconcile(self, context: TaskContext) -> Counts | None:
        """Runs a reconcile after the backfill. Returns what it added, `None` when the process stops."""
        if await self._clock.wait(context.stopping, random.uniform(0, JITTER_SHARE * self._interval)):  # noqa: S311 - no secret
            return None
        if not await self._is_backfilled():
            return {}
        last = await self._store.query(lambda connection: source.read(connection, RECONCILE_KEY, Reconcile))
        read_at = None if last is None else last.complete_at
        is_due = read_at is None or self._clock.now() - read_at >= COMPLETE_SECONDS * 1000
        try:
            result = await self._run_reconcile(Options(complete=is_due, scheduled=True), _until(context.stopping))
        except _StoppedError:
            return None
        except HireflixError as error:
            await self._store_failure(Asked(RECONCILE_KEY, 0), error)
            raise
        return {"interviews": result.interviews, "added": sum(result.added.values()), "held": result.held}

    async def _enrich(self, context: TaskContext) -> Counts | None:
        """Reads further fields of the interviews that are due. Returns what it read."""
        enriching = self._enriching
        async with self._open_api() as api:
            work = Enrichment(api, self._store, self._clock.now, enriching.fields, share_days=enriching.share_days)
            return await work.run(enriching.per_minute, context.stopping)

    async def _is_backfilled(self) -> bool:
        found = await self._store.query(lambda connection: source.read(connection, BACKFILL_KEY, Backfill))
        return found is not None and found.finished_at is not None

    async def _run_backfill(self, selection: Selection, progress: Progress) -> Backfill:
        async with self._one_at_a_time, self._open_api() as api:
            log.info("backfill started")
            done = await backfill(SourceReader(api, self._store, self._clock.now, Origin.BACKFILL), selection, progress)
            log.info("backfill finished", read=done.read, added=done.added, unknown_fields=api.unknown_fields)
            return done

    async def _run_reconcile(self, options: Options, progress: Progress) -> Reconcile:
        async with self._one_at_a_time, self._open_api() as api:
            reader = SourceReader(api, self._store, self._clock.now, Origin.RECONCILE)
            result = await reconcile(reader, options, progress)
        self._on_reconciled(result)
        log.info("reconciled", interviews=result.interviews, pages=result.pages, added=result.added)
        if result.held:
            log.warning("deletions held", count=result.held, fix=HELD_FIX)
        if result.silent_since is not None:
            log.warning("webhooks missing", missed=result.missed, fix=SILENT_FIX)
        return result

    async def _answer_requests(self) -> None:
        while not await self._clock.wait(self._stopping, REQUEST_POLL_SECONDS):
            with suppress(StoreUnavailable, _StoppedError):
                asked = await self._store.query(lambda connection: source.read(connection, ASKED_KEY, Asked))
                if asked is not None:
                    await self._store.write(source.take_request)
                    await self._answer(asked)

    async def _answer(self, asked: Asked) -> None:
        """Runs the operation. A failure is stored where the command looks for the result."""
        try:
            await self._run_asked(asked)
        except ConnectorError as error:
            await self._store_failure(asked, error)
        except _StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - a later request may succeed
            log.warning("request failed", what=asked.what, error=place_of(error))
            await self._store_failure(asked, ConnectorError(f"the service failed ({place_of(error)}); see its log"))

    async def _run_asked(self, asked: Asked) -> None:
        if asked.what == BACKFILL_KEY:
            await self._run_backfill(selection_of(asked), _until(self._stopping))
            return
        if not await self._is_backfilled():
            raise UsageError(NOT_READ_YET)
        options = Options(complete=asked.complete, accept=asked.accept, asked_at=asked.at)
        await self._run_reconcile(options, _until(self._stopping))

    async def _store_failure(self, asked: Asked, failure: ConnectorError) -> None:
        """Stores why an operation ended, for the command that waits for it and for `connector status`."""
        error = str(failure)
        if isinstance(failure, HireflixError):
            log.warning("hireflix not readable", reason=error)
        if asked.what == RECONCILE_KEY:
            found = await self._store.query(lambda c: source.read(c, RECONCILE_KEY, Reconcile)) or Reconcile()
            await put(self._store, RECONCILE_KEY, msgspec.structs.replace(found, asked_at=asked.at, error=error))
            return
        selection = selection_of(asked)
        stored = await self._store.query(lambda c: source.read(c, selection.key, Backfill)) or Backfill()
        await put(self._store, selection.key, msgspec.structs.replace(stored, asked_at=asked.at, error=error))


def selection_of(asked: Asked) -> Selection:
    """Returns the selection of a request."""
    return Selection(positions=asked.positions, since=asked.since, asked_at=asked.at)


def _until(stopping: asyncio.Event) -> Progress:
    """Returns a progress that ends the operation after its current step when the process stops."""

    def progress(_done: int, _total: int) -> None:
        if stopping.is_set():
            raise _StoppedError

    return progress
