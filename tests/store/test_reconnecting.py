"""A store whose database is not available when the process starts."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.store.ingest import RoutingTable
from connector.store.reconnecting import ReconnectingStore
from connector.store.sqlite.store import SqliteStore
from tests.store.kit import reading, routing_table
from tests.stores import make_store_file


@pytest.fixture
async def opening(tmp_path):
    """Fails this number of times, then opens a real store."""

    class Opening:
        errors: list[Exception] = []  # noqa: RUF012 - set by the test

        async def __call__(self):
            if self.errors:
                raise self.errors.pop(0)
            names: RoutingTable = routing_table(chat=False)
            return SqliteStore(make_store_file(tmp_path / "store.db"), names, lambda plan: None, intake=10)

    return Opening()


async def test_it_takes_nothing_until_it_is_open(opening):
    """The log has the reason."""
    opening.errors = [StoreUnavailable("no server answers")]
    store = ReconnectingStore(opening)
    assert not await store.try_open()
    with pytest.raises(StoreUnavailable, match="no server answers"):
        store.offer(reading(), b"")
    for call in (store.write, store.read, store.query):
        with pytest.raises(StoreUnavailable):
            await call(lambda connection: None)
    with pytest.raises(StoreUnavailable):
        await store.probe(0)
    assert store.load.rate == 0.0
    await store.close()


async def test_open_it_is_the_real_one(opening):
    store = ReconnectingStore(opening)
    assert await store.try_open()
    assert await store.read(lambda connection: 7) == 7
    assert store.instance
    await store.close()


async def test_a_missing_database_is_logged_once(opening):
    opening.errors = [StoreUnavailable("away")] * 5
    store = ReconnectingStore(opening, wait_first=0)
    with capture_logs() as logs:
        await store.open()
    assert store.is_open
    assert [log["event"] for log in logs] == ["store unavailable", "store available"]
    await store.close()


async def test_another_versions_schema_is_not_waited_for(opening):
    opening.errors = [SchemaMismatch("run connector migrate")]
    with pytest.raises(SchemaMismatch):
        await ReconnectingStore(opening).open()
