"""The JSON API under `/api/`: the listings and the health model for programs, actions, and their description at
`/schema`.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar

import msgspec
from litestar import Request, Router, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler, Guard
from sqlalchemy import Connection

from connector import __version__
from connector.capabilities import Difference
from connector.operations import replay as replay_operation
from connector.operations.erase import Receipt
from connector.operations.listings import page, read_place, written_place
from connector.operations.replay import Replayable, ReplayEffect
from connector.operations.status import Health, health_here
from connector.store import queries
from connector.store.queries import AttemptRow, AuditRow, DeliveryRow, EventRow, InterviewRow, ListingFilter, Place
from connector.store.schema import DeliveryState
from connector.web.auth import Access, Visitor, may_act
from connector.web.dashboard.pages import Pages


class ApiProblem(msgspec.Struct, frozen=True):
    """The problem of a request. `extra` names the fields that are not valid."""

    status_code: int
    detail: str
    extra: Any = None


PROBLEMS: Mapping[int, ResponseSpec] = {
    status: ResponseSpec(ApiProblem, description=text, generate_examples=False)
    for status, text in (
        (401, "The token is missing or wrong."),
        (403, "The token may only view."),
        (404, "The address does not exist."),
        (405, "The address does not allow this method."),
        (409, "The sink could not be reached, or another reason that `detail` names."),
        (413, "The body of the request is larger than 128 KiB."),
        (422, "The request is not valid; `detail` says why."),
        (503, "The store is unavailable."),
    )
}
"""The answers that every address may give."""


IDS_MAX = 1000
"""Deliveries that a request may name by id; larger selections have other conditions."""
NUMBER_MAX = 10**15
"""Largest id or time (epoch milliseconds) of a request; both fit the columns of the store."""

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
Words: TypeAlias = Annotated[str, msgspec.Meta(max_length=300, pattern=r"^[^\x00]*$")]
Call: TypeAlias = Request[Visitor, Access, Any]


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Selects deliveries. An omitted condition matches everything; at least one is required.

    `position` is an id or a pattern of names. `since` and `until` are epoch milliseconds of receipt or replay.
    """

    ids: Annotated[list[Number], msgspec.Meta(max_length=IDS_MAX)] = []
    sink: Words | None = None
    position: Words | None = None
    interview: Words | None = None
    event: Number | None = None
    reason: Words | None = None
    since: Number | None = None
    until: Number | None = None


class ReplayRequest(Selection, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A selection to replay. `state` is that of deliveries, or the kind of events that are read again.

    Without a state it selects dead letters, and with ids or an event also dismissed and delivered deliveries. With
    `preview` nothing is changed.
    """

    state: Replayable | None = None
    preview: bool = False


class DismissRequest(Selection, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which dead letters to dismiss, and why. With a `sink` that is not configured any more, all its deliveries."""

    why: Annotated[str, msgspec.Meta(min_length=1, max_length=replay_operation.REASON_MAX)]


class Replayed(msgspec.Struct, frozen=True):
    """The number of replayed deliveries or events; with `preview` of those that would be.

    `effects` are the resulting rows and messages by sink. `expired` and `pending` count, by sink, the deliveries that
    are not replayed: their data was deleted, or an equal delivery is pending.
    """

    count: int
    expired: Mapping[str, int] = {}
    pending: Mapping[str, int] = {}
    effects: Sequence[ReplayEffect] = ()


class Dismissed(msgspec.Struct, frozen=True):
    """The number of deliveries that are dismissed."""

    count: int


class PauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`until` is `2h`, `18:00` or an ISO 8601 time; empty = until the sink is resumed."""

    until: Annotated[str, msgspec.Meta(max_length=40)] = ""


class Paused(msgspec.Struct, frozen=True):
    """A paused sink; `until` is epoch milliseconds, or null."""

    sink: str
    until: int | None


class ResumeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`mode` is a choice that the sink asks for, such as `refill`; empty = none."""

    mode: Annotated[str, msgspec.Meta(max_length=40)] = ""


class Resumed(msgspec.Struct, frozen=True):
    """A resumed sink, and its pending deliveries."""

    sink: str
    pending: int


class VerifyReport(msgspec.Struct, frozen=True):
    """The result of a verification: differences by kind, the first of them, and what an operator must do."""

    sink: str
    in_sync: bool
    counts: Mapping[str, int]
    differences: Sequence[Difference]
    remarks: Sequence[str]
    asks: Sequence[str]


class RepairRequested(msgspec.Struct, frozen=True):
    """The lane of the sink repairs it; `/api/status` shows the result."""

    sink: str


class EraseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The id of the interview of the person."""

    interview: Words


def _conditions(body: Selection) -> dict[str, Any]:
    """Returns the conditions of a selection."""
    return {
        "ids": tuple(body.ids),
        "sink": body.sink,
        "position": body.position,
        "interview": body.interview,
        "event": body.event,
        "reason": body.reason,
        "since": body.since,
        "until": body.until,
    }


@post("/deliveries/replay", status_code=200, guards=[may_act], responses=PROBLEMS)
async def api_replay(request: Call, pages: NamedDependency[Pages], data: JSONBody[ReplayRequest]) -> Replayed:
    """Makes deliveries pending again, or reads events again."""
    wanted = replay_operation.ReplayRequest(state=data.state, **_conditions(data))
    if wanted.is_of_events:
        if data.preview:
            return Replayed(len((await pages.actions.find_events(wanted)).ids))
        return Replayed(await pages.actions.replay_events(wanted, actor=request.user.actor))
    found = await pages.actions.find(wanted)
    count = len(found.dead) + len(found.repeat)
    if not data.preview:
        count = await pages.actions.replay(wanted, actor=request.user.actor)
    return Replayed(count, found.expired, found.pending, pages.actions.effects(found))


@post("/deliveries/dismiss", status_code=200, guards=[may_act], responses=PROBLEMS)
async def api_dismiss(request: Call, pages: NamedDependency[Pages], data: JSONBody[DismissRequest]) -> Dismissed:
    """Drops dead letters, with a reason."""
    return Dismissed(
        await pages.actions.dismiss(ListingFilter(**_conditions(data)), data.why, actor=request.user.actor)
    )


@post("/sinks/{name:str}/pause", status_code=200, guards=[may_act], responses=PROBLEMS)
async def api_pause(
    request: Call,
    pages: NamedDependency[Pages],
    name: FromPath[str],
    data: JSONBody[PauseRequest] = PauseRequest(),  # noqa: B008 - immutable
) -> Paused:
    """Pauses a sink; its deliveries stay in the queue."""
    entry, until = await pages.actions.pause(name, data.until, actor=request.user.actor)
    return Paused(entry.name, until)


@post("/sinks/{name:str}/resume", status_code=200, guards=[may_act], responses=PROBLEMS)
async def api_resume(
    request: Call,
    pages: NamedDependency[Pages],
    name: FromPath[str],
    data: JSONBody[ResumeRequest] = ResumeRequest(),  # noqa: B008 - immutable
) -> Resumed:
    """Resumes a sink at once."""
    entry, pending = await pages.actions.resume(name, data.mode, actor=request.user.actor)
    return Resumed(entry.name, pending)


@post("/sinks/{name:str}/verify", status_code=200, guards=[may_act], responses=PROBLEMS)
async def api_verify(pages: NamedDependency[Pages], name: FromPath[str]) -> VerifyReport:
    """Compares a destination with the store. Changes nothing."""
    entry, report = await pages.actions.verify(name)
    return VerifyReport(entry.name, report.in_sync, report.counts, report.differences, report.remarks, report.asks)


@post("/sinks/{name:str}/repair", status_code=202, guards=[may_act], responses=PROBLEMS)
async def api_repair(request: Call, pages: NamedDependency[Pages], name: FromPath[str]) -> RepairRequested:
    """Asks the lane of a sink to verify and repair it, and does not wait."""
    entry = await pages.actions.repair(name, actor=request.user.actor)
    return RepairRequested(entry.name)


@post("/interviews/erase", status_code=200, guards=[may_act], responses=PROBLEMS)
async def api_erase(request: Call, pages: NamedDependency[Pages], data: JSONBody[EraseRequest]) -> Receipt:
    """Erases a person permanently: from the store and from every destination that can be reached."""
    return await pages.actions.erase(data.interview, actor=request.user.actor)


ACTIONS: tuple[ControllerRouterHandler, ...] = (
    api_replay, api_dismiss, api_pause, api_resume, api_verify, api_repair, api_erase,
)  # fmt: skip


Row = TypeVar("Row", EventRow, InterviewRow, DeliveryRow, AttemptRow, AuditRow)
ROWS_MAX = 500
"""Rows of an answer."""

Limit = Annotated[int, QueryParameter(ge=1, le=ROWS_MAX, description="Rows of the answer.")]
Filter = Annotated[str, QueryParameter(description="Only rows with this value; empty = all.", max_length=200)]
Time = Annotated[int | None, QueryParameter(ge=0, le=NUMBER_MAX, description="Epoch milliseconds.")]
STATES = "|".join(state.name.lower() for state in DeliveryState)
State = Annotated[
    str,
    QueryParameter(name="state", description="The state of the deliveries; empty = all.", pattern=f"^({STATES})?$"),
]
After = Annotated[str, QueryParameter(description="`next` of the answer before.", max_length=300)]


class Events(msgspec.Struct, frozen=True):
    """Events, the newest first. `next` continues the listing as `after`; it is empty on the last page."""

    rows: Sequence[EventRow]
    next: str


class Interviews(msgspec.Struct, frozen=True):
    """Interviews, last changed first. `next` continues the listing as `after`; it is empty on the last page."""

    rows: Sequence[InterviewRow]
    next: str


class Deliveries(msgspec.Struct, frozen=True):
    """Deliveries, the newest first. `next` continues the listing as `after`; it is empty on the last page."""

    rows: Sequence[DeliveryRow]
    next: str


class Attempts(msgspec.Struct, frozen=True):
    """Calls of sinks, the newest first. `next` continues the listing as `after`; it is empty on the last page."""

    rows: Sequence[AttemptRow]
    next: str


class Audit(msgspec.Struct, frozen=True):
    """Changes of operators, the newest first. `next` continues the listing as `after`; it is empty on the last page."""

    rows: Sequence[AuditRow]
    next: str


def _place(after: str, *, number: bool) -> Place | None:
    """Returns the place that `next` of an answer said. Raises `ValidationException`."""
    place = read_place(after, number=number)
    if after and place is None:
        raise ValidationException("after is not the `next` of an answer")
    return place


class ListingParameters(NamedTuple):
    """The parameters that every listing has: the period, the page, and its length."""

    since: int | None
    until: int | None
    after: str
    limit: int


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Searches by the starts of words of the candidate's name, or of the e-mail address. It is sent as a body, because
    logs keep addresses.

    `since` and `until` are epoch milliseconds, and `after` is `next` of the answer before.
    """

    search: Annotated[Words, msgspec.Meta(min_length=1)]
    since: Number | None = None
    until: Number | None = None
    after: Words = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=ROWS_MAX)] = 50


class EventSearch(Search, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A search for the events of candidates, with the filters of `GET /api/events`."""

    interview: Words = ""


class InterviewSearch(Search, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A search for interviews of candidates, with the filters of `GET /api/interviews`."""

    sink: Words = ""


def filters_of(search: type[Search]) -> list[str]:
    """Returns the filters that a search has beside those of every search. Its listing has the same."""
    return [name for name in search.__struct_fields__ if name not in Search.__struct_fields__]


def listing(since: Time = None, until: Time = None, after: After = "", limit: Limit = 50) -> ListingParameters:
    """Returns the parameters that every listing has."""
    return ListingParameters(since, until, after, limit)


def only(*names: str) -> Guard:
    """Returns a guard that raises `ValidationException` for a parameter with another name: a filter that is misspelled
    would select all rows.
    """

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if "search" in connection.query_params:
            raise ValidationException(
                "search is not a parameter of an address, because logs keep addresses: send it in the body of a POST "
                "to /api/interviews/search or /api/events/search"
            )
        if unknown := sorted({*connection.query_params} - {*names}):
            raise ValidationException(f"unknown parameter {unknown[0]}; known: {', '.join(names)}")

    return guard


PAGE = ("after", "limit")
PERIOD = ("since", "until")
LISTING = {"listing": Provide(listing, sync_to_thread=False)}


async def _listing(
    pages: Pages,
    find: Callable[[Connection, ListingFilter, int], Sequence[Row]],
    wanted: ListingFilter,
    listing: ListingParameters | Search,
    *,
    number: bool,
) -> tuple[Sequence[Row], str]:
    """Returns the rows that a request selects, and `next`. With `number` their ids are numbers."""
    after = _place(listing.after, number=number)
    page_of = replace(wanted, since=listing.since, until=listing.until, after=after)
    found = await pages.store.query(lambda connection: page(find, connection, pages.config, page_of, listing.limit))
    return found.rows, "" if found.next is None else written_place(found.next)


@get("/status", responses=PROBLEMS, guards=[only()])
async def api_status(pages: NamedDependency[Pages]) -> Health:
    """The health of the installation: its processes, its source, every sink, and the fix of each problem."""
    now = pages.clockface().now
    return await pages.store.query(lambda connection: health_here(connection, now, pages.config))


@get(
    "/events",
    responses=PROBLEMS,
    dependencies=LISTING,
    guards=[only(*filters_of(EventSearch), *PERIOD, *PAGE)],
)
async def api_events(
    pages: NamedDependency[Pages], listing: NamedDependency[ListingParameters], interview: Filter = ""
) -> Events:
    """Events; `since` and `until` are epoch milliseconds of receipt."""
    wanted = ListingFilter(interview=interview or None)
    return Events(*await _listing(pages, queries.events, wanted, listing, number=True))


@get(
    "/interviews",
    responses=PROBLEMS,
    dependencies=LISTING,
    guards=[only(*filters_of(InterviewSearch), *PERIOD, *PAGE)],
)
async def api_interviews(
    pages: NamedDependency[Pages], listing: NamedDependency[ListingParameters], sink: Filter = ""
) -> Interviews:
    """Interviews in their current state; `since` and `until` are epoch milliseconds of the newest event."""
    wanted = ListingFilter(sink=sink or None)
    return Interviews(*await _listing(pages, queries.interviews, wanted, listing, number=False))


@post("/events/search", status_code=200, responses=PROBLEMS)
async def api_search_events(pages: NamedDependency[Pages], data: JSONBody[EventSearch]) -> Events:
    """Events of the interviews that a search finds."""
    wanted = ListingFilter(interview=data.interview or None, search=data.search)
    return Events(*await _listing(pages, queries.events, wanted, data, number=True))


@post("/interviews/search", status_code=200, responses=PROBLEMS)
async def api_search_interviews(pages: NamedDependency[Pages], data: JSONBody[InterviewSearch]) -> Interviews:
    """The interviews that a search finds, in their current state."""
    wanted = ListingFilter(sink=data.sink or None, search=data.search)
    return Interviews(*await _listing(pages, queries.interviews, wanted, data, number=False))


@get(
    "/deliveries",
    responses=PROBLEMS,
    dependencies=LISTING,
    guards=[only("sink", "state", "interview", "reason", *PERIOD, *PAGE)],
)
async def api_deliveries(
    pages: NamedDependency[Pages],
    listing: NamedDependency[ListingParameters],
    *,
    sink: Filter = "",
    in_state: State = "",
    interview: Filter = "",
    reason: Filter = "",
) -> Deliveries:
    """Deliveries; `state` is pending, waiting, delivered, superseded, dead or dismissed."""
    wanted = ListingFilter(
        sink=sink or None,
        states=(DeliveryState[in_state.upper()],) if in_state else (),
        interview=interview or None,
        reason=reason or None,
    )
    return Deliveries(*await _listing(pages, queries.deliveries, wanted, listing, number=True))


@get("/attempts", responses=PROBLEMS, dependencies=LISTING, guards=[only("sink", *PERIOD, *PAGE)])
async def api_attempts(
    pages: NamedDependency[Pages], listing: NamedDependency[ListingParameters], sink: Filter = ""
) -> Attempts:
    """Calls of sinks that failed or were repeated, with the status and the reply of the destination."""
    return Attempts(*await _listing(pages, queries.attempts, ListingFilter(sink=sink or None), listing, number=True))


@get("/audit", responses=PROBLEMS, guards=[only(*PAGE)])
async def api_audit(pages: NamedDependency[Pages], after: After = "", limit: Limit = 50) -> Audit:
    """The changes by operators, newest first."""
    parameters = ListingParameters(None, None, after, limit)
    return Audit(*await _listing(pages, queries.audit_entries, ListingFilter(), parameters, number=True))


API: tuple[ControllerRouterHandler, ...] = (
    api_status, api_events, api_interviews, api_deliveries, api_attempts, api_audit,
    api_search_events, api_search_interviews, *ACTIONS,
)  # fmt: skip


def describe(router: Router) -> OpenAPIConfig:
    """Returns the description of the API at `/schema`. `router` has the middleware that asks for the sign-in."""
    return OpenAPIConfig(
        title="Hireflix connector",
        version=__version__,
        description=(
            "Every request needs `Authorization: Bearer TOKEN`, with one of `[dashboard.tokens]`. "
            "A request that changes something needs a token with the role `act`."
        ),
        components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"token": []}],
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        openapi_router=router,
    )
