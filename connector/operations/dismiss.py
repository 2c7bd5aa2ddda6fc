"""Dismisses dead letters: an operator decides that they are not delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from connector.config import Config
from connector.errors import UsageError
from connector.operations.replay import Progress, in_chunks
from connector.operations.sinks import require_known
from connector.operations.store_access import OpenStore, now_in
from connector.store import replay
from connector.store.queries import Wanted
from connector.text import clean

REASON_MAX = 300
"""Characters of a reason. The listing has to show it beside the reason of the failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Selects the dead letters to dismiss. `None` and empty match everything. Times are epoch milliseconds."""

    ids: tuple[int, ...] = ()
    sink: str | None = None
    position: str | None = None
    interview: str | None = None
    event: int | None = None
    since: int | None = None
    until: int | None = None


def require_valid(settings: Config, request: Request, reason: str) -> str:
    """Returns the reason without control characters.

    Raises `UsageError` for a request that selects nothing, an unknown sink, and a reason that is empty or too long.
    """
    if request == Request():
        raise UsageError(
            "select what to dismiss: ids of deliveries, a sink, a position, an interview, an event or a time"
        )
    if request.sink is not None:
        require_known(request.sink, settings.sinks)
    cleaned = clean(reason).strip()
    if not cleaned or len(cleaned) > REASON_MAX:
        raise UsageError(f"--reason: give a reason of 1 to {REASON_MAX} characters")
    return cleaned


def find(connection: Connection, request: Request) -> dict[str, list[int]]:
    """Returns the ids of the selected dead letters, by sink."""
    wanted = Wanted(
        ids=request.ids,
        sink=request.sink,
        position=request.position,
        interview=request.interview,
        event=request.event,
        since=request.since,
        until=request.until,
    )
    return replay.find_dead(connection, wanted)


def dismiss(store: OpenStore, ids: Sequence[int], reason: str, progress: Progress) -> int:
    """Settles these dead letters as dismissed. Returns the number of those that were still dead."""
    counts = in_chunks(
        store,
        ids,
        lambda connection, part: replay.dismiss(connection, part, reason, now_in(connection)),
        lambda done: progress(done, len(ids)),
    )
    return sum(counts)
