"""The list of deliveries, the dead letters by reason and age, and one delivery.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from sqlalchemy import Connection, select

from connector.formats import format_duration
from connector.languages import gettext_noop
from connector.operations.listings import is_number, read_place
from connector.store.queries import (
    AttemptRow,
    DeliveryRow,
    ListingFilter,
    Place,
    attempts,
    deliveries,
    place_of,
    sink_names,
)
from connector.store.schema import DeliveryState, delivery, in_state
from connector.text import web_link
from connector.web.auth import Access, Visitor
from connector.web.dashboard.filters import ROWS, Filter, Paging, make_filter, paging, parameters
from connector.web.dashboard.pages import Pages, Seen
from connector.web.dashboard.words import Clockface, Moment, candidate_name, remedy_text, shown_name

DEAD_MAX = 5_000
"""Dead letters that the grid counts."""
HOUR_MS = 3_600_000
AGES = (("1 h", HOUR_MS), ("24 h", 24 * HOUR_MS), ("7 d", 168 * HOUR_MS))
"""Columns of the grid: younger than this; the last column has the rest."""
MARKS = {
    gettext_noop("delivered"): "ok",
    gettext_noop("superseded"): "ok",
    gettext_noop("dead"): "bad",
    gettext_noop("pending"): "wait",
    gettext_noop("waiting"): "wait",
    gettext_noop("dismissed"): "wait",
}
"""The class for colour and shape of each state of a delivery."""


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One delivery in a list."""

    id: int
    sink: str
    mark: str
    state: str
    what: str
    interview_id: str
    candidate: str
    attempts: int
    since: Moment | None
    next: Moment | None
    done: Moment | None
    reason: str
    reference: str
    link: str


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A reason of dead letters of a sink: the counts by age, each with its address."""

    sink: str
    reason: str
    cells: list[tuple[int, str]]
    address: str


@dataclass(frozen=True, slots=True)
class DeliveryList:
    """The content of the page of the deliveries. `selection` is the query of the filters, for actions."""

    filters: list[Filter]
    is_filtered: bool
    ages: list[str]
    grid: list[DeadLetterRow]
    rows: list[DeliveryLine]
    paging: Paging
    reason: str
    selection: str
    can_replay: bool
    can_dismiss: bool


DELIVERY_PARAMETERS = ("sink", "state", "interview", "event", "reason", "since", "until")


def filter_of(chosen: dict[str, str]) -> ListingFilter:
    """Returns the filter of the parameters of an address; unusable ones are left out."""
    state = chosen.get("state", "").upper()
    return ListingFilter(
        sink=chosen.get("sink") or None,
        states=(DeliveryState[state],) if state in DeliveryState.__members__ else (),
        interview=chosen.get("interview") or None,
        reason=chosen.get("reason") or None,
        event=_number(chosen, "event"),
        since=_number(chosen, "since"),
        until=_number(chosen, "until"),
    )


def _number(chosen: dict[str, str], name: str) -> int | None:
    text = chosen.get(name, "")
    return int(text) if is_number(text) else None


def delivery_list(seen: Seen, chosen: dict[str, str], after: Place | None) -> DeliveryList:
    """Returns a page of the deliveries that the filters select, the newest first, and all dead letters by reason and
    age.
    """
    rows = deliveries(seen.connection, replace(filter_of(chosen), after=after), ROWS + 1)
    following = place_of(rows[ROWS - 1]) if len(rows) > ROWS else None
    filters = [
        make_filter(
            "sink", gettext_noop("Sink"), chosen["sink"], [(name, name) for name in sink_names(seen.connection)]
        ),
        make_filter(
            "state",
            gettext_noop("State"),
            chosen["state"],
            [(name, name) for name in (each.name.lower() for each in DeliveryState)],
            is_ours=True,
        ),
    ]
    return DeliveryList(
        filters,
        any(chosen.values()) or after is not None,
        [*(title for title, _ in AGES), seen.words.gettext("older")],
        _grid(seen.connection, seen.clock.now),
        [delivery_line(row, seen) for row in rows[:ROWS]],
        paging("/deliveries", chosen, after, following),
        chosen["reason"],
        urlencode({name: value for name, value in chosen.items() if value}),
        can_replay=bool(rows) and chosen["state"] in {"dead", "dismissed", "delivered"},
        can_dismiss=bool(rows) and chosen["state"] == "dead",
    )


def _grid(connection: Connection, now: int) -> list[DeadLetterRow]:
    """Returns the dead letters by sink and reason, and by age."""
    statement = select(delivery.c.sink, delivery.c.reason, delivery.c.since).where(in_state(DeliveryState.DEAD))
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (len(AGES) + 1))
    for sink, reason, since in connection.execute(statement.limit(DEAD_MAX)):
        column = next((number for number, (_, age) in enumerate(AGES) if now - since < age), len(AGES))
        counts[sink, reason or ""][column] += 1
    bounds = [now, *(now - age for _, age in AGES), 0]
    rows = []
    for (sink, reason), line in sorted(counts.items(), key=lambda item: -sum(item[1])):
        about = {"sink": sink, "state": "dead", "reason": reason}
        cells = []
        for number, count in enumerate(line):
            period = {"since": bounds[number + 1], "until": bounds[number]}
            cells.append((count, f"/deliveries?{urlencode(about | period)}"))
        rows.append(DeadLetterRow(sink, reason, cells, f"/deliveries?{urlencode(about)}"))
    return rows


def delivery_line(row: DeliveryRow, seen: Seen) -> DeliveryLine:
    """Returns what a list shows of a delivery. One that is planned was not received."""
    clock = seen.clock
    what = row.event_name.removeprefix("interview.") or row.purpose or "fill"
    is_open = row.state in {"pending", "waiting"}
    return DeliveryLine(
        row.id,
        row.sink,
        MARKS[row.state],
        row.state,
        what,
        row.interview_id,
        candidate_name(row.candidate_name, clock.words),
        row.attempts,
        clock.moment(row.since) if row.since <= clock.now else None,
        clock.moment(row.not_before) if is_open and row.not_before else None,
        clock.moment(row.done_at),
        why(row, seen),
        row.reference,
        web_link(row.reference) or "",
    )


def why(row: DeliveryRow, seen: Seen) -> str:
    """Returns the reason for the state of a delivery. A pending one waits for its sink when that is paused."""
    is_paused = any(sink.name == row.sink and sink.state == "paused" for sink in seen.health.sinks)
    return row.reason or (seen.words.gettext("the sink is paused") if is_paused and row.state == "pending" else "")


@get("/deliveries", include_in_schema=False)
async def deliveries_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Lists deliveries, and dead letters by reason and age."""
    chosen = parameters(request, *DELIVERY_PARAMETERS)
    after = read_place(request.query_params.get("after", ""), number=True)
    return await pages.show(
        request,
        "deliveries.html",
        "deliveries",
        pages.words.gettext("Deliveries"),
        lambda seen: delivery_list(seen, chosen, after),
        live=after is None,
    )


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One call of a sink."""

    at: Moment | None
    took: str
    outcome: str
    count: int
    reason: str
    status: str
    answer: str


@dataclass(frozen=True, slots=True)
class OneDelivery:
    """The content of the page of a delivery."""

    line: DeliveryLine
    position: str
    event_id: int | None
    attempts: list[AttemptLine]
    fix: str


def one_delivery(seen: Seen, id_: int) -> OneDelivery:
    """Returns a delivery with the failed calls of its sink in its time. Raises `NotFoundException`."""
    rows = deliveries(seen.connection, ListingFilter(ids=(id_,)), 1)
    if not rows:
        raise NotFoundException("there is no such delivery")
    (row,) = rows
    end = row.done_at + 1000 if row.done_at is not None else None
    calls = attempts(seen.connection, ListingFilter(sink=row.sink, since=row.since, until=end), 20)
    is_open = row.state in {"pending", "waiting", "dead"}
    fix = next((sink.fix for sink in seen.health.sinks if sink.name == row.sink), "") if is_open else ""
    if row.state == "dead" and not fix:
        fix = seen.words.gettext("Repair the cause that the reason names, then replay it.")
    return OneDelivery(
        delivery_line(row, seen),
        shown_name(row.position_name),
        row.event_id,
        [attempt_line(each, seen.clock) for each in calls],
        remedy_text(fix),
    )


def attempt_line(row: AttemptRow, clock: Clockface) -> AttemptLine:
    """Returns what a page shows of a call."""
    return AttemptLine(
        clock.moment(row.started_at),
        format_milliseconds(row.duration_ms),
        row.outcome,
        row.count,
        row.reason,
        "" if row.status is None else str(row.status),
        row.answer or "",
    )


def format_milliseconds(duration: int) -> str:
    """Returns a short duration, such as `120 ms` or `3 s`."""
    return f"{duration} ms" if duration < 1000 else format_duration(duration / 1000)  # noqa: PLR2004 - a second


@get("/deliveries/{id_:int}", include_in_schema=False)
async def delivery_page(
    request: Request[Visitor, Access, Any], pages: NamedDependency[Pages], id_: FromPath[int]
) -> Response[bytes]:
    """Shows one delivery."""
    title = pages.words.gettext("Delivery {id}").format(id=id_)
    return await pages.show(request, "delivery.html", "deliveries", title, lambda seen: one_delivery(seen, id_))
