"""Converts errors of pydantic and of parsers into problems: place, expectation and hint, never the value."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from connector.config.settings import DELIMITER, PREFIX, Keys, Raw
from connector.errors import Problem

_EXPECTED = {
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
_WRONG_TYPE = re.compile(rf"({'|'.join(_EXPECTED)})(_type|_parsing|_from_float|_attributes_type|_sub_type)")
_SHORTEST_HIDDEN = 3
"""Characters. Shorter values are part of many words, so they are not removed from messages."""
_VARIABLES = ("CONNECTOR_CONFIG", "CONNECTOR_SECRETS_DIR")
"""Variables that are not settings."""


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    tree: Mapping[str, Any],
    problem: Callable[[Keys, str, str], Problem],
    *,
    foreign: bool = False,
) -> Iterator[Problem]:
    """Yields the problems of a tree that a model refused. `problem` builds one from keys, message and hint.

    Messages of the connector never contain a value. Those of a `foreign` model may, so the value is removed.
    """
    for details in error.errors(include_url=False):
        keys = keys_of(details, tree)
        message, hint = _explain(details, fields_at(model, keys[:-1]))
        yield problem(keys, _without(details["input"], message) if foreign else message, hint)


def problem_at(raw: Raw, keys: Keys, message: str, hint: str = "") -> Problem:
    """Returns a problem of the value at these keys. The hint names the variable that set the value."""
    origin = raw.origin(keys)
    if message == "is missing" and not hint and keys[0] == "sinks" and not any(isinstance(key, int) for key in keys):
        hint = f"set it in [{setting_path(keys[:-1])}], or by {PREFIX}{DELIMITER.join(map(str, keys)).upper()}"
    hints = [hint, f"set by {origin}" if origin else ""]
    return Problem(setting_path(keys), message, "; ".join(part for part in hints if part))


def unknown_setting(raw: Raw, keys: Keys, message: str, hint: str, known: Collection[str]) -> Problem:
    """Returns the problem of an unknown setting. The hint covers a misspelt name of a variable, too."""
    if len(keys) == 1 and raw.origin(keys):
        hint = _two_underscores(str(keys[0]), known) or hint or _not_a_setting(str(keys[0]))
    return problem_at(raw, keys, message, hint)


def setting_path(keys: Keys) -> str:
    """Returns the path of a setting as in the file: `routes[2].events` for `("routes", 2, "events")`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


def keys_of(details: ErrorDetails, tree: Mapping[str, Any]) -> Keys:
    """Returns the keys of an error, without the tags that pydantic adds for the members of a union."""
    keys: list[str | int] = []
    node: Any = tree
    for index, key in enumerate(details["loc"]):
        if isinstance(node, dict) and (key in node or index == len(details["loc"]) - 1):
            keys.append(key)
            node = node.get(str(key))
        elif isinstance(node, list) and isinstance(key, int):
            keys.append(key)
            node = node[key] if key < len(node) else None
    return tuple(keys)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a hint with the closest known name, `""` when none is close."""
    close = get_close_matches(name.lower(), list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


def split_hint(text: str) -> tuple[str, str]:
    """Splits the text of a `ValueError` at its first semicolon into message and hint."""
    message, _, hint = text.partition("; ")
    return message, hint


def toml_problem(path: Path, error: Exception) -> Problem:
    """Returns why a TOML file cannot be read, with the line number."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return Problem(f"{path.name}, line {line}", "is not UTF-8 text", "save the file as UTF-8")
    if not isinstance(error, tomllib.TOMLDecodeError):
        return Problem(path.name, f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}")
    found = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
    line = int(found[1]) if found else path.read_bytes().count(b"\n") + 1
    message = re.sub(r" \(at .*\)$", "", str(error))
    message = re.sub(r"\('.*',?\)", _as_header, message)
    unquoted = "Invalid value" in message or "Illegal character '\\n'" in message
    hint = 'text needs double quotes: name = "value"' if unquoted else ""
    return Problem(f"{path.name}, line {line}", f"is not valid TOML: {message[:1].lower()}{message[1:]}", hint)


def dotenv_problems(path: Path, unread: Iterable[int]) -> Iterator[Problem]:
    """Yields a problem for each line of an `.env` file that is not valid or that python-dotenv would change.

    python-dotenv replaces `${NAME}` in a value (Variable expansion), which would change a secret.
    """
    for line in unread:
        yield Problem(f"{path.name}, line {line}", "is not NAME=value", "put values with spaces or # in quotes")
    for line, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if re.match(r"\s*(export\s+)?CONNECTOR_\w+\s*=.*\$\{", text, re.IGNORECASE):
            hint = "set this variable in the environment or in the secrets directory"
            yield Problem(f"{path.name}, line {line}", "must not contain ${, which would be replaced", hint)


def _explain(details: ErrorDetails, fields: list[str]) -> tuple[str, str]:
    """Returns message and hint for an error."""
    kind, value = details["type"], details["input"]
    if kind == "missing":
        return "is missing", ""
    if kind == "extra_forbidden":
        return "unknown setting", did_you_mean(str(details["loc"][-1]), fields)
    if kind in {"enum", "literal_error"}:
        allowed = re.findall(r"'([^']*)'", details["msg"])
        return f"must be one of {', '.join(allowed)}", did_you_mean(str(value), allowed)
    wrong = _WRONG_TYPE.fullmatch(kind)
    if wrong is None:
        return split_hint(_reworded(details))
    expected, found = _EXPECTED[wrong[1]], _type_of(value)
    hint = _LIST_HINTS.get(found, "") if expected == "a list" else ""
    return f"must be {expected}" + (f", not {found}" if kind != "int_from_float" else ""), hint


_LIST_HINTS = {"a table": "a list of tables begins with two brackets: [[…]]", "text": 'such as ["a", "b"]'}
"""How a list is written, by what was found instead; in a variable it is JSON, which looks the same."""


def _reworded(details: ErrorDetails) -> str:
    if details["type"] in {"value_error", "assertion_error"}:
        return str(details["ctx"]["error"])
    if details["type"] == "too_short":
        return "must not be empty"
    text = re.sub(r"^(Input|Value|[A-Z][a-z]+) should ", "must ", details["msg"])
    return text[:1].lower() + text[1:]


def _type_of(value: object) -> str:
    """Returns the type of a value in the terms of TOML."""
    if isinstance(value, bool):
        return "true or false"
    types = {int: "a number", float: "a number", str: "text", list: "a list", dict: "a table", NoneType: "nothing"}
    return types.get(type(value), "a date")


def _two_underscores(name: str, tables: Collection[str]) -> str:
    """Returns a hint for names such as `CONNECTOR_SERVER_PORT`, with one underscore after the table."""
    table = name.partition("_")[0]
    if table == name or table not in tables:
        return ""
    return f"a setting of {table}? use two underscores between table and setting: CONNECTOR_{table.upper()}__…"


def _not_a_setting(misspelt: str) -> str:
    """Returns a hint for a misspelt variable that is not a setting, such as `CONNECTOR_CONFG`."""
    names = {name.removeprefix("CONNECTOR_").lower(): name for name in _VARIABLES}
    close = get_close_matches(misspelt, names, n=1)
    return f"did you mean {names[close[0]]}?" if close else ""


def _as_header(keys: re.Match[str]) -> str:
    """Returns a table name as in the file: `[server]` for the `('server',)` of the parser."""
    names = re.findall("'([^']*)'", keys[0])
    return f"[{'.'.join(names)}]"


def _without(value: object, message: str) -> str:
    """Returns the message with the texts of the value replaced by an ellipsis."""
    for text in _texts(value):
        if len(text) >= _SHORTEST_HIDDEN:
            message = message.replace(text, "…")
    return message


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    else:
        yield str(value)


def fields_at(model: type[BaseModel], keys: Keys) -> list[str]:
    """Returns the names of the settings in the table at these keys; none when it is not a known table."""
    return [name for inner in _models_at(model, keys) for name in inner.model_fields]


def _models_at(kind: Any, keys: Keys) -> Iterator[type[BaseModel]]:
    """Yields the models that the value at these keys may have. Unwraps unions and annotations."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _models_at(get_args(kind)[0], keys)
    elif origin in {Union, UnionType}:
        for member in get_args(kind):
            yield from _models_at(member, keys)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        if not keys:
            yield kind
        elif found := kind.model_fields.get(str(keys[0])):
            yield from _models_at(found.annotation, keys[1:])
    elif keys and get_args(kind):
        yield from _models_at(get_args(kind)[-1], keys[1:])
