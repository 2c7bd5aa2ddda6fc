"""The routes in words, and the simulator: what an event changes, which routes match, and what each sink would write.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from connector.errors import ConnectorError
from connector.languages import Language
from connector.operations.explain import Effect, Explanation, explain_body, explain_event
from connector.routing import Route
from connector.store.queries import ListingFilter, events
from connector.web.auth import Access, Visitor, form_values
from connector.web.dashboard.filters import Option
from connector.web.dashboard.pages import Pages, Seen
from connector.web.dashboard.words import candidate_name, sentence, term

CHOICES = 30
"""Events that can be picked."""
BODY_MAX = 200_000
"""Characters of a payload that is explained."""
FORM_BYTES = 12 * BODY_MAX + 1024
"""Largest body of the form: a form has at most twelve bytes for a character, and a few short fields."""


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
class Simulation:
    """The result of the simulator."""

    title: str
    remark: str
    changes: list[ChangeLine]
    effects: list[Effect]


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
            RouteLine(
                number + 1,
                conditions(route, seen.words),
                ", ".join(route.sinks),
                verdict.reason if verdict else "",
                mark,
            )
        )
    choices = [
        Option(
            str(row.id), f"{row.id} {row.name}, {candidate_name(row.candidate_name, seen.words)}", str(row.id) == chosen
        )
        for row in events(seen.connection, ListingFilter(kind="event"), CHOICES)
    ]
    return RoutePage(lines, choices, body, problem, None if found is None else _simulation(found, seen))


def conditions(route: Route, words: Language) -> str:
    """Returns the conditions of a route in words. Their values are shown as the configuration has them."""
    parts = []
    if route.positions:
        parts.append(words.gettext("position is {values}").format(values=_or(route.positions, words)))
    if route.events:
        parts.append(words.gettext("event is {values}").format(values=_or(route.events, words)))
    if route.stages:
        parts.append(words.gettext("stage is {values}").format(values=_or(route.stages, words)))
    if route.min_score is not None:
        parts.append(words.gettext("score is {score} or more").format(score=words.number(route.min_score)))
    if route.otherwise:
        parts.append(words.gettext("no other route to a message sink matches"))
    return sentence(words.gettext(" and ").join(parts)) if parts else words.gettext("Every event")


def _or(values: Sequence[object], words: Language) -> str:
    return words.gettext(" or ").join(str(value).removeprefix("interview.") for value in values)


def _simulation(found: Explanation, seen: Seen) -> Simulation:
    words = seen.words
    title = term(found.kind, words)
    if found.interview_id:
        title = words.gettext("{event} of interview {id}").format(event=found.name or title, id=found.interview_id)
    unused = words.gettext("Not used: {fields}").format(fields=", ".join(found.unused)) if found.unused else ""
    remark = found.reason or unused
    return Simulation(
        title,
        remark,
        [ChangeLine(each.field.replace("_", " "), _value(each.before), _value(each.after)) for each in found.changes],
        found.effects,
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
        pages.words.gettext("Routes"),
        lambda seen: route_page(seen, chosen, "", found, problem),
        live=False,
    )


@post("/routes", include_in_schema=False, status_code=200, request_max_body_size=FORM_BYTES)
async def simulate(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Shows what the routes do with a payload. Stores and sends nothing."""
    await request.auth.require_own_form(request, request.user.owner)
    body = (await form_values(request, "body"))["body"]
    too_long = pages.words.gettext("The payload is too long.") if len(body) > BODY_MAX else ""
    found, problem = (None, too_long) if too_long else await _explained(pages, "", body)
    return await pages.show(
        request,
        "routes.html",
        "routes",
        pages.words.gettext("Routes"),
        lambda seen: route_page(seen, "", body, found, problem),
        live=False,
    )
