"""How `connector verify` looks, has the lane repair, and tells what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connector.cli.online import opened
from connector.cli.opened import OpenStore, changing, now, now_in, require_known
from connector.cli.repairing import NotVerified
from connector.cli.repairing import repair as repair_sink
from connector.cli.terminal import console, safe, show_json
from connector.config import Config
from connector.dispatch import load
from connector.errors import SinkBroken, UsageError, Wait
from connector.sink import Expected, Note, Report, Sink, Token, Verifies
from connector.store import notes, tokens

Progress = Callable[[int, int], None]


def verified(settings: Config, name: str, *, repair: bool) -> Report:
    """The report on a sink, after a repair if one is asked for. Raises `UsageError`, `StoreError`, `NotVerified`."""
    require_known(name, settings.sinks)
    entry = settings.sinks[name]
    if not issubclass(entry.cls, Verifies):
        raise UsageError(f"a sink of type {entry.type} cannot be read back; there is nothing to verify")
    if repair:
        asyncio.run(repair_sink(settings, name))
    return asyncio.run(_look(settings, entry.cls(entry.name, entry.config)))


async def _look(settings: Config, sink: Sink[Any]) -> Report:
    from rich.progress import Progress as Bar

    assert isinstance(sink, Verifies)
    with changing(settings) as store, Bar(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        context = _Looking(store, settings, sink)
        try:
            async with opened(sink):
                return await sink.verify(context, lambda done, total: bar.update(task, completed=done, total=total))
        except SinkBroken as error:
            raise NotVerified(f"{error.reason}; {error.fix}") from error


class _Looking:
    """The context of a look from outside: needs no lease, and writes nothing but the tokens it takes."""

    def __init__(self, store: OpenStore, settings: Config, sink: Sink[Any]) -> None:
        self._store = store
        self._sink = sink
        self._stays = settings.routing().staying(sink.name)

    def now(self) -> int:
        return now()

    async def take(self, *wanted: Token) -> None:
        """Waits for the tokens, so that a look slows the service down as little as it can."""
        while True:
            try:
                self._store.change(lambda connection: tokens.take(connection, wanted, now_in(connection)))
            except Wait as wait:
                await asyncio.sleep(wait.seconds + 0.01)
            else:
                return

    async def close(self, bucket: str, seconds: float) -> None:
        self._store.change(lambda connection: tokens.close(connection, bucket, seconds, now_in(connection)))

    async def remember(self, remembered: Mapping[str, Note | None]) -> None:
        """Nothing is written."""

    async def recall(self, names: Sequence[str]) -> Mapping[str, Note]:
        sink = self._sink
        return self._store.look(lambda connection: notes.read(connection, sink.name, sink.destination, names))

    async def expected(self, after: str, limit: int) -> Sequence[Expected]:
        return self._store.look(
            lambda connection: load.expected(connection, self._sink.name, after, limit, self._stays)
        )

    def count_call(self, kind: str) -> None:
        """Nothing is counted."""


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
