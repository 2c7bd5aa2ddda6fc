"""Finds the class of a sink by its type.

A type is the name of an entry point in the group `connector.sinks`; its value is the class (Python Packaging User
Guide, Entry points specification). Built-in sinks are declared in pyproject.toml, like those of other packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from connector.errors import ConfigError, Problem
from connector.sink import Sink, SinkConfig

GROUP = "connector.sinks"
DISTRIBUTION = "hireflix-connector"
EXTRAS = {"google_sheets": "sheets", "slack": "slack"}
"""Maps a type to the extra of this distribution that installs the libraries of the type."""

RANK_MAX = 999
"""Greatest rank of an event. Follow-ups come after all events: `connector.store.ingest.FOLLOW_UP_PRIORITY`."""

SinkClass: TypeAlias = type[Sink[Any]]


def load_sink_class(type_name: str) -> SinkClass:
    """Imports the module of a sink and returns the class of the type.

    Raises `ConfigError` with one problem at `type` when the type is unknown or cannot be used.
    """
    points = tuple(entry_points(group=GROUP, name=type_name))
    if not points:
        raise _unknown(type_name)
    if len(points) > 1:
        owners = ", ".join(sorted(point.dist.name for point in points if point.dist))
        raise _error(f"several installed packages define this type: {owners}", "uninstall all but one")
    return _checked(_load(points[0]), points[0].value)


def known_types() -> tuple[str, ...]:
    """Returns all installed types, sorted. Imports no sink."""
    return tuple(sorted(entry_points(group=GROUP).names))


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise _missing(point.name, error.name or "?") from error
    except Exception as error:  # a third-party module may raise any exception when it is imported
        message = f"{point.value} cannot be imported: {type(error).__name__}: {error}"
        raise _error(message, "correct that module, or ask its author") from error


def _checked(found: object, place: str) -> SinkClass:
    if not (isinstance(found, type) and issubclass(found, Sink)):
        raise _error(f"{place} is not a subclass of connector.sink.Sink", "name the class of the sink there")
    settings = getattr(found, "Config", None)
    if not (isinstance(settings, type) and issubclass(settings, SinkConfig)):
        raise _error(f"{place} has no settings", "set its `Config` to a subclass of connector.sink.SinkConfig")
    if missing := sorted(found.__abstractmethods__):
        raise _error(
            f"{place} lacks the method {' and '.join(missing)}", "define it; the signature is in connector.sink"
        )
    if not iscoroutinefunction(found.deliver):
        raise _error(f"{place} has a `deliver` that is not async", "begin it with `async def`")
    ranks: object = found.priority
    if not isinstance(ranks, Mapping) or not all(
        type(rank) is int and 0 <= rank <= RANK_MAX for rank in ranks.values()
    ):
        raise _error(f"{place} has a rank in `priority` other than a whole number from 0 to {RANK_MAX}", "change it")
    return found


def _missing(type_name: str, module: str) -> ConfigError:
    extra = EXTRAS.get(type_name)
    fix = f"install the package that provides {module}"
    if extra:
        fix = f"pip install '{DISTRIBUTION}[{extra}]', or `make install` in a checkout"
    return _error(f"{type_name} needs the Python module {module}, which is not installed", fix)


def _unknown(type_name: str) -> ConfigError:
    known = known_types()
    close = get_close_matches(type_name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"installed types: {', '.join(known) or 'none'}"
    return _error("unknown type of sink", hint)


def _error(message: str, hint: str) -> ConfigError:
    return ConfigError([Problem("type", message, hint)])
