from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from connector.routing import Route
from connector.store.base import Store
from connector.store.ingest import RoutingTable
from connector.store.postgres.store import PostgresStore
from connector.store.sqlite.store import SqliteStore
from tests.delivery.rig import Rig, Scripted, routing_table_of
from tests.postgres import empty_store
from tests.stores import make_store_file

INTAKE = 10_000


class OneProcess(PostgresStore):
    """A database with one process, so that lanes do the same as on a file. `test_owning.py` has several processes."""

    shared = False


@pytest.fixture(params=["sqlite", "postgresql"])
async def rig_of(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes rigs, each on an empty store, and closes them."""
    made: list[Rig] = []
    with ExitStack() as stack:

        async def opened(routing_table: RoutingTable) -> Store:
            if request.param == "postgresql":
                url = stack.enter_context(empty_store())
                return await OneProcess.open(url, routing_table, lambda plan: None, intake=INTAKE)
            path = make_store_file(tmp_path / f"store{len(made)}.db")
            return SqliteStore(path, routing_table, lambda plan: None, intake=INTAKE)

        async def make(*sinks: Scripted, routes: Sequence[Route] = ()) -> Rig:
            sinks = sinks or (Scripted(),)
            routing_table = routing_table_of(sinks, routes)
            rig = Rig(await opened(routing_table), routing_table, *sinks)
            await rig.register()
            made.append(rig)
            return rig

        yield make
        for rig in made:
            await rig.store.close()
