"""An emulated Hireflix account beside a store, with a state sink `sheet` and a message sink `chat`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from connector.emulators.hireflix import Account, HireflixEmulator
from connector.hireflix.api import HireflixApi
from connector.hireflix.payload import read
from connector.hireflix.snapshot import Origin
from connector.interview import Stage
from connector.merge import decode, stage_of
from connector.operations.backfill import EVERYTHING, Selection, backfill
from connector.operations.reconcile import Options, reconcile
from connector.operations.source import SourceReader
from connector.routing import Route, Routes
from connector.store import leases
from connector.store.ingest import RoutingTable, SinkSpec
from connector.store.postgres.store import PostgresStore
from connector.store.schema import delivery, event, interview
from connector.store.sqlite.store import SqliteStore
from connector.testing import ManualClock
from tests.stores import make_store_file

HOUR = 3600
DAY = 24 * HOUR
SINKS = {"sheet": SinkSpec(state=True), "chat": SinkSpec(state=False, edits=True)}


async def at_once(_: float) -> None:
    """Waits for nothing."""


def silent(_done: int, _total: int) -> None:
    """Shows no progress."""


@dataclass
class Source:
    """The emulated account, its server, a client and the store."""

    clock: ManualClock
    account: Account
    server: HireflixEmulator
    api: HireflixApi
    store: SqliteStore | PostgresStore

    async def receive(self, *bodies: bytes) -> None:
        """What the receiver stores for these webhooks."""
        await asyncio.gather(*(self.store.offer(read(body, self.clock.now()), body) for body in bodies))

    async def backfill(self, selection: Selection = EVERYTHING, progress: Any = silent) -> Any:
        return await backfill(self.reader(Origin.BACKFILL), selection, progress)

    async def reconcile(self, **options: Any) -> Any:
        return await reconcile(self.reader(Origin.RECONCILE), Options(**options), silent)

    def reader(self, origin: Origin) -> SourceReader:
        return SourceReader(self.api, self.store, self.clock.now, origin)

    async def rows(self, table: Any, *conditions: Any) -> list[Any]:
        statement = select(table).where(*conditions).order_by(*table.primary_key)
        return await self.store.query(lambda connection: connection.execute(statement).all())

    async def stages(self) -> dict[str, Stage]:
        """The stage of each stored interview."""
        return {row.id: stage_of(decode(row.state).values) for row in await self.rows(interview)}

    async def values(self, id_: str) -> dict[str, Any]:
        [row] = await self.rows(interview, interview.c.id == id_)
        return decode(row.state).values

    async def events(self) -> list[Any]:
        return await self.rows(event)

    async def deliveries(self, sink: str) -> list[Any]:
        return await self.rows(delivery, delivery.c.sink == sink)

    def stages_in_hireflix(self) -> dict[str, Stage]:
        """The stage of each interview in Hireflix."""
        return {id_: Stage(found.stage) for id_, found in self.account.interviews.items()}


@asynccontextmanager
async def source_at(
    folder: Path, routes: tuple[Route, ...] = (), url: str | None = None, **schema: Any
) -> AsyncIterator[Source]:
    """A world in a folder, or with a PostgreSQL store at `url`; `schema` are options of the emulator."""
    clock = ManualClock()
    account = Account(clock.now)
    routing = RoutingTable(Routes(routes, {name: spec.state for name, spec in SINKS.items()}), SINKS)
    store: SqliteStore | PostgresStore
    if url is None:
        store = SqliteStore(make_store_file(folder / "connector.db"), routing, lambda _: None, intake=4096)
    else:
        store = await PostgresStore.open(url, routing, lambda _: None, intake=4096)
    await store.write(lambda connection: leases.register(connection, dict.fromkeys(SINKS, "console")))
    with HireflixEmulator(account, **schema) as server:
        async with HireflixApi(server.key, server.api_url, now=clock.now, sleep=at_once) as api:
            yield Source(clock, account, server, api, store)
    await store.close()


def fill(account: Account, positions: int = 2, interviews: int = 30) -> None:
    """Adds positions with interviews of the last days, in all stages."""
    for number in range(positions):
        position = account.add_position(f"Position {number}")
        for index in range(interviews):
            at = account.now() - (index * 3 + 1) * HOUR * 1000
            found, _ = account.invite(position, f"Ana {index}", at=at)
            if index % 2:
                account.complete(found, at=at + 1000)
            if index % 4 == 3:
                account.rate(found, 4.5, at=at + 2000)
                account.shortlist(found, at=at + 3000)
            elif index % 8 == 1:
                account.discard(found, at=at + 4000)
