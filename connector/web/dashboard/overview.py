"""The first page: whether everything is in step, and the latest events.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from connector.formats import format_duration
from connector.store.queries import EventRow, Wanted, events
from connector.store.status import SinkStatus
from connector.web.auth.access import Access, Visitor
from connector.web.dashboard.pages import Pages, Seen
from connector.web.dashboard.words import NO_NAME, Clockface, Moment

LATEST = 10
"""Events on the page."""


@dataclass(frozen=True, slots=True)
class SinkCard:
    """One sink: `mark` is the class of its colour and shape."""

    name: str
    type: str
    mark: str
    state: str
    reason: str
    queue: str
    last: Moment | None


@dataclass(frozen=True, slots=True)
class LatestEvent:
    """One event in the list of the latest."""

    name: str
    candidate: str
    position: str
    at: Moment | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The content of the page."""

    sinks: list[SinkCard]
    latest: list[LatestEvent]


def overview(seen: Seen) -> Overview:
    """Returns the content of the page."""
    latest = events(seen.connection, Wanted(), LATEST)
    return Overview(
        [card(sink, seen.clock) for sink in seen.health.sinks], [_latest(row, seen.clock) for row in latest]
    )


def card(sink: SinkStatus, clock: Clockface) -> SinkCard:
    """Returns what a page shows of a sink."""
    mark, state = _state(sink)
    queue = f"{sink.pending} pending, the oldest for {format_duration(sink.oldest_age_seconds)}" if sink.pending else ""
    return SinkCard(sink.name, sink.type, mark, state, sink.reason, queue, clock.moment(sink.last_delivered_at))


def _state(sink: SinkStatus) -> tuple[str, str]:
    """Returns the class for colour and shape, and the state in words."""
    if sink.state in {"paused", "stopped"}:
        return "bad", sink.state
    if sink.state == "orphaned":
        return "warn", "not configured"
    if sink.in_sync is False:
        return "warn", "not in sync"
    if sink.failed_at is not None:
        return "warn", "failing"
    return "ok", "delivering" if sink.pending else "in step"


def _latest(row: EventRow, clock: Clockface) -> LatestEvent:
    return LatestEvent(
        row.name or row.kind, row.candidate_name or NO_NAME, row.position_name, clock.moment(row.received_at)
    )


@get("/", include_in_schema=False)
async def overview_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Shows whether everything is in step."""
    return await pages.show(request, "overview.html", "overview", "Overview", overview)
