"""The PostgreSQL server of the tests: it starts wherever the project is, and a run leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.flows.process import default_signals
from tests.postgres import FOLDER, PACKAGE

ROOT = Path(__file__).parents[2]
STARTS = """
from tests.postgres import empty_store, rows, run_folder

def selects():
    with empty_store() as url:
        assert rows(url, "SELECT 1") == [(1,)]
    return len(list(run_folder().rglob("initdb")))
"""
FAILS = f"""{STARTS}
def test_one():
    assert selects() <= 1

def test_two():
    assert selects() <= 1
    print("both passed")
    raise AssertionError
"""
INTERRUPTED = f"""{STARTS}
import os, signal
def test_one():
    selects()
    os.killpg(0, signal.SIGINT)
    signal.pause()
"""
CRASHES = f"""{STARTS}
import os, signal
def test_one():
    selects()
    os.killpg(0, signal.SIGKILL)
"""


class Left(NamedTuple):
    """What is left of a test run: its exit code, its output, and the folders of its servers."""

    code: int
    output: str
    folders: list[Path]


def run(folder: Path, content: str, *, workers: int, private: bool = False) -> Left:
    """Runs a test file in a pytest of its own."""
    file = folder / "test_it.py"
    file.write_text(content)
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if name != FOLDER and "PYTEST" not in name}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if private:
        environment["PYTHONPATH"] = str(_hidden(folder))
    plugins = ["-p", "xdist", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", *plugins, "-n", str(workers), file],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=default_signals,  # noqa: PLW1509 - it takes no lock
    )
    output, _ = child.communicate()  # until all that have its output ended, the one that deletes included
    return Left(child.returncode, output.decode(), list(Path("/tmp").glob(f"pg-{child.pid}-*")))


def _hidden(folder: Path) -> Path:
    """The wheel at a place that only its owner may enter."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    hidden = folder / "hidden"
    hidden.mkdir(0o700)
    for part in (wheel, wheel.with_name(f"{PACKAGE}.libs")):
        (hidden / part.name).symlink_to(part)
    return hidden


@pytest.mark.parametrize(("content", "code"), [(INTERRUPTED, 2), (CRASHES, -9)], ids=["interrupt", "kill"])
def test_a_run_leaves_nothing_behind(tmp_path, content, code):
    """After Ctrl-C, or a kill of the run."""
    left = run(tmp_path, content, workers=1)
    assert (left.code, left.folders) == (code, [])


def test_it_starts_where_only_root_may_read(tmp_path):
    """By one copy of its programs and libraries for all workers, which is gone after a test that fails; another user
    needs none.
    """
    left = run(tmp_path, FAILS, workers=2, private=os.geteuid() == 0)
    assert "1 failed, 1 passed" in left.output
    assert "both passed" in left.output
    assert (left.code, left.folders) == (1, [])
