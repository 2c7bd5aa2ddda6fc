"""The lock that allows one service per SQLite store."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from connector.errors import StoreUnavailable, UsageError
from connector.store.sqlite.database import StoreLock

HOLDER = """
import sys
from pathlib import Path
from connector.store.sqlite.database import StoreLock
with StoreLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "store.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_a_second_process_is_refused(tmp_path, holder):
    """The message has the store's path and two solutions."""
    with (
        pytest.raises(UsageError, match=rf"serves {tmp_path}/store\.db already; stop it first, or .*\[store\] url"),
        StoreLock(tmp_path / "store.db"),
    ):
        pass


def test_a_killed_process_holds_nothing(tmp_path, holder):
    """However a service ends, the next one starts."""
    holder.kill()
    holder.wait()
    with StoreLock(tmp_path / "store.db"):
        assert (tmp_path / "store.db.lock").exists()


def test_the_lock_is_free_after_its_block(tmp_path):
    """Also after an exception."""
    for _ in range(3):
        with pytest.raises(LookupError), StoreLock(tmp_path / "store.db"):
            raise LookupError
    with StoreLock(tmp_path / "store.db"):
        assert not (tmp_path / "store.db").exists()


def test_two_stores_have_two_locks(tmp_path):
    """Another store may be served beside this one."""
    with StoreLock(tmp_path / "one.db"), StoreLock(tmp_path / "two.db"):
        assert {file.name for file in tmp_path.iterdir()} == {"one.db.lock", "two.db.lock"}


def test_within_one_process_it_is_held_too(tmp_path):
    """A second service in the same process is refused, too."""
    with StoreLock(tmp_path / "store.db"), pytest.raises(UsageError), StoreLock(tmp_path / "store.db"):
        pass


def test_the_folder_is_made(tmp_path):
    """The lock is made before the store."""
    with StoreLock(tmp_path / "data" / "store.db"):
        assert stat.S_IMODE((tmp_path / "data" / "store.db.lock").stat().st_mode) == 0o600


def test_an_error_names_the_setting_when_the_lock_cannot_be_made(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(StoreUnavailable, match=r"cannot be made.*\[store\] url"), StoreLock(tmp_path / "data" / "s.db"):
        pass


def test_a_child_does_not_inherit_it(tmp_path):
    """A child process that continues after the service does not keep the store locked."""
    with StoreLock(tmp_path / "store.db") as lock:
        assert not os.get_inheritable(lock._file)
