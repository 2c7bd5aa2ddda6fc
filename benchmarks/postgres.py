"""PostgreSQL: ingest with the server on the same cores, sinks paused and draining, and two receivers beside one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from benchmarks import ingest, tables
from benchmarks.bodies import BodyFile
from benchmarks.ingest import Comparison, Subject
from benchmarks.wrk import load
from connector.store.migrate import migrate_postgres
from tests.postgres import Server

DURABLE = ("fsync=on", "full_page_writes=on", "max_connections=200", "min_wal_size=1GB")
LOG_FILES = 64
"""Of 16 MiB each, `min_wal_size` together."""
CLIENTS = (1, 64)
VARIANTS = {"PostgreSQL, sinks paused": (), "PostgreSQL, state sink draining": ("sheet",)}


async def run(*, quick: bool = False) -> None:
    """Measures and prints. Raises `Missing` without wrk."""
    with server() as running:
        async with ingest.compared("PostgreSQL", quick=quick, clients=CLIENTS) as comparison:
            for number, (name, draining) in enumerate(VARIANTS.items()):
                await comparison.add(name, draining, database=await store_on(running, f"store_{number}"))
        await _receivers(running, quick=quick)


@contextmanager
def server(*settings: str) -> Iterator[Server]:
    """Starts a server with durable commits and with the write-ahead log of a server that has run for a while."""
    running = Server(*DURABLE, *settings)
    try:
        running.start()
        _fill_log(running)
        yield running
    finally:
        running.remove()


def _fill_log(running: Server) -> None:
    """Makes the files of the write-ahead log, which are used again and again from then on: while a new server makes
    one, for some 50 ms, every commit waits (PostgreSQL, WAL Configuration; `wal_init_zero`).
    """
    with psycopg.connect(running.url, autocommit=True) as connection:
        for _ in range(LOG_FILES):
            connection.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
        connection.execute("CHECKPOINT")


async def store_on(running: Server, name: str) -> str:
    """The URL of a new store on a server."""
    with psycopg.connect(running.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = running.url.replace("/postgres?", f"/{name}?")
    await migrate_postgres(url)
    return url


async def _receivers(running: Server, *, quick: bool) -> None:
    """Measures one receiver with 32 clients, then two on one store with 32 clients each."""
    rounds, seconds = (1, 1) if quick else (5, 4)
    url = await store_on(running, "store_of_two")
    single: list[float] = []
    double: list[float] = []
    async with ingest.services() as comparison:
        for name in ("one", "another"):
            await comparison.add(name, (), database=url, options=("--role", "receiver"))
        first, second = comparison.subjects
        bodies = BodyFile(comparison.folder / "requests")
        for index in range(rounds):
            tables.progress(f"two receivers, round {index + 1} of {rounds}")
            single.append(await _loaded([first], comparison, bodies, seconds))
            double.append(await _loaded([first, second], comparison, bodies, seconds))
        await comparison.stop()  # running requests are stored now
        stored = first.running.count("SELECT count(*) FROM event")
        identities = first.running.count("SELECT count(DISTINCT identity) FROM event")
    if stored != identities or stored < comparison.answered:
        raise RuntimeError(f"{comparison.answered} acknowledged, {stored} stored, {identities} different")
    ratios = [two / one for one, two in zip(single, double, strict=True)]
    tables.show(
        f"Receivers on one PostgreSQL store, 32 clients each: {rounds} rounds of {seconds} s",
        ("", "events/s (range)"),
        [("one receiver", tables.span(single)), ("two receivers", tables.span(double)), ("ratio", tables.span(ratios))],
        f"{comparison.answered:,} acknowledged, {stored:,} stored, none twice; load, server and both receivers share "
        "the cores",
    )


async def _loaded(subjects: list[Subject], comparison: Comparison, bodies: BodyFile, seconds: int) -> float:
    """Events per second that all of them acknowledge at the same time; each gets events of its own."""
    share = ingest.RATE_MAX[64] * seconds
    starts = [comparison.sent + place * share for place in range(len(subjects))]
    bodies.ensure(starts[-1] + share)
    comparison.sent = starts[-1] + share
    loads = await asyncio.gather(
        *(
            load(subject.running.url, bodies, start, clients=32, seconds=seconds)
            for subject, start in zip(subjects, starts, strict=True)
        )
    )
    comparison.answered += sum(each.answered for each in loads)
    return sum(each.rate for each in loads)
