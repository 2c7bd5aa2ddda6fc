"""`connector events`, `interviews`, `deliveries`, `attempts` and `audit`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from zoneinfo import ZoneInfo

import typer
from msgspec import structs
from sqlalchemy import Connection

from connector.cli import options as o
from connector.cli.output import print_hint, safe, show_json, show_table
from connector.config import load
from connector.errors import UsageError
from connector.formats import format_time
from connector.operations.listings import HIDDEN, event_detail, page, read_place, written_place
from connector.operations.store_access import reading
from connector.role import Secrets
from connector.store import queries
from connector.store.queries import AttemptRow, AuditRow, DeliveryRow, EventRow, InterviewRow, ListingFilter, Place
from connector.store.schema import DeliveryState

Cells: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Listing:
    """One kind of rows. `cells` returns the cells of a row by title, given the time zone and the pauses of sinks.

    `has_numbers`: the ids of the rows are numbers.
    """

    find: Callable[[Connection, ListingFilter, int], Sequence[Any]]
    cells: Callable[[Any, ZoneInfo, Mapping[str, str]], Cells]
    empty: str
    has_numbers: bool = True


def events(
    *,
    config: o.ConfigOption = None,
    name: o.NameOption = None,
    kind: o.KindOption = None,
    interview: o.InterviewOption = None,
    position: o.PositionOption = None,
    stage: o.StageOption = None,
    search: o.SearchOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    after: o.AfterOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """List events, newest first.

    --since and --until are about the time of receipt.
    """
    show = _Show(config, since, until, limit, after, as_json)
    show(EVENTS, name=name, kind=kind, interview=interview, position=position, stage=stage, search=search)


def event(
    event_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the event, from `connector events`.")],
    config: o.ConfigOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show the body as it arrived, with personal data.")] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Show one event and its body.

    Names, contact data and links are hidden unless --raw is given.
    """
    settings = load(config, needs=Secrets.NONE)
    with reading(settings) as connection:
        found = event_detail(connection, event_id, raw=raw)
    row = found.row if raw or not found.row.candidate_name else structs.replace(found.row, candidate_name=HIDDEN)
    if as_json:
        show_json({"event": row, "body": found.body, "missing": found.missing})
        return
    for title, cell in _event_cells(row, ZoneInfo(settings.timezone), {}).items():
        print(safe(f"{title:<10} {cell}"))
    print()
    print(safe(found.missing if found.body is None else found.body, keep="\n"))


def interviews(
    *,
    config: o.ConfigOption = None,
    interview: o.InterviewOption = None,
    position: o.PositionOption = None,
    stage: o.StageOption = None,
    search: o.SearchOption = None,
    sink: o.SinkOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    after: o.AfterOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """List interviews in their current state, last changed first.

    --since and --until are about the newest event of an interview. --sink lists what a state sink shows.
    """
    show = _Show(config, since, until, limit, after, as_json)
    show(INTERVIEWS, interview=interview, position=position, stage=stage, search=search, sink=sink)


def deliveries(
    *,
    config: o.ConfigOption = None,
    sink: o.SinkOption = None,
    state: o.StateOption = None,
    interview: o.InterviewOption = None,
    event: o.EventOption = None,
    name: o.NameOption = None,
    position: o.PositionOption = None,
    stage: o.StageOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    after: o.AfterOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """List deliveries, newest first.

    --since and --until are about the time of receipt or of the last replay.
    """
    states = () if state is None else (DeliveryState[state.name],)
    show = _Show(config, since, until, limit, after, as_json)
    show(
        DELIVERIES,
        sink=sink,
        states=states,
        interview=interview,
        event=event,
        name=name,
        position=position,
        stage=stage,
    )


def attempts(
    *,
    config: o.ConfigOption = None,
    sink: o.SinkOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    after: o.AfterOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """List attempts, newest first.

    One row per batch and outcome. Deliveries that succeed at the first attempt are only counted.
    """
    show = _Show(config, since, until, limit, after, as_json)
    show(ATTEMPTS, sink=sink)


def audit(
    *,
    config: o.ConfigOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    after: o.AfterOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """List what operators changed, newest first.

    Pauses, resumes, replays, dismissals, repairs, erasures, decisions, backfills and reconciles, each with the user who
    asked for it.
    """
    show = _Show(config, since, until, limit, after, as_json)
    show(AUDIT)


@dataclass(frozen=True, slots=True)
class _Show:
    """Prints a list, with the options that all lists have."""

    config: Path | None
    since: str | None
    until: str | None
    limit: int
    after: str | None
    as_json: bool

    def __call__(self, listing: Listing, **conditions: Any) -> None:
        """Prints the rows that the conditions select, which are fields of `ListingFilter`.

        Raises `UsageError`, `StoreError`.
        """
        settings = load(self.config, needs=Secrets.NONE)
        since, until = o.period(settings, self.since, self.until)
        wanted = ListingFilter(**conditions, since=since, until=until, after=self._place(listing))
        with reading(settings) as connection:
            found = page(listing.find, connection, settings, wanted, self.limit)
        if self.as_json:
            show_json(found.rows)
        else:
            zone = ZoneInfo(settings.timezone)
            show_table([listing.cells(row, zone, found.pauses) for row in found.rows], empty=listing.empty)
        if found.next is not None:
            following = shlex.quote(written_place(found.next))
            print_hint(f"There are more rows: repeat the command with --after {following}, or add a filter.")

    def _place(self, listing: Listing) -> Place | None:
        """Returns the place after which the page starts. Raises `UsageError`."""
        place = None if self.after is None else read_place(self.after, number=listing.has_numbers)
        if self.after is not None and place is None:
            raise UsageError("--after takes the place that the same list printed at the end of the previous page")
        return place


def _event_cells(row: EventRow, zone: ZoneInfo, _: Mapping[str, str]) -> Cells:
    remarks = (row.kind if row.kind != "event" else "", row.mark, row.reason)
    return {
        "EVENT": row.id,
        "RECEIVED": format_time(row.received_at, zone),
        "NAME": row.name,
        "CANDIDATE": row.candidate_name,
        "POSITION": row.position_name,
        "INTERVIEW": row.interview_id,
        "HAPPENED": format_time(row.occurred_at, zone),
        "REMARK": ", ".join(remark for remark in remarks if remark),
    }


def _interview_cells(row: InterviewRow, zone: ZoneInfo, _: Mapping[str, str]) -> Cells:
    return {
        "INTERVIEW": row.id,
        "CANDIDATE": row.candidate_name,
        "POSITION": row.position_name,
        "STAGE": row.stage_word,
        "SCORE": "" if row.score is None else f"{row.score:g}",
        "COMPLETED": format_time(row.completed_at, zone),
        "UPDATED": format_time(row.updated_at, zone),
        "SHOWN BY": ", ".join(row.sinks),
    }


def _delivery_cells(row: DeliveryRow, zone: ZoneInfo, pauses: Mapping[str, str]) -> Cells:
    return {
        "DELIVERY": row.id,
        "SINK": row.sink,
        "STATE": row.state,
        "EVENT": row.event_id,
        "NAME": row.event_name or (f"follow-up: {row.purpose}" if row.purpose else "backfill"),
        "CANDIDATE": row.candidate_name,
        "POSITION": row.position_name,
        "FAILED": row.attempts,
        "SINCE": format_time(row.since, zone),
        "DONE OR NEXT": format_time(row.done_at or row.not_before or None, zone),
        "WHY": row.reason or _pause_reason(row, pauses),
    }


def _pause_reason(row: DeliveryRow, pauses: Mapping[str, str]) -> str:
    """Why a delivery is pending that has not failed: its sink may be paused."""
    if row.state != o.DeliveryStateName.PENDING or row.sink not in pauses:
        return ""
    reason = pauses[row.sink].removeprefix("paused ")
    return f"sink paused: {reason}" if reason else "sink paused"


def _attempt_cells(row: AttemptRow, zone: ZoneInfo, _: Mapping[str, str]) -> Cells:
    return {
        "ATTEMPT": row.id,
        "SINK": row.sink,
        "STARTED": format_time(row.started_at, zone),
        "TOOK": f"{row.duration_ms} ms",
        "OUTCOME": row.outcome,
        "COUNT": row.count,
        "REASON": row.reason,
        "STATUS": row.status,
        "ANSWER": row.answer,
    }


def _audit_cells(row: AuditRow, zone: ZoneInfo, _: Mapping[str, str]) -> Cells:
    return {
        "AT": format_time(row.at, zone),
        "ACTOR": row.actor,
        "ACTION": row.action,
        "TARGET": row.target,
        "DETAIL": row.detail,
    }


EVENTS = Listing(queries.events, _event_cells, "No events found.")
INTERVIEWS = Listing(queries.interviews, _interview_cells, "No interviews found.", has_numbers=False)
DELIVERIES = Listing(queries.deliveries, _delivery_cells, "No deliveries found.")
ATTEMPTS = Listing(
    queries.attempts,
    _attempt_cells,
    "No attempts found; deliveries that succeed at the first attempt are only counted.",
)
AUDIT = Listing(queries.audit_entries, _audit_cells, "No changes by operators found.")
