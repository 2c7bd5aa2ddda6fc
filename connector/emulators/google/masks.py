"""Field masks, as `fields` takes them: `a(b,c)`, `a.b`, `a/b`, `*` (Google APIs, Partial responses)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_TOKEN = re.compile(r"[(),./]|[^(),./]+")


class MaskError(ValueError):
    """The text is not a valid field mask."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A tree of names; `fields` is `None` where everything below is meant."""

    fields: Mapping[str, Mask] | None

    def wants(self, name: str) -> bool:
        return self.fields is None or name in self.fields

    def sub(self, name: str) -> Mask:
        """Returns the mask below `name`."""
        return self if self.fields is None else self.fields.get(name, NOTHING)


ALL = Mask(None)
NOTHING = Mask({})


@lru_cache(maxsize=256)
def parse(text: str) -> Mask:
    """Reads a mask. White space belongs to the names, as at Google, where it makes a path that matches nothing."""
    tokens = _TOKEN.findall(text)
    mask, rest = _parse_list(tokens)
    if rest:
        raise MaskError(text)
    return mask


def _parse_list(tokens: list[str]) -> tuple[Mask, list[str]]:
    found = NOTHING
    while True:
        mask, tokens = _parse_path(tokens)
        found = merge(found, mask)
        if not tokens or tokens[0] != ",":
            return found, tokens
        tokens = tokens[1:]


def _parse_path(tokens: list[str]) -> tuple[Mask, list[str]]:
    if not tokens or tokens[0] in "(),./":
        raise MaskError("a name is missing")
    name, tokens = tokens[0], tokens[1:]
    below = ALL
    if tokens and tokens[0] in "./":
        below, tokens = _parse_path(tokens[1:])
    elif tokens and tokens[0] == "(":
        below, tokens = _parse_list(tokens[1:])
        if not tokens or tokens[0] != ")":
            raise MaskError("a bracket is missing")
        tokens = tokens[1:]
    return (ALL if name == "*" else Mask({name: below})), tokens


def merge(one: Mask, other: Mask) -> Mask:
    """Returns the union of two masks."""
    if one.fields is None or other.fields is None:
        return ALL
    names = [*one.fields, *(name for name in other.fields if name not in one.fields)]
    return Mask({name: merge(one.sub(name), other.sub(name)) for name in names})


def select(mask: Mask, value: Any) -> Any:
    """Returns the part of a reply in the mask. An object without selected fields becomes `{}`."""
    if mask.fields is None:
        return value
    if isinstance(value, list):
        return [select(mask, item) for item in value]
    if isinstance(value, dict):
        return {name: select(mask.sub(name), item) for name, item in value.items() if name in mask.fields}
    return value


def overlay(old: Mapping[str, Any], new: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    """Returns `old` with the named fields of `new`; a named field that `new` does not have is cleared."""
    if mask.fields is None:
        return dict(new)
    result = dict(old)
    for name, below in mask.fields.items():
        value = _overlaid(old.get(name), new.get(name), below)
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def _overlaid(old: Any, new: Any, mask: Mask) -> Any:
    if mask.fields is None:
        return new
    merged = overlay(old or {}, new or {}, mask)
    return merged or None
