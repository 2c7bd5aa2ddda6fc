"""The effective configuration: every setting with its value, masked where it is secret, and where it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, SecretBytes, SecretStr

from connector.config import Config, SinkEntry
from connector.config.messages import setting_path
from connector.config.raw import Keys
from connector.operations.store_access import store_address
from connector.routing import Route

MASK = "********"
"""Replaces a secret that is set."""
DEFAULT = "default"
"""The origin of a setting that no source sets."""
_SHARED = ("timezone", "language")
"""Settings that are the defaults of those of each sink."""


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """A setting as the service uses it. `value` is plain data without secrets; `origin` says which source set it."""

    place: str
    value: Any
    origin: str


def effective_settings(config: Config) -> list[EffectiveSetting]:
    """Returns all settings in the order of the sections, then those of every sink, then the routes."""
    return [EffectiveSetting(setting_path(keys), value, origin) for keys, value, origin in _all(config)]


def _all(config: Config) -> Iterator[tuple[Keys, Any, str]]:
    for key in _SHARED:
        yield (key,), getattr(config, key), _origin(config, (key,))
    for field in dataclasses.fields(config):
        if isinstance(section := getattr(config, field.name), BaseModel):
            yield from _of_section(config, field.name, section)
    for entry in (*config.sinks.values(), *config.unrouted.values()):
        yield from _of_sink(config, entry)
    for index, route in enumerate(config.routes):
        yield from _of_route(config, index, route)


def _of_section(config: Config, name: str, section: BaseModel) -> Iterator[tuple[Keys, Any, str]]:
    for key in type(section).model_fields:
        value = store_address(config) if section is config.store else _public(getattr(section, key))
        yield (name, key), value, _origin(config, (name, key))


def _of_sink(config: Config, entry: SinkEntry) -> Iterator[tuple[Keys, Any, str]]:
    yield ("sinks", entry.name, "type"), entry.type, _origin(config, ("sinks", entry.name, "type"))
    for key, field in type(entry.config).model_fields.items():
        name = field.alias or key
        own, shared = ("sinks", entry.name, name), ("defaults", entry.type, name)
        origin = _origin(config, own)
        if origin == DEFAULT and (above := _origin(config, shared)) != DEFAULT:
            origin = f"defaults.{entry.type} in {above}"
        elif origin == DEFAULT and name in _SHARED:
            origin = _origin(config, (name,))
        yield own, _public(getattr(entry.config, key, None)), origin


def _of_route(config: Config, index: int, route: Route) -> Iterator[tuple[Keys, Any, str]]:
    for field in dataclasses.fields(route):
        value = getattr(route, field.name)
        if value not in ((), None, False):
            yield ("routes", index, field.name), _public(value), _origin(config, ("routes",))


def _origin(config: Config, keys: Keys) -> str:
    """Returns the sources that set the value at these keys, or values below them."""
    found = {origin: None for place, origin in config.origins.items() if place[: len(keys)] == keys}
    return ", ".join(found) or DEFAULT


def _public(value: Any) -> Any:
    """Returns a value as plain data, with a mask for each secret."""
    if isinstance(value, SecretStr | SecretBytes):
        return MASK
    if isinstance(value, BaseModel):
        return {key: _public(getattr(value, key, None)) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): _public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_public(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return msgspec.to_builtins(value, enc_hook=str)
