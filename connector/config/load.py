"""From files and variables to a `Config`, or to all that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from connector.config.layers import Layers, Tree
from connector.config.lint import warnings_for
from connector.config.model import Config, HireflixSettings, Settings, SinkEntry
from connector.config.problems import as_problem, problems_of
from connector.config.routes import as_route, otherwise_to_state, routed_sinks, unknown_sinks
from connector.config.sinks import NO_LIST, SinkReader, decode, tables
from connector.errors import ConfigError, Problem
from connector.secretsfile import WEBHOOK_SECRET, read_secret

EMBEDDED: Tree = {
    "sinks": {
        "workbook": {"type": "workbook", "path": "data/interviews.xlsx"},
        "console": {"type": "console"},
    }
}
"""What runs with no config file at all; variables lie over it as over a file."""

_RUN_SECRETS = Path("/run/secrets")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the configuration lies: the file, if there is one, and the folder that relative paths count from."""

    file: Path | None
    folder: Path


def load(path: Path | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Config:
    """Reads the configuration; makes no file, opens no connection.

    `path` is the config file; without one `CONNECTOR_CONFIG` says it, else it is `config.toml` in `cwd` if that
    exists, else the embedded default runs. `environ` and `cwd` are those of the process unless given. Precedence:
    `environ`, `.env` beside the file, the secrets directory, the file, the defaults. Raises `ConfigError` with all
    problems at once.
    """
    environ = os.environ if environ is None else environ
    place = _find(path, environ, (cwd or Path.cwd()).absolute())
    layers = _read(place, environ)
    settings = _settings(layers, place.folder)
    sinks: dict[str, SinkEntry] = {}
    if not layers.broken:
        _check_secret(layers, place)
        sinks = _sinks(settings, layers, place)
    if layers.problems or settings is None:
        raise ConfigError(_one_per_place(layers.problems))
    config = _config(settings, sinks, place)
    return replace(config, warnings=tuple(warnings_for(config)))


def _one_per_place(problems: Iterable[Problem]) -> list[Problem]:
    """The first for each place: what came after follows from it."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.place, problem)
    return list(first.values())


def _find(path: Path | None, environ: Mapping[str, str], cwd: Path) -> _Place:
    named = path or (Path(environ["CONNECTOR_CONFIG"]) if environ.get("CONNECTOR_CONFIG") else None)
    if named is None:
        usual = cwd / "config.toml"
        return _Place(usual, cwd) if usual.is_file() else _Place(None, cwd)
    file = cwd / named.expanduser()
    if not file.is_file():
        hint = "see --config and CONNECTOR_CONFIG; config.example.toml is one to start from"
        raise ConfigError([Problem(str(named), "there is no such config file", hint)])
    return _Place(file, file.parent)


def _read(place: _Place, environ: Mapping[str, str]) -> Layers:
    layers = Layers({"store": {}})
    if place.file is not None:
        layers.add_file(place.file)
    else:
        layers.tree |= EMBEDDED
    dotenv = layers.read_dotenv(place.folder / ".env")
    if dotenv.get("CONNECTOR_CONFIG") and not environ.get("CONNECTOR_CONFIG"):
        hint = "set it in the environment, or use --config"
        layers.problems.append(Problem(".env", "CONNECTOR_CONFIG has no effect here", hint))
    _add_secrets(layers, place, environ.get("CONNECTOR_SECRETS_DIR") or dotenv.get("CONNECTOR_SECRETS_DIR"))
    layers.add_variables(dotenv, "in .env")
    layers.add_variables(environ)
    return layers


def _add_secrets(layers: Layers, place: _Place, named: str | None) -> None:
    folder = place.folder / named if named else _RUN_SECRETS
    if folder.is_dir():
        layers.add_secrets(folder)
    elif named:
        layers.problems.append(Problem("CONNECTOR_SECRETS_DIR", "there is no such folder"))


def _settings(layers: Layers, folder: Path) -> Settings | None:
    tree, wrong = decode(layers.tree, (), Settings, layers.origins)
    for keys in wrong:
        layers.problems.append(as_problem(layers, keys, *NO_LIST))
    try:
        return Settings.model_validate(tree, context={"folder": folder})
    except ValidationError as error:
        for keys, message, hint in problems_of(error, Settings, tree):
            layers.problems.append(as_problem(layers, keys, message, hint))
        return None
    finally:
        layers.tree = tree


def _sinks(settings: Settings | None, layers: Layers, place: _Place) -> dict[str, SinkEntry]:
    """The second pass: every sink, routed or not, and what must hold between routes and sinks."""
    reader = SinkReader(layers, place.folder, settings.timezone if settings else "UTC", layers.problems)
    reader.check_names()
    names = list(tables(layers.tree))
    sinks = reader.read(names)
    wrong = [*unknown_sinks(layers.tree, names), *otherwise_to_state(settings.routes if settings else (), sinks)]
    layers.problems += [as_problem(layers, keys, message, hint) for keys, message, hint in wrong]
    return sinks


def _config(settings: Settings, sinks: dict[str, SinkEntry], place: _Place) -> Config:
    routed = routed_sinks(settings.routes, sinks)
    return Config(
        timezone=settings.timezone,
        server=settings.server,
        store=settings.store,
        hireflix=_with_secret(settings.hireflix, place),
        dashboard=settings.dashboard,
        delivery=settings.delivery,
        logs=settings.logs,
        sinks={name: entry for name, entry in sinks.items() if name in routed},
        unrouted={name: entry for name, entry in sinks.items() if name not in routed},
        routes=tuple(as_route(route) for route in settings.routes),
        folder=place.folder,
        path=place.file,
    )


def _check_secret(layers: Layers, place: _Place) -> None:
    """Without a secret and without `allow_unsigned` every webhook would be refused."""
    try:
        hireflix = HireflixSettings.model_validate(layers.tree.get("hireflix", {}))
    except ValidationError:  # told already
        return
    if place.file is not None and not hireflix.webhook_secrets and not hireflix.allow_unsigned:
        hint = (
            "set CONNECTOR_HIREFLIX__WEBHOOK_SECRETS='[\"…\"]' to the key that Hireflix shows under Profile, Webhooks, "
            "Reveal key; to try without signatures set allow_unsigned = true"
        )
        message = "there is none, so that no webhook could be trusted"
        layers.problems.append(Problem("hireflix.webhook_secrets", message, hint))


def _with_secret(hireflix: HireflixSettings, place: _Place) -> HireflixSettings:
    """The embedded default knows the secret that it made at an earlier start."""
    if place.file is not None or hireflix.webhook_secrets:
        return hireflix
    secret = read_secret(place.folder / "data" / WEBHOOK_SECRET)
    return hireflix.model_copy(update={"webhook_secrets": [secret]}) if secret else hireflix
