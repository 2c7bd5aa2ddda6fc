"""The examples of docs/writing-a-sink.md work as they are: a sink with test and section, and a chat on `sinks.chat`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.entry_points import install_in_place
from tests.test_layers import PUBLIC

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "writing-a-sink.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
FILES = [name for name in BLOCKS if name.endswith(".py")]
SECTION = BLOCKS["config.example.toml"]
OTHER_TESTS = (
    "tests/test_registry.py",
    "tests/test_layers.py",
    "tests/config",
    "tests/sinks/test_sinks_page.py",
)
"""What looks at all sinks together."""
LOAD = """
from connector.config import load
config = load(environ={"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["s"]',
                       "CONNECTOR_SINKS__HIRING_CHAT__URL": "https://chat.example.org/hooks/s3cr3t-t0ken"})
entry = config.sinks["hiring_chat"]
print(entry.cls.__name__, entry.cls(entry.name, entry.config).destination, config.warnings)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of both packages with the example added, and installed."""
    folder = tmp_path_factory.mktemp("tree")
    for package in ("connector", "sinks"):
        shutil.copytree(ROOT / package, folder / package)  # with the compiled modules, which take seconds to make
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table, line = BLOCKS["pyproject.toml"].strip().splitlines()
    if line not in project:  # an author who follows the guide in this checkout has put it there already
        project = project.replace(f"{table}\n", f"{table}\n{line}\n")
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    install_in_place(folder)
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(BLOCKS[name], encoding="utf-8")
    (folder / "config.toml").write_text(re.sub("^#", "", SECTION, flags=re.MULTILINE), encoding="utf-8")
    return folder


def run(tree, *arguments):
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=False, cwd=tree, env=environ, capture_output=True, text=True)


def test_both_examples_keep_the_contract(tree):
    """All tests of both pass, and none is skipped."""
    files = ["tests/sinks/test_mattermost.py", "tests/sinks/test_mattermost_bot.py"]
    done = run(tree, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-v", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
    assert [done.stdout.count(f"{file}::") >= 30 for file in files] == [True, True]


def test_the_example_can_be_configured(tree):
    done = run(tree, "-W", "error", "-c", LOAD)
    assert done.stdout == "Mattermost chat.example.org ()\n", done.stderr


@pytest.mark.package
def test_nothing_else_is_needed(tree, tmp_path):
    """With file, entry point, test and section where the guide puts them, our own tests pass unedited."""
    whole = tmp_path / "whole"
    shutil.copytree(tree, whole, ignore=shutil.ignore_patterns("*mattermost_bot.py"))  # the page shows no section of it
    shutil.copytree(ROOT / "tests", whole / "tests", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    shutil.copytree(ROOT / "docs", whole / "docs")
    shutil.copy(ROOT / "README.md", whole)
    example = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    if SECTION not in example:  # an author who follows the guide in this checkout has put it there already
        example = example.replace("\n# --- Routes", f"\n{SECTION}\n# --- Routes")
    (whole / "config.example.toml").write_text(example, encoding="utf-8")
    done = run(whole, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-q", *OTHER_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mattermost" in run(whole, "-c", "from connector.registry import known_types; print(known_types())").stdout


def test_the_example_is_as_clean_as_our_own_sinks(tree):
    checked = run(tree, "-m", "ruff", "check", "--no-cache", "sinks", "tests")
    formatted = run(tree, "-m", "ruff", "format", "--check", "--no-cache", "sinks", "tests")
    assert (checked.returncode, formatted.returncode) == (0, 0), checked.stdout + formatted.stdout


@pytest.mark.parametrize(("file", "most"), [("sinks/mattermost.py", 40), ("sinks/mattermost_bot.py", 60)])
def test_an_example_is_short(file, most):
    """Without its imports."""
    code = BLOCKS[file].partition("\nclass ")[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= most


def test_every_hook_is_explained():
    from connector.testing.contract import SinkHarness

    hooks = [name for name in vars(SinkHarness) if not name.startswith("_")]
    assert [name for name in hooks if f"`{name}" not in PAGE] == []


def test_the_modules_that_a_sink_may_import_are_named():
    [sentence] = re.findall(r"It may import (.*?) from the connector", PAGE)
    assert set(re.findall(r"`(connector\.\w+)`", sentence)) == PUBLIC


def test_the_capabilities_are_named():
    from connector.testing.contract import Capability

    [row] = re.findall(r"^\| `capabilities = .*$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(get_args(Capability)) | {"deliver"}
