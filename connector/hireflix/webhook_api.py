"""Lists, creates and changes webhooks by the API, and reads their secret and log, as far as introspection finds the
operations.

No documentation names these operations. They are recognised by the shape of their types: a webhook has an id, a URL,
events and an active flag (GraphQL specification, section 4, Introspection).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from connector.hireflix import EVENT_NAMES
from connector.hireflix.api import HireflixApi, HireflixError, QueryRefused, require_result
from connector.hireflix.payload import epoch_ms
from connector.text import clean

WEBHOOK_FIELDS = frozenset({"id", "url", "events", "active"})
"""Every type with these fields is a webhook."""
LOG_FIELDS = frozenset({"request", "response", "status"})
"""Every type with these fields is an entry of the log of a webhook."""
LOG_MAX = 50
"""Newest entries of a log that are returned."""
DEPTH_MAX = 3
"""Levels of objects that are read of an entry of a log."""
STEPS = """in Hireflix open Profile, then Webhooks (as an administrator):
  1. Press "Create new webhook", or open the one with this address: {url}
  2. Select all five events: {events}
  3. Switch "Active" on and press "Save"
  4. Press "Reveal key", and set CONNECTOR_HIREFLIX__WEBHOOK_SECRETS='["the key"]'"""

_TYPE = "kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } }"
INTROSPECTION = f"""query Schema {{ __schema {{
  queryType {{ name }} mutationType {{ name }}
  types {{
    kind name possibleTypes {{ name }} enumValues {{ name }}
    fields {{ name type {{ {_TYPE} }} args {{ name type {{ {_TYPE} }} }} }}
    inputFields {{ name type {{ {_TYPE} }} }}
  }}
}} }}"""
_MESSAGE = re.compile(r"m\d+")
_ABOUT_SECRET = re.compile(r"(web)?hook.*(secret|key)|(secret|key).*(web)?hook", re.IGNORECASE)

Type: TypeAlias = Mapping[str, Any]


class NotFoundInSchema(HireflixError):
    """The API has no operation for this, or does not show its schema. The message has the steps in the dashboard."""


class Webhook(NamedTuple):
    """A webhook as Hireflix has it. `events` are our names where they can be recognised."""

    id: str
    url: str
    events: tuple[str, ...]
    active: bool

    @property
    def missing_events(self) -> list[str]:
        """Events that the webhook does not send."""
        return sorted(EVENT_NAMES - set(self.events))


class LogEntry(NamedTuple):
    """A request that Hireflix sent. `request` and `response` are JSON as Hireflix has them; `at` is epoch ms."""

    at: int | None
    status: str
    request: Any
    response: Any


@dataclass(frozen=True, slots=True)
class _Operation:
    """A root field: its name, arguments by name, and the type of its result."""

    name: str
    arguments: Mapping[str, Type]
    result: Type


class _Schema:
    """The types of the API and its root fields."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.types: dict[str, Type] = {each["name"]: each for each in document["types"]}
        self.queries = list(self._operations(document.get("queryType")))
        self.mutations = list(self._operations(document.get("mutationType")))

    def _operations(self, root: Mapping[str, Any] | None) -> Iterator[_Operation]:
        found = self.types.get(root["name"], {}) if root else {}
        for each in found.get("fields") or ():
            yield _Operation(each["name"], {arg["name"]: arg["type"] for arg in each["args"]}, each["type"])

    def fields(self, name: str) -> dict[str, Type]:
        """Returns the fields of an object or an input object that need no argument: name -> type."""
        found = self.types.get(name, {})
        plain = [each for each in found.get("fields") or () if not any(map(_is_required, _arg_types(each)))]
        return {each["name"]: each["type"] for each in [*plain, *(found.get("inputFields") or ())]}

    def members(self, name: str) -> list[str]:
        """Returns the types that a union or an interface can be."""
        return [each["name"] for each in self.types.get(name, {}).get("possibleTypes") or ()]

    def is_leaf(self, name: str) -> bool:
        return self.types.get(name, {}).get("kind") in {"SCALAR", "ENUM"}

    def path_to(self, type_: Type, wanted: frozenset[str]) -> tuple[str, ...] | None:
        """Returns the fields from a result to an object with the wanted fields: `()` when it is one itself."""
        name = _named(type_)
        fields = self.fields(name)
        if wanted <= fields.keys():
            return ()
        for field, inner in fields.items():
            if wanted <= self.fields(_named(inner)).keys():
                return (field,)
        return None

    def tree(self, name: str, depth: int = DEPTH_MAX) -> str:
        """Returns a selection of all leaves, down to a depth."""
        parts = []
        for field, type_ in self.fields(name).items():
            below = _named(type_)
            if self.is_leaf(below):
                parts.append(field)
            elif depth > 1 and (inner := self.tree(below, depth - 1)):
                parts.append(f"{field} {inner}")
        return f"{{ {' '.join(parts)} }}" if parts else ""


class WebhookApi:
    """The operations on webhooks that the schema has. Each method raises `NotFoundInSchema` when it has none."""

    def __init__(self, api: HireflixApi, schema: Mapping[str, Any] | None) -> None:
        self._api = api
        self._schema = _Schema(schema or {"types": []})

    @classmethod
    async def discover(cls, api: HireflixApi) -> WebhookApi:
        """Reads the schema. An API that does not show it has no operations."""
        try:
            reply = await api.execute(INTROSPECTION)
        except QueryRefused:
            return cls(api, None)
        return cls(api, reply.data.get("__schema"))

    async def webhooks(self) -> list[Webhook]:
        """Returns all webhooks."""
        for each in self._schema.queries:
            path = self._schema.path_to(each.result, WEBHOOK_FIELDS)
            if path is not None and not any(map(_is_required, each.arguments.values())) and self._is_list(each, path):
                found = await self._api.execute(f"query Hooks {{ {each.name} {_nested(path, _HOOK)} }}")
                return [_webhook(row) for row in _at(found.data.get(each.name), path) or []]
        raise _not_found("list webhooks")

    def _is_list(self, operation: _Operation, path: Sequence[str]) -> bool:
        type_ = self._schema.fields(_named(operation.result))[path[0]] if path else operation.result
        return _is_a_list(type_)

    async def create(self, url: str) -> Webhook:
        """Creates an active webhook for all five events. Raises `ActionRefused`."""
        return await self._change("create a webhook", {"url": url, "events": sorted(EVENT_NAMES)}, without={"id"})

    async def update(self, webhook: Webhook) -> Webhook:
        """Sets URL, events and active flag of a webhook. Raises `ActionRefused`."""
        values = {"id": webhook.id, "url": webhook.url, "events": list(webhook.events), "active": webhook.active}
        return await self._change("change a webhook", values)

    async def _change(self, what: str, values: Mapping[str, Any], without: set[str] | None = None) -> Webhook:
        for each in self._schema.mutations:
            selection = self._result_selection(each.result)
            arguments = self._arguments(each, values, without or set())
            if selection is not None and arguments is not None:
                query = f"mutation Change {{ {each.name}({arguments}) {selection} }}"
                found = (await self._api.execute(query, tries=1)).data.get(each.name) or {}
                messages = [value for name, value in found.items() if _MESSAGE.fullmatch(name)]
                require_result(found | {"message": messages[0] if messages else ""})
                row = found if "url" in found else next((v for v in found.values() if isinstance(v, dict)), {})
                return _webhook(row)
        raise _not_found(what)

    def _result_selection(self, result: Type) -> str | None:
        """Returns a selection of the webhook in a result that may be wrapped, or be a union with errors."""
        name = _named(result)
        path = self._schema.path_to(result, WEBHOOK_FIELDS)
        if path is not None:
            return _nested(path, _HOOK)
        parts, has_webhook = ["__typename"], False
        for number, member in enumerate(self._schema.members(name)):
            inner = self._schema.path_to({"kind": "OBJECT", "name": member}, WEBHOOK_FIELDS)
            if inner is not None:
                has_webhook = True
                parts.append(f"... on {member} {_nested(inner, _HOOK)}")
            elif "message" in self._schema.fields(member):
                parts.append(f"... on {member} {{ m{number}: message }}")  # its type may differ between the members
        return f"{{ {' '.join(parts)} }}" if has_webhook else None

    def _arguments(self, operation: _Operation, values: Mapping[str, Any], without: set[str]) -> str | None:
        """Returns the arguments of a mutation with all values, direct or in one input object; `None` if they differ."""
        direct = operation.arguments
        if values.keys() <= direct.keys() and not without & direct.keys():
            return self._literals(values, direct)
        if len(direct) != 1:
            return None
        [(name, type_)] = direct.items()
        inner = self._schema.fields(_named(type_))
        if values.keys() <= inner.keys() and not without & inner.keys():
            return f"{name}: {{ {self._literals(values, inner)} }}"
        return None

    def _literals(self, values: Mapping[str, Any], types: Mapping[str, Type]) -> str:
        return ", ".join(f"{name}: {self._literal(value, types[name])}" for name, value in values.items())

    def _literal(self, value: Any, type_: Type) -> str:
        if isinstance(value, list):
            return f"[{', '.join(self._literal(each, type_) for each in value)}]"
        words = [each["name"] for each in self._schema.types.get(_named(type_), {}).get("enumValues") or ()]
        if words:
            return next((word for word in words if _folded(word) == _folded(value)), str(value))
        return json.dumps(value)

    async def secret(self) -> str:
        """Returns the key that webhooks are signed with."""
        for each in self._schema.queries:
            if not _ABOUT_SECRET.search(each.name) or any(map(_is_required, each.arguments.values())):
                continue
            name = _named(each.result)
            texts = [
                field for field in self._schema.fields(name) if re.search("secret|key|value", field, re.IGNORECASE)
            ]
            if self._schema.is_leaf(name) or texts:
                selection = "" if self._schema.is_leaf(name) else f"{{ {texts[0]} }}"
                found = (await self._api.execute(f"query Secret {{ {each.name} {selection} }}")).data.get(each.name)
                value = found.get(texts[0]) if isinstance(found, dict) else found
                if isinstance(value, str) and value:
                    return value
        raise _not_found("read the key")

    async def log(self, webhook: Webhook) -> list[LogEntry]:
        """Returns the newest requests that Hireflix logged for a webhook, newest first."""
        for each in self._schema.queries:
            path = self._schema.path_to(each.result, LOG_FIELDS)
            required = [name for name, type_ in each.arguments.items() if _is_required(type_)]
            if path is None or len(required) != 1:
                continue
            entry = self._schema.fields(_named(each.result))[path[0]] if path else each.result
            selection = _nested(path, self._schema.tree(_named(entry)))
            query = f"query Log {{ {each.name}({required[0]}: {json.dumps(webhook.id)}) {selection} }}"
            rows = _at((await self._api.execute(query)).data.get(each.name), path) or []
            entries = [_entry(row) for row in rows]
            return sorted(entries, key=lambda one: one.at or 0, reverse=True)[:LOG_MAX]
        raise _not_found("read the log of a webhook")


_HOOK = f"{{ {' '.join(sorted(WEBHOOK_FIELDS))} }}"


def dashboard_steps(url: str) -> str:
    """Returns the steps in the dashboard of Hireflix to create or repair the webhook."""
    return STEPS.format(url=url, events=", ".join(sorted(EVENT_NAMES)))


def _not_found(what: str) -> NotFoundInSchema:
    return NotFoundInSchema(f"the API of Hireflix shows no operation to {what}")


def _arg_types(field: Mapping[str, Any]) -> list[Type]:
    return [each["type"] for each in field["args"]]


def _is_required(type_: Type) -> bool:
    return bool(type_["kind"] == "NON_NULL")


def _is_a_list(type_: Type) -> bool:
    return type_["kind"] == "LIST" or bool(type_.get("ofType") and _is_a_list(type_["ofType"]))


def _named(type_: Type) -> str:
    """Returns the name of a type without `!` and `[]`."""
    while type_.get("ofType"):
        type_ = type_["ofType"]
    return str(type_["name"])


def _nested(path: Sequence[str], selection: str) -> str:
    for field in reversed(path):
        selection = f"{{ {field} {selection} }}"
    return selection


def _at(value: Any, path: Sequence[str]) -> Any:
    for field in path:
        value = value.get(field) if isinstance(value, dict) else None
    return value


def _folded(name: Any) -> str:
    """Returns the letters of a name: an enum cannot have the dots of `interview.finish`."""
    return re.sub("[^a-z]", "", str(name).lower())


_EVENTS = {_folded(name): name for name in EVENT_NAMES}


def _webhook(row: Mapping[str, Any]) -> Webhook:
    events = tuple(_EVENTS.get(_folded(name), clean(str(name))) for name in row.get("events") or ())
    return Webhook(str(row.get("id") or ""), clean(str(row.get("url") or "")), events, bool(row.get("active")))


def _entry(row: Mapping[str, Any]) -> LogEntry:
    return LogEntry(
        epoch_ms(row.get("date")), clean(str(row.get("status") or "")), row.get("request"), row.get("response")
    )
