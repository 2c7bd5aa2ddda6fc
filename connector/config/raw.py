"""Settings before validation, and the variables that set them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Tree: TypeAlias = dict[str, Any]
"""A table; its values are tables, lists or scalars."""
Keys: TypeAlias = tuple[str | int, ...]
"""The path to a value in a tree, through tables and lists."""


@dataclass(frozen=True, slots=True)
class Raw:
    """All sources merged into one tree. `origins` maps the keys of a value to the variable that set it."""

    tree: Tree
    origins: Mapping[Keys, str]

    def origin(self, keys: Keys) -> str:
        """Returns the variable that set the value at these keys, or all values below; `""` when the file set a part."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.origins:
                return self.origins[keys[:end]]
        origins = [self.origins.get(leaf, "") for leaf in leaves(self.tree, keys)]
        return origins[0] if origins and all(origins) else ""

    def table(self, *keys: str) -> Tree:
        """Returns the table at these keys, or an empty one."""
        found = value_at(self.tree, keys)
        return found if isinstance(found, dict) else {}

    def tables(self, key: str) -> dict[str, Tree]:
        """Returns the tables below a key; other values are left out."""
        return {name: table for name, table in self.table(key).items() if isinstance(table, dict)}


def value_at(tree: object, keys: Keys) -> Any:
    """Returns the value at these keys of nested tables, or `None`."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def leaves(tree: Tree, keys: Keys = ()) -> Iterator[Keys]:
    """Yields the keys of every value at or below these keys. A list is one value."""
    value = value_at(tree, keys)
    if isinstance(value, dict) and value:
        for key in value:
            yield from leaves(tree, (*keys, key))
    elif value is not None:
        yield keys


def merged(low: Tree, high: Tree) -> Tree:
    """Merges two trees. Values of `high` override those of `low`; tables are merged key by key."""
    both = dict(low)
    for key, value in high.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def nested(keys: Keys, value: Any) -> Tree:
    """Returns a tree with one value at these keys."""
    for key in reversed(keys[1:]):
        value = {key: value}
    return {str(keys[0]): value}


def decoded(text: object) -> Any:
    """Returns the list or table that a JSON text contains. Any other value is returned unchanged."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
    return value if isinstance(value, list | dict) else text
