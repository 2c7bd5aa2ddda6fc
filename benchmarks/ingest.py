"""Ingest: acknowledged webhooks per second, compared with a plain Litestar handler that stores nothing."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import processes, tables, wrk
from benchmarks.bodies import POSITIONS, BodyFile
from benchmarks.processes import Running
from benchmarks.wrk import Load

CLIENTS = (1, 16, 64)
RATE_MAX = {1: 15_000, 16: 25_000, 64: 30_000}
"""Webhooks per second that are prepared for a run, by number of clients."""
SETTLED_WITHIN = 120.0
EVENTS = "SELECT count(*) FROM event"
PENDING = (
    "SELECT count(*) FROM delivery JOIN sink ON sink.name = delivery.sink "
    "WHERE state = 0 AND purpose <> 'verify' AND paused IS NULL"
)
CEILING = "plain handler, stores nothing"
VARIANTS = {"service, sinks paused": (), "service, state sink draining": ("sheet",), "both draining": ("sheet", "chat")}
"""The service under a name, and its sinks that deliver; the others only queue up."""
SOUND = {"integrity_check ok", "on PostgreSQL"}


@dataclass(slots=True)
class Subject:
    """One of the processes that are compared. `first` is the number of the next request it gets; `draining` names
    the sinks that deliver, `None` where nothing is stored.
    """

    name: str
    running: Running
    draining: tuple[str, ...] | None
    first: int = 0
    answered: int = 0
    stored: int = 0
    cpu: dict[int, list[float]] = field(default_factory=dict)
    loads: dict[int, list[Load]] = field(default_factory=dict)
    backlog: list[float] = field(default_factory=list)


async def run(*, quick: bool = False) -> None:
    """Measures and prints. Raises `Missing` without wrk."""
    async with compared("Ingest", quick=quick) as comparison:
        for name, draining in VARIANTS.items():
            await comparison.add(name, draining)


@asynccontextmanager
async def compared(title: str, *, quick: bool, clients: tuple[int, ...] = CLIENTS) -> AsyncIterator[Comparison]:
    """Runs the services of the block by turns with the plain handler, and prints a table. Raises `Missing`."""
    if not wrk.is_installed():
        raise wrk.Missing(wrk.MISSING)
    rounds, seconds = (1, 1) if quick else (5, 4)
    clients = (16,) if quick else clients
    async with AsyncExitStack() as stack:
        comparison = await stack.enter_async_context(services())
        yield comparison
        async with processes.ceiling(comparison.folder) as plain:
            subjects = [Subject(CEILING, plain, None), *comparison.subjects]
            bodies = BodyFile(comparison.folder / "requests")
            for count in clients:
                for index in range(rounds):
                    tables.progress(f"{count} clients, round {index + 1} of {rounds}")
                    for subject in subjects:
                        await _measure(subject, bodies, count, seconds)
        disk = tables.disk(comparison.folder)
        await comparison.stop()
        proofs = [_verify(subject) for subject in subjects if subject.draining is not None]
    _show(
        f"{title}: median of {rounds} alternating rounds of {seconds} s (range in brackets)",
        subjects,
        clients,
        [*proofs, disk],
    )


@asynccontextmanager
async def services() -> AsyncIterator[Comparison]:
    """Where services are started that run until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        comparison = Comparison(Path(folder))
        try:
            yield comparison
        finally:
            await comparison.stop()


class Comparison:
    """The services that are compared, each in a folder of its own. `sent` and `answered` count requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.subjects: list[Subject] = []
        self.sent = 0
        self.answered = 0
        self._stack = AsyncExitStack()

    async def stop(self) -> None:
        """Stops the services; their stores stay."""
        await self._stack.aclose()

    async def add(self, name: str, draining: tuple[str, ...], **options: Any) -> None:
        """Starts a service under a name; `options` are those of `processes.service`."""
        folder = self.folder / str(len(self.subjects))
        running = await self._stack.enter_async_context(processes.service(folder, config(*draining), **options))
        self.subjects.append(Subject(name, running, draining))


def config(*draining: str) -> str:
    """Two sinks and 20 routes, so that each event makes two deliveries: one for everything, one per position."""
    sinks = "".join(
        f'[sinks.{name}]\ntype = "{kind}"\noff = {str(name not in draining).lower()}\n'
        for name, kind in (("sheet", "noop_state"), ("chat", "noop_messages"))
    )
    routes = ['[[routes]]\nsinks = ["sheet"]\n']
    routes += [
        f'[[routes]]\npositions = ["Position {number}", "Other {number} *"]\nsinks = ["chat"]\n'
        for number in range(POSITIONS)
    ]
    return sinks + "".join(routes)


async def _measure(subject: Subject, bodies: BodyFile, clients: int, seconds: int) -> None:
    bodies.ensure(subject.first + RATE_MAX[clients] * seconds)
    before = subject.running.cpu()
    load = await wrk.load(subject.running.url, bodies, subject.first, clients=clients, seconds=seconds)
    subject.cpu.setdefault(clients, []).append((subject.running.cpu() - before) / load.answered * 1e6)
    subject.loads.setdefault(clients, []).append(load)
    if subject.draining is not None:
        subject.first += load.sent
        subject.answered += load.answered
        await _settled(subject, load)


async def _settled(subject: Subject, load: Load) -> None:
    """Checks what the run left in the store, and waits for the sinks so that they do not disturb the next one."""
    if subject.draining:
        subject.backlog.append(subject.running.count(PENDING) / (len(subject.draining) * load.answered))
        until = time.monotonic() + SETTLED_WITHIN
        while subject.running.count(PENDING):
            if time.monotonic() > until:
                raise RuntimeError(f"deliveries were still pending after {SETTLED_WITHIN:.0f} s")
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.2)  # running requests are stored by now
    events = subject.running.count(EVENTS)
    new, subject.stored = events - subject.stored, events
    if not load.answered <= new <= load.sent:
        raise RuntimeError(f"{load.answered} events were acknowledged, {load.sent} sent, but {new} were stored")


def _verify(subject: Subject) -> str:
    """Checks after the stop that no acknowledged event is missing or doubled, and that every delivery exists."""
    store = subject.running
    events, identities = store.count(EVENTS), store.count("SELECT count(DISTINCT identity) FROM event")
    deliveries, sound = store.count("SELECT count(*) FROM delivery"), store.soundness()
    if events != identities or deliveries != 2 * events or events < subject.answered or sound not in SOUND:
        raise RuntimeError(
            f"{subject.name}: {subject.answered} acknowledged, {events} stored, {identities} different, "
            f"{deliveries} deliveries, {sound}"
        )
    unread = events - subject.answered
    return (
        f"{subject.name}: {subject.answered:,} acknowledged, all stored ({unread} more were under way when a run "
        f"ended), {deliveries:,} deliveries, {sound}"
    )


def _show(title: str, subjects: list[Subject], clients: tuple[int, ...], notes: list[str]) -> None:
    rows = []
    for count in clients:
        for subject in subjects:
            loads = subject.loads[count]
            ratios = [load.rate / base.rate for load, base in zip(loads, subjects[0].loads[count], strict=True)]
            rows.append(
                (
                    f"{count} clients: {subject.name}",
                    tables.span([load.rate for load in loads]),
                    f"{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})",
                    f"{tables.number(median(load.p50 for load in loads))}",
                    f"{tables.span([load.p99 for load in loads])}",
                    f"{median(subject.cpu[count]):.0f}",
                )
            )
    backlog = max((share for subject in subjects for share in subject.backlog), default=0.0)
    tables.show(
        title,
        ("", "events/s", "ratio", "p50 ms", "p99 ms", "CPU µs/event"),
        rows,
        *notes,
        f"deliveries still pending when a draining run ended: at most {backlog:.0%}",
    )
