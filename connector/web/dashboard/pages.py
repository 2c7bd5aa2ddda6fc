"""Renders pages: the templates, the verdict and the troubles of every page, the headers for the browser, and the tag
for polling.
"""

from __future__ import annotations

import gzip
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect
from sqlalchemy import Connection, func, select

from connector import __version__
from connector.config import Config
from connector.delivery.clock import Clock
from connector.interview import STAGE_COLOURS
from connector.languages import Language, gettext_noop, language
from connector.operations.status import Health, Trouble, TroubleKind, health_here
from connector.store import decisions
from connector.store.base import Store
from connector.store.schema import attempt, audit, delivery, event, sink
from connector.text import clean
from connector.web.actions import Actions
from connector.web.auth import Access, Visitor, cookie_name, form_token, is_https
from connector.web.dashboard.words import Clockface, remedy_text, sentence, term

View = TypeVar("View")
STATIC = Path(__file__).parent / "static"
NOTICE_COOKIE = "connector_notice"
"""Holds the result of an action until the next page shows it."""
NOTICE_MAX = 300
"""Characters of a notice."""
VERDICT_MS = 10_000
"""A page that is polled is rendered again after this time, also without a change, so that ages and the verdict are
true.
"""
PAGE_COMPRESSION = 5
"""Level of gzip for pages: an overview of 50 kB becomes 7 kB within a millisecond."""
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SINKS_PATH = "/sinks"
NAVIGATION = (
    ("overview", "/", gettext_noop("Overview")),
    ("interviews", "/interviews", gettext_noop("Interviews")),
    ("decisions", "/decisions", gettext_noop("Decisions")),
    ("deliveries", "/deliveries", gettext_noop("Deliveries")),
    ("sinks", SINKS_PATH, gettext_noop("Sinks")),
    ("routes", "/routes", gettext_noop("Routes")),
    ("audit", "/audit", gettext_noop("Audit")),
)
"""Key, address and title of the pages in the navigation."""
COUNTED = {"deliveries": gettext_noop("dead letters"), "decisions": gettext_noop("Decisions that wait for you")}
"""What the number beside a page in the navigation counts."""

THEME_COOKIE = "connector_theme"
"""Holds the colours that a user chose in this browser."""
THEMES = (("", gettext_noop("system")), ("light", gettext_noop("light")), ("dark", gettext_noop("dark")))
"""Value and text of each choice of colours; the browser decides without one."""
SHOWN_MAX = 3
"""Troubles that a page shows; the page of the sinks has all."""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the navigation. `count` is shown beside it when it is not empty; `counted` says what it counts."""

    path: str
    title: str
    is_current: bool
    count: str = ""
    counted: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page shows around its content. `refresh` is the address that the page polls, or `""`."""

    title: str
    verdict: PageVerdict
    at: str
    troubles: list[ShownTrouble]
    more_troubles: int
    navigation: list[Link]
    user: str
    may_act: bool
    token: str
    notice: str
    refresh: str
    tag: str
    has_session: bool
    address: str
    themes: tuple[tuple[str, str], ...] = THEMES


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page is made from: the store on one snapshot, the clock, and the health."""

    connection: Connection
    clock: Clockface
    health: Health
    config: Config

    @property
    def words(self) -> Language:
        """The language of the pages."""
        return self.clock.words


@dataclass(frozen=True, slots=True)
class _Found:
    """The result of the query of a page; `view` is `None` when the browser shows it already."""

    tag: str
    view: Any
    health: Health | None
    clock: Clockface


class Pages:
    """Renders the pages of one process."""

    def __init__(self, config: Config, store: Store, clock: Clock, access: Access) -> None:
        self.config = config
        self.store = store
        self.access = access
        self.actions = Actions(config, store, clock)
        self._clock = clock
        self._zone = ZoneInfo(config.timezone)
        self.words = language(config.language)
        self._templates = templates(self.words)

    def clockface(self) -> Clockface:
        """Returns the time of now, in the configured zone."""
        return Clockface(self._zone, self._clock.now(), self.words)

    async def show(
        self,
        request: Request[Visitor, Access, Any],
        template: str,
        current: str,
        title: str,
        make: Callable[[Seen], View],
        *,
        live: bool = True,
        status_code: int = 200,
        address: str | None = None,
    ) -> Response[bytes]:
        """Returns a page. `make` builds its view from the store; `current` is its key in the navigation, and `title` is
        in the language of the pages.

        A `live` page polls itself, and is answered with 304 while nothing has changed. `address` is that of the page
        when it is not that of the request. Raises `StoreUnavailable`, and the exceptions of `make`.
        """
        clock = self.clockface()
        address = address_of(request) if address is None else address
        known = request.headers.get("hx-ptag") or ""
        about = f"{request.user.may_act} {request.user.name} {address}"

        def query(connection: Connection) -> _Found:
            tag = page_tag(connection, about, clock.now)
            if known == tag:
                return _Found(tag, None, None, clock)
            found = health_here(connection, clock.now, self.config)
            return _Found(tag, make(Seen(connection, clock, found, self.config)), found, clock)

        found = await self.store.query(query)
        if found.health is None:
            return Response(b"", status_code=304, headers={"hx-ptag": found.tag, **_HEADERS})
        shown_max = None if request.url.path == SINKS_PATH else SHOWN_MAX
        frame = await self._frame(request, title, current, found, address, is_live=live, shown_max=shown_max)
        return self._response(request, template, {"frame": frame, "page": found.view}, status_code)

    def bare(
        self, request: Request[Any, Any, Any], template: str, view: object, status_code: int = 200
    ) -> Response[bytes]:
        """Returns a page without the frame, for the sign-in and for errors."""
        return self._response(request, template, {"page": view}, status_code)

    def _response(
        self, request: Request[Any, Any, Any], template: str, values: dict[str, Any], status_code: int
    ) -> Response[bytes]:
        nonce = secrets.token_urlsafe(16)
        static = {name: f"/static/{version()}/{name}" for name in static_files()}
        common = {"nonce": nonce, "static": static, "version": __version__, "theme": theme_of(request)}
        text = self._templates.get_template(template).render(**values, **common)
        headers = {**_HEADERS, "content-security-policy": policy(nonce)}
        if "frame" in values:
            headers["hx-ptag"] = values["frame"].tag
        body = text.encode()
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, PAGE_COMPRESSION)
            headers["content-encoding"] = "gzip"
        response = Response(body, status_code=status_code, headers=headers, media_type="text/html")
        if NOTICE_COOKIE in request.cookies:
            response.delete_cookie(NOTICE_COOKIE)
        return response

    async def _frame(
        self,
        request: Request[Visitor, Access, Any],
        title: str,
        current: str,
        found: _Found,
        address: str,
        *,
        is_live: bool,
        shown_max: int | None,
    ) -> Frame:
        assert found.health is not None
        troubles = [shown(trouble, self.words) for trouble in found.health.troubles]
        dead = sum(each.dead for each in found.health.sinks)
        counts = {"deliveries": dead, "decisions": found.health.held_decisions}
        links = [
            Link(path, name, key == current, str(counts.get(key) or ""), COUNTED.get(key, ""))
            for key, path, name in NAVIGATION
        ]
        at = found.clock.moment(found.clock.now)
        return Frame(
            title=title,
            verdict=verdict(found.health, self.words),
            at=at.text if at else "",
            troubles=troubles[:shown_max],
            more_troubles=len(troubles[shown_max:]) if shown_max is not None else 0,
            navigation=links,
            user=request.user.name,
            may_act=request.user.may_act,
            token=form_token(await self.access.key(), request.user.owner),
            notice=notice_of(request),
            refresh=address if is_live else "",
            tag=found.tag,
            has_session=not request.user.owner.startswith("proxy:"),
            address=address if request.method == "GET" else "/",
        )


_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of every answer to a browser (OWASP HTTP Headers Cheat Sheet)."""


def policy(nonce: str) -> str:
    """Returns the content policy: scripts with this nonce only, nothing from other hosts, no frames."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


@cache
def templates(words: Language) -> Environment:
    """Returns the templates in a language. Every value is escaped, and loses control and bidirectional characters.

    The filter `translated` is for texts of ours that a view holds, never for text from outside. The filter `term` is
    for values of the store, which may be unknown to this version.
    """
    environment = Environment(
        loader=PackageLoader("connector.web.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(words.translations, newstyle=True)  # type: ignore[attr-defined]  # added by the extension
    environment.filters["translated"] = words.gettext
    environment.filters["term"] = partial(term, words=words)
    environment.globals["language"] = words.code
    return environment


def _printable(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def redirect(path: str, request: Request[Any, Any, Any], notice: str = "") -> Redirect:
    """Returns the answer to a form: the browser opens `path`, which shows the notice."""
    response = Redirect(path, status_code=303, headers=_HEADERS)
    if notice:
        response.set_cookie(form_cookie(request, NOTICE_COOKIE, _as_cookie(notice[:NOTICE_MAX]), max_age=60))
    return response


def form_cookie(request: Request[Any, Any, Any], name: str, value: str, max_age: int, *, strict: bool = True) -> Cookie:
    """Returns a cookie that scripts cannot read and other sites cannot use, and that needs https behind https."""
    same_site: Literal["strict", "lax"] = "strict" if strict else "lax"
    return Cookie(
        name, value=value, max_age=max_age, path="/", httponly=True, samesite=same_site, secure=is_https(request.scope)
    )


def notice_of(request: Request[Any, Any, Any]) -> str:
    """Returns the notice that the last action left."""
    try:
        return bytes.fromhex(request.cookies.get(NOTICE_COOKIE, "")).decode()[:NOTICE_MAX]
    except ValueError:
        return ""


def theme_of(request: Request[Any, Any, Any]) -> str:
    """Returns the colours that the browser asks for, `""` for those of its system."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in dict(THEMES) else ""


def address_of(request: Request[Any, Any, Any]) -> str:
    """Returns the address of a page, with its parameters."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _as_cookie(text: str) -> str:
    return text.encode().hex()


def session_cookie(request: Request[Any, Any, Any], name: str, value: str, max_age: int) -> Cookie:
    """Returns a cookie with the name for this connection. `Lax`, so that a link from a chat arrives signed in."""
    return form_cookie(request, cookie_name(request.scope, name), value, max_age, strict=False)


def page_tag(connection: Connection, about: str, now: int) -> str:
    """Returns a tag that changes whenever the page may change.

    Reads the newest rows of each table by an index, and the few rows of the sinks; the time counts in steps of
    `VERDICT_MS`.
    """
    newest = [select(func.max(column)) for column in (event.c.seq, delivery.c.id, attempt.c.id, audit.c.id)]
    newest.append(select(func.max(delivery.c.done_at)).where(delivery.c.done_at.is_not(None)))  # its index is partial
    marks = [connection.execute(statement).scalar() for statement in newest]
    rows = [tuple(row) for row in connection.execute(select(sink).order_by(sink.c.name))]
    text = f"{__version__} {about} {marks} {rows} {decisions.mark(connection)} {now // VERDICT_MS}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def static_files() -> dict[str, bytes]:
    """Returns the static files by name, compressed once. The style sheet has the colours of the stages."""
    contents = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}
    contents["app.css"] += "".join(
        f".stage-{stage} {{ --stage: light-dark(#{each.light}, #{each.dark}); }}\n"
        for stage, each in STAGE_COLOURS.items()
    ).encode()
    return {name: gzip.compress(content, mtime=0) for name, content in contents.items()}


@cache
def version() -> str:
    """Returns a text that changes with any static file, so that browsers may cache them without a limit."""
    return hashlib.sha256(b"".join(static_files().values())).hexdigest()[:10]


MARKS = {"problem": "bad", "warning": "warn", "ok": "ok"}
"""The class for colour and shape of each level."""
GENERAL = {"service", "source"}
"""Subjects of troubles that are not about a sink."""


@dataclass(frozen=True, slots=True)
class ShownTrouble:
    """One trouble as a page shows it. `answer` is the reply of the destination."""

    mark: str
    subject: str
    what: str
    effect: str
    fix: str
    answer: str
    link: str
    link_text: str


@dataclass(frozen=True, slots=True)
class PageVerdict:
    """The verdict that every page shows: its level, and a short text."""

    mark: str
    text: str


def shown(trouble: Trouble, words: Language) -> ShownTrouble:
    """Returns a trouble as a page shows it. What is wrong and what to do about it are in English."""
    status = "" if trouble.status is None else f"HTTP {trouble.status} "
    return ShownTrouble(
        MARKS[trouble.level],
        "" if trouble.subject in GENERAL else trouble.subject,
        f"{sentence(trouble.what) if trouble.subject in GENERAL else trouble.what}.",
        f"{sentence(trouble.effect)}." if trouble.effect else "",
        ON_ITS_PAGE.get(trouble.kind) or remedy_text(trouble.fix),
        f"{status}{trouble.answer}".strip(),
        *_link(trouble, words),
    )


ON_ITS_PAGE = {
    TroubleKind.DEAD_LETTERS: "Read the reason, repair the cause, then replay or dismiss them.",
    TroubleKind.PAUSED_BY_OPERATOR: "Resume it on its page.",
    TroubleKind.ASKS: "Verify and repair it on its page.",
    TroubleKind.NOT_IN_SYNC: "Verify and repair it on its page.",
}
"""What to do about troubles whose fix is a command, where a page has a button for it."""


OPEN_DECISIONS = frozenset({TroubleKind.UNCLEAR_DECISIONS, TroubleKind.HELD_DECISIONS})


def _link(trouble: Trouble, words: Language) -> tuple[str, str]:
    """Returns the address and the title of the page that shows more, or two empty texts."""
    if trouble.kind in OPEN_DECISIONS:
        return "/decisions", words.gettext("Show them")
    if trouble.subject in GENERAL:
        return "", ""
    if trouble.kind is TroubleKind.DEAD_LETTERS:
        return f"/deliveries?{urlencode({'sink': trouble.subject, 'state': 'dead'})}", words.gettext("Show them")
    return f"/sinks/{quote(trouble.subject)}", words.gettext("Open the sink")


def verdict(health: Health, words: Language) -> PageVerdict:
    """Returns the verdict in a language."""
    problems = sum(trouble.level == "problem" for trouble in health.troubles)
    mark = MARKS[health.verdict]
    if problems:
        text = words.ngettext("{count} problem needs you", "{count} problems need you", problems)
        return PageVerdict(mark, text.format(count=words.number(problems)))
    if warnings := len(health.troubles):
        text = words.ngettext("{count} thing to look at", "{count} things to look at", warnings)
        return PageVerdict(mark, text.format(count=words.number(warnings)))
    if not health.source.events:
        return PageVerdict(mark, words.gettext("Ready for the first event"))
    pending = sum(sink.pending for sink in health.sinks)
    if not pending:
        return PageVerdict(mark, words.gettext("All in sync"))
    text = words.ngettext(
        "All in sync, {count} delivery on the way", "All in sync, {count} deliveries on the way", pending
    )
    return PageVerdict(mark, text.format(count=words.number(pending)))
