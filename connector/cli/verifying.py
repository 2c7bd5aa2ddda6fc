"""How `connector verify` looks, has the lane repair, and tells what it found."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from connector.cli.online import opened
from connector.cli.opened import changing, now, require_known, sqlite_file, store_file, transaction
from connector.cli.replaying import directory_of
from connector.cli.terminal import console, safe, show_json
from connector.config import Config
from connector.dispatch import load
from connector.dispatch.clock import SystemClock
from connector.dispatch.dispatcher import Dispatcher
from connector.dispatch.lane import Shared
from connector.errors import ConnectorError, SinkBroken, UsageError, Wait
from connector.sink import ASKED, REPORT, Expected, Note, Report, Sink, Token, Verifies
from connector.store import leases, notes, settle, tokens
from connector.store.schema import sink as sink_table
from connector.store.sqlite.lock import StoreLock
from connector.store.sqlite.store import SqliteStore
from connector.store.status import sinks

REPAIR_SECONDS = 900.0
"""How long a repair is waited for."""
LOOK_SECONDS = 0.3

Progress = Callable[[int, int], None]


class NotVerified(ConnectorError):
    """The sheet could not be verified now; the message says why."""


def verified(settings: Config, name: str, *, repair: bool) -> Report:
    """The report on a sink, after a repair if one is asked for. Raises `UsageError`, `StoreError`, `NotVerified`."""
    require_known(name, settings.sinks)
    entry = settings.sinks[name]
    if not issubclass(entry.cls, Verifies):
        raise UsageError(f"a sink of type {entry.type} cannot be read back; there is nothing to verify")
    store_file(settings)
    if repair:
        asyncio.run(_repair(settings, name))
    return asyncio.run(_look(settings, entry.cls(entry.name, entry.config)))


async def _look(settings: Config, sink: Sink[Any]) -> Report:
    from rich.progress import Progress as Bar

    assert isinstance(sink, Verifies)
    with changing(settings) as connection, Bar(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        context = _Looking(connection, settings, sink)
        try:
            async with opened(sink):
                return await sink.verify(context, lambda done, total: bar.update(task, completed=done, total=total))
        except SinkBroken as error:
            raise NotVerified(f"{error.reason}; {error.fix}") from error


class _Looking:
    """The context of a look from outside: needs no lease, and writes nothing but the tokens it takes."""

    def __init__(self, connection: Connection, settings: Config, sink: Sink[Any]) -> None:
        self._connection = connection
        self._sink = sink
        self._stays = settings.routing().staying(sink.name)

    def now(self) -> int:
        return now()

    async def take(self, *wanted: Token) -> None:
        """Waits for the tokens, so that a look slows the service down as little as it can."""
        while True:
            try:
                with transaction(self._connection):
                    tokens.take(self._connection, wanted, now())
            except Wait as wait:
                await asyncio.sleep(wait.seconds + 0.01)
            else:
                return

    async def close(self, bucket: str, seconds: float) -> None:
        with transaction(self._connection):
            tokens.close(self._connection, bucket, seconds, now())

    async def remember(self, remembered: Mapping[str, Note | None]) -> None:
        """Nothing is written."""

    async def recall(self, names: Sequence[str]) -> Mapping[str, Note]:
        return notes.read(self._connection, self._sink.name, self._sink.destination, names)

    async def expected(self, after: str, limit: int) -> Sequence[Expected]:
        return load.expected(self._connection, self._sink.name, after, limit, self._stays)

    def count_call(self, kind: str) -> None:
        """Nothing is counted."""


async def _repair(settings: Config, name: str) -> None:
    """Asks the lane that holds the lease, and waits for it; runs one for as long when there is none."""
    entry = settings.sinks[name]
    sink, asked = entry.cls(entry.name, entry.config), now()
    with changing(settings) as connection:
        with transaction(connection):
            leases.register(connection, {name: entry.type})
            notes.write(connection, name, sink.destination, {ASKED: {"at": asked}})
            settle.ask_to_verify(connection, name, asked)
        try:
            with StoreLock(sqlite_file(settings)):
                await _with_a_lane(settings, sink, entry.type, lambda: _until_done(connection, sink, asked))
        except UsageError:  # a service runs, and has the lane
            await _until_done(connection, sink, asked)


async def _with_a_lane(settings: Config, sink: Sink[Any], kind: str, wait: Callable[[], Any]) -> None:
    store = SqliteStore(sqlite_file(settings), directory_of(settings), lambda _: None, intake=1)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    shared = Shared(store, SystemClock(), _Uncounted(), owner)
    dispatcher = Dispatcher([sink], settings.routing(), shared, types={sink.name: kind}, formerly={})
    try:
        await dispatcher.start()
        await wait()
    finally:
        await dispatcher.stop()
        await store.close()


class _Uncounted:
    """A meter that counts nothing: this process has no metrics."""

    def settled(self, *_: Any) -> None:
        pass

    def broken(self, sink: str) -> None:
        pass

    def called(self, sink: str, kind: str) -> None:
        pass


async def _until_done(connection: Connection, sink: Sink[Any], asked: int) -> None:
    """Waits for a report that is younger than the question, and for what it set going. Raises `NotVerified`."""
    for _ in range(int(REPAIR_SECONDS / LOOK_SECONDS)):
        await asyncio.sleep(LOOK_SECONDS)
        report = notes.read(connection, sink.name, sink.destination, [REPORT]).get(REPORT, {})
        [standing] = [each for each in sinks(connection, now(), None) if each.name == sink.name]
        if standing.state == "paused":
            raise NotVerified(f"{sink.name} is paused: {standing.reason}; {standing.fix}")
        if report.get("at", 0) >= asked and not standing.pending and not _is_under_way(connection, sink.name):
            return
    raise NotVerified(
        f"{sink.name} was not repaired within {REPAIR_SECONDS / 60:g} minutes; connector status shows why"
    )


def _is_under_way(connection: Connection, name: str) -> bool:
    """Whether a call is out, or a verification is due at once."""
    running = connection.execute(select(sink_table.c.batch).where(sink_table.c.name == name)).scalar()
    return running is not None or settle.verifies_soon(connection, name, now())


def show_report(name: str, report: Report, *, as_json: bool) -> None:
    """Prints a report."""
    if as_json:
        show_json({"sink": name, "in_step": report.in_step, **_document(report)})
        return
    print(safe(f"{name}: {'in step' if report.in_step else 'NOT in step'}"))
    for kind, count in report.counts.items():
        print(f"  {count:>7}  {kind}")
    for each in report.differences:
        print(safe(f"  {each.kind}: {each.key}{f' ({each.detail})' if each.detail else ''}"))
    for remark in report.remarks:
        print(safe(f"  {remark}"))


def _document(report: Report) -> dict[str, Any]:
    differences = [{"kind": each.kind, "key": each.key, "detail": each.detail} for each in report.differences]
    return {"at": report.at, "counts": dict(report.counts), "differences": differences, "remarks": list(report.remarks)}
