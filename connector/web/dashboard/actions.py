"""Actions: replay, dismiss, pause, resume, verify, repair and erase, each by the operation that the command line uses.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from connector.errors import UsageError
from connector.languages import Language, ngettext_noop
from connector.operations import replay as replay_operation
from connector.operations.erase import Receipt
from connector.operations.replay import Replayable, ReplayEffect
from connector.store.erase import Subject
from connector.store.queries import ListingFilter
from connector.store.replay import ReplaySelection
from connector.store.schema import DeliveryState
from connector.web.actions import dismissible_ids
from connector.web.auth import Access, Visitor, form_values, may_act
from connector.web.dashboard.deliveries import DELIVERY_PARAMETERS, filter_of
from connector.web.dashboard.filters import ids_in, parameters
from connector.web.dashboard.pages import Pages, Seen, redirect
from connector.web.dashboard.words import Moment

# --- Deliveries -------------------------------------------------------------------------------------------------------

SELECTION = ("ids", *DELIVERY_PARAMETERS)
"""The parameters that select deliveries for an action."""

REPLAYED = {
    "dead": ngettext_noop("{count} dead delivery", "{count} dead deliveries"),
    "dismissed": ngettext_noop("{count} dismissed delivery", "{count} dismissed deliveries"),
    "delivered": ngettext_noop("{count} delivered delivery", "{count} delivered deliveries"),
}
"""The words for the deliveries that a replay would make pending, by their state."""


@dataclass(frozen=True, slots=True)
class SelectionPage:
    """What an action would change: the preview of a replay and of a dismissal.

    `hidden` are the parameters for the forms.
    """

    hidden: list[tuple[str, str]]
    replays: list[str]
    replay_total: int
    expired: list[str]
    pending: list[str]
    dismissible: int
    back: str
    reason_max: int


def _selected(chosen: Mapping[str, str]) -> ListingFilter:
    return replace(filter_of(dict(chosen)), ids=tuple(ids_in(chosen["ids"])))


def _request(chosen: Mapping[str, str]) -> replay_operation.ReplayRequest:
    """Returns the replay that the parameters select. Raises `UsageError` for a state that cannot be replayed."""
    wanted = _selected(chosen)
    state = chosen["state"]
    if state and state not in {"dead", "dismissed", "delivered"}:
        raise UsageError(f"deliveries in the state {state} cannot be replayed")
    return replay_operation.ReplayRequest(
        ids=wanted.ids,
        sink=wanted.sink,
        interview=wanted.interview,
        event=wanted.event,
        state=Replayable(state) if state else None,
        reason=wanted.reason,
        since=wanted.since,
        until=wanted.until,
    )


def selection_page(seen: Seen, chosen: Mapping[str, str]) -> SelectionPage:
    """Returns the preview. Raises `UsageError` for a selection that cannot be replayed."""
    request, wanted, words = _request(chosen), _selected(chosen), seen.words
    if replay_operation.removed(seen.config, wanted):
        found = ReplaySelection()  # no lane would deliver
    else:
        replay_operation.require_valid(seen.config, request)
        found = replay_operation.find_deliveries(seen.connection, seen.config, request)
    is_about_dead = not wanted.states or DeliveryState.DEAD in wanted.states
    return SelectionPage(
        [(name, value) for name, value in chosen.items() if value],
        [_effect(each, words) for each in replay_operation.effects(seen.config, found)],
        len(found.dead) + len(found.repeat),
        [f"{sink}: {_deliveries(count, words)}" for sink, count in sorted(found.expired.items())],
        [f"{sink}: {_deliveries(count, words)}" for sink, count in sorted(found.pending.items())],
        len(dismissible_ids(seen.connection, seen.config, wanted)) if is_about_dead else 0,
        _back(chosen),
        replay_operation.REASON_MAX,
    )


def _effect(effect: ReplayEffect, words: Language) -> str:
    """Returns a line with the deliveries of a sink and the rows or messages that follow from their replay."""
    parts = [
        words.ngettext(*REPLAYED[state], count).format(count=words.number(count))
        for state, count in effect.states.items()
    ]
    if effect.rows is not None:
        rows = words.ngettext("{count} row is written", "{count} rows are written", effect.rows)
        parts.append(rows.format(count=words.number(effect.rows)))
    else:
        count = effect.messages or 0
        at_most = words.ngettext("at most {count} new message", "at most {count} new messages", count)
        parts.append(at_most.format(count=words.number(count)))
        if count < effect.deliveries:
            parts.append(words.gettext("the others update messages, or a digest counts them"))
    return f"{effect.sink}: {', '.join(parts)}"


def _deliveries(count: int, words: Language) -> str:
    return words.ngettext("{count} delivery", "{count} deliveries", count).format(count=words.number(count))


def _back(chosen: Mapping[str, str]) -> str:
    """Returns the page that shows the selection."""
    if chosen["ids"].isdecimal():
        return f"/deliveries/{chosen['ids']}"
    return f"/deliveries?{urlencode({name: value for name, value in chosen.items() if value})}"


@get("/actions/selection", include_in_schema=False)
async def selection(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Shows what a replay or a dismissal would change."""
    chosen = parameters(request, *SELECTION)
    return await pages.show(
        request,
        "selection.html",
        "deliveries",
        pages.words.gettext("Replay or dismiss"),
        lambda seen: selection_page(seen, chosen),
        live=False,
    )


@post("/actions/replay", include_in_schema=False, guards=[may_act])
async def replay(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Puts the selected deliveries back into the queue."""
    chosen = await form_values(request, *SELECTION)
    count = await pages.actions.replay(_request(chosen), actor=request.user.actor)
    done = pages.words.ngettext(
        "{count} delivery is in the queue again.", "{count} deliveries are in the queue again.", count
    ).format(count=pages.words.number(count))
    back = _back(chosen) if chosen["ids"].isdecimal() else f"/deliveries?{urlencode({'sink': chosen['sink']})}"
    return redirect(back, request, done)


@post("/actions/dismiss", include_in_schema=False, guards=[may_act])
async def dismiss(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Drops the selected dead letters, or all deliveries of a removed sink, with a reason."""
    chosen = await form_values(request, *SELECTION, "why")
    why = chosen.pop("why")
    count = await pages.actions.dismiss(_selected(chosen), why, actor=request.user.actor)
    done = pages.words.ngettext("{count} delivery is dismissed.", "{count} deliveries are dismissed.", count)
    return redirect(_back(chosen), request, done.format(count=pages.words.number(count)))


# --- Sinks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReportPage:
    """The result of a verification."""

    sink: str
    in_sync: bool
    counts: list[tuple[str, int]]
    differences: list[tuple[str, str, str]]
    remarks: list[str]


def _sink_path(name: str) -> str:
    return f"/sinks/{quote(name)}"


@post("/actions/pause", include_in_schema=False, guards=[may_act])
async def pause(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Pauses a sink, until a time if one is given."""
    sent = await form_values(request, "sink", "until")
    entry, until = await pages.actions.pause(sent["sink"], sent["until"], actor=request.user.actor)
    end = pages.clockface().moment(until)
    done = pages.words.gettext("{sink} is paused. Its deliveries stay in the queue.")
    if end:
        done = pages.words.gettext("{sink} is paused until {time}. Its deliveries stay in the queue.")
    return redirect(_sink_path(entry.name), request, done.format(sink=entry.name, time=end.full if end else ""))


@post("/actions/resume", include_in_schema=False, guards=[may_act])
async def resume(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Resumes a sink."""
    sent = await form_values(request, "sink", "mode")
    entry, pending = await pages.actions.resume(sent["sink"], sent["mode"], actor=request.user.actor)
    done = pages.words.ngettext(
        "{sink} is resumed. {count} delivery is pending.", "{sink} is resumed. {count} deliveries are pending.", pending
    )
    return redirect(_sink_path(entry.name), request, done.format(sink=entry.name, count=pages.words.number(pending)))


@post("/actions/verify", include_in_schema=False, guards=[may_act], status_code=200)
async def verify(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Compares a destination with the store, and shows the result."""
    entry, report = await pages.actions.verify((await form_values(request, "sink"))["sink"])
    view = ReportPage(
        entry.name,
        report.in_sync,
        [(kind, count) for kind, count in report.counts.items() if count],
        [(each.kind, each.key, each.detail) for each in report.differences],
        [*report.remarks, *report.asks],
    )
    title = pages.words.gettext("Verify {sink}").format(sink=entry.name)
    return await pages.show(request, "report.html", "sinks", title, lambda _: view, live=False)


@post("/actions/repair", include_in_schema=False, guards=[may_act])
async def repair(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Asks the lane of a sink to verify and repair it. The page of the sink shows the result."""
    entry = await pages.actions.repair((await form_values(request, "sink"))["sink"], actor=request.user.actor)
    done = pages.words.gettext("The repair is requested. This page shows the result.")
    return redirect(_sink_path(entry.name), request, done)


# --- First steps ------------------------------------------------------------------------------------------------------


@post("/actions/sample", include_in_schema=False, guards=[may_act])
async def send_sample(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Sends a sample webhook to the receiver, so that the user can follow it to every sink."""
    await pages.actions.send_sample(request.scope.get("server"))
    done = pages.words.gettext("The sample is stored. Its row and message follow; its page can erase it again.")
    return redirect("/", request, done)


# --- Interviews -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErasePage:
    """The preview of an erase."""

    subject: Subject
    is_sqlite: bool


@dataclass(frozen=True, slots=True)
class ReceiptPage:
    """The receipt of an erase."""

    receipt: Receipt
    at: Moment | None
    store: list[tuple[str, int]]


@get("/actions/erase", include_in_schema=False)
async def erase_preview(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Shows what the store has of a person, before it is erased."""
    subject = await pages.actions.subject(request.query_params.get("interview", ""))
    view = ErasePage(subject, pages.config.store.file is not None)
    return await pages.show(
        request, "erase.html", "interviews", pages.words.gettext("Erase"), lambda _: view, live=False
    )


@post("/actions/erase", include_in_schema=False, guards=[may_act], status_code=200)
async def erase(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Erases a person, and shows the receipt."""
    interview_id = (await form_values(request, "interview"))["interview"]
    receipt = await pages.actions.erase(interview_id, actor=request.user.actor)
    view = ReceiptPage(receipt, pages.clockface().moment(receipt.at), list(receipt.store.items()))
    return await pages.show(
        request, "receipt.html", "interviews", pages.words.gettext("Erased"), lambda _: view, live=False
    )
