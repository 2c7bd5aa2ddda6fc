"""Lists events, interviews, deliveries and attempts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from connector.config import Config
from connector.operations.sinks import require_known
from connector.store import leases, queries
from connector.store.queries import Wanted

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The first rows of a list, the newest first. `pauses` maps each paused sink to the reason."""

    rows: Sequence[Row]
    has_more: bool
    pauses: Mapping[str, str]


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
    return Page(rows[:limit], len(rows) > limit, pauses)
