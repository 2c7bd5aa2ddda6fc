"""The list of sinks, one sink, and the audit log.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from connector.capabilities import Verifies
from connector.config import Config, SinkEntry
from connector.formats import format_duration
from connector.languages import Language, gettext_noop
from connector.operations.configuration import effective_settings
from connector.operations.listings import read_place
from connector.store import queries
from connector.store.queries import ListingFilter, Place, attempts
from connector.store.schema import AuditAction, PauseKind
from connector.web.auth import Access, Visitor
from connector.web.dashboard.deliveries import AttemptLine, attempt_line
from connector.web.dashboard.filters import ROWS, Paging, paging
from connector.web.dashboard.overview import state_of
from connector.web.dashboard.pages import Pages, Seen
from connector.web.dashboard.words import Moment, remedy_text

MODES = {
    "accept": gettext_noop("leave deleted rows deleted (accept)"),
    "adopt": gettext_noop("use the tab that replaced the old one (adopt)"),
    "refill": gettext_noop("write deleted rows again (refill)"),
}
"""What the choices of our sinks do."""


@dataclass(frozen=True, slots=True)
class SinkLine:
    """One sink in the list."""

    name: str
    type: str
    mark: str
    state: str
    detail: str
    pending: int
    oldest: str
    waiting: int
    dead: int
    delivered: int
    last: Moment | None


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting of a sink without secrets, and which source set it."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class SinkDetails:
    """What the page of a sink has beside its line."""

    fix: str
    answer: str
    next_try: Moment | None
    waits_for: str
    verified: Moment | None
    in_sync: bool | None
    is_repairing: bool
    differences: list[tuple[str, int]]
    asks: list[str]
    worker: str
    can_verify: bool
    is_paused: bool
    only_waits: bool
    now: str
    is_configured: bool
    modes: list[tuple[str, str]]
    attempts: list[AttemptLine]
    settings: list[SettingLine]


@dataclass(frozen=True, slots=True)
class OneSink:
    """The content of the page of a sink."""

    line: SinkLine
    details: SinkDetails


@dataclass(frozen=True, slots=True)
class SinkList:
    """The content of the page of the sinks."""

    rows: list[SinkLine]


def _sink_line(seen: Seen, name: str) -> SinkLine:
    sink = next((each for each in seen.health.sinks if each.name == name), None)
    if sink is None:
        raise NotFoundException("there is no such sink")
    mark, state = state_of(sink, seen.clock)
    oldest = format_duration(sink.oldest_age_seconds) if sink.pending else ""
    return SinkLine(
        name,
        sink.type,
        mark,
        state,
        sink.reason or sink.failure or sink.waits_for,
        sink.pending,
        oldest,
        sink.waiting,
        sink.dead,
        sink.delivered,
        seen.clock.moment(sink.last_delivered_at),
    )


def sink_list(seen: Seen) -> SinkList:
    """Returns all sinks."""
    return SinkList([_sink_line(seen, sink.name) for sink in seen.health.sinks])


def one_sink(seen: Seen, name: str) -> OneSink:
    """Returns a sink. Raises `NotFoundException`."""
    line = _sink_line(seen, name)
    sink = next(each for each in seen.health.sinks if each.name == name)
    entry = seen.config.sinks.get(name)
    status = "" if sink.status is None else f"HTTP {sink.status} "
    return OneSink(
        line,
        SinkDetails(
            remedy_text(sink.fix),
            f"{status}{sink.answer}".strip(),
            seen.clock.moment(sink.next_try_at),
            sink.waits_for,
            seen.clock.moment(sink.verified_at),
            sink.in_sync,
            sink.is_repairing,
            sorted(sink.differences.items()),
            list(sink.asks),
            sink.worker or "",
            entry is not None and issubclass(entry.cls, Verifies),
            sink.state == "paused",
            sink.state != "paused" and sink.failed_at is None,
            f"{datetime.fromtimestamp(seen.clock.now / 1000, seen.clock.zone):%Y-%m-%dT%H:%M}",
            entry is not None,
            [] if sink.paused_by is PauseKind.OPERATOR else modes(entry, seen.words),
            [attempt_line(each, seen.clock) for each in attempts(seen.connection, ListingFilter(sink=name), 15)],
            settings_of(seen.config, name),
        ),
    )


def modes(entry: SinkEntry | None, words: Language) -> list[tuple[str, str]]:
    """Returns the choices with which a sink can be resumed, and what each does."""
    names = sorted(getattr(entry.cls, "resume_modes", ())) if entry is not None else []
    return [(name, words.gettext(MODES[name]) if name in MODES else name) for name in names]


def settings_of(config: Config, name: str) -> list[SettingLine]:
    """Returns the settings of a sink as the service uses them."""
    place = f"sinks.{name}."
    return [
        SettingLine(each.place.removeprefix(place), msgspec.json.encode(each.value).decode(), each.origin)
        for each in effective_settings(config)
        if each.place.startswith(place)
    ]


@get("/sinks", include_in_schema=False)
async def sinks_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Lists the sinks."""
    return await pages.show(request, "sinks.html", "sinks", pages.words.gettext("Sinks"), sink_list)


@get("/sinks/{name:str}", include_in_schema=False)
async def sink_page(
    request: Request[Visitor, Access, Any], pages: NamedDependency[Pages], name: FromPath[str]
) -> Response[bytes]:
    """Shows one sink."""
    return await pages.show(request, "sink.html", "sinks", name, lambda seen: one_sink(seen, name))


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One change. `link` is the page of the sink or of the interview that was changed, `""` for anything else."""

    at: Moment | None
    actor: str
    action: str
    target: str
    detail: str
    link: str


OF_SINKS = frozenset({AuditAction.PAUSE, AuditAction.RESUME, AuditAction.REPAIR})
OF_INTERVIEWS = frozenset({AuditAction.DECIDE, AuditAction.SNOOZE})


def _changed_page(action: str, target: str) -> str:
    if action in OF_SINKS:
        return f"/sinks/{quote(target)}"
    return f"/interviews/one?{urlencode({'id': target})}" if action in OF_INTERVIEWS else ""


@dataclass(frozen=True, slots=True)
class AuditList:
    """The content of the page of the audit log."""

    rows: list[AuditLine]
    paging: Paging


def audit_list(seen: Seen, after: Place | None) -> AuditList:
    """Returns a page of the changes, the newest first."""
    rows = queries.audit_entries(seen.connection, ListingFilter(after=after), ROWS + 1)
    following = queries.place_of(rows[ROWS - 1]) if len(rows) > ROWS else None
    lines = [
        AuditLine(
            seen.clock.moment(row.at),
            row.actor,
            row.action,
            row.target,
            row.detail,
            _changed_page(row.action, row.target),
        )
        for row in rows
    ]
    return AuditList(lines[:ROWS], paging("/audit", {}, after, following))


@get("/audit", include_in_schema=False)
async def audit_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Lists what operators changed."""
    after = read_place(request.query_params.get("after", ""), number=True)
    return await pages.show(
        request,
        "audit.html",
        "audit",
        pages.words.gettext("Audit"),
        lambda seen: audit_list(seen, after),
        live=after is None,
    )
