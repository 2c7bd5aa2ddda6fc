"""Shows the effective configuration, with secrets masked and the origin of each value, and writes the first one."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, SecretBytes, SecretStr

from connector.config import Config, SinkEntry, load
from connector.config.messages import setting_path
from connector.config.settings import Keys
from connector.errors import UsageError
from connector.operations.store_access import store_address
from connector.role import Secrets
from connector.routing import Route

MASK = "********"
"""Replaces a secret that is set."""
DEFAULT = "default"
"""The origin of a setting that no source sets."""
_SHARED = ("timezone", "language")
"""Settings that are the defaults of those of each sink."""
ENV_FILE = ".env"
DRAFT = ".config.draft.toml"
"""The config file while its answers are being tested, in the folder that relative paths count from."""
_HEADER = """\
# Written by `connector init`. config.example.toml describes every setting; `connector check --online` checks this file.
# Secrets are in .env beside this file.
"""


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """A setting as the service uses it. `value` is plain data without secrets; `origin` says which source set it."""

    place: str
    value: Any
    origin: str


def effective_settings(config: Config) -> list[EffectiveSetting]:
    """Returns all settings in the order of the sections, then those of every sink, then the routes."""
    return [EffectiveSetting(setting_path(keys), value, origin) for keys, value, origin in _all(config)]


def _all(config: Config) -> Iterator[tuple[Keys, Any, str]]:
    for key in _SHARED:
        yield (key,), getattr(config, key), _origin(config, (key,))
    for field in dataclasses.fields(config):
        if isinstance(section := getattr(config, field.name), BaseModel):
            yield from _of_section(config, field.name, section)
    for entry in (*config.sinks.values(), *config.unrouted.values()):
        yield from _of_sink(config, entry)
    for index, route in enumerate(config.routes):
        yield from _of_route(config, index, route)


def _of_section(config: Config, name: str, section: BaseModel) -> Iterator[tuple[Keys, Any, str]]:
    for key in type(section).model_fields:
        value = store_address(config) if section is config.store else _public(getattr(section, key))
        yield (name, key), value, _origin(config, (name, key))


def _of_sink(config: Config, entry: SinkEntry) -> Iterator[tuple[Keys, Any, str]]:
    yield ("sinks", entry.name, "type"), entry.type, _origin(config, ("sinks", entry.name, "type"))
    for key, field in type(entry.config).model_fields.items():
        name = field.alias or key
        own, shared = ("sinks", entry.name, name), ("defaults", entry.type, name)
        origin = _origin(config, own)
        if origin == DEFAULT and (above := _origin(config, shared)) != DEFAULT:
            origin = f"defaults.{entry.type} in {above}"
        elif origin == DEFAULT and name in _SHARED:
            origin = _origin(config, (name,))
        yield own, _public(getattr(entry.config, key, None)), origin


def _of_route(config: Config, index: int, route: Route) -> Iterator[tuple[Keys, Any, str]]:
    for field in dataclasses.fields(route):
        value = getattr(route, field.name)
        if value not in ((), None, False):
            yield ("routes", index, field.name), _public(value), _origin(config, ("routes",))


def _origin(config: Config, keys: Keys) -> str:
    """Returns the sources that set the value at these keys, or values below them."""
    found = {origin: None for place, origin in config.origins.items() if place[: len(keys)] == keys}
    return ", ".join(found) or DEFAULT


def _public(value: Any) -> Any:
    """Returns a value as plain data, with a mask for each secret."""
    if isinstance(value, SecretStr | SecretBytes):
        return MASK
    if isinstance(value, BaseModel):
        return {key: _public(getattr(value, key, None)) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): _public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_public(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        return _CREDENTIALS.sub(MASK, value)
    return msgspec.to_builtins(value, enc_hook=str)


_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]*(?=@)")
"""User and password in a URL (RFC 3986, section 3.2)."""
_ENV_NAME = re.compile(r"\s*(?:export\s+)?(\w+)\s*=")


@dataclass(slots=True)
class Answers:
    """The answers of a user: the time zone, and the tables of sinks by name. `secrets` maps variables to values.
    `failing` names the answers that the user kept although their test failed.
    """

    timezone: str
    sinks: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    secrets: dict[str, str] = dataclasses.field(default_factory=dict)
    failing: list[str] = dataclasses.field(default_factory=list)

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
