"""`store backup` and `store restore`: a consistent copy while the service runs, and a safe way back."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from connector.operations.store_access import now
from connector.store import processes
from connector.store.processes import Process
from connector.store.schema import delivery, event
from connector.store.sqlite.database import StoreLock
from tests.cli.world import body

SERVICE = 65534
"""The id of a user that is not root."""
ON_POSTGRES = pytest.mark.parametrize("store_url", ["postgres"], indirect=True)


@pytest.fixture
def filled(world):
    world.receive(body(number=1), body(number=2))
    return world


@pytest.fixture
def file(tmp_path):
    return tmp_path / "backup.db"


def count(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM event").fetchone()[0]


def names(folder):
    return {entry.name for entry in folder.iterdir()}


def test_a_backup_holds_what_was_committed_while_the_store_is_open(run, filled, file):
    result = run("store", "backup", str(file))
    assert result.exit_code == 0
    assert count(file) == len(filled.rows(event)) == 2


def test_a_backup_leaves_out_a_transaction_that_is_open(run, filled, file):
    filled.raw.execute("BEGIN IMMEDIATE")
    filled.raw.execute("DELETE FROM delivery")
    filled.raw.execute("DELETE FROM event")
    assert run("store", "backup", str(file)).exit_code == 0
    filled.raw.execute("ROLLBACK")
    assert count(file) == 2


def test_a_backup_is_one_file_that_only_its_owner_can_read(run, filled, file):
    before = names(file.parent)
    run("store", "backup", str(file))
    assert names(file.parent) - before == {"backup.db"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_existing_file_is_not_replaced(run, filled, file):
    file.write_text("precious")
    result = run("store", "backup", str(file))
    assert result.exit_code == 2
    assert "add --force to replace it" in result.stderr
    assert file.read_text() == "precious"


def test_force_replaces_an_existing_file_and_its_mode(run, filled, file):
    file.write_text("precious")
    file.chmod(0o644)
    assert run("store", "backup", str(file), "--force").exit_code == 0
    assert (count(file), stat.S_IMODE(file.stat().st_mode)) == (2, 0o600)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock", ".erased"])
def test_a_backup_never_replaces_the_store_itself(run, filled, suffix):
    result = run("store", "backup", f"{filled.file}{suffix}", "--force")
    assert result.exit_code == 2
    assert "belongs to the store itself" in result.stderr
    assert len(filled.rows(event)) == 2


def test_a_folder_that_is_missing_is_a_clear_error(run, filled, tmp_path):
    result = run("store", "backup", str(tmp_path / "none" / "backup.db"))
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory" in result.stderr


def test_a_restored_store_has_what_the_backup_has(run, filled, file):
    run("store", "backup", str(file))
    filled.receive(body(number=3))
    filled.close()
    assert run("store", "restore", str(file)).exit_code == 0
    assert count(filled.file) == 2
    assert stat.S_IMODE(filled.file.stat().st_mode) == 0o600


def test_no_delivery_after_a_restore_has_an_id_of_one_before_it(run, filled, file):
    """A destination that knows the id would take the new delivery for a repeat. Also after a second restore."""
    run("store", "backup", str(file))
    used = set()
    for number in (3, 4, 5):
        filled.receive(body(number=number))
        last = {row.id for row in filled.rows(delivery) if row.interview_id == filled.rows(event)[-1].interview_id}
        assert last.isdisjoint(used)
        used |= last
        filled.close()
        assert run("store", "restore", str(file)).exit_code == 0
        for kept in filled.file.parent.glob("*.before-restore-*"):  # its name has the second of the restore
            kept.unlink()
        filled.open()


def test_a_restored_store_does_not_say_that_the_service_of_the_backup_runs(run, filled, file):
    processes.beat(filled.connection, Process("one", "all", now(), now()))
    run("store", "backup", str(file))
    filled.close()
    assert run("store", "restore", str(file)).exit_code == 0
    assert run("status").stdout.startswith("Service: NOT running\n")


def test_a_restore_is_in_the_audit_log_of_the_restored_store(run, filled, file):
    run("store", "backup", str(file))
    filled.close()
    run("store", "restore", str(file))
    (found,) = json.loads(run("audit", "--json").stdout)
    assert (found["action"], found["target"], found["actor"] != "") == ("restore", file.name, True)


def test_the_previous_store_is_kept_with_commits_that_are_only_in_its_log(run, filled, file):
    run("store", "backup", str(file))
    filled.receive(body(number=3))
    program = (
        'import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("DELETE FROM event WHERE seq = 1"); '
    )
    subprocess.run([sys.executable, "-c", program + "c.commit(); os._exit(0)", str(filled.file)], check=True)
    run("store", "restore", str(file))
    (kept,) = filled.file.parent.glob("connector.db.before-restore-*Z")
    assert count(kept) == 2


def test_a_restore_that_is_killed_leaves_the_store_with_all_its_commits(run, filled, file):
    """Also those that were only in its log."""
    run("store", "backup", str(file))
    filled.receive(body(number=3))
    filled.close()
    program = (
        "import os, pathlib, sys; from connector.store.sqlite import backup; "
        "pathlib.Path.replace = lambda *_: os._exit(9); "
        "backup.restore(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 'now', actor='cli:ana')"
    )
    assert subprocess.run([sys.executable, "-c", program, str(filled.file), str(file)], check=False).returncode == 9
    assert count(filled.file) == 3
    assert run("store", "restore", str(file)).exit_code == 0
    assert count(filled.file) == 2


def test_a_store_that_is_missing_is_restored(run, filled, file):
    run("store", "backup", str(file))
    filled.close()
    filled.file.unlink()
    assert run("store", "restore", str(file)).exit_code == 0
    assert count(filled.file) == 2


def test_restore_refuses_while_a_service_runs(run, filled, file):
    run("store", "backup", str(file))
    with StoreLock(filled.file):
        result = run("store", "restore", str(file))
    assert result.exit_code == 2
    assert "stop it first" in result.stderr
    assert not list(filled.file.parent.glob("*before-restore*"))


def damaged(content):
    return content[:8192] + b"\xff" * (len(content) - 8192)


def newer(content, file):
    file.write_bytes(content)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    return file.read_bytes()


@pytest.mark.parametrize("kind", ["damaged", "newer", "no database", "empty", "another program"])
def test_a_backup_that_cannot_be_used_changes_nothing(run, filled, file, kind):
    run("store", "backup", str(file))
    good = file.read_bytes()
    if kind == "another program":
        file.unlink()
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("CREATE TABLE songs (name TEXT)")
    else:
        file.write_bytes({"damaged": damaged(good), "newer": newer(good, file), "empty": b""}.get(kind, b"no database"))
    filled.close()
    before = filled.file.read_bytes()
    result = run("store", "restore", str(file))
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert filled.file.read_bytes() == before
    assert not list(filled.file.parent.glob("connector.db.*re*"))


def test_a_backup_that_is_missing_is_bad_usage(run, filled, file):
    result = run("store", "restore", str(file))
    assert result.exit_code == 2
    assert "is missing: give the path of a file" in result.stderr


@ON_POSTGRES
@pytest.mark.parametrize("command", ["backup", "restore"])
def test_postgresql_names_the_tool_to_use(run, config, file, command):
    result = run("store", command, str(file))
    assert result.exit_code == 2
    assert "pg_dump" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can create files for other users")
@pytest.mark.parametrize("words", [
    ["password"], ["store", "restore", "backup.db"], ["erase", "interview-1", "--yes"], ["verify", "sheet", "--repair"],
])  # fmt: skip
def test_what_a_command_of_root_creates_belongs_to_the_user_of_the_service(words, run, filled, tmp_path, monkeypatch):
    """Else the service cannot read its password or its store at the next start."""
    monkeypatch.chdir(tmp_path)
    assert run("store", "backup", "backup.db").exit_code == 0
    filled.close()
    for path in (tmp_path, *tmp_path.iterdir()):
        os.chown(path, SERVICE, SERVICE)
    before = names(tmp_path)
    assert run(*words).exit_code == 0
    assert names(tmp_path) > before
    assert {path.name for path in tmp_path.iterdir() if path.stat().st_uid != SERVICE} == set()
