"""The second pass: each sink's own settings, checked by the type that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from connector.config.fields import NoList, from_text, table_at, takes_list
from connector.config.kinds import SINK_NAME, known_timezone
from connector.config.layers import Keys, Layers, Tree, merged
from connector.config.model import SinkEntry
from connector.config.problems import as_problem, did_you_mean, parted, problems_of
from connector.errors import ConfigError, Problem
from connector.registry import SinkClass, known_types, load_sink_class
from connector.sink import SinkConfig

NO_LIST = "must be a JSON list", 'such as ["a", "b"]'
_OURS = ("type", "renamed_from")


@dataclass(slots=True)
class SinkReader:
    """Reads the sinks of one configuration; `timezone` is what they have unless they say otherwise."""

    layers: Layers
    folder: Path
    timezone: str
    problems: list[Problem] = field(default_factory=list)

    def read(self, names: Iterator[str] | list[str]) -> dict[str, SinkEntry]:
        """The sinks of these names, in order, without those that have a problem."""
        entries = {name: self._entry(name, self.layers.tree["sinks"][name]) for name in names}
        return {name: entry for name, entry in entries.items() if entry is not None}

    def check_names(self) -> None:
        """What can be said of every sink, whether a route reaches it or not."""
        for name, table in self._tables().items():
            if not SINK_NAME.fullmatch(name):
                self._add(("sinks", name), "no such name is possible", "use a-z, 0-9 and single _, first a letter")
            if not isinstance(table.get("type"), str):
                self._no_type(name, table)
            self._check_renamed_from(name, table)
        for kind in table_at(self.layers.tree, ("defaults",)) or {}:
            if kind not in known_types():
                self._add(("defaults", kind), "unknown type of sink", did_you_mean(kind, list(known_types())))

    def _check_renamed_from(self, name: str, table: Tree) -> None:
        old = table.get("renamed_from")
        others = [other.get("renamed_from") for key, other in self._tables().items() if key != name]
        keys = ("sinks", name, "renamed_from")
        if old is None:
            return
        if not isinstance(old, str) or not SINK_NAME.fullmatch(old):
            self._add(keys, "must be the old name of this sink")
        elif old in self._tables():
            self._add(keys, "there still is a sink of that name", "a sink takes over only what no other one has")
        elif old in others:
            self._add(keys, "another sink takes over the same name")

    def _entry(self, name: str, table: Tree) -> SinkEntry | None:
        kind = table.get("type")
        if not isinstance(kind, str):  # told by `check_names`
            return None
        cls = self._class(name, kind)
        config = self._config(name, kind, cls) if cls else None
        return SinkEntry(name, kind, cls, config, table.get("renamed_from")) if cls and config else None

    def _no_type(self, name: str, table: Tree) -> None:
        """A misspelt variable makes a table without a type: say that, not what would have to be added to it."""
        if "type" in table:
            self._add(("sinks", name, "type"), "must be text")
        elif self.layers.origin(("sinks", name)):
            named = [other for other, table in self._tables().items() if "type" in table]
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
        own = self._decoded(("sinks", name), cls.Config)
        shared = self._decoded(("defaults", kind), cls.Config)
        table = merged({"timezone": self.timezone}, merged(shared, own))
        try:
            config = cls.Config.model_validate(table, context={"folder": self.folder})
            known_timezone(config.timezone)
        except ValidationError as error:
            for keys, message, hint in problems_of(error, cls.Config, table, foreign=True):
                place: Keys = ("defaults", kind) if _has(shared, keys) and not _has(own, keys) else ("sinks", name)
                self._add(place + keys, message, hint)
        except ValueError as error:
            self._add(("sinks", name, "timezone"), *parted(str(error)))
        except Exception as error:  # noqa: BLE001 - a validator of somebody else's may fail in any way
            self._add(("sinks", name), f"cannot be checked: {kind} fails with {type(error).__name__}")
        else:
            return config
        return None

    def _decoded(self, keys: Keys, model: type[BaseModel]) -> Tree:
        table = table_at(self.layers.tree, keys) or {}
        own = {key: value for key, value in table.items() if keys[0] == "defaults" or key not in _OURS}
        decoded, wrong = decode(own, keys, model, self.layers.origins)
        for place in wrong:
            self._add(place, *NO_LIST)
        return decoded

    def _tables(self) -> dict[str, Tree]:
        return tables(self.layers.tree)

    def _add(self, keys: Keys, message: str, hint: str = "") -> None:
        self.problems.append(as_problem(self.layers, keys, message, hint))


def tables(tree: Mapping[str, Any]) -> dict[str, Tree]:
    """The tables of all sinks, as far as they are tables."""
    sinks = tree.get("sinks")
    return {name: table for name, table in sinks.items() if isinstance(table, dict)} if isinstance(sinks, dict) else {}


def decode(table: Tree, above: Keys, model: type[BaseModel], origins: Mapping[Keys, str]) -> tuple[Tree, list[Keys]]:
    """The table with the text of variables decoded where the model wants a list, and the keys where that failed.

    `above` are the keys to the table in the whole tree.
    """
    decoded, wrong = dict(table), []
    for keys in [keys for keys in origins if len(keys) > len(above) and keys[: len(above)] == above]:
        inner = keys[len(above) :]
        holder = table_at(decoded, inner[:-1])
        if holder is None or inner[-1] not in holder or not takes_list(model, inner):
            continue
        try:
            decoded = merged(decoded, _nested(inner, from_text(holder[inner[-1]])))
        except NoList:
            wrong.append(keys)
    return decoded, wrong


def _has(tree: Tree, keys: Keys) -> bool:
    """Whether a table says something at these keys, or at a list among them."""
    node: Any = tree
    for key in keys:
        if not isinstance(node, dict):
            return isinstance(node, list)
        if key not in node:
            return False
        node = node[key]
    return bool(keys)


def _nested(keys: Keys, value: object) -> Tree:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value
