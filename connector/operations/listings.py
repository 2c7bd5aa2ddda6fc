"""Lists events, interviews, deliveries and attempts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from connector.config import Config
from connector.operations.sinks import require_known
from connector.store import leases, queries
from connector.store.queries import AttemptRow, DeliveryRow, EventRow, InterviewRow, Place, Wanted

Row = TypeVar("Row", EventRow, InterviewRow, DeliveryRow, AttemptRow)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The next rows of a list, the newest first. `pauses` maps each paused sink to the reason.

    `next` is where the page after this one starts, for `Wanted.after`; `None` on the last page.
    """

    rows: Sequence[Row]
    has_more: bool
    pauses: Mapping[str, str]
    next: Place | None = None


def page(
    find: Callable[[Connection, Wanted, int], Sequence[Row]],
    connection: Connection,
    settings: Config,
    wanted: Wanted,
    limit: int,
) -> Page[Row]:
    """Returns at most `limit` rows of `find`, a query of `connector.store.queries`.

    Raises `UsageError` for a sink that is neither configured nor in the store.
    """
    if wanted.sink is not None:
        require_known(wanted.sink, {*settings.sinks, *queries.sink_names(connection)})
    rows = find(connection, wanted, limit + 1)
    pauses = {row.name: row.reason or "" for row in leases.rows(connection) if row.paused is not None}
    has_more = len(rows) > limit
    return Page(rows[:limit], has_more, pauses, queries.place_of(rows[limit - 1]) if has_more else None)
