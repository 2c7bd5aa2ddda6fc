"""Finds the class of a sink by the name of its type, and imports nothing that was not asked for.

`type = "slack"` means the attribute `SINK` of the module `sinks.slack`. Any other distribution adds a type by an entry
point in the group `connector.sinks` whose value is the class (Python Packaging User Guide, Entry points specification).
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeAlias

import connector
from connector.errors import ConfigError, Problem
from connector.sink import Sink, SinkConfig

GROUP = "connector.sinks"
EXTRAS = {"google_sheets": "sheets", "slack": "slack"}
"""Type -> the extra of this distribution that brings what the type needs."""

SinkClass: TypeAlias = type[Sink[Any]]

_TYPE = re.compile(r"[a-z][a-z0-9_]*")
_NAMES_A_CLASS = re.compile(r"^SINK\s*[:=]", re.MULTILINE)


def load_sink_class(type_name: str) -> SinkClass:
    """The class behind `type = "…"`; the only place where a sink's module is imported.

    Raises `ConfigError` with one problem at the place `type` when there is none, or when it cannot be used.
    """
    if not _TYPE.fullmatch(type_name):
        raise _unknown(type_name)
    if _is_module(type_name):
        return _from_module(type_name)
    points = tuple(entry_points(group=GROUP, name=type_name))
    if not points:
        raise _unknown(type_name)
    return _from_entry_point(points)


def known_types() -> tuple[str, ...]:
    """Names that `type` may have, sorted; nothing is imported to find them."""
    return tuple(sorted({*built_in_types(), *entry_points(group=GROUP).names}))


def built_in_types() -> tuple[str, ...]:
    """The modules of our own that name a class `SINK`, sorted; they are read and not imported."""
    return tuple(sorted(module.name for module in iter_modules([str(_sinks_folder())]) if _names_a_class(module.name)))


def _names_a_class(module: str) -> bool:
    places = (_sinks_folder() / f"{module}.py", _sinks_folder() / module / "__init__.py")
    return any(_NAMES_A_CLASS.search(place.read_text(encoding="utf-8")) for place in places if place.is_file())


def _sinks_folder() -> Path:
    return Path(connector.__file__).resolve().parent.parent / "sinks"


def _is_module(type_name: str) -> bool:
    return any(module.name == type_name for module in iter_modules([str(_sinks_folder())]))


def _from_module(type_name: str) -> SinkClass:
    _check_package()
    try:
        module = import_module(f"sinks.{type_name}")
    except ModuleNotFoundError as error:
        raise _missing(type_name, error.name or "?") from error
    except Exception as error:  # a sink that somebody is just writing may fail in any way
        raise _not_imported(f"sinks.{type_name}", error, "mend that module") from error
    if not hasattr(module, "SINK"):  # a helper that several sinks share
        raise _error("no such type of sink", f"the module sinks.{type_name} names no class SINK")
    return _checked(module.SINK, f"sinks.{type_name}.SINK")


def _check_package() -> None:
    """Another distribution that installs a top-level `sinks` would have its code run in place of ours."""
    spec = find_spec("sinks")
    found = [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]
    if found != [_sinks_folder()]:
        raise _error(
            "another installed package also brings a top-level package `sinks`",
            "install the connector in a virtual environment of its own",
        )


def _from_entry_point(points: tuple[EntryPoint, ...]) -> SinkClass:
    if len(points) > 1:
        owners = ", ".join(sorted(point.dist.name for point in points if point.dist))
        raise _error(f"several installed packages bring this type: {owners}", "uninstall all but one")
    try:
        found = points[0].load()
    except Exception as error:  # foreign code may fail in any way while it is imported
        raise _not_imported(points[0].value, error, "ask the author of that package") from error
    return _checked(found, points[0].value)


def _checked(found: object, place: str) -> SinkClass:
    if not (isinstance(found, type) and issubclass(found, Sink)):
        raise _error(f"{place} is no subclass of connector.sink.Sink", "name the class of the sink there")
    settings = getattr(found, "Config", None)
    if not (isinstance(settings, type) and issubclass(settings, SinkConfig)):
        raise _error(f"{place} has no settings", "set its `Config` to a subclass of connector.sink.SinkConfig")
    return found


def _not_imported(what: str, error: Exception, fix: str) -> ConfigError:
    return _error(f"{what} cannot be imported: {type(error).__name__}: {error}", fix)


def _missing(type_name: str, module: str) -> ConfigError:
    extra = EXTRAS.get(type_name)
    fix = f"install the package that brings {module}"
    if extra:
        fix = f"pip install 'hireflix-connector[{extra}]', or `make install` in a checkout"
    return _error(f"{type_name} needs the Python module {module}, which is not installed", fix)


def _unknown(type_name: str) -> ConfigError:
    known = known_types()
    close = get_close_matches(type_name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
    return _error("no such type of sink", hint)


def _error(message: str, hint: str) -> ConfigError:
    return ConfigError([Problem("type", message, hint)])
