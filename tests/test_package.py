"""What users install: the wheel, without the source tree beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.package


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(command, check=True)
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed connector in an empty folder."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ | {"PYTHONPATH": str(installed)}, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_wheel_holds_both_packages_and_nothing_else(wheel):
    """No tests and no private files; types, migrations, samples and emulators are there."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"connector", "sinks"}
    for needed in ("connector/py.typed", "sinks/py.typed", "connector/store/migrations/env.py"):
        assert needed in names
    assert any(name.startswith("connector/hireflix/samples/") and name.endswith(".json") for name in names)
    assert not [name for name in names if name.endswith((".db", ".xlsx", ".env"))]


def test_the_installed_code_is_what_runs(installed, tmp_path):
    """The source tree is not picked up by accident."""
    found = run(installed, tmp_path, "-c", "import connector, sinks; print(connector.__file__, sinks.__file__)")
    assert found.stdout.count(str(installed)) == 2


def test_the_installed_connector_receives_and_delivers(installed, tmp_path):
    """The demo of the embedded default runs to its end from the wheel alone."""
    found = run(
        installed, tmp_path, "-m", "connector.cli", "demo", "--once", "--events", "30", "--folder", str(tmp_path)
    )
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "data" / "interviews.xlsx").exists()
