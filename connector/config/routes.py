"""What must hold between routes and sinks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from connector.config.layers import Keys
from connector.config.model import RouteSettings, SinkEntry
from connector.config.problems import did_you_mean
from connector.route import Route


def routed_sinks(routes: Sequence[RouteSettings], names: Iterable[str]) -> set[str]:
    """The sinks that a route names; all of them when there is no route."""
    return {name for route in routes for name in route.sinks} if routes else set(names)


def unknown_sinks(tree: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[Keys, str, str]]:
    """Keys, message and hint for each sink that a route names and that is not configured."""
    routes = tree.get("routes")
    for index, route in enumerate(routes if isinstance(routes, list) else ()):
        listed = route.get("sinks") if isinstance(route, dict) else None
        for place, name in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(name, str) and name not in names:
                hint = did_you_mean(name, list(names)) or f"there are: {', '.join(names) or 'none'}"
                yield ("routes", index, "sinks", place), "no sink of that name", hint


def otherwise_to_state(
    routes: Sequence[RouteSettings], sinks: Mapping[str, SinkEntry]
) -> Iterator[tuple[Keys, str, str]]:
    """Keys, message and hint for each route that would show a sheet only what no chat got."""
    for index, route in enumerate(routes):
        states = [name for name in route.sinks if name in sinks and sinks[name].cls.state]
        if route.otherwise and states:
            message = f"cannot lead to {', '.join(states)}, which shows the state of interviews"
            yield ("routes", index, "otherwise"), message, "give the sheet a route of its own"


def as_route(settings: RouteSettings) -> Route:
    return Route(
        sinks=tuple(settings.sinks),
        positions=tuple(settings.positions),
        events=tuple(settings.events),
        stages=tuple(settings.stages),
        min_score=settings.min_score,
        otherwise=settings.otherwise,
    )
