"""The routes in words, and the simulator: what an event changes, which routes match, and what each sink would write.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from connector.config import Config
from connector.errors import ConnectorError
from connector.operations.explain import Effect, Explanation, explain_body, explain_event
from connector.routing import Route
from connector.store.queries import ListingFilter, events
from connector.web.auth import Access, Visitor
from connector.web.dashboard.charts import Drawing, draw
from connector.web.dashboard.filters import Option
from connector.web.dashboard.pages import Pages, Seen
from connector.web.dashboard.words import sentence, shown_name

CHOICES = 30
"""Events that can be picked."""
BODY_MAX = 200_000
"""Characters of a payload that is explained."""


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One route in words."""

    number: int
    conditions: str
    sinks: str
    verdict: str
    mark: str


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A field before and after the event."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class EffectLine:
    """What a sink would receive."""

    sink: str
    type: str
    why: str
    drawing: Drawing


@dataclass(frozen=True, slots=True)
class Simulation:
    """The result of the simulator."""

    title: str
    remark: str
    changes: list[ChangeLine]
    effects: list[EffectLine]


@dataclass(frozen=True, slots=True)
class RoutePage:
    """The content of the page."""

    routes: list[RouteLine]
    events: list[Option]
    body: str
    problem: str
    simulation: Simulation | None


def route_page(seen: Seen, chosen: str, body: str, found: Explanation | None, problem: str) -> RoutePage:
    """Returns the page, with the result `found` of the simulator or its problem."""
    verdicts = {} if found is None else {each.route: each for each in found.routes}
    lines = []
    for number, route in enumerate(seen.config.routes):
        verdict = verdicts.get(number)
        mark = "" if verdict is None else "ok" if verdict.matched else "wait"
        lines.append(
            RouteLine(number + 1, conditions(route), ", ".join(route.sinks), verdict.reason if verdict else "", mark)
        )
    choices = [
        Option(str(row.id), f"{row.id} {row.name}, {shown_name(row.candidate_name)}", str(row.id) == chosen)
        for row in events(seen.connection, ListingFilter(kind="event"), CHOICES)
    ]
    return RoutePage(lines, choices, body, problem, None if found is None else _simulation(found, seen.config))


def conditions(route: Route) -> str:
    """Returns the conditions of a route in words."""
    parts = []
    for name, values in (("position", route.positions), ("event", route.events), ("stage", route.stages)):
        if values:
            parts.append(f"{name} is {_or(values)}")
    if route.min_score is not None:
        parts.append(f"score is {route.min_score:g} or more")
    if route.otherwise:
        parts.append("no other route to a message sink matches")
    return sentence(" and ".join(parts)) if parts else "Every event"


def _or(values: Sequence[object]) -> str:
    return " or ".join(str(value).removeprefix("interview.") for value in values)


def _effect(effect: Effect, config: Config) -> EffectLine:
    entry = config.sinks.get(effect.sink)
    drawing = draw(effect.preview, is_state=entry is not None and entry.cls.state, is_chat=effect.type == "slack")
    return EffectLine(effect.sink, effect.type, effect.why, drawing)


def _simulation(found: Explanation, config: Config) -> Simulation:
    title = f"{found.name or found.kind} of interview {found.interview_id}" if found.interview_id else found.kind
    remark = found.reason or (f"Not used: {', '.join(found.unused)}" if found.unused else "")
    return Simulation(
        title,
        remark,
        [ChangeLine(each.field.replace("_", " "), _value(each.before), _value(each.after)) for each in found.changes],
        [_effect(each, config) for each in found.effects],
    )


def _value(value: object) -> str:
    return "-" if value is None else str(value)


async def _explained(pages: Pages, chosen: str, body: str) -> tuple[Explanation | None, str]:
    """Returns the explanation of a stored event or of a body, or the problem. Runs in a thread: it opens the store."""
    at = pages.clockface().now
    try:
        if chosen.isdecimal():
            return await asyncio.to_thread(lambda: asyncio.run(explain_event(pages.config, int(chosen), at))), ""
        if body.strip():
            return await asyncio.to_thread(lambda: asyncio.run(explain_body(pages.config, body.encode(), at))), ""
    except ConnectorError as error:
        return None, f"{sentence(str(error))}."
    return None, ""


@get("/routes", include_in_schema=False)
async def routes_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Shows the routes, and what they do with a stored event."""
    chosen = request.query_params.get("event", "")[:18]
    found, problem = await _explained(pages, chosen, "")
    return await pages.show(
        request,
        "routes.html",
        "routes",
        "Routes",
        lambda seen: route_page(seen, chosen, "", found, problem),
        live=False,
    )


@post("/routes", include_in_schema=False, status_code=200)
async def simulate(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Shows what the routes do with a payload. Stores and sends nothing."""
    await request.auth.require_own_form(request, request.user.owner)
    body = str((await request.form()).get("body", ""))
    too_long = "The payload is too long." if len(body) > BODY_MAX else ""
    found, problem = (None, too_long) if too_long else await _explained(pages, "", body)
    return await pages.show(
        request, "routes.html", "routes", "Routes", lambda seen: route_page(seen, "", body, found, problem), live=False
    )
