"""The schema that migrations make, and the upgrade of a store to it."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import sys
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import DBAPIError

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.store.migrate import SCRIPTS, alembic_config, migrate, migrate_in_child, prepare_sqlite
from connector.store.schema import REVISION, metadata
from connector.store.sqlite import database
from tests.store.kit import rows
from tests.stores import make_store_file

NEXT = """
from alembic import op
import sqlalchemy as sa

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table("seen", sa.Column("id", sa.Integer()))
    {then}
"""


@pytest.fixture
def migrated(tmp_path):
    path = tmp_path / "store.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def newer(tmp_path):
    """A folder of migrations with one more, as a later version has it. `then` is its last statement."""

    def make(then="pass"):
        folder = tmp_path / "migrations"
        shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "0003_next.py").write_text(NEXT.format(then=then))
        return folder

    return make


def schema_of(path):
    """All tables and indexes with what they are made of, without the names of unnamed constraints."""
    return sorted(rows(path, "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))


# --- the same schema


def test_migrations_make_the_schema_of_the_tables(migrated):
    """Alembic finds no difference between a migrated store and what the code expects."""
    engine = create_engine(f"sqlite:///{migrated}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_migrations_make_the_same_as_the_tables_themselves(migrated, tmp_path):
    """Also what Alembic does not compare: the conditions of partial indexes, and numbers that are never reused."""
    made = make_store_file(tmp_path / "made.db")
    assert schema_of(migrated) == schema_of(made)
    for name in ("migrated", "made"):
        path = {"migrated": migrated, "made": made}[name]
        assert "AUTOINCREMENT" in rows(path, "SELECT sql FROM sqlite_master WHERE name = 'delivery'")[0][0]
    partial = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %' ORDER BY name"
    assert rows(migrated, partial) == rows(made, partial)
    assert len(rows(made, partial)) == 15


def test_constraints_are_the_same(migrated, tmp_path):
    """The constraints on values and references are the same."""
    found = []
    for path in (migrated, make_store_file(tmp_path / "made.db")):
        engine = create_engine(f"sqlite:///{path}")
        looked = inspect(engine)
        found.append(
            {
                table: (
                    sorted((each["name"], each["sqltext"]) for each in looked.get_check_constraints(table)),
                    sorted((each["name"], str(each["options"])) for each in looked.get_foreign_keys(table)),
                )
                for table in metadata.tables
            }
        )
        engine.dispose()
    assert found[0] == found[1]
    assert {table: names[1] for table, names in found[0].items() if names[1]}.keys() == {
        "attempt",
        "delivery",
        "enrichment",
        "event_body",
        "interview_word",
        "note",
        "subscription",
    }


def test_columns_have_the_same_defaults(migrated, tmp_path):
    """The database fills in the columns that the receiver leaves out."""
    made = make_store_file(tmp_path / "made.db")
    found = []
    for path in (migrated, made):
        engine = create_engine(f"sqlite:///{path}")
        looked = inspect(engine)
        found.append(
            {
                table: [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in looked.get_columns(table)]
                for table in metadata.tables
            }
        )
        engine.dispose()
    assert found[0] == found[1]


def test_this_version_works_with_the_newest_migration():
    """`REVISION` is the head, and there is one."""
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [REVISION]


def test_migrating_twice_is_harmless(migrated):
    """Everything that is there stays."""
    with closing(sqlite3.connect(migrated)) as connection:
        connection.execute("INSERT INTO meta VALUES ('k', 'v')")
        connection.commit()
    migrate(f"sqlite:///{migrated}")
    assert database.revision_of(migrated) == REVISION
    assert rows(migrated, "SELECT * FROM meta") == [("k", "v")]


def test_a_migration_is_applied_whole_or_not_at_all(migrated, newer):
    """A migration that fails leaves the store as it was, and works after its correction."""
    before = schema_of(migrated)
    with pytest.raises(DBAPIError, match="no such table"):
        migrate(f"sqlite:///{migrated}", newer('op.execute("INSERT INTO strangers VALUES (1)")'))
    assert schema_of(migrated) == before
    assert database.revision_of(migrated) == REVISION


def test_a_first_migration_that_was_interrupted_begins_again(tmp_path):
    """A file with nothing but Alembic's own table counts as empty."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    assert database.revision_of(path) is None
    migrate(f"sqlite:///{path}")
    assert database.revision_of(path) == REVISION


# --- a store made ready by the service


async def test_a_new_store_is_made(tmp_path):
    """Its folder is created, and only its owner can read it. Nothing is copied."""
    path = tmp_path / "data" / "connector.db"
    assert await prepare_sqlite(path) is None
    assert database.revision_of(path) == REVISION
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["connector.db"]


async def test_a_current_store_is_left_alone(path):
    """It starts no child process, makes no copy and changes no byte."""
    before = path.read_bytes()
    assert await prepare_sqlite(path, scripts=path.parent / "no such folder") is None
    assert path.read_bytes() == before


async def test_an_older_store_is_copied_and_brought_up_to_date(migrated, newer):
    """The copy has the old schema, the store the new one; both hold everything."""
    with closing(sqlite3.connect(migrated)) as connection:
        connection.execute("INSERT INTO meta VALUES ('k', 'v')")
        connection.commit()
    copy = await prepare_sqlite(migrated, "0003", newer())
    assert (database.revision_of(copy), database.revision_of(migrated)) == ("0002", "0003")
    for path in (copy, migrated):
        assert rows(path, "SELECT * FROM meta") == [("k", "v")]
    assert rows(migrated, "SELECT * FROM seen") == []


async def test_a_failed_upgrade_is_reported_in_one_line(migrated, newer):
    """The line has the message of the database and no traceback. The store and its copy do not change."""
    with pytest.raises(
        StoreUnavailable, match=r"could not be brought up to date: .*no such table: strangers"
    ) as caught:
        await prepare_sqlite(migrated, "0003", newer('op.execute("INSERT INTO strangers VALUES (1)")'))
    assert "\n" not in str(caught.value)
    assert database.revision_of(migrated) == "0002"


async def test_a_store_of_a_newer_version_is_refused(migrated):
    """Neither copied nor changed."""
    with closing(sqlite3.connect(migrated)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(SchemaMismatch, match="newest connector"):
        await prepare_sqlite(migrated)
    assert [file.name for file in migrated.parent.iterdir()] == ["store.db"]


async def test_an_unknown_revision_is_reported(migrated, newer):
    """A store between two versions that no migration leads from."""
    with closing(sqlite3.connect(migrated)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
        connection.commit()
    with pytest.raises(StoreUnavailable, match="Can't locate revision"):
        await migrate_in_child(f"sqlite:///{migrated}")


async def test_a_child_process_that_cannot_be_started_is_reported(tmp_path, monkeypatch):
    """The message has the reason and what to check, like any other failure of the store."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(
        StoreUnavailable, match=r"No such file or directory\); check that /nowhere/python can be executed"
    ):
        await prepare_sqlite(tmp_path / "store.db")


async def test_what_is_no_database_is_left_alone(tmp_path):
    """A wrong path in the configuration does not destroy a file."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="not a database"):
        await prepare_sqlite(path)
    assert path.read_bytes() == before


async def test_any_file_name_can_be_migrated(tmp_path):
    """The child process gets the path unchanged."""
    path = tmp_path / "a größe%41#1?.db"
    await prepare_sqlite(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert database.revision_of(path) == REVISION
