"""Looks into pydantic models: what a setting may hold, and how the text of a variable becomes that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from connector.config.layers import Keys, Tree

_LISTS = (list, tuple, set, frozenset)


class NoList(ValueError):
    """A variable that must hold a JSON list holds something else."""


def fields_at(model: type[BaseModel], keys: Keys) -> list[str]:
    """Names of the settings that the table at these keys may have; none when it is no table of ours."""
    return [
        name
        for inner in _at(model, keys)
        if isinstance(inner, type) and issubclass(inner, BaseModel)
        for name in inner.model_fields
    ]


def takes_list(model: type[BaseModel], keys: Keys) -> bool:
    """Whether the setting at these keys holds a list and no plain text."""
    kinds = [get_origin(kind) or kind for kind in _at(model, keys)]
    return any(kind in _LISTS for kind in kinds) and str not in kinds


def from_text(text: str) -> list[Any]:
    """The list that the text of a variable stands for. Raises `NoList`, without the text."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise NoList
    return value


def table_at(tree: Tree, keys: Keys) -> Tree | None:
    """A table in a tree, `None` when there is none at these keys."""
    node: Any = tree
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, dict) else None


def _at(kind: Any, keys: Keys) -> Iterator[Any]:
    """The types that the value at these keys may have, unions and annotations unwrapped."""
    for member in _members(kind):
        if not keys:
            yield member
        elif isinstance(member, type) and issubclass(member, BaseModel):
            found = member.model_fields.get(str(keys[0]))
            if found is not None:
                yield from _at(found.annotation, keys[1:])
        elif get_args(member):
            yield from _at(get_args(member)[-1], keys[1:])


def _members(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _members(get_args(kind)[0])
    elif origin in {Union, UnionType}:
        for member in get_args(kind):
            yield from _members(member)
    elif kind is not NoneType:
        yield kind
