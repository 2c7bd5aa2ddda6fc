"""Values as they are written, before they are checked, and which variable set them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Tree: TypeAlias = dict[str, Any]
"""A table of tables and values."""
Keys: TypeAlias = tuple[str | int, ...]
"""The path to a value in a tree, through tables and lists."""


@dataclass(frozen=True, slots=True)
class Raw:
    """All sources as one tree. `origins` maps the keys of a value to the variable that set it, if one did."""

    tree: Tree
    origins: Mapping[Keys, str]

    def origin(self, keys: Keys) -> str:
        """The variable that set the value at these keys, or everything below them; `""` when the file sets a part."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.origins:
                return self.origins[keys[:end]]
        origins = [self.origins.get(leaf, "") for leaf in leaves(self.tree, keys)]
        return origins[0] if origins and all(origins) else ""

    def table(self, *keys: str) -> Tree:
        """The table at these keys; an empty one when there is none."""
        found = value_at(self.tree, keys)
        return found if isinstance(found, dict) else {}

    def tables(self, key: str) -> dict[str, Tree]:
        """The tables below a key, as far as they are tables."""
        return {name: table for name, table in self.table(key).items() if isinstance(table, dict)}


def value_at(tree: object, keys: Keys) -> Any:
    """The value at these keys of nested tables; `None` when there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def leaves(tree: Tree, keys: Keys = ()) -> Iterator[Keys]:
    """The keys of every value at or below these keys. A list is one value."""
    value = value_at(tree, keys)
    if isinstance(value, dict) and value:
        for key in value:
            yield from leaves(tree, (*keys, key))
    elif value is not None:
        yield keys


def merged(low: Tree, high: Tree) -> Tree:
    """Both trees as one: the value of the high one counts, and tables are merged key by key."""
    both = dict(low)
    for key, value in high.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def nested(keys: Keys, value: Any) -> Tree:
    """A tree with one value at these keys."""
    for key in reversed(keys[1:]):
        value = {key: value}
    return {str(keys[0]): value}


def decoded(text: object) -> Any:
    """The list or table that a text holds as JSON; other text, and what is not text, as it is."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
    return value if isinstance(value, list | dict) else text
