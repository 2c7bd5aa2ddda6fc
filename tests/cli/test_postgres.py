"""Commands on a PostgreSQL store: their errors when it cannot be used, and commands at the same time."""

import json
import subprocess
import sys
import threading

import psycopg
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from connector.config import load
from connector.operations.store_access import changing, now, reading
from connector.operations.store_access_postgres import LOCK_OPERATIONS, public_url
from connector.store import leases, processes
from connector.store.processes import Process
from connector.store.schema import sink
from tests.cli.world import body
from tests.postgres import empty_database, rows

AWAY = "postgresql://somebody:hidden@/name?host=/nowhere"
COMMANDS = [
    ["status"],
    ["events"],
    ["deliveries", "--json"],
    ["explain", "1"],
    ["pause", "chat"],
    ["resume", "chat"],
    ["replay", "--sink", "chat"],
]
on_postgres = pytest.mark.parametrize("store_url", ["postgres"], indirect=True)


@pytest.fixture
def at(config):
    """Puts the store at another address."""

    def put(url):
        lines = [line for line in config.read_text().splitlines() if not line.startswith("url = ")]
        config.write_text("\n".join([*lines, f'url = "{url}"']) + "\n")

    return put


@pytest.fixture
def settings(config):
    return load(config, {}, config.parent)


@pytest.mark.parametrize("words", [*COMMANDS, ["migrate"]], ids=" ".join)
def test_an_unavailable_server_is_reported_without_user_and_password(run, at, words):
    at(AWAY)
    result = run(*words)
    assert result.exit_code == 1
    assert "no server answers at that address" in result.stderr
    assert "Traceback" not in result.output
    assert not {"hidden", "somebody"} & set(result.output.replace(":", " ").replace("@", " ").split())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_database_without_tables_says_how_to_make_them(run, at, words):
    with empty_database() as url:
        at(url)
        result = run(*words)
    assert result.exit_code == 1
    assert "run `connector migrate` once" in result.stderr


def test_a_schema_of_a_newer_version_says_what_to_run(run, at, postgres_url):
    at(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        [before] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        try:
            found = [run(*words) for words in (["status"], ["pause", "chat"], ["migrate"])]
        finally:
            connection.execute("UPDATE alembic_version SET version_num = %s", (before,))
    assert [result.exit_code for result in found] == [1, 1, 1]
    assert all("run the newest connector" in result.stderr for result in found)


def test_an_address_that_is_none_is_bad_usage_and_not_repeated(run, at):
    at("postgresql://u:hidden@h/n?nonsense=1")
    for words in (["serve"], ["status"], ["check"], ["migrate"]):
        result = run(*words)
        assert result.exit_code == 2
        assert "store.url" in result.output
        assert "hidden" not in result.output


def test_a_file_is_explained_before_there_are_tables(run, at, tmp_path):
    """As without an SQLite store."""
    (tmp_path / "event.json").write_bytes(body())
    with empty_database() as url:
        at(url)
        result = run("explain", str(tmp_path / "event.json"))
    assert result.exit_code == 0
    assert "sheet (workbook): a route matches" in result.stdout


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hidden@db.example.org:6432/name?sslmode=require", "postgresql://db.example.org:6432/name"),
        ("postgresql://u:hidden@one,two/name", "postgresql://one,two/name"),
        ("postgresql://u:hidden@/name?host=/run/postgresql", "postgresql:///name?host=/run/postgresql"),
        ("postgresql:///name?password=hidden", "postgresql:///name"),
    ],
)
def test_an_address_is_shown_without_user_and_password(url, shown):
    assert public_url(url) == shown


@on_postgres
def test_a_query_reads_one_commit_and_changes_nothing(settings, world):
    with reading(settings) as connection:
        before = connection.execute(select(sink.c.name)).all()
        world.connection.execute(text("DELETE FROM sink"))
        assert connection.execute(select(sink.c.name)).all() == before
        with pytest.raises(DBAPIError, match="25006"), connection.begin_nested():
            connection.execute(update(sink).values(rest_until=1))


@on_postgres
def test_a_change_that_conflicts_with_a_lane_is_repeated_on_the_new_rows(settings, world):
    seen = []

    def job(connection):
        seen.append(connection.execute(select(sink.c.rest_until).where(sink.c.name == "chat")).scalar_one())
        if len(seen) == 1:
            world.connection.execute(update(sink).where(sink.c.name == "chat").values(rest_until=7))
        connection.execute(update(sink).where(sink.c.name == "chat").values(rest_until=seen[-1] + 1))

    with changing(settings) as store:
        store.change(job)
    assert seen == [0, 7]
    assert [row.rest_until for row in world.rows(sink, name="chat")] == [8]


@on_postgres
def test_what_an_act_raises_undoes_it(settings, world):
    def job(connection):
        connection.execute(update(sink).values(rest_until=1))
        raise ZeroDivisionError

    with changing(settings) as store, pytest.raises(ZeroDivisionError):
        store.change(job)
    assert {row.rest_until for row in world.rows(sink)} == {0}


@on_postgres
def test_two_changes_at_the_same_time_are_made_one_after_the_other(settings, world, store_url, until):
    """The second one waits, and reads the store after the commit of the first one."""
    seen = []

    def second():
        with changing(settings) as store:
            store.change(lambda connection: seen.extend(connection.execute(select(sink.c.rest_until)).scalars()))

    with psycopg.connect(store_url) as first:
        first.execute(LOCK_OPERATIONS)
        first.execute("UPDATE sink SET rest_until = 5")
        thread = threading.Thread(target=second)
        thread.start()
        until(lambda: rows(store_url, "SELECT 1 FROM pg_locks WHERE NOT granted"))
        first.commit()
        thread.join()
    assert set(seen) == {5}


BLIND = """
import sys
from importlib.machinery import PathFinder
from typer.testing import CliRunner


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "psycopg" else super().find_spec(name, path, target)


sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from connector.cli import app

for words in (["serve"], ["status"], ["check"], ["migrate"]):
    result = CliRunner().invoke(app, [*words, "--config", sys.argv[1]])
    print(result.exit_code, result.output)
"""


def test_missing_libraries_are_reported_with_the_command_that_installs_them(at, config):
    at(AWAY)
    done = subprocess.run([sys.executable, "-c", BLIND, config], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("pip install 'hireflix-connector[postgres]'") == 4
    assert done.stdout.count("\n2 ") + done.stdout.startswith("2 ") == 4


@on_postgres
def test_the_status_shows_who_shares_the_store_and_who_has_which_sink(run, world):
    """A process by its name, its role, and the sinks that it has at the moment."""
    processes.beat(world.connection, Process("host:7:ab", "worker", now(), now()))
    leases.acquire(world.connection, "chat", "host:7:ab", now())
    shown = run("status").stdout
    assert "host:7:ab" in shown
    assert "chat until" in shown
    found = json.loads(run("status", "--json").stdout)
    assert [each["role"] for each in found["service"]["processes"]] == ["worker"]
    assert [each["worker"] for each in found["sinks"] if each["name"] == "chat"] == ["host:7:ab"]
