"""Lists of events, interviews, deliveries and attempts: how each is found, and how a row becomes cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from connector.cli.opened import looking, now, require_known
from connector.cli.options import State
from connector.cli.terminal import show_json, show_table
from connector.cli.times import moment, shown
from connector.config import Config, load
from connector.store import leases, views
from connector.store.schema import DeliveryState
from connector.store.views import AttemptRow, DeliveryRow, EventRow, InterviewRow, Wanted

Cells: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Around:
    """What cells need beside their row: the zone of times, and of each paused sink the reason."""

    zone: ZoneInfo
    pauses: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listing:
    """One kind of rows. `cells` makes the cells of a row by title, as people read them."""

    find: Callable[[Connection, Wanted, int], Sequence[Any]]
    cells: Callable[[Any, Around], Cells]
    empty: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What every list is asked for."""

    config: Path | None
    since: str | None
    until: str | None
    limit: int
    as_json: bool


def show(listing: Listing, asked: Asked, **conditions: Any) -> None:
    """Prints the rows that meet the conditions, named as in `Wanted`. Raises `UsageError`, `StoreError`."""
    config = load(asked.config)
    wanted = wanted_of(config, asked.since, asked.until, **conditions)
    with looking(config) as connection:
        if wanted.sink is not None:
            require_known(wanted.sink, {*config.sinks, *views.sink_names(connection)})
        rows = listing.find(connection, wanted, asked.limit + 1)
        around = Around(ZoneInfo(config.timezone), _pauses(connection))
    shown_rows = rows[: asked.limit]
    if asked.as_json:
        show_json(shown_rows)
    else:
        show_table([listing.cells(row, around) for row in shown_rows], empty=listing.empty)
        if len(rows) > asked.limit:
            print("There is more: narrow it down, or raise --limit.")


def _pauses(connection: Connection) -> dict[str, str]:
    return {row.name: row.reason or "" for row in leases.rows(connection) if row.paused is not None}


def wanted_of(config: Config, since: str | None, until: str | None, **conditions: Any) -> Wanted:
    """The filter that a command was asked for. Raises `UsageError` for a time that is none."""
    zone, at = ZoneInfo(config.timezone), now()
    return Wanted(
        **conditions,
        since=None if since is None else moment(since, at, zone),
        until=None if until is None else moment(until, at, zone),
    )


def states_of(state: State | None) -> tuple[DeliveryState, ...]:
    """The state that was asked for, as the store has it; none = any."""
    return () if state is None else (DeliveryState[state.name],)


def _event_cells(row: EventRow, around: Around) -> Cells:
    remarks = (row.kind if row.kind != "event" else "", row.mark, row.reason)
    return {
        "EVENT": row.id,
        "RECEIVED": shown(row.received_at, around.zone),
        "NAME": row.name,
        "CANDIDATE": row.candidate_name,
        "POSITION": row.position_name,
        "INTERVIEW": row.interview_id,
        "HAPPENED": shown(row.occurred_at, around.zone),
        "REMARK": ", ".join(remark for remark in remarks if remark),
    }


def _interview_cells(row: InterviewRow, around: Around) -> Cells:
    return {
        "INTERVIEW": row.id,
        "CANDIDATE": row.candidate_name,
        "POSITION": row.position_name,
        "STAGE": row.stage_word,
        "SCORE": "" if row.score is None else f"{row.score:g}",
        "COMPLETED": shown(row.completed_at, around.zone),
        "UPDATED": shown(row.updated_at, around.zone),
        "SHOWN BY": ", ".join(row.sinks),
    }


def _delivery_cells(row: DeliveryRow, around: Around) -> Cells:
    return {
        "DELIVERY": row.id,
        "SINK": row.sink,
        "STATE": row.state,
        "EVENT": row.event_id,
        "NAME": row.event_name or "follow-up",
        "CANDIDATE": row.candidate_name,
        "POSITION": row.position_name,
        "FAILED": row.attempts,
        "SINCE": shown(row.since, around.zone),
        "DONE OR NEXT": shown(row.done_at or row.not_before or None, around.zone),
        "WHY": row.reason or _held_by(row, around.pauses),
    }


def _held_by(row: DeliveryRow, pauses: Mapping[str, str]) -> str:
    """Why a delivery waits that has not failed: its sink may be paused."""
    if row.state != State.PENDING or row.sink not in pauses:
        return ""
    reason = pauses[row.sink].removeprefix("paused ")
    return f"sink paused: {reason}" if reason else "sink paused"


def _attempt_cells(row: AttemptRow, around: Around) -> Cells:
    return {
        "ATTEMPT": row.id,
        "SINK": row.sink,
        "STARTED": shown(row.started_at, around.zone),
        "TOOK": f"{row.duration_ms} ms",
        "OUTCOME": row.outcome,
        "COUNT": row.count,
        "REASON": row.reason,
    }


EVENTS = Listing(views.events, _event_cells, "No such events.")
INTERVIEWS = Listing(views.interviews, _interview_cells, "No such interviews.")
DELIVERIES = Listing(views.deliveries, _delivery_cells, "No such deliveries.")
ATTEMPTS = Listing(
    views.attempts, _attempt_cells, "Nothing failed; what was delivered at the first try is only counted."
)
