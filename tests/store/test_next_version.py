"""A process keeps working after the next version has migrated its store, when that migration only adds."""

from __future__ import annotations

import shutil

import pytest
from sqlalchemy import create_engine, text

from connector.errors import SchemaMismatch
from connector.store.base import effective_revision, require_revision
from connector.store.migrate import SCRIPTS, migrate, migrate_postgres, prepare_sqlite
from connector.store.postgres.database import make_engine
from connector.store.postgres.store import PostgresStore
from connector.store.schema import REVISION
from connector.store.sqlite.store import SqliteStore
from tests.postgres import empty_database
from tests.store.kit import arrival, routing_table

ROUTING = routing_table(chat=False, sheet=True)
NEXT = """
from alembic import op
import sqlalchemy as sa

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("event", sa.Column("colour", sa.Text(), nullable=True))
    op.execute("DELETE FROM meta WHERE key = 'compatible_from'")
    {then}
"""
COMPATIBLE = "op.execute(\"INSERT INTO meta (key, value) VALUES ('compatible_from', '0003 0002')\")"


@pytest.fixture
def scripts(tmp_path):
    """Makes the migrations of the next version; `then` is the last statement of its own one."""

    def make(then=COMPATIBLE):
        folder = tmp_path / "migrations"
        shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "0003_next.py").write_text(NEXT.format(then=then))
        return folder

    return make


@pytest.mark.parametrize(
    ("found", "compatible", "effective"),
    [
        ("0003", "0003 0002", REVISION),
        ("0003", "0003 0001", REVISION),
        ("0003", None, "0003"),
        ("0003", "0003 0003", "0003"),
        ("0004", "0003 0002", "0004"),
        ("0003", "0003", "0003"),
        (REVISION, None, REVISION),
        ("0001", "0003 0002", "0001"),
    ],
)
def test_a_newer_schema_is_used_only_when_its_own_migration_allows_it(found, compatible, effective):
    assert effective_revision(found, compatible) == effective


async def _both_versions_write(store, engine):
    """This version stores an event, the next one fills its column, then this version stores another one."""
    with engine.connect() as connection:
        first = await store.offer(*arrival())
        connection.execute(text("UPDATE event SET colour = 'green' WHERE seq = :seq"), {"seq": first.seq})
        connection.commit()
        second = await store.offer(*arrival(interview="i2"))
        found = connection.execute(text("SELECT seq, colour FROM event ORDER BY seq")).all()
    assert [tuple(row) for row in found] == [(first.seq, "green"), (second.seq, None)]


async def test_two_versions_use_one_sqlite_store(tmp_path, scripts):
    path = tmp_path / "store.db"
    migrate(f"sqlite:///{path}", scripts())
    assert await prepare_sqlite(path) is None
    store = SqliteStore(path, ROUTING, lambda plan: None, intake=100)
    engine = create_engine(f"sqlite:///{path}")
    try:
        await _both_versions_write(store, engine)
    finally:
        await store.close()
        engine.dispose()


async def test_two_versions_use_one_postgresql_store(scripts):
    """The process was running before the migration, and a new one of this version can start after it."""
    with empty_database() as url:
        migrate(url)
        running = await PostgresStore.open(url, ROUTING, lambda plan: None, intake=100)
        assert await migrate_postgres(url, "0003", scripts()) == REVISION
        assert await migrate_postgres(url) == REVISION
        started = await PostgresStore.open(url, ROUTING, lambda plan: None, intake=100)
        engine = make_engine(url, 1)
        try:
            await started.offer(*arrival(interview="i0"))
            with engine.begin() as connection:
                connection.execute(text("DELETE FROM delivery"))
                connection.execute(text("DELETE FROM event"))
            await _both_versions_write(running, engine)
        finally:
            await running.close()
            await started.close()
            engine.dispose()


async def test_a_migration_that_does_not_say_so_needs_the_next_version(tmp_path, scripts):
    path = tmp_path / "store.db"
    migrate(f"sqlite:///{path}", scripts("pass"))
    with pytest.raises(SchemaMismatch, match="run the newest connector"):
        await prepare_sqlite(path)


def test_an_older_schema_is_not_used():
    """Its store is migrated first."""
    with pytest.raises(SchemaMismatch, match="0001"):
        require_revision("0001", to_make="", to_update="migrate")
