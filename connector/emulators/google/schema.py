"""Checks bodies, queries and masks against Google's own discovery document of the Sheets API.

The document comes with `google-api-python-client`. What it does not know is answered as Google's front end does:
400 with a violation per place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Protocol, TypeAlias

import msgspec

from connector.emulators.google import errors
from connector.emulators.google.masks import ALL, Mask, MaskError, parse

Path: TypeAlias = "tuple[Path | None, str | int]"
Found: TypeAlias = list[tuple[str, str]]
_TYPE_URL = "type.googleapis.com/google.apps.sheets.v4."
_INT32 = range(-(2**31), 2**31)


class Spec(Protocol):
    """How one value is checked."""

    def check(self, value: Any, path: Path, found: Found) -> None: ...


@dataclass(slots=True)
class Scalar:
    """A value without parts. `accepts` says whether it is one; `name` is how Google calls its type."""

    name: str
    accepts: Any

    def check(self, value: Any, path: Path, found: Found) -> None:
        if self.accepts(value):
            return
        where = _where(path)
        if isinstance(value, dict):
            found.append((where, f"Invalid value at '{where}' ({self.name}), Starting an object on a scalar field"))
        elif isinstance(value, list):
            _no_list(path, found)
        else:
            found.append((where, f"Invalid value at '{where}' ({self.name}), {_json(value)}"))


@dataclass(slots=True)
class Message:
    """An object with known fields."""

    name: str
    fields: dict[str, Spec] = field(default_factory=dict)
    union: bool = False

    def check(self, value: Any, path: Path | None, found: Found) -> None:
        if not isinstance(value, dict):
            _no_message(self.name, value, path, found)
            return
        for name, item in value.items():
            spec = self.fields.get(name)
            if spec is None:
                _unknown(name, path, found)
            elif item is not None:
                spec.check(item, (path, name), found)
        if self.union and len(value) > 1 and path is not None:
            where, second = _where(path), list(value)[1]
            text = f"Invalid value at '{where}' (oneof), oneof field 'kind' is already set. Cannot set '{second}'"
            found.append((where, text))


@dataclass(slots=True)
class ListOf:
    item: Spec

    def check(self, value: Any, path: Path, found: Found) -> None:
        if not isinstance(value, list):
            where = _where(path)
            found.append((where, f"Invalid value at '{where}' (a list), {_json(value)}"))
            return
        check = self.item.check
        for index, item in enumerate(value):
            if item is not None:
                check(item, (path, index), found)


@dataclass(slots=True)
class Anything:
    def check(self, value: Any, path: Path, found: Found) -> None:
        """Accepts every value."""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _where(path: Path | None) -> str:
    """`requests[0].insert_dimension`, as Google writes places."""
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(f"[{part}]" if isinstance(part, int) else "." + snake(part))
    return "".join(reversed(parts)).removeprefix(".")


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda match: "_" + match[1].lower(), name)


def _unknown(name: str, path: Path | None, found: Found) -> None:
    where = _where(path)
    at = f" at '{where}'" if where else ""
    found.append((where, f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'))


def _no_list(path: Path, found: Found) -> None:
    parent, name = path
    where = _where(parent)
    reason = "Proto field is not repeating, cannot start list."
    found.append((where, f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': {reason}"))


def _no_message(name: str, value: Any, path: Path | None, found: Found) -> None:
    where = _where(path)
    if path is not None and isinstance(value, list):
        _no_list(path, found)
    else:
        found.append((where, f"Invalid value at '{where}' ({_TYPE_URL}{name}), {_json(value)}"))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_int32(value: Any) -> bool:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,10}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return isinstance(value, int) and not isinstance(value, bool) and value in _INT32


def _is_mask(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(value == "" or parse(value))
    except MaskError:
        return False


_SCALARS = {
    "int32": Scalar("TYPE_INT32", _is_int32),
    "double": Scalar("TYPE_DOUBLE", _is_number),
    "float": Scalar("TYPE_FLOAT", _is_number),
    "google-fieldmask": Scalar("type.googleapis.com/google.protobuf.FieldMask", _is_mask),
    "boolean": Scalar("TYPE_BOOL", _is_bool),
    "string": Scalar("TYPE_STRING", _is_text),
}


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the API with its parameters, request and response."""

    id: str
    parameters: frozenset[str]
    repeated: frozenset[str]
    request: Message | None
    response: Message


class Discovery:
    """The discovery document, compiled."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas: dict[str, Any] = document["schemas"]
        self._messages: dict[str, Message] = {}
        self._common = frozenset(document["parameters"])
        self._methods: dict[str, Method] = {}
        self._read_methods(document["resources"])

    def method(self, name: str) -> Method:
        """By its name without the API's: `spreadsheets.values.get`."""
        return self._methods[name]

    def message(self, name: str) -> Message:
        if name not in self._messages:
            message = self._messages[name] = Message(name, union=name == "Request")
            properties = self._schemas[name].get("properties", {})
            message.fields = {key: self._spec(key, value) for key, value in properties.items()}
        return self._messages[name]

    def _spec(self, name: str, schema: dict[str, Any]) -> Spec:
        if "$ref" in schema:
            return self.message(schema["$ref"])
        if schema["type"] == "array":
            return ListOf(self._spec(name, schema["items"]))
        if "enum" in schema:
            return Scalar(_TYPE_URL + name[:1].upper() + name[1:], frozenset(schema["enum"]).__contains__)
        return _SCALARS.get(schema.get("format", "")) or _SCALARS.get(schema["type"]) or Anything()

    def _read_methods(self, resources: dict[str, Any]) -> None:
        for resource in resources.values():
            for method in resource.get("methods", {}).values():
                self._add_method(method)
            self._read_methods(resource.get("resources", {}))

    def _add_method(self, method: dict[str, Any]) -> None:
        name = method["id"].removeprefix("sheets.")
        parameters = method["parameters"]
        query = frozenset(key for key, value in parameters.items() if value["location"] == "query")
        repeated = frozenset(key for key, value in parameters.items() if value.get("repeated"))
        request = self.message(method["request"]["$ref"]) if "request" in method else None
        response = self.message(method["response"]["$ref"])
        self._methods[name] = Method(name, query | self._common, repeated, request, response)


@cache
def discovery() -> Discovery:
    folder = files("googleapiclient") / "discovery_cache" / "documents"
    return Discovery(msgspec.json.decode((folder / "sheets.v4.json").read_bytes()))


def read_body(method: Method, raw: bytes) -> dict[str, Any]:
    """Returns the decoded body. Raises the 400 of Google when it is not JSON or not valid for the method."""
    try:
        body = msgspec.json.decode(raw) if raw else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise errors.invalid("Invalid JSON payload received. Unexpected token.") from None
    found: Found = []
    if method.request is None:
        found = [("", 'Invalid JSON payload received. Unknown name "body": Cannot find field.')] if body else []
    else:
        method.request.check(body, None, found)
    if found:
        raise errors.violations(found)
    return body if isinstance(body, dict) else {}


def check_query(method: Method, names: list[str]) -> None:
    """Raises the 400 of Google for an unknown parameter, or one that is repeated and must not be."""
    for name in names:
        if name not in method.parameters:
            reason = f"Cannot bind query parameter. Field '{name}' could not be found in request message."
            text = f'Invalid JSON payload received. Unknown name "{name}": {reason}'
            raise errors.violations([("", text)])
        if names.count(name) > 1 and name not in method.repeated:
            reason = f"Cannot bind query parameter. '{name}' is not a repeated field."
            raise errors.violations([("", f'Invalid JSON payload received. Unknown name "{name}": {reason}')])


def read_mask(method: Method, text: str | None) -> Mask:
    """Returns the response mask. Raises the 400 of Google for a path that does not exist."""
    if not text:
        return ALL
    try:
        mask = parse(text)
    except MaskError:
        raise errors.bad_fields(text, text) from None
    lost = lost_path(mask, method.response)
    if lost is not None:
        raise errors.bad_fields(text, lost)
    return mask


def lost_path(mask: Mask, spec: Spec | None) -> str | None:
    """The first path of the mask that the message does not have, `None` when it has all."""
    while isinstance(spec, ListOf):
        spec = spec.item
    for name, below in (mask.fields or {}).items():
        inner = spec.fields.get(name) if isinstance(spec, Message) else None
        if inner is None:
            return name
        lost = lost_path(below, inner)
        if lost is not None:
            return f"{name}.{lost}"
    return None
