from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from connector.cli.commands import app
from tests.cli.world import CONFIG, World

FOREIGN = {name: None for name in os.environ if name.startswith("CONNECTOR_")}
"""Variables of whoever runs the tests; they must not configure what is tested."""

Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config file with a state sink and two message sinks; its store is made by the fixture `world`."""
    file = tmp_path / "config.toml"
    file.write_text(f'{CONFIG}\n[store]\nurl = "sqlite:///connector.db"\n')
    return file


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The store beside the config file."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def run(config: Path) -> Run:
    """Runs a command with that config file, in this process: `run("events", "--limit", "3")`."""

    def invoke(command: str, *words: str, stdin: str | bytes | None = None, **environ: str) -> Result:
        arguments = [command, "--config", str(config), *words]
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
