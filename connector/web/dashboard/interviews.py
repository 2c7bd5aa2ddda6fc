"""The list of interviews, and one interview with its history.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.response import Redirect
from sqlalchemy import select

from connector.interview import FIELDS, STAGE_WORDS, Interview, Stage, Value
from connector.languages import gettext_noop
from connector.merge import decode, interview_of
from connector.operations.listings import read_place
from connector.store.queries import (
    DeliveryRow,
    InterviewRow,
    ListingFilter,
    Place,
    deliveries,
    events,
    interviews,
    place_of,
    positions,
    sink_names,
)
from connector.store.schema import interview as interview_table
from connector.text import web_link
from connector.web.auth import Access, Visitor, form_values
from connector.web.dashboard.decisions import DecisionPanel, decision_panel
from connector.web.dashboard.deliveries import MARKS, DeliveryLine, delivery_line, why
from connector.web.dashboard.filters import ROWS, Filter, Paging, list_address, make_filter, paging, parameters
from connector.web.dashboard.pages import Pages, Seen, redirect
from connector.web.dashboard.words import Clockface, Moment, candidate_name, shown_name

HISTORY = 200
"""Events and deliveries in the history of an interview."""
VALUE_MAX = 2_000
"""Characters of a field that are shown."""
TIMES = {"created_at", "archived", "finalist", "deleted", "completed", "finished_at", "answered"}
"""Fields whose numbers are epoch milliseconds."""
FIRST = (
    ("candidate_email", gettext_noop("E-mail")),
    ("candidate_phone", gettext_noop("Phone")),
    ("score", gettext_noop("Score")),
    ("created_at", gettext_noop("Invited")),
    ("completed", gettext_noop("Completed")),
    ("finalist", gettext_noop("Shortlisted")),
    ("archived", gettext_noop("Discarded")),
    ("deleted", gettext_noop("Deleted")),
)
"""The fields that a page shows first, with their titles. A field that is missing or false is left out."""
FILTERS = ("position", "stage", "sink", "search")
"""The fields of the form over the list. In an address `search` is sealed, because it contains names."""
SEARCH_MAX = 200
"""Characters of a search."""
LINKS = (
    ("review_url", gettext_noop("Open in Hireflix")),
    ("candidate_url", gettext_noop("Open the candidate's page")),
    ("short_url", gettext_noop("Open the short link")),
)
"""The fields with links, with the texts of the links."""


@dataclass(frozen=True, slots=True)
class InterviewLine:
    """One interview in the list. `waits` is how long it waits for a decision."""

    id: str
    candidate: str
    position: str
    stage: str
    stage_word: str
    is_known_stage: bool
    score: str
    waits: str
    sinks: str
    updated: Moment | None


@dataclass(frozen=True, slots=True)
class InterviewList:
    """The content of the page of the interviews. `is_expired`: the search of the address cannot be read any more."""

    filters: list[Filter]
    search: str
    is_expired: bool
    is_filtered: bool
    rows: list[InterviewLine]
    paging: Paging


def interview_list(seen: Seen, chosen: dict[str, str], after: Place | None, search: str | None) -> InterviewList:
    """Returns a page of the interviews that the filters select, those with the newest event first.

    `chosen` are the parameters of the address, and `search` the text of the sealed one, `None` when it has expired.
    """
    wanted = ListingFilter(
        position=chosen["position"] or None,
        stage=Stage(chosen["stage"]) if chosen["stage"] in set(Stage) else None,
        sink=chosen["sink"] or None,
        search=search or None,
        after=after,
    )
    rows = interviews(seen.connection, wanted, ROWS + 1)
    places = sorted({name for _, name in positions(seen.connection) if name.strip()})
    filters = [
        make_filter(
            "position", gettext_noop("Position"), chosen["position"], [(name, shown_name(name)) for name in places]
        ),
        make_filter(
            "stage",
            gettext_noop("Stage"),
            chosen["stage"],
            [(each.value, STAGE_WORDS.get(each, gettext_noop("Unknown"))) for each in Stage],
            is_ours=True,
        ),
        make_filter(
            "sink", gettext_noop("Sink"), chosen["sink"], [(name, name) for name in sink_names(seen.connection)]
        ),
    ]
    lines = [_interview_line(row, seen.clock) for row in rows[:ROWS]]
    following = place_of(rows[ROWS - 1]) if len(rows) > ROWS else None
    is_filtered = any(chosen.values()) or after is not None
    others = paging("/interviews", chosen, after, following)
    return InterviewList(filters, search or "", search is None, is_filtered, lines, others)


def _interview_line(row: InterviewRow, clock: Clockface) -> InterviewLine:
    is_open = row.stage == Stage.TO_EVALUATE and row.completed_at is not None
    return InterviewLine(
        row.id,
        candidate_name(row.candidate_name, clock.words),
        shown_name(row.position_name),
        row.stage,
        row.stage_word,
        row.stage in STAGE_WORDS,
        "" if row.score is None else f"{row.score:g}",
        clock.age(row.completed_at) if is_open and row.completed_at is not None else "",
        ", ".join(row.sinks),
        clock.moment(row.updated_at),
    )


@get("/interviews", include_in_schema=False)
async def interviews_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Lists interviews. A search that cannot be read is left out, with a sentence."""
    chosen = parameters(request, *FILTERS)
    search = await request.auth.unseal(chosen["search"])
    after = read_place(request.query_params.get("after", ""), number=False)
    address = None
    if search is None:
        chosen, after = chosen | {"search": ""}, None
        address = list_address("/interviews", chosen)
    return await pages.show(
        request,
        "interviews.html",
        "interviews",
        pages.words.gettext("Interviews"),
        lambda seen: interview_list(seen, chosen, after, search),
        live=after is None and search is not None,
        address=address,
    )


@post("/interviews", include_in_schema=False)
async def search_interviews(request: Request[Visitor, Access, Any]) -> Redirect:
    """Opens the list with the filters of the form, so that the name of a candidate is in no address."""
    await request.auth.require_own_form(request, request.user.owner)
    chosen = await form_values(request, *FILTERS)
    sealed = await request.auth.seal(chosen["search"].strip()[:SEARCH_MAX])
    return redirect(list_address("/interviews", chosen | {"search": sealed}), request)


@dataclass(frozen=True, slots=True)
class Fact:
    """A field of an interview and the date of the event that it came from."""

    name: str
    value: str
    link: str
    at: Moment | None


@dataclass(frozen=True, slots=True)
class Facts:
    """The fields of an interview: those that a page shows first, the links, and all fields as they are stored."""

    first: list[tuple[str, str]]
    links: list[tuple[str, str]]
    all: list[Fact]


@dataclass(frozen=True, slots=True)
class Cell:
    """The delivery of an event to a sink; `id` is that of the delivery."""

    id: int
    mark: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One event of an interview with a cell per sink."""

    id: int
    at: Moment | None
    name: str
    mark: str
    cells: list[list[Cell]]


@dataclass(frozen=True, slots=True)
class OneInterview:
    """The content of the page of an interview."""

    id: str
    candidate: str
    position: str
    stage: str
    stage_word: str
    is_known_stage: bool
    facts: Facts
    sinks: list[str]
    history: list[HistoryLine]
    others: list[DeliveryLine]
    decisions: DecisionPanel


def one_interview(seen: Seen, id_: str) -> OneInterview:
    """Returns an interview with its history. Raises `NotFoundException`."""
    state = seen.connection.execute(select(interview_table.c.state).where(interview_table.c.id == id_)).scalar()
    if state is None:
        raise NotFoundException("the interview does not exist")
    found = interview_of(id_, decode(state))
    wanted = ListingFilter(interview=id_)
    done = deliveries(seen.connection, wanted, HISTORY)
    sinks = sorted({row.sink for row in done} | set(seen.config.sinks))
    by_event: dict[tuple[int | None, str], list[DeliveryRow]] = defaultdict(list)
    for row in done:
        by_event[row.event_id, row.sink].append(row)
    history = [
        HistoryLine(
            row.id,
            seen.clock.moment(row.received_at),
            row.name.removeprefix("interview.") or row.kind,
            row.mark,
            [[_cell(each, seen) for each in by_event[row.id, sink]] for sink in sinks],
        )
        for row in events(seen.connection, wanted, HISTORY)
    ]
    return OneInterview(
        id_,
        candidate_name(found.candidate_name, seen.words),
        shown_name(found.position_name),
        found.stage.value,
        found.stage_word,
        found.stage in STAGE_WORDS,
        _facts(found, seen.clock),
        sinks,
        history,
        [delivery_line(row, seen) for row in done if row.event_id is None],
        decision_panel(seen, found),
    )


def _facts(found: Interview, clock: Clockface) -> Facts:
    stored = {name: found.values.get(name) for name in FIELDS}
    completed = {"completed": found.completed_at} if found.completed_at is not None else {}
    shown = stored | completed  # the date of the finish event, where Hireflix sent no other
    first = [
        (title, _text(name, value, clock))
        for name, title in FIRST
        if (value := shown[name]) is not None and value is not False and value != ""
    ]
    links = [(title, link) for name, title in LINKS if (link := _link(stored[name]))]
    every = [
        Fact(name.replace("_", " "), _text(name, value, clock), _link(value), clock.moment(found.dates.get(name)))
        for name, value in stored.items()
        if value is not None and value != ""
    ]
    return Facts(first, links, every)


def _text(name: str, value: Value, clock: Clockface) -> str:
    """Returns the value of a field for users: a date with its zone, yes or no for a flag."""
    if isinstance(value, bool):
        return clock.words.gettext("yes") if value else clock.words.gettext("no")
    if name in TIMES and isinstance(value, int | float):
        moment = clock.moment(int(value))
        return moment.full if moment else ""
    return f"{value:g}" if isinstance(value, float) else str(value)[:VALUE_MAX]


def _link(value: Value) -> str:
    return web_link(value) or "" if isinstance(value, str) else ""


def _cell(row: DeliveryRow, seen: Seen) -> Cell:
    return Cell(row.id, MARKS[row.state], row.state, why(row, seen))


@get("/interviews/one", include_in_schema=False)
async def interview_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Shows one interview. Its id is a parameter, because it may contain any character."""
    id_ = request.query_params.get("id", "")
    title = pages.words.gettext("Interview")
    return await pages.show(request, "interview.html", "interviews", title, lambda seen: one_interview(seen, id_))
