"""Reads what people wrote, wherever they wrote it, and lays it over each other; understands none of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from dotenv.parser import parse_stream

from connector.errors import Problem

PREFIX = "CONNECTOR_"
OURS = ("CONNECTOR_CONFIG", "CONNECTOR_SECRETS_DIR")
"""Variables that are no settings."""
_FOR_TESTS = "CONNECTOR_TEST_"

Tree: TypeAlias = dict[str, Any]
"""A table of tables and values."""
Keys: TypeAlias = tuple[str | int, ...]
"""The way to a value in a tree, through tables and lists."""


@dataclass(slots=True)
class Layers:
    """All layers as one tree. `origins` says which variable set a value (none: the file did); its value is text."""

    tree: Tree = field(default_factory=dict)
    origins: dict[Keys, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: bool = False
    """The file could not be read: what it may have said is unknown."""

    def add_file(self, path: Path) -> None:
        """Lays a TOML file over the tree."""
        try:
            text = path.read_bytes().decode("utf-8-sig")
            self.tree = merged(self.tree, tomllib.loads(text))
        except OSError as error:
            self._break(Problem(path.name, f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            self._break(Problem(f"{path.name}, line {line}", "is not UTF-8 text", "save the file as UTF-8"))
        except tomllib.TOMLDecodeError as error:
            self._break(_broken_toml(path, text, str(error)))

    def add_variables(self, variables: Mapping[str, str], where: str = "") -> None:
        """Lays every `CONNECTOR_A__B` over the tree as a.b; the case of names does not count, empty ones neither."""
        for name in sorted(variables):
            folded = name.upper()
            foreign = not folded.startswith(PREFIX) or folded.startswith(_FOR_TESTS) or folded in OURS
            if not foreign and variables[name]:
                keys = tuple(folded.removeprefix(PREFIX).lower().split("__"))
                self._put(keys, variables[name], f"{name} {where}".rstrip())

    def add_secrets(self, folder: Path) -> None:
        """Lays every file of a directory over the tree as the variable of its name."""
        self.add_variables(dict(self._read_secrets(folder)), "in the secrets directory")

    def read_dotenv(self, path: Path) -> dict[str, str]:
        """The variables of an `.env` file; nothing in them is expanded. A line that is none is a problem."""
        if not path.is_file():
            return {}
        try:
            with path.open(encoding="utf-8-sig") as stream:
                bindings = list(parse_stream(stream))
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(Problem(path.name, f"cannot be read ({type(error).__name__})"))
            return {}
        for binding in bindings:
            if binding.error:
                place = f"{path.name}, line {binding.original.line}"
                self.problems.append(Problem(place, "is no NAME=value", "put values with spaces or # in quotes"))
        return {binding.key: binding.value or "" for binding in bindings if binding.key}

    def origin(self, keys: Keys) -> str:
        """Which variable set the value at these keys, or everything below them; `""` when the file had a part in it."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.origins:
                return self.origins[keys[:end]]
        node: Any = self.tree
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        origins = self._origins_below(keys, node)
        return origins[0] if origins and all(origins) else ""

    def _origins_below(self, keys: Keys, node: object) -> list[str]:
        """For each value below a table the variable that set it, `""` for the file."""
        if not isinstance(node, dict):
            return [self.origins.get(keys, "")]
        return [origin for key, below in node.items() for origin in self._origins_below((*keys, key), below)]

    def _read_secrets(self, folder: Path) -> Iterator[tuple[str, str]]:
        for file in sorted(folder.iterdir()):
            if file.name.upper().startswith(PREFIX) and file.is_file():
                try:
                    yield file.name, file.read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    self.problems.append(Problem(file.name, f"cannot be read ({type(error).__name__})"))

    def _put(self, keys: tuple[str, ...], value: str, origin: str) -> None:
        node = self.tree
        for depth, key in enumerate(keys[:-1], start=1):
            above = self.origins.get(keys[:depth])
            if above is not None:
                self.problems.append(Problem(".".join(keys), f"{above} and {origin} cannot both be set"))
                return
            below = node.get(key)
            node[key] = dict(below) if isinstance(below, dict) else {}
            node = node[key]
        node[keys[-1]] = value
        self.origins[keys] = origin

    def _break(self, problem: Problem) -> None:
        self.broken = True
        self.problems.append(problem)


def merged(low: Tree, high: Tree) -> Tree:
    """Both trees as one; where both have a value the high one wins, and tables merge key by key."""
    both = dict(low)
    for key, value in high.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def _as_header(keys: re.Match[str]) -> str:
    """`('server',)`, as the parser names a table, as people write it."""
    names = re.findall("'([^']*)'", keys[0])
    return f"[{'.'.join(names)}]"


def _broken_toml(path: Path, text: str, message: str) -> Problem:
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    line = int(found[1]) if found else text.count("\n") + 1
    told = re.sub(r" \(at .*\)$", "", message)
    told = re.sub(r"\('.*',?\)", _as_header, told)
    quotes = "Invalid value" in told or "Illegal character '\\n'" in told
    hint = 'text stands in double quotes: name = "value"' if quotes else ""
    return Problem(f"{path.name}, line {line}", f"is no TOML: {told[:1].lower()}{told[1:]}", hint)
