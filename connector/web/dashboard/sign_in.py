"""Sign-in, sign-out, static files, and the answers to requests that fail.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

import secrets
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import structlog
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException, ValidationException
from litestar.exceptions.responses import create_exception_response
from litestar.params import FromPath
from litestar.response import Redirect

from connector.errors import ConnectorError, StoreUnavailable, UsageError
from connector.languages import gettext_noop
from connector.web.auth import COOKIE, FORM_COOKIE, Access, TooManyAttempts, cookie_name, form_token, form_values
from connector.web.dashboard.pages import (
    NAVIGATION,
    THEME_COOKIE,
    THEMES,
    TYPES,
    Pages,
    address_of,
    form_cookie,
    redirect,
    session_cookie,
    static_files,
)
from connector.web.dashboard.words import sentence
from connector.web.receiver import client_of

FORM_BYTES = 16 * 1024
"""Largest body of a sign-in form. Anyone can send one."""
FORM_SECONDS = 3600
"""Time in which a sign-in form can be sent."""
FOR_EVER = 31_536_000
"""A year, the longest time that HTTP caches use; the address of a static file contains its version."""
PAGE_PATHS = frozenset({*(path for _, path, _ in NAVIGATION), "/events", "/actions", "/sign-in"})
"""Where a browser may be sent after the sign-in."""

TITLES = {
    403: gettext_noop("Not allowed"),
    404: gettext_noop("Not found"),
    405: gettext_noop("Not allowed"),
    422: gettext_noop("Not understood"),
}
"""The title of an error page for each status."""
REFUSED = gettext_noop("Refused")
"""The title for any other status."""

log = structlog.get_logger("connector.web")


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the sign-in page shows. `then` is the page to open after it."""

    then: str
    token: str
    problem: str
    has_passwords: bool


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """What an error page shows. `title` is translated where it is shown."""

    title: str
    text: str
    status: int


def own_path(then: str) -> str:
    """Returns the address of a page of ours, `/` for any other text: a link must not lead away after the sign-in."""
    try:
        parts = urlsplit(then)
    except ValueError:
        return "/"
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith("/") and "\\" not in then
    first = "/" + parts.path.split("/")[1] if is_ours else ""
    return then if first in PAGE_PATHS and not parts.path.startswith("//") else "/"


async def _form(
    request: Request[Any, Any, Any], pages: Pages, then: str, problem: str = "", status_code: int = 200
) -> Response[bytes]:
    """Returns the page with the form."""
    owner = _form_owner(request) or secrets.token_urlsafe(16)
    token = form_token(await pages.access.key(), owner)
    view = SignIn(own_path(then), token, problem, has_passwords=pages.access.has_passwords)
    response = pages.bare(request, "sign_in.html", view, status_code)
    response.set_cookie(session_cookie(request, FORM_COOKIE, owner, FORM_SECONDS))
    return response


def _form_owner(request: Request[Any, Any, Any]) -> str:
    return request.cookies.get(cookie_name(request.scope, FORM_COOKIE), "")


@get("/sign-in", public=True, include_in_schema=False)
async def sign_in_page(request: Request[Any, Any, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Shows the form, or continues when the browser is signed in."""
    then = request.query_params.get("then", "/")
    if await pages.access.visitor(request) is not None:
        return redirect(own_path(then), request)
    return await _form(request, pages, then)


@post("/sign-in", public=True, include_in_schema=False, request_max_body_size=FORM_BYTES)
async def sign_in(request: Request[Any, Any, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Begins a session when the password is right."""
    await pages.access.require_own_form(request, _form_owner(request))
    sent = await form_values(request, "then", "password")
    then = sent["then"]
    client = client_of(request.scope)
    try:
        cookie = await pages.access.sign_in(sent["password"], request.scope)
    except TooManyAttempts as error:
        problem = pages.words.gettext("Too many attempts to sign in; try again in {seconds} s.")
        response = await _form(request, pages, then, problem.format(seconds=error.seconds), error.status_code)
        response.headers["retry-after"] = str(error.seconds)
        return response
    if cookie is None:
        log.warning("sign-in refused", client=client)
        return await _form(request, pages, then, pages.words.gettext("The password is wrong."), 403)
    log.info("signed in", client=client)
    answer = redirect(own_path(then), request)
    answer.set_cookie(session_cookie(request, COOKIE, cookie, pages.config.dashboard.session_seconds))
    return answer


@get("/static/{release:str}/{name:str}", public=True, include_in_schema=False)
async def static_file(name: FromPath[str]) -> Response[bytes]:
    """Returns a static file, which browsers may cache without a limit."""
    content = static_files().get(name)
    if content is None:
        raise NotFoundException
    headers = {
        "cache-control": f"public, max-age={FOR_EVER}, immutable",
        "content-encoding": "gzip",
        "x-content-type-options": "nosniff",
    }
    return Response(content, media_type=TYPES[PurePosixPath(name).suffix], headers=headers)


@post("/sign-out", include_in_schema=False)
async def sign_out(request: Request[Any, Access, Any]) -> Redirect:
    """Ends the session of this browser."""
    await request.auth.require_own_form(request, request.user.owner)
    await request.auth.end_session(request.cookies.get(cookie_name(request.scope, COOKIE), ""))
    response = redirect("/sign-in", request)
    response.set_cookie(session_cookie(request, COOKIE, "", 0))
    return response


@post("/theme", include_in_schema=False)
async def choose_theme(request: Request[Any, Access, Any]) -> Redirect:
    """Keeps the colours that the user chose, in this browser."""
    await request.auth.require_own_form(request, request.user.owner)
    sent = await form_values(request, "theme", "then")
    chosen = sent["theme"]
    response = redirect(own_path(sent["then"]), request)
    max_age = FOR_EVER if chosen in dict(THEMES) and chosen else 0
    response.set_cookie(form_cookie(request, THEME_COOKIE, chosen if max_age else "", max_age))
    return response


class Failures:
    """Answers requests that raised an exception: pages for browsers, JSON for programs."""

    def __init__(self, pages: NamedDependency[Pages]) -> None:
        self._pages = pages
        self._words = pages.words

    def not_signed_in(self, request: Request[Any, Any, Any], error: NotAuthorizedException) -> Response[Any]:
        """Sends a browser to the sign-in page, and from there back."""
        if not self._is_page(request):
            return self.http(request, error)
        then = address_of(request)
        path = f"/sign-in?then={quote(then)}" if request.method == "GET" else "/sign-in"
        if "hx-request" in request.headers:
            return Response(b"", status_code=401, headers={"hx-redirect": path})
        return redirect(path, request)

    def http(self, request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        """Answers an error of the request."""
        status = 422 if error.status_code == 400 else error.status_code  # noqa: PLR2004 - 400 counts as a refused host
        title = TITLES.get(status, REFUSED)
        text = self._words.gettext("This page does not exist.") if status == 404 else f"{sentence(error.detail)}."  # noqa: PLR2004 - not found
        response = self._answer(request, error, ErrorPage(title, text, status))
        response.headers.update(error.headers or {})
        return response

    def store(self, request: Request[Any, Any, Any], error: StoreUnavailable) -> Response[Any]:
        """Answers while the store cannot be used."""
        text = self._words.gettext("{reason}. Try again.").format(reason=sentence(str(error)))
        return self._answer(request, error, ErrorPage(gettext_noop("The store is unavailable"), text, 503))

    def usage(self, request: Request[Any, Any, Any], error: UsageError) -> Response[Any]:
        """Answers a request that asks for something impossible."""
        return self._answer(
            request, error, ErrorPage(gettext_noop("This is not possible"), f"{sentence(str(error))}.", 422)
        )

    def not_done(self, request: Request[Any, Any, Any], error: ConnectorError) -> Response[Any]:
        """Answers a request that was not carried out, with the reason."""
        return self._answer(
            request, error, ErrorPage(gettext_noop("This was not done"), f"{sentence(str(error))}.", 409)
        )

    def unexpected(self, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        """Answers after an error of ours, which the log has."""
        text = self._words.gettext("The log has the cause.")
        return self._answer(request, error, ErrorPage(gettext_noop("The connector failed"), text, 500))

    def _answer(self, request: Request[Any, Any, Any], error: Exception, problem: ErrorPage) -> Response[Any]:
        if self._is_page(request):
            return self._pages.bare(request, "problem.html", problem, problem.status)
        if isinstance(error, HTTPException) and problem.status == error.status_code:
            return create_exception_response(request, error)
        extra = {"extra": error.extra} if isinstance(error, ValidationException) and error.extra else {}
        return Response({"status_code": problem.status, "detail": problem.text, **extra}, status_code=problem.status)

    def _is_page(self, request: Request[Any, Any, Any]) -> bool:
        """Whether a browser asks for a page."""
        path = request.url.path
        is_program = path.startswith(("/api", "/schema", "/health", "/metrics"))
        return (not is_program and "text/html" in request.headers.get("accept", "")) or "hx-request" in request.headers
