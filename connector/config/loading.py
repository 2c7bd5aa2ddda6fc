"""Loads the configuration: finds the file, merges the sources, and reports all problems at once."""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsError,
)

from connector.config.lint import warnings_for
from connector.config.messages import dotenv_problems, problems_of, toml_problem, unknown_setting
from connector.config.settings import (
    DELIMITER,
    PREFIX,
    Config,
    HireflixSettings,
    Keys,
    Raw,
    Settings,
    SinkEntry,
    Tree,
    decoded,
    leaves,
    merged,
    nested,
)
from connector.config.sinks import as_route, read_sinks, routed_sinks
from connector.errors import ConfigError, Problem
from connector.role import Secrets
from connector.secretsfile import WEBHOOK_SECRET, make_secret, read_secret

EMBEDDED: Tree = {
    "sinks": {
        "workbook": {"type": "workbook", "path": "data/interviews.xlsx"},
        "console": {"type": "console"},
    }
}
"""The configuration without a config file. Variables override it like the values of a file."""

_CONFIG = "connector_config"
_SECRETS_DIR = "connector_secrets_dir"
_FOR_TESTS = "connector_test_"
_RUN_SECRETS = Path("/run/secrets")
"""The directory in which Docker and Podman mount secrets."""


class Variables(EnvSettingsSource):
    """The variables of one source. Records which variable set which value, and keeps unknown ones, to refuse them."""

    where = ""
    """The source, as it follows the name of a variable in a message."""

    def select(self) -> None:
        """Keeps the variables that are settings. `others` gets the other variables of the connector."""
        ours = {name: text for name, text in self.env_vars.items() if name.startswith(PREFIX.lower()) and text}
        self.others = {name: ours.pop(name) for name in (_CONFIG, _SECRETS_DIR) if name in ours}
        self.env_vars = {name: text for name, text in ours.items() if not name.startswith(_FOR_TESTS)}

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:  # noqa: ARG002
        """Decodes JSON lists and tables of known settings. Other text stays unchanged, and the model reports it.

        Settings of sinks have no field here. The second pass decodes them by the type of the sink.
        """
        return decoded(value) if field else value

    def __call__(self) -> Tree:
        self.data = super().__call__()
        for name, text in self.env_vars.items():
            keys = _keys(name)
            if keys[0] not in self.settings_cls.model_fields:
                self.data = merged(self.data, nested(keys, text))
        return self.data

    def origins(self) -> dict[Keys, str]:
        """Returns the variable that set each value, by keys. Must be called after the values are read."""
        return {
            keys: f"{name.upper()} {self.where}".rstrip()
            for name in self.env_vars
            for keys in leaves(self.data, _keys(name))
        }


class Environment(Variables):
    """Environment variables."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): text for name, text in environ.items()}
        self.select()


class DotEnv(Variables, DotEnvSettingsSource):
    """The `.env` file beside the config file. Names of other programs are ignored."""

    where = "in .env"

    def __init__(self, path: Path) -> None:
        super().__init__(Settings, env_file=path)
        self.select()


class SecretsDirectory(Variables, NestedSecretsSettingsSource):
    """Files in the secrets directory that have the name of a variable. Other files are not read."""

    where = "in the secrets directory"

    def __init__(self, folder: Path) -> None:
        super().__init__(SecretsSettingsSource(Settings, folder))
        self.select()

    @classmethod
    def load_secrets(cls, path: Path) -> dict[str, str]:
        """Reads the files of the connector. Raises `ConfigError` with a problem for each unreadable file."""
        found, problems = {}, []
        for file in sorted(path.iterdir()):
            if file.name.upper().startswith(PREFIX) and file.is_file():
                try:
                    found[file.name] = file.read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    problems.append(Problem(file.name, f"cannot be read ({type(error).__name__})"))
        if problems:
            raise ConfigError(problems)
        return found


def _read_toml(path: Path) -> Tree:
    """Reads a file with or without a byte order mark, which some editors on Windows write."""
    return tomllib.loads(path.read_bytes().decode("utf-8-sig"))


@dataclass(frozen=True, slots=True)
class _Place:
    """The config file, if any, and the folder that relative paths start from."""

    file: Path | None
    folder: Path


@dataclass(slots=True)
class _Sources:
    """The sources in order of precedence, and the problems of those that cannot be read."""

    place: _Place
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    broken: bool = False
    """Whether the config file cannot be read, so that its content is unknown."""

    def read(self) -> list[PydanticBaseSettingsSource]:
        """Returns environment, `.env`, secrets directory and config file, as far as they exist."""
        environment = Environment(self.environ)
        dotenv = self._dotenv()
        named = environment.others.get(_SECRETS_DIR) or (dotenv.others.get(_SECRETS_DIR) if dotenv else None)
        secrets = self._secrets(self.place.folder / named if named else None)
        if dotenv and dotenv.others.get(_CONFIG) and not environment.others.get(_CONFIG):
            hint = "set it in the environment, or use --config"
            self.problems.append(Problem(".env", f"{_CONFIG.upper()} has no effect here", hint))
        return [source for source in (environment, dotenv, secrets, self._file()) if source]

    def _file(self) -> PydanticBaseSettingsSource | None:
        path = self.place.file
        if path is None:
            return InitSettingsSource(Settings, EMBEDDED)
        try:
            return InitSettingsSource(Settings, _read_toml(path))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self.broken = True
            self.problems.append(toml_problem(path, error))
            return None

    def _dotenv(self) -> DotEnv | None:
        path = self.place.folder / ".env"
        if not path.is_file():
            return None
        with _UnreadLines() as unread:
            try:
                source = DotEnv(path)
            except (OSError, UnicodeDecodeError) as error:
                self.problems.append(Problem(path.name, f"cannot be read ({type(error).__name__})"))
                return None
        self.problems += dotenv_problems(path, unread.lines)
        return source

    def _secrets(self, named: Path | None) -> SecretsDirectory | None:
        folder = named or _RUN_SECRETS
        if not folder.is_dir():
            if named:
                self.problems.append(Problem(_SECRETS_DIR.upper(), "the folder is missing"))
            return None
        try:
            return SecretsDirectory(folder)
        except ConfigError as error:
            self.problems += error.problems
        except (OSError, SettingsError) as error:
            self.problems.append(Problem(_SECRETS_DIR.upper(), f"cannot be read: {error}"))
        return None


class _UnreadLines(logging.Handler):
    """Collects the numbers of the lines that python-dotenv skips, which it only logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"line (\d+)", record.getMessage())
        self.lines.append(int(found[1]) if found else 0)

    def __enter__(self) -> Self:
        logger = logging.getLogger("dotenv")
        self._before = logger.level, logger.propagate
        logger.setLevel(logging.WARNING)  # also in a process that logs errors only
        logger.propagate = False  # the lines are reported as problems
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("dotenv")
        logger.removeHandler(self)
        level, logger.propagate = self._before
        logger.setLevel(level)


class _Merged(PydanticBaseSettingsSource):
    """The last source. It adds no values; it records the merged values of the sources before it."""

    tree: Tree

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> Tree:
        self.tree = self.current_state
        return {}


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    *,
    needs: Secrets = Secrets.ALL,
) -> Config:
    """Loads the configuration. Creates no file and opens no connection.

    `needs` are the secrets that must be set. Without those of the sinks, a sink may lack them, and cannot be created.

    `path` is the config file; without it `CONNECTOR_CONFIG` names it, else it is `config.toml` in `cwd` if that exists,
    else the embedded default is used. `environ` and `cwd` are those of the process unless given. Precedence: `environ`,
    `.env` beside the file, the secrets directory, the file, the defaults. Raises `ConfigError` with all problems.
    """
    environ = os.environ if environ is None else environ
    place = _find(path, environ, (cwd or Path.cwd()).absolute())
    sources = _Sources(place, environ)
    settings, raw, problems = _settings(sources.read())
    problems = [*sources.problems, *problems]
    sinks: dict[str, SinkEntry] = {}
    if not sources.broken:
        if Secrets.SOURCE in needs:
            problems += _secret_problems(raw, place)
        sinks, wrong = read_sinks(raw, place.folder, settings, secrets=Secrets.SINKS in needs)
        problems += wrong
    if problems or settings is None:
        raise ConfigError(_first_of_each_place(problems))
    config = _config(settings, sinks, place, raw)
    return replace(config, warnings=tuple(warnings_for(config, needs)))


def ensure_secret(config: Config) -> Config:
    """Returns the configuration with a webhook secret: the configured one, or one in a file that it creates.

    Only `serve` and `demo` call this, because other commands create no file. With a config file it creates no secret.
    Raises `ConfigError` when the file cannot be written.
    """
    if config.hireflix.webhook_secrets or not config.embedded:
        return config
    secret = make_secret(config.data_folder / WEBHOOK_SECRET)
    return replace(config, hireflix=config.hireflix.model_copy(update={"webhook_secrets": [secret]}))


def _first_of_each_place(problems: Iterable[Problem]) -> list[Problem]:
    """Keeps the first problem of each place, because later ones follow from it."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.place, problem)
    return list(first.values())


def _find(path: Path | None, environ: Mapping[str, str], cwd: Path) -> _Place:
    named = path or (Path(environ["CONNECTOR_CONFIG"]) if environ.get("CONNECTOR_CONFIG") else None)
    if named is None:
        usual = cwd / "config.toml"
        hint = "name the config file with --config, or change the working folder"
        return _Place(usual, cwd) if _is_file(usual, usual, hint) else _Place(None, cwd)
    try:
        file = cwd / named.expanduser()
    except RuntimeError:  # the home folder of an unknown user
        file = cwd / named
    if not _is_file(file, named, "run the command as the user of the service"):
        hint = "see --config and CONNECTOR_CONFIG; config.example.toml is one to start from"
        raise ConfigError([Problem(str(named), "the config file is missing", hint)])
    return _Place(file, file.parent)


def _is_file(file: Path, named: Path, hint: str) -> bool:
    """Whether there is a file. Raises `ConfigError` when its folder does not let this user in."""
    try:
        return file.is_file()
    except OSError as error:
        raise ConfigError([Problem(str(named), f"cannot be read: {error.strerror}", hint)]) from None


def _settings(sources: list[PydanticBaseSettingsSource]) -> tuple[Settings | None, Raw, list[Problem]]:
    """The first pass: the settings, or `None` with the problems; and the values as written."""
    last = _Merged(Settings)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(cls, *_: Any, **__: Any) -> tuple[PydanticBaseSettingsSource, ...]:
            return (*sources, last)

    settings, failure = None, None
    try:
        settings = Loaded()
    except ValidationError as error:
        failure = error
    origins: dict[Keys, str] = {}
    for source in reversed(sources):
        origins |= source.origins() if isinstance(source, Variables) else {}
    raw = Raw(last.tree, origins)

    def problem(keys: Keys, message: str, hint: str) -> Problem:
        return unknown_setting(raw, keys, message, hint, Settings.model_fields)

    return settings, raw, [*problems_of(failure, Settings, raw.tree, problem)] if failure else []


def _config(settings: Settings, sinks: dict[str, SinkEntry], place: _Place, raw: Raw) -> Config:
    file = place.file.name if place.file else "the embedded default"
    routed = routed_sinks(settings.routes, sinks)
    return Config(
        timezone=settings.timezone,
        language=settings.language,
        server=settings.server,
        store=settings.store.below(place.folder),
        hireflix=_with_secret(settings.hireflix, place),
        delivery=settings.delivery,
        retention=settings.retention,
        alerts=settings.alerts,
        dashboard=settings.dashboard,
        logs=settings.logs,
        sinks={name: entry for name, entry in sinks.items() if name in routed},
        unrouted={name: entry for name, entry in sinks.items() if name not in routed},
        routes=tuple(as_route(route) for route in settings.routes),
        folder=place.folder,
        path=place.file,
        origins={keys: raw.origin(keys) or file for keys in leaves(raw.tree)},
    )


def _secret_problems(raw: Raw, place: _Place) -> Iterator[Problem]:
    """Yields a problem when there is neither a secret nor `allow_unsigned`: every webhook would be refused."""
    try:
        hireflix = HireflixSettings.model_validate(raw.tree.get("hireflix", {}))
    except ValidationError:  # reported by the first pass
        return
    if place.file is not None and not hireflix.webhook_secrets and not hireflix.allow_unsigned:
        hint = (
            "set CONNECTOR_HIREFLIX__WEBHOOK_SECRETS='[\"…\"]' to the key that Hireflix shows under Profile, Webhooks, "
            "Reveal key; to try without signatures set allow_unsigned = true"
        )
        yield Problem("hireflix.webhook_secrets", "is missing, and no webhook can be verified without it", hint)


def _with_secret(hireflix: HireflixSettings, place: _Place) -> HireflixSettings:
    """Adds the secret that an earlier start created, when the embedded default is used."""
    if place.file is not None or hireflix.webhook_secrets:
        return hireflix
    secret = read_secret(place.folder / "data" / WEBHOOK_SECRET)
    return hireflix.model_copy(update={"webhook_secrets": [secret]}) if secret else hireflix


def _keys(name: str) -> tuple[str, ...]:
    """Returns the keys of a variable: ("server", "port") for `connector_server__port`."""
    return tuple(name.removeprefix(PREFIX.lower()).split(DELIMITER))
