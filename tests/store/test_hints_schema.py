"""The tables of the hints: made once, brought up to date in order, never somebody else's."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from sqlalchemy import create_engine

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.store.postgres import hints_schema
from tests import postgres


@pytest.fixture
def url():
    with postgres.empty_database() as made:
        yield made


def run(url, sql):
    with psycopg.connect(url) as connection:
        connection.execute(sql)


def comment(url):
    return postgres.rows(url, "SELECT obj_description('procrastinate_jobs'::regclass, 'pg_class')")[0][0]


def require_current(url):
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    try:
        with engine.connect() as connection:
            hints_schema.require_current(connection)
    finally:
        engine.dispose()


async def test_a_new_database_gets_the_newest_tables_once(url):
    """However often, and however many at a time."""
    await asyncio.gather(*(hints_schema.apply(url) for _ in range(3)))
    require_current(url)
    assert comment(url) == hints_schema.MARK + hints_schema.migrations()[-1]


async def test_an_older_schema_gets_what_is_missing_in_order(url):
    """Made by the oldest migration, brought up to date by all that followed: the tables are those of a new one."""
    first = hints_schema.migrations()[0]
    run(url, hints_schema._sql(f"migrations/{first}"))
    run(url, f"COMMENT ON TABLE procrastinate_jobs IS '{hints_schema.MARK}{first}'")
    with pytest.raises(SchemaMismatch, match="connector migrate"):
        require_current(url)
    await hints_schema.apply(url)
    require_current(url)
    assert columns(url) == await columns_of_a_new_one()


def columns(url):
    return set(
        postgres.rows(
            url,
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'",
        )
    )


async def columns_of_a_new_one():
    with postgres.empty_database() as other:
        await hints_schema.apply(other)
        return columns(other)


def test_without_the_tables_the_command_is_named(url):
    with pytest.raises(SchemaMismatch, match="connector migrate"):
        require_current(url)


@pytest.mark.parametrize(("mark", "says"), [("theirs", "of its own"), (hints_schema.MARK + "99.99_x.sql", "newest")])
async def test_tables_of_others_and_of_newer_versions_are_left_alone(url, mark, says):
    """With the reason."""
    await hints_schema.apply(url)
    run(url, f"COMMENT ON TABLE procrastinate_jobs IS '{mark}'")
    with pytest.raises(SchemaMismatch, match=says):
        await hints_schema.apply(url)
    with pytest.raises(SchemaMismatch, match=says):
        require_current(url)


async def test_a_server_that_is_away_is_told_of(tmp_path):
    with pytest.raises(StoreUnavailable):
        await hints_schema.apply(f"postgresql://nobody@/none?host={tmp_path}")
