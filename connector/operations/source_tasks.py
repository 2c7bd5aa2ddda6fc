"""Runs backfill and reconcile: as tasks of a service, and for a command.

With a SQLite store a command asks the running service, which holds the file. It stores its request and waits for the
result. Otherwise the command runs the operation itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, TypeVar, cast

import msgspec
import structlog
from sqlalchemy import Connection

from connector.capabilities import Progress
from connector.config import Config
from connector.delivery.clock import Clock
from connector.delivery.periodic import Counts, PeriodicTask, TaskContext, WriteJob
from connector.errors import ConnectorError, StoreUnavailable, UsageError
from connector.hireflix import EnrichedField
from connector.hireflix.api import HireflixApi, HireflixError
from connector.hireflix.snapshot import Origin
from connector.logging import place_of
from connector.operations.backfill import EVERYTHING, Selection, backfill
from connector.operations.enrichment import Enrichment
from connector.operations.reconcile import Options, reconcile
from connector.operations.source import SourceReader, SyntheticEventStore, open_api, put
from connector.operations.status import HELD_FIX, SILENT_FIX
from connector.operations.store_access import changing, now, now_in, reading, store_exists
from connector.operations.verify import has_workers
from connector.store import audit, source
from connector.store.base import Store
from connector.store.schema import AuditAction
from connector.store.source import ASKED_KEY, BACKFILL_KEY, RECONCILE_KEY, Asked, Backfill, Reconcile
from connector.store.sqlite.database import StoreHeld

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

T = TypeVar("T")

log = structlog.get_logger("connector.source")
REQUEST_SECONDS = 3600.0
"""An older request is not carried out after a restart: its user does not expect it to happen any more."""
POLL_SECONDS = 0.3
"""Interval between two reads of the service's progress."""
UNREAD_SECONDS = 5.0
"""Longest wait until another command reads the result of its request. After that the command was ended."""
TAKEN_SECONDS = 10.0
"""Longest wait until the service takes a request, which it looks for every second, and until it is restarted."""
ALL_POSITIONS = "all positions"
"""The target in the audit log of a command without a selection."""


@dataclass(frozen=True, slots=True)
class Enriching:
    """The settings of the enrichment: fields, most interviews in a minute, and days that a link to a video is valid."""

    fields: Sequence[EnrichedField] = ()
    per_minute: int = 30
    share_days: int = 365


NOT_ENRICHING = Enriching()


class _FencedStore:
    """The store for a periodic task. Its writes check the lease: a process that lost it must not replace the progress
    of the next one. Events need no check, because they are merged by date, and each is stored once.
    """

    def __init__(self, store: Store, write: WriteJob) -> None:
        self._write = write
        self.offer = store.offer
        self.query = store.query

    async def write(self, job: Callable[[Connection], T]) -> T:
        return cast("T", await self._write(job))


class _StoppedError(Exception):
    """The process stops; the progress is stored."""


class SourceTasks:
    """Runs one backfill or reconcile at a time, and the enrichment beside them.

    `on_reconciled` gets the result of each reconcile. `interval_seconds` is the time between two of them, 0 for none.
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
            done = await self._run_backfill(EVERYTHING, _until(context.stopping), self._fenced(context))
        except _StoppedError:
            return None
        except HireflixError as error:
            await self._store_failure(Asked(BACKFILL_KEY, 0), error, self._fenced(context))
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
            options = Options(complete=is_due, scheduled=True)
            result = await self._run_reconcile(options, _until(context.stopping), self._fenced(context))
        except _StoppedError:
            return None
        except HireflixError as error:
            await self._store_failure(Asked(RECONCILE_KEY, 0), error, self._fenced(context))
            raise
        return {"interviews": result.interviews, "added": sum(result.added.values()), "held": result.held}

    async def _enrich(self, context: TaskContext) -> Counts | None:
        """Reads further fields of the interviews that are due. Returns the numbers of read and changed ones."""
        enriching = self._enriching
        async with self._open_api() as api:
            store = self._fenced(context)
            work = Enrichment(api, store, self._clock.now, enriching.fields, share_days=enriching.share_days)
            return await work.run(enriching.per_minute, context.stopping)

    def _fenced(self, context: TaskContext) -> _FencedStore:
        return _FencedStore(self._store, context.write)

    async def _is_backfilled(self) -> bool:
        found = await self._store.query(lambda connection: source.read(connection, BACKFILL_KEY, Backfill))
        return found is not None and found.finished_at is not None

    async def _run_backfill(self, selection: Selection, progress: Progress, store: SyntheticEventStore) -> Backfill:
        async with self._one_at_a_time, self._open_api() as api:
            log.info("backfill started")
            done = await backfill(SourceReader(api, store, self._clock.now, Origin.BACKFILL), selection, progress)
            log.info("backfill finished", read=done.read, added=done.added, unknown_fields=api.unknown_fields)
            return done

    async def _run_reconcile(self, options: Options, progress: Progress, store: SyntheticEventStore) -> Reconcile:
        async with self._one_at_a_time, self._open_api() as api:
            reader = SourceReader(api, store, self._clock.now, Origin.RECONCILE)
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
                if asked is not None and not asked.ended:
                    await self._answer_one(asked)

    async def _answer_one(self, asked: Asked) -> None:
        """Carries out a request. One that the end of the process interrupts is carried out by the next process."""
        if self._clock.now() - asked.at <= REQUEST_SECONDS * 1000:
            await self._store.write(source.take_request)
            await self._answer(asked)
        await self._store.write(lambda connection: source.end_request(connection, asked.at))

    async def _answer(self, asked: Asked) -> None:
        """Runs the operation. A failure is stored where the command looks for the result."""
        try:
            await self._run_asked(asked)
        except ConnectorError as error:
            await self._store_failure(asked, error, self._store)
        except _StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - a later request may succeed
            log.warning("request failed", what=asked.what, error=place_of(error))
            failure = ConnectorError(f"the service failed ({place_of(error)}); see its log")
            await self._store_failure(asked, failure, self._store)

    async def _run_asked(self, asked: Asked) -> None:
        if asked.what == BACKFILL_KEY:
            await self._run_backfill(selection_of(asked), _until(self._stopping), self._store)
            return
        await self._store.query(_require_backfilled)
        options = Options(complete=asked.complete, accept=asked.accept, asked_at=asked.at)
        await self._run_reconcile(options, _until(self._stopping), self._store)

    async def _store_failure(self, asked: Asked, failure: ConnectorError, store: SyntheticEventStore) -> None:
        """Stores why an operation ended, for the command that waits for it and for `connector status`."""
        error = str(failure)
        if isinstance(failure, HireflixError):
            log.warning("hireflix not readable", reason=error)
        if asked.what == RECONCILE_KEY:
            found = (
                await self._store.query(lambda connection: source.read(connection, RECONCILE_KEY, Reconcile))
                or Reconcile()
            )
            await put(
                store, RECONCILE_KEY, msgspec.structs.replace(found, asked_at=asked.at or found.asked_at, error=error)
            )
            return
        selection = selection_of(asked)
        stored = (
            await self._store.query(lambda connection: source.read(connection, selection.key, Backfill)) or Backfill()
        )
        await put(
            store, selection.key, msgspec.structs.replace(stored, asked_at=asked.at or stored.asked_at, error=error)
        )


def selection_of(asked: Asked) -> Selection:
    """Returns the selection of a request."""
    return Selection(positions=asked.positions, since=asked.since, asked_at=asked.at)


def _until(stopping: asyncio.Event) -> Progress:
    """Returns a progress that ends the operation after its current step when the process stops."""

    def progress(_done: int, _total: int) -> None:
        if stopping.is_set():
            raise _StoppedError

    return progress


class OpenedStore(Protocol):
    """A store that takes events, and its clock."""

    @property
    def store(self) -> Store: ...

    @property
    def clock(self) -> Clock: ...


StoreOpener: TypeAlias = Callable[[Config], AbstractAsyncContextManager[OpenedStore]]
"""Opens the store for events. Raises `StoreHeld` when a service holds the SQLite file."""


async def backfill_for_command(
    settings: Config, open_store: StoreOpener, selection: Selection, progress: Progress, *, actor: str
) -> Backfill:
    """Runs a backfill, or has it run by the service. `actor` is who asks, for the audit log.

    Raises `UsageError`, `StoreError` and `HireflixError`.
    """
    open_api_or_fail(settings)
    target = ALL_POSITIONS if selection.positions is None else f"position={','.join(selection.positions)}"
    record = partial(_record, actor=actor, action=AuditAction.BACKFILL, target=target)
    try:
        async with _reader(settings, open_store, Origin.BACKFILL) as reader:
            await reader.store.write(record)
            return await backfill(reader, selection, progress)
    except StoreHeld:
        positions = None if selection.positions is None else list(selection.positions)
        asked = Asked(BACKFILL_KEY, 0, positions, selection.since)
        return await _by_service(settings, asked, Backfill, record, progress)


async def reconcile_for_command(
    settings: Config, open_store: StoreOpener, options: Options, progress: Progress, *, actor: str
) -> Reconcile:
    """Runs a reconcile, or has it run by the service. `actor` is who asks. Raises the same exceptions."""
    open_api_or_fail(settings)
    detail = "accept" if options.accept else ""
    record = partial(_record, actor=actor, action=AuditAction.RECONCILE, target=ALL_POSITIONS, detail=detail)
    try:
        async with _reader(settings, open_store, Origin.RECONCILE) as reader:
            await reader.store.query(_require_backfilled)
            await reader.store.write(record)
            return await reconcile(reader, options, progress)
    except StoreHeld:
        with reading(settings) as connection:
            _require_backfilled(connection)
        asked = Asked(RECONCILE_KEY, 0, accept=options.accept, complete=options.complete)
        return await _by_service(settings, asked, Reconcile, record, progress)


def _require_backfilled(connection: Connection) -> None:
    done = source.read(connection, BACKFILL_KEY, Backfill)
    if done is None or done.finished_at is None:
        raise UsageError(NOT_READ_YET)


def open_api_or_fail(settings: Config) -> None:
    """Raises `UsageError` without an API key."""
    if settings.hireflix.api_key is None:
        open_api(settings)


@asynccontextmanager
async def _reader(settings: Config, open_store: StoreOpener, origin: Origin) -> AsyncIterator[SourceReader]:
    async with open_store(settings) as opened, open_api(settings) as api:
        yield SourceReader(api, opened.store, opened.clock.now, origin)


def _record(connection: Connection, actor: str, action: AuditAction, target: str, detail: str = "") -> None:
    audit.record(connection, actor, action, target, detail, now=now_in(connection))


def record_webhook(settings: Config, actor: str, url: str, detail: str) -> None:
    """Records a change of the webhook in Hireflix in the audit log, if there is a store."""
    if store_exists(settings):
        with changing(settings) as store:
            store.change(lambda connection: _record(connection, actor, AuditAction.WEBHOOK, url, detail))


async def _by_service(
    settings: Config, asked: Asked, kind: type[source.T], record: Callable[[Connection], None], progress: Progress
) -> source.T:
    """Has the running service carry out a request, and waits for the result, a `kind`. `record` writes the audit log.
    The request gets the time at which it is stored.

    Raises `ConnectorError` when the service does not take the request, or ends before it has a result.
    """
    key = RECONCILE_KEY if asked.what == RECONCILE_KEY else selection_of(asked).key
    waiting = _Waiting()
    while (added := _ask(settings, asked, record)) is None:
        await waiting.poll(settings, asked)
    try:
        while True:
            await waiting.poll(settings, added)
            with reading(settings) as connection:
                current = source.read(connection, ASKED_KEY, Asked)
                found = source.read(connection, key, kind)
            if found is not None and _is_result(found, added, progress):
                return found
            if current is None or current.ended:
                raise ConnectorError("the service ended the request without a result; see its log")
    finally:
        with changing(settings) as store:
            store.change(lambda connection: source.delete_request(connection, added.at))


def _ask(settings: Config, asked: Asked, record: Callable[[Connection], None]) -> Asked | None:
    """Stores the request with the present time and its row of the audit log, and returns it. Returns `None` while there
    is a request of another command.
    """
    timed = msgspec.structs.replace(asked, at=now())

    def ask(connection: Connection) -> Asked | None:
        if not source.add_request(connection, timed):
            return None
        record(connection)
        return timed

    with changing(settings) as store:
        return store.change(ask)


@dataclass(slots=True)
class _Waiting:
    """How long the request, or that of another command before it, is not taken, the result of the other is not read,
    and no service runs.
    """

    untaken_seconds: float = 0.0
    unread_seconds: float = 0.0
    alone_seconds: float = 0.0

    async def poll(self, settings: Config, asked: Asked) -> None:
        """Waits for a moment. Raises `ConnectorError`, and takes the request back, when waiting makes no sense."""
        await asyncio.sleep(POLL_SECONDS)
        with reading(settings) as connection:
            current = source.read(connection, ASKED_KEY, Asked)
            runs = has_workers(connection)
        is_untaken = current is not None and not current.taken
        self.untaken_seconds = self.untaken_seconds + POLL_SECONDS if is_untaken else 0.0
        self.alone_seconds = 0.0 if runs else self.alone_seconds + POLL_SECONDS
        if current is not None and current.ended and current.at != asked.at:
            self.unread_seconds += POLL_SECONDS
            if self.unread_seconds > UNREAD_SECONDS:
                with changing(settings) as store:
                    store.change(lambda connection: source.delete_request(connection, current.at))
        else:
            self.unread_seconds = 0.0
        if self.untaken_seconds > TAKEN_SECONDS:
            problem = (
                "the running service does not take this request: it has no hireflix.api_key or is an older version; "
                "set the key and restart it, or stop it and run this command again"
            )
        elif self.alone_seconds > TAKEN_SECONDS:
            problem = "the service stopped before it had a result; what it read is stored: run this command again"
        else:
            return
        with changing(settings) as store:
            store.change(lambda connection: source.delete_request(connection, asked.at))
        raise ConnectorError(problem)


def _is_result(found: object, asked: Asked, progress: Progress) -> bool:
    """Whether a document is the result of the request. Raises `ConnectorError` when the run failed."""
    assert isinstance(found, Backfill | Reconcile)
    if found.asked_at != asked.at:
        return False
    if found.error is not None:
        raise ConnectorError(found.error)
    if isinstance(found, Backfill):
        progress(found.read, found.total)
        return found.finished_at is not None
    return True
