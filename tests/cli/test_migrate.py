"""`connector migrate` creates the tables of a PostgreSQL store, and prints what it did."""

import psycopg

from connector.store.schema import REVISION
from tests.postgres import empty_database, rows


def test_tables_are_made_once(run, config):
    """Then commands can read the store, and a second run changes nothing."""
    with empty_database() as url:
        config.write_text(config.read_text().replace("sqlite:///connector.db", url))
        first = run("migrate")
        assert (first.exit_code, first.stdout.endswith(f": created the tables, schema {REVISION}\n")) == (0, True)
        assert rows(url, "SELECT version_num FROM alembic_version") == [(REVISION,)]
        assert run("status").exit_code == 0
        second = run("migrate")
        assert (second.exit_code, second.stdout.endswith("nothing to do\n")) == (0, True)


def test_a_sqlite_store_needs_no_such_command(run, config):
    """Nothing is created, and the command succeeds, so that a script can call it for any store."""
    result = run("migrate")
    assert result.exit_code == 0
    assert "`connector serve` creates and updates it" in result.stdout
    assert [entry.name for entry in config.parent.iterdir()] == ["config.toml"]


def test_tables_of_another_program_are_not_changed(run, config):
    with empty_database() as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE event (id int)")
        config.write_text(config.read_text().replace("sqlite:///connector.db", url))
        result = run("migrate")
    assert result.exit_code == 1
    assert "name another one" in result.stderr
