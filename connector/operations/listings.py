"""Lists events, interviews, deliveries and attempts, and shows one event with its body."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Connection

from connector.config import Config
from connector.errors import UsageError
from connector.operations.sinks import require_known
from connector.store import leases, queries
from connector.store.queries import AttemptRow, AuditRow, DeliveryRow, EventRow, InterviewRow, ListingFilter, Place

Row = TypeVar("Row", EventRow, InterviewRow, DeliveryRow, AttemptRow, AuditRow)


@dataclass(frozen=True, slots=True)
class ListingPage(Generic[Row]):
    """The next rows of a list, the newest first. `pauses` maps each paused sink to the reason.

    `next` is where the page after this one starts, for `ListingFilter.after`; `None` on the last page.
    """

    rows: Sequence[Row]
    has_more: bool
    pauses: Mapping[str, str]
    next: Place | None = None


def page(
    find: Callable[[Connection, ListingFilter, int], Sequence[Row]],
    connection: Connection,
    settings: Config,
    wanted: ListingFilter,
    limit: int,
) -> ListingPage[Row]:
    """Returns at most `limit` rows of `find`, a query of `connector.store.queries`.

    Raises `UsageError` for a sink that is neither configured nor in the store.
    """
    if wanted.sink is not None:
        require_known(wanted.sink, {*settings.sinks, *queries.sink_names(connection)})
    rows = find(connection, wanted, limit + 1)
    pauses = {row.name: row.reason or "" for row in leases.rows(connection) if row.paused is not None}
    has_more = len(rows) > limit
    return ListingPage(rows[:limit], has_more, pauses, queries.place_of(rows[limit - 1]) if has_more else None)


DIGITS_MAX = 15
"""A longer text is neither an id nor a time. Python refuses to convert very long ones."""


def written_place(place: Place) -> str:
    """Returns a place as a text for addresses and answers."""
    return f"{place[0]}.{place[1]}"


def read_place(text: str, *, number: bool) -> Place | None:
    """Returns the place of a text from `written_place`, or `None` for any other text.

    With `number` the ids of the listing are numbers.
    """
    time, _, id_ = text.partition(".")
    if not is_number(time) or not id_ or "\0" in id_:
        return None
    if number:
        return (int(time), int(id_)) if is_number(id_) else None
    return int(time), id_


def is_number(text: str) -> bool:
    """Whether a text from outside is a number that can be an id or a time in epoch milliseconds."""
    return text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX


HIDDEN = "[hidden]"
SHOWN_TEXTS = frozenset({"event", "id", "status", "date", "type", "createdAt", "created_at", "archived", "finalist"})
"""Keys whose texts are not personal data. Texts of all other keys are hidden, because a new field may contain personal
data.
"""


@dataclass(frozen=True, slots=True)
class EventDetail:
    """An event and its body: as text, or without a body the reason why it is missing."""

    row: EventRow
    body: str | None
    missing: str = ""


def event_detail(connection: Connection, event_id: int, *, raw: bool) -> EventDetail:
    """Returns an event with its body. Without `raw` names, contact data, links and other texts are hidden.

    Raises `UsageError` for an unknown id.
    """
    found = queries.events(connection, ListingFilter(event=event_id), 1)
    if not found:
        raise UsageError(f"no event has the id {event_id}; `connector events` lists them")
    body = queries.body_of(connection, event_id)
    if body is None:
        return EventDetail(found[0], None, "the body was deleted: by [retention] bodies_days, or with its interview")
    text = body.decode(errors="replace")
    return EventDetail(found[0], text if raw else masked_body(body))


def masked_body(body: bytes) -> str:
    """Returns a body as indented JSON whose texts are hidden, except ids, names of events and positions, and dates."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return f"{len(body)} bytes that are not JSON; --raw shows them"
    return msgspec.json.format(msgspec.json.encode(_masked(document)), indent=2).decode()


def _masked(value: Any, key: str = "", inside: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _masked(each, name, key) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, key, inside) for each in value]
    is_shown = key in SHOWN_TEXTS or (inside == "position" and key == "name")
    return HIDDEN if isinstance(value, str) and value and not is_shown else value
