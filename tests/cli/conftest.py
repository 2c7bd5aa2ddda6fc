from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from connector.cli import app
from tests.cli.world import CONFIG, Filled, PostgresWorld, World
from tests.postgres import empty_store

FOREIGN = {name: None for name in os.environ if name.startswith("CONNECTOR_")}
"""Variables of the user who runs the tests. They must not configure the tested commands."""

SECONDS = 60
SQLITE = "sqlite:///connector.db"

Run = Callable[..., Result]


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the store is: a SQLite file, or with the parameter `postgres` an empty store on a real PostgreSQL."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield SQLITE
    else:
        with empty_store() as url:
            yield url


@pytest.fixture
def config(tmp_path: Path, store_url: str) -> Path:
    """A config file with a state sink and two message sinks; its store is made by the fixture `world`."""
    file = tmp_path / "config.toml"
    file.write_text(f'{CONFIG}\n[store]\nurl = "{store_url}"\n')
    return file


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The free bytes and the size that every disk reports, so that no test depends on the disk of its machine."""
    numbers = [80_000_000_000, 100_000_000_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=numbers[0], total=numbers[1]))
    return numbers


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[Filled]:
    """The store of the config file."""
    made = World(tmp_path) if store_url == SQLITE else PostgresWorld(store_url)
    yield made
    made.close()


@pytest.fixture
def run(config: Path) -> Run:
    """Runs a command with that config file, in this process: `run("events", "--limit", "3")`."""

    def invoke(*words: str, stdin: str | bytes | None = None, **environ: str) -> Result:
        parts = 2 if words[0] in {"store", "hireflix"} else 1
        arguments = [*words[:parts], "--config", str(config), *words[parts:]]
        return CliRunner().invoke(app, arguments, input=stdin, env={**FOREIGN, **environ})

    return invoke


@pytest.fixture
def json_of(run: Run) -> Callable[..., Any]:
    """Runs a command with `--json` and returns its one document."""

    def invoke(command: str, *words: str) -> Any:
        result = run(command, *words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return invoke


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits for a condition of another thread or process, which cannot signal it."""

    def wait(condition: Callable[[], object]) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end, "it did not come to pass in time"
            threading.Event().wait(0.01)

    return wait
