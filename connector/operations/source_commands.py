"""Runs a backfill or a reconcile for a command: in this process, or in the service that holds the SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Protocol, TypeAlias

from sqlalchemy import Connection

from connector.config import Config
from connector.delivery.clock import Clock
from connector.errors import ConnectorError, UsageError
from connector.hireflix.snapshot import Origin
from connector.operations.backfill import Selection, backfill
from connector.operations.reconcile import Options, reconcile
from connector.operations.source import Progress, SourceReader, open_api
from connector.operations.source_tasks import NOT_READ_YET
from connector.operations.store_access import changing, now, now_in, reading, store_exists
from connector.store import audit, source
from connector.store.base import Store
from connector.store.schema import AuditAction
from connector.store.source import ASKED_KEY, BACKFILL_KEY, RECONCILE_KEY, Asked, Backfill, Reconcile
from connector.store.sqlite.database import StoreHeld

POLL_SECONDS = 0.3
"""Interval between two reads of the service's progress."""
TAKEN_SECONDS = 10.0
"""Longest wait until the service takes a request; it checks every second."""


ALL_POSITIONS = "all positions"
"""The target in the audit log of a command without a selection."""


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
        asked = Asked(BACKFILL_KEY, now(), positions, selection.since)
        _ask_service(settings, asked, record)
        return await _by_service(settings, asked, selection.key, Backfill, progress)


async def reconcile_for_command(
    settings: Config, open_store: StoreOpener, options: Options, progress: Progress, *, actor: str
) -> Reconcile:
    """Runs a reconcile, or has it run by the service. `actor` is who asks. Raises the same exceptions."""
    open_api_or_fail(settings)
    detail = "accept" if options.accept else ""
    record = partial(_record, actor=actor, action=AuditAction.RECONCILE, target=ALL_POSITIONS, detail=detail)
    try:
        async with _reader(settings, open_store, Origin.RECONCILE) as reader:
            done = await reader.store.query(lambda connection: source.read(connection, BACKFILL_KEY, Backfill))
            if done is None or done.finished_at is None:
                raise UsageError(NOT_READ_YET)
            await reader.store.write(record)
            return await reconcile(reader, options, progress)
    except StoreHeld:
        asked = Asked(RECONCILE_KEY, now(), accept=options.accept, complete=options.complete)
        _ask_service(settings, asked, record)
        return await _by_service(settings, asked, RECONCILE_KEY, Reconcile, progress)


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


def _ask_service(settings: Config, asked: Asked, record: Callable[[Connection], None]) -> None:
    """Stores the request for the service, with the row of the audit log."""

    def ask(connection: Connection) -> None:
        source.write(connection, ASKED_KEY, asked)
        record(connection)

    with changing(settings) as store:
        store.change(ask)


async def _by_service(settings: Config, asked: Asked, key: str, kind: type[source.T], progress: Progress) -> source.T:
    """Waits for the result of the service. Raises `ConnectorError` when it does not take the request."""
    waited = 0.0
    while True:
        await asyncio.sleep(POLL_SECONDS)
        waited += POLL_SECONDS
        with reading(settings) as connection:
            is_waiting = source.read(connection, ASKED_KEY, Asked) is not None
            found = source.read(connection, key, kind)
        if is_waiting and waited > TAKEN_SECONDS:
            with changing(settings) as store:
                store.change(source.take_request)
            raise ConnectorError(
                "the running service does not take this request: it has no hireflix.api_key or is an older version; "
                "set the key and restart it, or stop it and run this command again"
            )
        if found is not None and _is_result(found, asked, progress):
            return found


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
