"""The second pass: validates the settings of each sink by its type, and the references between sinks and routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError, create_model

from connector.capabilities import Notifies
from connector.config.messages import did_you_mean, keys_of, problem_at, problems_of, split_hint
from connector.config.settings import (
    SINK_NAME,
    SINK_NAME_MAX,
    Keys,
    Raw,
    RouteSettings,
    Settings,
    SinkEntry,
    Tree,
    decoded,
    known_language,
    known_timezone,
    merged,
    nested,
    value_at,
)
from connector.errors import ConfigError, Problem
from connector.registry import SinkClass, known_types, load_sink_class
from connector.routing import Route
from connector.sink import SinkConfig

_OURS = ("type", "renamed_from")
"""Settings of every sink that are not part of its own model."""
_STRUCTURED = {
    "dataclass_type",
    "dict_type",
    "frozen_set_type",
    "list_type",
    "mapping_type",
    "model_attributes_type",
    "model_type",
    "sequence_str",
    "set_type",
    "tuple_type",
}
"""Errors of pydantic for text where a list or a table is expected."""


def read_sinks(
    raw: Raw, folder: Path, settings: Settings | None, *, secrets: bool = True
) -> tuple[dict[str, SinkEntry], list[Problem]]:
    """Returns all sinks in the order of the file, including those that no route names, and their problems.

    `settings` is the result of the first pass, `None` when it found problems. A sink with a problem is left out.
    Without `secrets`, sinks whose secrets are missing have a configuration with the other settings only.
    """
    defaults = {"timezone": settings.timezone, "language": settings.language} if settings else {}
    reader = _Reader(raw, folder, defaults, secrets=secrets)
    reader.check_names()
    found = {name: reader.entry(name, table) for name, table in raw.sinks().items()}
    sinks = {name: entry for name, entry in found.items() if entry is not None}
    wrong = [
        *_unknown_sinks(raw),
        *_sinks_of_alerts(raw, sinks),
        *_otherwise_to_state(settings.routes if settings else (), sinks),
    ]
    return sinks, [*reader.problems, *(problem_at(raw, *problem) for problem in wrong)]


def routed_sinks(routes: Sequence[RouteSettings], names: Iterable[str]) -> set[str]:
    """Returns the sinks that a route names; all sinks when there is no route."""
    return {name for route in routes for name in route.sinks} if routes else set(names)


def as_route(settings: RouteSettings) -> Route:
    """Returns the route of these settings."""
    return Route(
        sinks=tuple(settings.sinks),
        positions=tuple(settings.positions),
        events=tuple(settings.events),
        stages=tuple(settings.stages),
        min_score=settings.min_score,
        otherwise=settings.otherwise,
    )


@dataclass(slots=True)
class _Reader:
    """Reads the sinks of a configuration. `shared` are top-level settings that are the defaults of theirs."""

    raw: Raw
    folder: Path
    shared: Tree
    secrets: bool = True
    """Whether the secrets of sinks must be set."""
    problems: list[Problem] = field(default_factory=list)

    def check_names(self) -> None:
        """Checks what does not depend on the type: names, old names, and tables of defaults."""
        for name, table in self.raw.sinks().items():
            if not SINK_NAME.fullmatch(name):
                self._add(("sinks", name), "is not a valid name", "use a-z, 0-9 and single _, starting with a letter")
            if len(name) > SINK_NAME_MAX:
                self._add(("sinks", name), f"must be a name of {SINK_NAME_MAX} characters or fewer")
            if not isinstance(table.get("type"), str):
                self._missing_type(name, table)
            self._check_renamed_from(name, table)
        for kind in self.raw.table("defaults"):
            if kind not in known_types():
                self._add(("defaults", kind), "unknown type of sink", did_you_mean(kind, known_types()))

    def entry(self, name: str, table: Tree) -> SinkEntry | None:
        """Returns the sink of a name; `None` when it has a problem."""
        kind = table.get("type")
        if not isinstance(kind, str):  # reported by `check_names`
            return None
        cls = self._class(name, kind)
        config = self._config(name, kind, cls) if cls else None
        return SinkEntry(name, kind, cls, config, table.get("renamed_from")) if cls and config else None

    def _check_renamed_from(self, name: str, table: Tree) -> None:
        old = table.get("renamed_from")
        sinks = self.raw.sinks()
        keys = ("sinks", name, "renamed_from")
        if old is None:
            return
        if not isinstance(old, str) or not SINK_NAME.fullmatch(old):
            self._add(keys, "must be the old name of this sink")
        elif old in sinks:
            self._add(keys, "a sink of that name still exists", "remove that sink, or this setting")
        elif old in [other.get("renamed_from") for key, other in sinks.items() if key != name]:
            self._add(keys, "another sink has the same old name")

    def _missing_type(self, name: str, table: Tree) -> None:
        """Adds the problem of a sink without a type. When only variables set the sink, its name is misspelt."""
        if "type" in table:
            self._add(("sinks", name, "type"), "must be text")
        elif self.raw.origin(("sinks", name)):
            named = [other for other, table in self.raw.sinks().items() if "type" in table]
            self._add(("sinks", name), "no sink of that name", did_you_mean(name, named))
        else:
            self._add(("sinks", name, "type"), "is missing", f"one of {', '.join(known_types())}")

    def _class(self, name: str, kind: str) -> SinkClass | None:
        try:
            return load_sink_class(kind)
        except ConfigError as error:
            for problem in error.problems:
                self._add(("sinks", name, problem.place), problem.message, problem.hint)
            return None

    def _config(self, name: str, kind: str, cls: SinkClass) -> SinkConfig | None:
        own = {key: value for key, value in self.raw.table("sinks", name).items() if key not in _OURS}
        table = merged(self.shared, merged(self.raw.table("defaults", kind), own))

        def problem(keys: Keys, message: str, hint: str) -> Problem:
            return problem_at(self.raw, self._above(name, kind, keys) + keys, message, hint)

        try:
            table = self._decoded(name, kind, cls.Config, table)
            config = self._validated(cls.Config, table, frozenset(own))
        except ValidationError as error:
            self.problems += problems_of(error, cls.Config, table, problem, foreign=True)
        except Exception as error:  # noqa: BLE001 - a validator of another package may raise any exception
            self._add(("sinks", name), f"cannot be checked: {kind} fails with {type(error).__name__}")
        else:
            return config if self._check_shared(name, config) else None
        return None

    def _check_shared(self, name: str, config: SinkConfig) -> bool:
        """Checks the settings that every sink has. Returns whether they are valid."""
        checks = {"timezone": (known_timezone, config.timezone), "language": (known_language, config.language)}
        is_valid = True
        for key, (known, value) in checks.items():
            try:
                known(value)
            except ValueError as error:
                self._add(("sinks", name, key), *split_hint(str(error)))
                is_valid = False
        return is_valid

    def _validated(self, model: type[SinkConfig], table: Tree, own: frozenset[str]) -> SinkConfig:
        """Returns the settings; when secrets are not needed and are missing, without them. Raises `ValidationError`.

        `own` are the settings of the sink itself, not of the defaults. The validators of the model get them.
        """
        context = {"folder": self.folder, "own": own}
        try:
            return model.model_validate(table, context=context)
        except ValidationError:
            if self.secrets:
                raise
        return without_secrets(model, table, context)

    def _decoded(self, name: str, kind: str, model: type[SinkConfig], table: Tree) -> Tree:
        """Returns the table with the text of variables decoded where the model expects a list or a table.

        The errors of a first validation name these settings.
        """
        if not any(keys[:2] in {("sinks", name), ("defaults", kind)} for keys in self.raw.origins):
            return table
        try:
            model.model_validate(table, context={"folder": self.folder})
        except ValidationError as error:
            places = {keys_of(details, table) for details in error.errors() if details["type"] in _STRUCTURED}
            for keys in places:
                if keys and self._above(name, kind, keys) + keys in self.raw.origins:
                    table = merged(table, nested(keys, decoded(value_at(table, keys))))
        return table

    def _above(self, name: str, kind: str, keys: Keys) -> Keys:
        """Returns the keys of the table that sets a value: the sink, or the defaults of its type."""
        in_defaults = _has(self.raw.table("defaults", kind), keys) and not _has(self.raw.table("sinks", name), keys)
        return ("defaults", kind) if in_defaults else ("sinks", name)

    def _add(self, keys: Keys, message: str, hint: str = "") -> None:
        self.problems.append(problem_at(self.raw, keys, message, hint))


def without_secrets(model: type[SinkConfig], table: Tree, context: dict[str, Any]) -> SinkConfig:
    """Returns the settings without secret fields. Raises `ValidationError` for another field that is not valid.

    Validators of the whole model are not run, because they may require a secret.
    """
    public = {name: field for name, field in model.model_fields.items() if not _has_secret(field.annotation)}
    hidden = {name for name in model.model_fields if name not in public}
    hidden |= {alias for name in hidden if (alias := model.model_fields[name].alias)}
    fields: dict[str, Any] = {name: (field.rebuild_annotation(), field) for name, field in public.items()}
    partial = create_model(model.__name__, __config__=model.model_config, **fields)
    valid = partial.model_validate({key: value for key, value in table.items() if key not in hidden}, context=context)
    return model.model_construct(valid.model_fields_set, **{name: getattr(valid, name) for name in public})


def _has_secret(annotation: Any) -> bool:
    """Whether a type contains a secret: itself, as a member of a union or a container, or in a nested model."""
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_has_secret(field.annotation) for field in annotation.model_fields.values())
    return any(_has_secret(part) for part in get_args(annotation))


def _unknown_sinks(raw: Raw) -> Iterator[tuple[Keys, str, str]]:
    """Yields keys, message and hint for each unknown sink in a route."""
    names = list(raw.sinks())
    routes = raw.tree.get("routes")
    for index, route in enumerate(routes if isinstance(routes, list) else ()):
        listed = route.get("sinks") if isinstance(route, dict) else None
        for place, name in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(name, str) and name not in names:
                hint = did_you_mean(name, names) or f"configured sinks: {', '.join(names) or 'none'}"
                yield ("routes", index, "sinks", place), "no sink of that name", hint


def _sinks_of_alerts(raw: Raw, sinks: Mapping[str, SinkEntry]) -> Iterator[tuple[Keys, str, str]]:
    """Yields keys, message and hint for each sink in `[alerts]` that does not exist or cannot show alerts."""
    listed = raw.table("alerts").get("sinks")
    for place, name in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(name, str):
            continue
        if name not in raw.sinks():
            hint = did_you_mean(name, list(raw.sinks())) or "name a [sinks.NAME], such as a Slack channel"
            yield ("alerts", "sinks", place), "no sink of that name", hint
        elif name in sinks and not issubclass(sinks[name].cls, Notifies):
            message = f"a sink of type {sinks[name].type} cannot show alerts"
            yield ("alerts", "sinks", place), message, "name a chat, a console or a webhook"


def _otherwise_to_state(
    routes: Sequence[RouteSettings], sinks: Mapping[str, SinkEntry]
) -> Iterator[tuple[Keys, str, str]]:
    """Yields keys, message and hint for each route with `otherwise` that leads to a state sink."""
    for index, route in enumerate(routes):
        states = [name for name in route.sinks if name in sinks and sinks[name].cls.state]
        if route.otherwise and states:
            message = f"cannot lead to {', '.join(states)}, which shows the state of interviews"
            yield ("routes", index, "otherwise"), message, "give the sheet a route of its own"


def _has(tree: Tree, keys: Keys) -> bool:
    """Whether a table sets a value at these keys, or a list above them."""
    node: object = tree
    for key in keys:
        if not isinstance(node, dict):
            return isinstance(node, list)
        if key not in node:
            return False
        node = node[key]
    return bool(keys)
