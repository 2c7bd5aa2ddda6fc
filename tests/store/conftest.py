from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from connector.store.postgres.store import PostgresStore
from connector.store.sqlite import database
from tests.store.bench import Bench
from tests.store.kit import KINDS, memory, routing_table
from tests.stores import make_store_file

ONE_SHEET = routing_table(chat=False, sheet=True)


@pytest.fixture(params=KINDS)
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """An empty store, on each database."""
    with KINDS[request.param]() as opened:
        yield opened


@pytest.fixture
def sqlite_connection() -> Iterator[Connection]:
    """An empty store in memory."""
    with memory() as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty store in a file."""
    return make_store_file(tmp_path / "store.db")


@pytest.fixture
async def bench_of(path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes a writer on the file, by default with one message sink `chat`; `schema` is SQL that runs before."""
    made: list[Bench] = []

    def make(schema: str = "", **options: Any) -> Bench:
        connection = database.connect(path)
        connection.executescript(f"INSERT INTO meta VALUES ('written', '0'); {schema}")
        made.append(Bench(path, connection, **options))
        return made[-1]

    yield make
    for bench in made:
        await bench.writer.close()


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    """A process with a receiver at an empty PostgreSQL store with one state sink."""
    opened = await PostgresStore.open(postgres_url, ONE_SHEET, lambda _: None, intake=100)
    yield opened
    await opened.close()


@pytest.fixture
async def worker(postgres_url: str) -> AsyncIterator[PostgresStore]:
    """Another process at the same store, without a receiver."""
    opened = await PostgresStore.open(postgres_url, ONE_SHEET, lambda _: None, intake=100)
    yield opened
    await opened.close()
