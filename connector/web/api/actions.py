"""The routes under `/api/` that change something.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler

from connector.capabilities import Difference
from connector.operations import replay as replay_operation
from connector.operations.erase import Receipt
from connector.operations.replay import Replayable, ReplayEffect
from connector.store.queries import ListingFilter
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
    """Which dead letters to dismiss, and why."""

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
    """The number of dead letters that are dismissed."""

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
    request: Call, pages: NamedDependency[Pages], name: FromPath[str], data: JSONBody[PauseRequest]
) -> Paused:
    """Pauses a sink; its deliveries stay in the queue."""
    entry, until = await pages.actions.pause(name, data.until, actor=request.user.actor)
    return Paused(entry.name, until)


@post("/sinks/{name:str}/resume", status_code=200, guards=[may_act], responses=PROBLEMS)
async def api_resume(
    request: Call, pages: NamedDependency[Pages], name: FromPath[str], data: JSONBody[ResumeRequest]
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
