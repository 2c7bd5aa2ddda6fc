"""The first configuration: the text of `config.toml` and `.env` for the answers of a user, and how they are written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from connector.config import Config, load
from connector.errors import UsageError
from connector.role import Secrets

ENV_FILE = ".env"
DRAFT = ".config.draft.toml"
"""The config file while its answers are being tested, in the folder that relative paths count from."""
_HEADER = """\
# Written by `connector init`. config.example.toml describes every setting; `connector check --online` checks this file.
# Secrets are in .env beside this file.
"""
_ENV_NAME = re.compile(r"\s*(?:export\s+)?(\w+)\s*=")


@dataclass(slots=True)
class Answers:
    """What a user wants: the time zone, and the tables of sinks by name. `secrets` are variables with their values."""

    timezone: str
    sinks: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def config_text(self) -> str:
        """Returns the text of `config.toml`. It contains no secret."""
        tables = [f"{_HEADER}\n{_setting('timezone', self.timezone)}"]
        for name, settings in self.sinks.items():
            lines = [f"[sinks.{name}]", *(_setting(key, value) for key, value in settings.items())]
            tables.append("\n".join(lines))
        return "\n\n".join(tables) + "\n"


class FirstConfig:
    """Tests and writes the configuration at one place. Other files there are not changed, except lines of `.env`."""

    def __init__(self, path: Path) -> None:
        """Raises `UsageError` when the config file exists or its folder is missing."""
        if path.exists():
            raise UsageError(f"{path} exists; edit it, or name another file with --config")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"the folder of {path} is missing; create it first")
        self.path = path.absolute()
        self._draft = self.path.with_name(DRAFT)

    def load(self, answers: Answers) -> Config:
        """Returns the configuration of the answers so far; the webhook secret may be missing.

        Raises `ConfigError` with all problems.
        """
        self._write(self._draft, answers.config_text(), 0o600)
        try:
            return load(self._draft, environ={**os.environ, **answers.secrets}, needs=Secrets.SINKS)
        finally:
            self._draft.unlink(missing_ok=True)

    def write(self, answers: Answers) -> list[Path]:
        """Writes `config.toml`, and the secrets to `.env` with mode 0600. Returns the files that were written."""
        written = [self.path]
        self._write(self.path, answers.config_text(), 0o644)
        if answers.secrets:
            dotenv = self.path.with_name(ENV_FILE)
            before = dotenv.read_text(encoding="utf-8-sig") if dotenv.exists() else ""
            self._write(dotenv, dotenv_text(before, answers.secrets), 0o600)
            written.append(dotenv)
        return written

    @staticmethod
    def _write(path: Path, text: str, mode: int) -> None:
        """Replaces a file, so that it is never half written."""
        temporary = path.with_name(f"{path.name}.new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)


def dotenv_text(before: str, variables: Mapping[str, str]) -> str:
    """Returns the text of an `.env` file with these variables. Lines of other variables stay as they are.

    Raises `UsageError` for a value that such a file cannot hold.
    """
    kept = [line for line in before.splitlines() if _name_of(line) not in variables]
    return "\n".join([*kept, *_dotenv_lines(variables)]) + "\n"


def _dotenv_lines(variables: Mapping[str, str]) -> Iterator[str]:
    for name, value in variables.items():
        if "${" in value or not value.isprintable():
            raise UsageError(f"{name}: an .env file cannot hold this value; set the variable in the environment")
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        yield f"{name}='{quoted}'"


def _name_of(line: str) -> str:
    found = _ENV_NAME.match(line)
    return found[1].upper() if found else ""


def _setting(key: str, value: str) -> str:
    """Returns a line of TOML. A JSON text is also a TOML string when DEL is escaped (TOML 1.0, String)."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
