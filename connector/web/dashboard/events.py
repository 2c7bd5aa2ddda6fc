"""One event with its body. Personal data is hidden. Users who may act can show it, which is recorded in the audit log.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from sqlalchemy import Connection

from connector.errors import UsageError
from connector.operations.listings import EventDetail, event_detail
from connector.store import audit as audit_log
from connector.store.schema import AuditAction
from connector.web.auth import Access, Visitor, may_act
from connector.web.dashboard.pages import Pages, Seen
from connector.web.dashboard.words import Moment, candidate_name, shown_name


@dataclass(frozen=True, slots=True)
class OneEvent:
    """The content of the page of an event. `body` is `None` after retention has deleted it."""

    id: int
    name: str
    kind: str
    mark: str
    reason: str
    interview_id: str
    candidate: str
    position: str
    received: Moment | None
    occurred: Moment | None
    body: list[str] | None
    missing: str
    is_raw: bool


def one_event(seen: Seen, detail: EventDetail, *, is_raw: bool) -> OneEvent:
    """Returns an event."""
    row = detail.row
    return OneEvent(
        row.id,
        row.name,
        row.kind,
        row.mark,
        row.reason,
        row.interview_id,
        candidate_name(row.candidate_name, seen.words),
        shown_name(row.position_name),
        seen.clock.moment(row.received_at),
        seen.clock.moment(row.occurred_at),
        None if detail.body is None else detail.body.splitlines(),
        detail.missing,
        is_raw,
    )


def _detail(connection: Connection, id_: int, *, raw: bool) -> EventDetail:
    """Returns an event. Raises `NotFoundException`."""
    try:
        return event_detail(connection, id_, raw=raw)
    except UsageError as error:
        raise NotFoundException(str(error)) from None


@get("/events/{id_:int}", include_in_schema=False)
async def event_page(
    request: Request[Visitor, Access, Any], pages: NamedDependency[Pages], id_: FromPath[int]
) -> Response[bytes]:
    """Shows one event without personal data."""
    return await pages.show(
        request,
        "event.html",
        "interviews",
        pages.words.gettext("Event {id}").format(id=id_),
        lambda seen: one_event(seen, _detail(seen.connection, id_, raw=False), is_raw=False),
    )


@post("/events/{id_:int}", include_in_schema=False, guards=[may_act], status_code=200)
async def raw_event(
    request: Request[Visitor, Access, Any], pages: NamedDependency[Pages], id_: FromPath[int]
) -> Response[bytes]:
    """Shows one event with its raw body, and records the user in the audit log."""
    actor = request.user.actor

    def asked(connection: Connection) -> EventDetail:
        detail = _detail(connection, id_, raw=True)
        audit_log.record(connection, actor, AuditAction.SHOW, f"event {id_}", now=pages.clockface().now)
        return detail

    detail = await pages.store.write(asked)
    return await pages.show(
        request,
        "event.html",
        "interviews",
        pages.words.gettext("Event {id}").format(id=id_),
        lambda seen: one_event(seen, detail, is_raw=True),
        live=False,
    )
