"""The first page: whether everything is in sync, the path of an event, the last day, and the first steps.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from sqlalchemy import Connection, case, func, select

from connector.interview import STAGE_WORDS, Stage
from connector.languages import Language, gettext_noop
from connector.operations.send import SAMPLE_INTERVIEW
from connector.store.queries import EventRow, ListingFilter, events
from connector.store.schema import DeliveryState, PauseKind, delivery, event, interview
from connector.store.source import is_webhook
from connector.store.status import SinkStatus
from connector.web.auth import Access, Visitor
from connector.web.dashboard.charts import (
    HALF_HOUR_MS,
    HALF_HOURS,
    LAG_BOUNDS_MS,
    RECEIVED,
    ActivityChart,
    Flow,
    LagChart,
    Part,
    SinkArrow,
    activity,
    flow,
    lag_chart,
    stacked,
)
from connector.web.dashboard.pages import Pages, Seen
from connector.web.dashboard.words import Clockface, Moment, candidate_name, shown_name

LATEST = 8
"""Events on the page."""
DONE_MAX = 20_000
"""Settled deliveries and events of the last day that are counted, the newest first; more would delay the page."""
FUNNEL_INTERVIEWS = 5_000
"""Interviews that are counted by stage: those that changed last."""
FUNNEL_POSITIONS = 8
KEY_HINT = gettext_noop("Set hireflix.webhook_secrets to the key from Hireflix: Profile, Webhooks, Reveal key.")
ADDRESS_HINT = gettext_noop(
    "Create a webhook in Hireflix with the address of this server and the path below. Any request of Hireflix ticks "
    "this, also one that is refused."
)
WEBHOOK_HINT = gettext_noop(
    "It arrives after the first change in Hireflix. Send a sample to see the path of an event now."
)


@dataclass(frozen=True, slots=True)
class SinkCard:
    """One sink: `mark` is the class of its colour and shape."""

    name: str
    type: str
    mark: str
    state: str
    detail: str
    pending: int
    waiting: int
    dead: int
    last: Moment | None
    activity: ActivityChart


@dataclass(frozen=True, slots=True)
class LatestEvent:
    """One event in the list of the latest."""

    id: int
    name: str
    interview_id: str
    candidate: str
    position: str
    at: Moment | None


@dataclass(frozen=True, slots=True)
class Step:
    """One of the first steps; `hint` says how to do it."""

    text: str
    is_done: bool
    hint: str


@dataclass(frozen=True, slots=True)
class Funnel:
    """The stages of a position."""

    position: str
    name: str
    parts: list[Part]
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The content of the page."""

    flow: Flow
    received: ActivityChart
    lag: LagChart
    last_received: Moment | None
    refused: int
    sinks: list[SinkCard]
    latest: list[LatestEvent]
    funnel: list[Funnel]
    stages: list[tuple[str, str]]
    steps: list[Step]
    webhook_path: str


def overview(seen: Seen) -> Overview:
    """Returns the content of the page."""
    words = seen.words
    first = seen.clock.now // HALF_HOUR_MS - HALF_HOURS + 1
    since = first * HALF_HOUR_MS
    done, lags = _done(seen.connection, since)
    source = seen.health.source
    cards = [card(sink, seen.clock, activity(done.get(sink.name, {}), first, words)) for sink in seen.health.sinks]
    return Overview(
        flow([SinkArrow(each.name, each.mark, each.state, each.pending) for each in cards], words),
        activity(_received(seen.connection, since), first, words, RECEIVED),
        lag_chart(lags, first, words),
        seen.clock.moment(source.last_received_at),
        sum(each.count for each in source.refused),
        cards,
        [_latest(row, seen.clock) for row in events(seen.connection, ListingFilter(), LATEST)],
        _funnel(seen.connection, words),
        [(stage.value, STAGE_WORDS.get(stage, gettext_noop("Unknown"))) for stage in Stage],
        _steps(seen),
        seen.config.hireflix.webhook_path,
    )


def card(sink: SinkStatus, clock: Clockface, chart: ActivityChart) -> SinkCard:
    """Returns what a page shows of a sink."""
    mark, state = state_of(sink, clock)
    detail = sink.reason or sink.failure or sink.waits_for
    return SinkCard(
        sink.name,
        sink.type,
        mark,
        state,
        detail,
        sink.pending,
        sink.waiting,
        sink.dead,
        clock.moment(sink.last_delivered_at),
        chart,
    )


def state_of(sink: SinkStatus, clock: Clockface) -> tuple[str, str]:
    """Returns the class for colour and shape, and the state in words."""
    if until := clock.moment(sink.paused_until):
        return "warn", clock.words.gettext("paused until {time}").format(time=until.text)
    if sink.state in {"paused", "stopped"}:
        state = gettext_noop("paused") if sink.state == "paused" else gettext_noop("stopped")
        return "warn" if sink.paused_by is PauseKind.OPERATOR else "bad", clock.words.gettext(state)
    if sink.state == "orphaned":
        return "warn", clock.words.gettext("not configured")
    return _state_of_deliveries(sink, clock.words)


def _state_of_deliveries(sink: SinkStatus, words: Language) -> tuple[str, str]:
    """Returns the state of a sink that is called. With dead letters it does not show everything."""
    if sink.dead:
        return "bad", words.gettext("dead letters")
    if sink.in_sync is False:
        return "warn", words.gettext("repairing") if sink.is_repairing else words.gettext("not in sync")
    if sink.failed_at is not None:
        return "warn", words.gettext("failing")
    if sink.pending:
        return "wait", words.gettext("delivering")
    return "ok", words.gettext("in sync")


def _done(
    connection: Connection, since: int
) -> tuple[Mapping[str, Mapping[int, Mapping[str, int]]], Mapping[int, Mapping[int, int]]]:
    """Returns per sink and half hour how many deliveries succeeded (`ok`) and failed (`bad`), and per half hour the
    lags of the delivered ones, by class.
    """
    newest = (
        select(delivery.c.sink, delivery.c.state, delivery.c.done_at, delivery.c.since)
        .where(delivery.c.done_at >= since)
        .order_by(delivery.c.done_at.desc())
        .limit(DONE_MAX)
        .subquery()
    )
    half_hour = newest.c.done_at.op("/")(HALF_HOUR_MS)
    took = newest.c.done_at - newest.c.since
    lag = case(*((took < bound, number) for number, bound in enumerate(LAG_BOUNDS_MS)), else_=len(LAG_BOUNDS_MS))
    columns = (newest.c.sink, newest.c.state, half_hour.label("half_hour"), lag.label("lag"))
    grouped = select(*columns, func.count().label("total")).group_by("sink", "state", "half_hour", "lag")
    found: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    lags: dict[int, Counter[int]] = defaultdict(Counter)
    for row in connection.execute(grouped):
        found[row.sink][int(row.half_hour)]["bad" if row.state == DeliveryState.DEAD else "ok"] += row.total
        if row.state == DeliveryState.DELIVERED:
            lags[int(row.half_hour)][row.lag] += row.total
    return found, lags


def _received(connection: Connection, since: int) -> Mapping[int, Mapping[str, int]]:
    newest = (
        select(event.c.received_at)
        .where(event.c.received_at >= since)
        .order_by(event.c.received_at.desc())
        .limit(DONE_MAX)
        .subquery()
    )
    half_hour = newest.c.received_at.op("/")(HALF_HOUR_MS)
    rows = connection.execute(select(half_hour.label("half_hour"), func.count()).group_by("half_hour"))
    return {int(number): {"ok": count} for number, count in rows}


def _latest(row: EventRow, clock: Clockface) -> LatestEvent:
    name = row.name.removeprefix("interview.") or row.kind
    return LatestEvent(
        row.id,
        name,
        row.interview_id,
        candidate_name(row.candidate_name, clock.words),
        shown_name(row.position_name),
        clock.moment(row.received_at),
    )


def _funnel(connection: Connection, words: Language) -> list[Funnel]:
    """Returns the stages of the positions with the most interviews, among those that changed last."""
    newest = (
        select(interview.c.position_name, interview.c.stage)
        .order_by(interview.c.updated_at.desc())
        .limit(FUNNEL_INTERVIEWS)
        .subquery()
    )
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for position, stage, count in connection.execute(
        select(newest.c.position_name, newest.c.stage, func.count()).group_by(newest.c.position_name, newest.c.stage)
    ):
        counts[position][stage] = count
    chosen = sorted(counts.items(), key=lambda item: -item[1].total())[:FUNNEL_POSITIONS]
    longest = max((each.total() for _, each in chosen), default=0)
    return [_bar(position, each, longest, words) for position, each in chosen]


def _bar(position: str, counts: Counter[str], longest: int, words: Language) -> Funnel:
    ordered = {stage.value: counts[stage.value] for stage in Stage if counts[stage.value]}
    stages = {stage: words.gettext(STAGE_WORDS.get(Stage(stage), gettext_noop("Unknown"))).lower() for stage in ordered}
    text = ", ".join(f"{count} {stages[stage]}" for stage, count in ordered.items())
    return Funnel(
        position, shown_name(position, words.gettext("(no position)")), stacked(ordered, longest), counts.total(), text
    )


def _steps(seen: Seen) -> list[Step]:
    """Returns the first steps, or none when all are done."""
    source, hireflix = seen.health.source, seen.config.hireflix
    state_sinks = {name for name, entry in seen.config.sinks.items() if entry.cls.state}
    delivered = {sink.name for sink in seen.health.sinks if sink.delivered}
    steps = [
        Step(gettext_noop("The address is reachable"), _is_reached(seen), ADDRESS_HINT),
        Step(gettext_noop("A secret for webhooks is set"), bool(hireflix.webhook_secrets), KEY_HINT),
        Step(gettext_noop("The first signed webhook arrived"), bool(source.events), WEBHOOK_HINT),
    ]
    if state_sinks:
        steps.append(
            Step(
                gettext_noop("The first row is written"),
                bool(delivered & state_sinks),
                gettext_noop("It follows the first event automatically."),
            )
        )
    if seen.config.sinks.keys() - state_sinks:
        done = bool(delivered - state_sinks)
        steps.append(
            Step(
                gettext_noop("The first message is sent"),
                done,
                gettext_noop("It follows the first event that a route selects."),
            )
        )
    return [] if all(step.is_done for step in steps) else steps


def _is_reached(seen: Seen) -> bool:
    """Whether the receiver got a request that is not one of our samples."""
    others = select(event.c.seq).where(~event.c.interview_id.startswith(SAMPLE_INTERVIEW), is_webhook()).limit(1)
    return bool(seen.health.source.refused) or seen.connection.execute(others).first() is not None


@get("/", include_in_schema=False)
async def overview_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Shows whether everything is in sync."""
    return await pages.show(request, "overview.html", "overview", pages.words.gettext("Overview"), overview)
