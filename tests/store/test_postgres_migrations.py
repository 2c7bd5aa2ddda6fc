"""The schema that migrations make on PostgreSQL, and the upgrade of a store to it."""

from __future__ import annotations

import asyncio
import shutil

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.store.migrate import SCRIPTS, migrate, migrate_postgres
from connector.store.postgres.database import make_engine
from connector.store.schema import REVISION, metadata
from tests.postgres import empty_database, rows
from tests.store.test_migrations import NEXT

COLUMNS = """
SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"
COLLATIONS = """
SELECT indrelid::regclass::text, attname, collname
FROM pg_index JOIN pg_attribute ON attrelid = indexrelid JOIN pg_collation ON pg_collation.oid = attcollation
"""
OPTIONS = "SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL AND relkind = 'r' ORDER BY 1"


def ours(url, sql):
    """The differences that concern the connector's tables."""
    return [row for row in rows(url, sql) if row[0] in metadata.tables]


@pytest.fixture(scope="module")
def migrated():
    with empty_database() as url:
        migrate(url)
        yield url


def test_migrations_make_the_schema_of_the_tables(migrated):
    """Alembic finds no difference between a migrated store and what the code expects."""
    engine = make_engine(migrated, 1)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


@pytest.mark.parametrize("sql", [COLUMNS, INDEXES, OPTIONS], ids=["columns", "indexes", "options"])
def test_migrations_make_the_same_as_the_tables_themselves(migrated, postgres_url, sql):
    """Also what Alembic does not compare: collations, defaults, the conditions of indexes, storage."""
    made = ours(migrated, sql)
    assert made
    assert made == ours(postgres_url, sql)


def test_every_index_orders_text_by_its_bytes(migrated):
    """An update of the system's locales breaks no index, and all processes lock rows in one order."""
    found = {(table, column): collation for table, column, collation in ours(migrated, COLLATIONS)}
    assert found["event", "identity"] == "C"
    assert {place for place, collation in found.items() if collation != "C"} == set()


async def test_two_that_migrate_at_once_follow_each_other():
    """The second one finds nothing to do; a third call is harmless."""
    with empty_database() as url:
        assert await asyncio.gather(migrate_postgres(url), migrate_postgres(url)) == [None, None]
        assert await migrate_postgres(url) == REVISION
        tables = {name for (name,) in rows(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        assert tables == {*metadata.tables, "alembic_version"}


async def test_a_newer_schema_is_left_alone(postgres_url):
    """An older version never touches it."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(SchemaMismatch, match="run the newest connector"):
            await migrate_postgres(postgres_url)
        connection.execute("UPDATE alembic_version SET version_num = %s", (REVISION,))


async def test_a_failed_upgrade_is_reported_in_one_line(postgres_url, tmp_path):
    """The line contains no values. The upgrade is rolled back as a whole."""
    newer = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "versions" / "0003_next.py").write_text(NEXT.format(then="op.execute(\"SELECT 'Zoë'::int\")"))
    with pytest.raises(StoreUnavailable, match=r"could not be brought up to date: InvalidText.*\(22P02\)") as caught:
        await migrate_postgres(postgres_url, "0003", newer)
    assert "Zoë" not in str(caught.value)
    assert rows(postgres_url, "SELECT version_num, to_regclass('seen') FROM alembic_version") == [(REVISION, None)]


async def test_without_a_server_nothing_is_migrated():
    with pytest.raises(StoreUnavailable, match="no server answers"):
        await migrate_postgres("postgresql://zoe:secret@127.0.0.1:1/store")


async def test_missing_rights_are_reported(postgres_url):
    """The message names the missing right."""
    with empty_database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS connector_test_poor")
        connection.execute("CREATE ROLE connector_test_poor LOGIN")
        as_poor = make_url(url).update_query_dict({"options": "-crole=connector_test_poor"})
        with pytest.raises(StoreUnavailable, match=r"permission denied for schema public \(42501"):
            await migrate_postgres(as_poor.render_as_string(hide_password=False))
        connection.execute("DROP ROLE connector_test_poor")
