"""The newest name of each position, and the interviews that have an older one.

A webhook names the position of its own interview only. Functions on a connection, in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import Connection, select

from connector.hireflix.payload import SYNTHETIC_MARKS, EventKind
from connector.hireflix.snapshot import Position
from connector.interview import text_of
from connector.merge import InterviewState, decode
from connector.store import parsed, source
from connector.store.schema import event, event_body, interview

KEY = "position_names"
"""Key of `meta`."""
CHUNK = 200
"""Events that are read at once."""
_OWN = tuple(SYNTHETIC_MARKS)

DatedName: TypeAlias = tuple[int, str]
"""A name, and since when it is known (epoch milliseconds). The greatest one of a position counts."""
Names: TypeAlias = dict[str, DatedName]
"""Names by the id of the position."""


class PositionNames(msgspec.Struct, frozen=True):
    """What the events up to number `seq` and the API of Hireflix say. `changed` are positions to compare again, and
    `resting` those with many interviews that were renamed a short time ago, with the end of that time (epoch ms).
    """

    v: int = 1
    seq: int = 0
    names: Names = {}
    changed: list[str] = []
    resting: dict[str, int] = {}


class OutdatedName(NamedTuple):
    """An interview with an older name of its position, and its stored state."""

    id: str
    state: InterviewState


def read(connection: Connection, *, for_update: bool = False) -> PositionNames:
    """Returns the document."""
    return source.read(connection, KEY, PositionNames, for_update=for_update) or PositionNames()


def newest(names: Mapping[str, DatedName], more: Iterable[tuple[str, DatedName]]) -> Names:
    """Returns the newest of all names."""
    found = dict(names)
    for id_, dated in more:
        found[id_] = max(found.get(id_, dated), dated)
    return found


def learn(connection: Connection, positions: Iterable[Position], at: int) -> None:
    """Stores the names that the API of Hireflix showed at `at`, and which positions have another name than before."""
    known = read(connection, for_update=True)
    names = newest(known.names, ((each.id, (at, each.name)) for each in positions if each.name))
    renamed = {id_ for id_, (_, name) in names.items() if id_ not in known.names or known.names[id_][1] != name}
    changed = sorted(renamed.union(known.changed))
    if names != known.names:
        source.write(connection, KEY, msgspec.structs.replace(known, names=names, changed=changed))


def follow(connection: Connection, seq: int, now: int) -> tuple[int | None, Names]:
    """Returns the number of the last of the next `CHUNK` settled events after `seq`, `None` without one, and the newest
    names in them. Events that the connector made do not count: their dates say nothing about the name.
    """
    columns = (event.c.kind, event.c.occurred_at, event.c.mark, event_body.c.parsed)
    rows = source.settled(connection, seq, now, columns, CHUNK)
    webhooks = (row for row in rows if row.kind == EventKind.EVENT and not row.mark.startswith(_OWN))
    return (rows[-1].seq if rows else None), newest({}, (each for row in webhooks for each in _names_in(row)))


def _names_in(row: Any) -> Iterator[tuple[str, DatedName]]:
    fields = parsed.fields_in(row.parsed) if row.parsed is not None else {}
    id_, name = text_of(fields, "position_id"), text_of(fields, "position_name")
    if id_ and name:
        yield id_, (row.occurred_at, name)


def put(
    connection: Connection, seq: int, found: Names, *, compared: Mapping[str, DatedName], resting: Mapping[str, int]
) -> None:
    """Stores the names in the events up to number `seq`, and with which names positions were `compared`. Those that
    rest, or were renamed meanwhile, are compared later.
    """
    known = read(connection, for_update=True)
    names = newest(known.names, found.items())
    done = {id_ for id_, (_, name) in compared.items() if names[id_][1] == name}
    changed = sorted({*known.changed, *found} - done)
    after = PositionNames(seq=seq, names=names, changed=changed, resting=dict(resting))
    if after != known:
        source.write(connection, KEY, after)


def outdated(connection: Connection, position_id: str, name: str, limit: int) -> list[OutdatedName]:
    """Returns at most `limit` interviews of a position that have another name."""
    mine = select(interview.c.id, interview.c.state).where(
        interview.c.position_id == position_id, interview.c.erased_at.is_(None)
    )
    column = interview.c.position_name
    # two ranges of the index: a comparison with <> reads all interviews of the position
    rows = [
        row for other in (column < name, column > name) for row in connection.execute(mine.where(other).limit(limit))
    ]
    return [OutdatedName(row.id, decode(row.state)) for row in rows[:limit]]
