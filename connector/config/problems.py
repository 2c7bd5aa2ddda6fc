"""Turns what pydantic found into problems: a place, what it must be, a hint, and never the value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from connector.config.fields import fields_at
from connector.config.layers import OURS, PREFIX, Keys, Layers
from connector.errors import Problem

_MUST_BE = {
    "bool": "true or false",
    "dict": "a table",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "a table",
    "path": "text",
    "set": "a list",
    "string": "text",
    "tuple": "a list",
}
_WRONG_KIND = re.compile(rf"({'|'.join(_MUST_BE)})(_type|_parsing|_from_float|_attributes_type|_sub_type)")
_SHORTEST_HIDDEN = 3


def place_of(keys: Keys) -> str:
    """`("routes", 2, "events")` as people write it: `routes[2].events`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


def did_you_mean(word: str, known: list[str]) -> str:
    """A hint that names the nearest known word, or all of them when there are few."""
    close = get_close_matches(word.lower(), known, n=1)
    return f"did you mean {close[0]}?" if close else ""


def problems_of(
    error: ValidationError, model: type[BaseModel], tree: Mapping[str, Any], *, foreign: bool = False
) -> Iterator[tuple[Keys, str, str]]:
    """For each thing wrong: the keys to it, the message and a hint.

    Our own validators never repeat a value; those of a `foreign` model may, and then it is taken out.
    """
    for details in error.errors(include_url=False):
        keys = _real_keys(details["loc"], tree)
        fields = fields_at(model, keys[:-1])
        message, hint = _told(details, fields)
        if len(keys) == 1 and not foreign:
            hint = _two_underscores(str(keys[0]), fields) or hint
        yield keys, _without(details["input"], message) if foreign else message, hint


def parted(text: str) -> tuple[str, str]:
    """The text of a `ValueError` as message and hint, which a semicolon parts."""
    message, _, hint = text.partition("; ")
    return message, hint


def as_problem(layers: Layers, keys: Keys, message: str, hint: str = "") -> Problem:
    """What is wrong at these keys; a value that a variable set is told with the name of that variable."""
    origin = layers.origin(keys)
    if origin and len(keys) == 1:
        hint = hint or _no_setting(str(keys[0]))
    hints = [hint, f"set by {origin}" if origin else ""]
    return Problem(place_of(keys), message, "; ".join(part for part in hints if part))


def kind_of(value: object) -> str:
    """What a value is, in the words of someone who writes TOML."""
    if isinstance(value, bool):
        return "true or false"
    kinds = {int: "a number", float: "a number", str: "text", list: "a list", dict: "a table", type(None): "nothing"}
    return kinds.get(type(value), "a date")


def _told(details: ErrorDetails, fields: list[str]) -> tuple[str, str]:
    kind, value = details["type"], details["input"]
    if kind == "missing":
        return "is missing", ""
    if kind == "extra_forbidden":
        return "no such setting", did_you_mean(str(details["loc"][-1]), fields)
    if kind in {"enum", "literal_error"}:
        words = re.findall(r"'([^']*)'", details["msg"])
        return f"must be one of {', '.join(words)}", did_you_mean(str(value), words)
    wrong = _WRONG_KIND.fullmatch(kind)
    if wrong is None:
        return parted(_reworded(details))
    wanted, got = _MUST_BE[wrong[1]], kind_of(value)
    hint = "a list of tables begins with two brackets: [[…]]" if (wanted, got) == ("a list", "a table") else ""
    return f"must be {wanted}" + (f", not {got}" if kind != "int_from_float" else ""), hint


def _two_underscores(word: str, tables: list[str]) -> str:
    """A hint for `CONNECTOR_SERVER_PORT`, which is one word where table and setting were meant."""
    table = word.partition("_")[0]
    if table == word or table not in tables:
        return ""
    return f"a setting of {table}? a variable parts them by two underscores: CONNECTOR_{table.upper()}__…"


def _no_setting(word: str) -> str:
    """A hint for `CONNECTOR_CONFG`, which was not meant as a setting."""
    words = {name.removeprefix(PREFIX).lower(): name for name in OURS}
    close = get_close_matches(word, words, n=1)
    return f"did you mean {words[close[0]]}?" if close else ""


def _reworded(details: ErrorDetails) -> str:
    if details["type"] in {"value_error", "assertion_error"}:
        return str(details["ctx"]["error"])
    if details["type"] == "too_short":
        return "must not be empty"
    text = re.sub(r"^(Input|Value|[A-Z][a-z]+) should ", "must ", details["msg"])
    return text[:1].lower() + text[1:]


def _without(value: object, message: str) -> str:
    """The message without the value: a validator of somebody else's may have put it there."""
    for text in _leaves(value):
        if len(text) >= _SHORTEST_HIDDEN:
            message = message.replace(text, "…")
    return message


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield str(value)


def _real_keys(loc: Keys, tree: Mapping[str, Any]) -> Keys:
    """The location without the tags that pydantic adds for the members of a union."""
    keys: list[str | int] = []
    node: Any = tree
    for index, key in enumerate(loc):
        if isinstance(node, dict) and (key in node or index == len(loc) - 1):
            keys.append(key)
            node = node.get(str(key))
        elif isinstance(node, list) and isinstance(key, int):
            keys.append(key)
            node = node[key] if key < len(node) else None
    return tuple(keys)
