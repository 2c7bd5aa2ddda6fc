"""The emulator: Google's token endpoint and the Sheets API over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from connector.emulators.google import errors
from connector.emulators.google.calls import READS, ROUTES, Action, Call
from connector.emulators.google.cells import CELL_CHARACTERS, Value, trimmed
from connector.emulators.google.errors import GoogleError, quota_exceeded
from connector.emulators.google.inspection import Inspector
from connector.emulators.google.model import Book, Tab
from connector.emulators.google.oauth import TokenRefused, Tokens
from connector.emulators.google.people import Person
from connector.emulators.google.schema import Method, check_query, discovery, read_body, read_mask
from connector.emulators.google.view import Place, form, page, shown_text
from connector.emulators.server import EmulatorServer


class Quotas:
    """Fixed windows of a minute. Off until `enabled`; a refused request is not counted. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.enabled = False
        self.per_user = 60
        self.per_project = 300
        self._used: Counter[tuple[str, str]] = Counter()
        self._window = -1

    def take(self, kind: str, user: str) -> None:
        """Counts a call of an account. Raises the 429 of Google when the quota of the account or project is used up."""
        if not self.enabled:
            return
        window = int(self.clock() // 60)
        if window != self._window:
            self._window = window
            self._used.clear()
        if self._used[kind, user] >= self.per_user:
            raise quota_exceeded(kind, "User", self.per_user)
        if self._used[kind, ""] >= self.per_project:
            raise quota_exceeded(kind, "Project", self.per_project)
        self._used.update([(kind, user), (kind, "")])

    def used(self, kind: str, user: str = "") -> int:
        """Calls counted in the running minute, by default those of the whole project."""
        return self._used[kind, user]


CELL_PATH = r"/view/{id}/cell/{row:\d{1,18}}/{column:\d{1,18}}"
"""Address of the form for a cell, which is named by its lines."""
NO_CELL = "This cell does not exist any more."
EMAIL = "connector@emulated-project.iam.gserviceaccount.com"


@dataclass(slots=True)
class Record:
    """A recorded HTTP call. `status` is 0 until the call is answered."""

    kind: str
    name: str
    bytes_in: int = 0
    bytes_out: int = 0
    status: int = 0


class GoogleEmulator(Inspector, EmulatorServer):
    """The emulator. `lock` guards its state; everything may be changed while it runs.

    `latency` is in seconds per call. `clock` (seconds) drives quotas and the expiry of tokens. `before_write` runs when
    a write is about to be applied and `after_read` when a read's reply is ready but not sent, both under the lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.books: dict[str, Book] = {}
        self.latency = 0.0
        self.clock: Callable[[], float] = time.monotonic
        self.tokens = Tokens(self._now)
        self.quotas = Quotas(self._now)
        self.api_disabled = False
        self.before_write: Callable[[], object] | None = None
        self.after_read: Callable[[], object] | None = None
        self.calls: list[Record] = []
        self.counts: Counter[str] = Counter()
        self.tokens.accounts.add(EMAIL)

    def _now(self) -> float:
        return self.clock()

    # Set-up by tests

    def service_account_file(self, path: Path, email: str = EMAIL) -> Path:
        """Writes a working key file for a service account; the emulator must have been started."""
        return self.tokens.write_account(path, email, f"{self.url}/token")

    def token(self, email: str = EMAIL) -> str:
        """An access token, for tests that call the API directly."""
        with self.lock:
            return self.tokens.issue(email)

    def add_spreadsheet(
        self,
        spreadsheet_id: str | None = None,
        tabs: Sequence[Tab | str] = (),
        timezone: str = "Etc/GMT",
        editors: Iterable[str] = (EMAIL,),
        title: str = "Hiring",
    ) -> str:
        """Adds a spreadsheet and returns its id. Without tabs it has the default one of Google: `Sheet1` with id 0."""
        spreadsheet_id = spreadsheet_id or secrets.token_urlsafe(33).replace("-", "x")[:44]
        made = [each if isinstance(each, Tab) else Tab.blank(index, each) for index, each in enumerate(tabs, 101)]
        book = Book(spreadsheet_id, title, timezone, set(editors), tabs=made or [Tab.blank(0, "Sheet1")])
        with self.lock:
            self.books[spreadsheet_id] = book
        return spreadsheet_id

    def fill(self, spreadsheet_id: str, title: str, rows: Iterable[Sequence[Value]]) -> None:
        """Replaces the content of a tab and grows the grid as needed; used for large tabs."""
        filled = [trimmed([None if value == "" else value for value in row]) for row in rows]
        with self.lock:
            tab = self.tab(spreadsheet_id, title)
            tab.insert("ROWS", tab.row_count, max(0, len(filled) - tab.row_count))
            width = max(map(len, filled), default=0)
            tab.insert("COLUMNS", tab.column_count, max(0, width - tab.column_count))
            tab.rows[: len(filled)] = filled

    def person(self, spreadsheet_id: str) -> Person:
        """Returns a user who edits the spreadsheet by hand."""
        return Person(self, spreadsheet_id)

    def forget_calls(self) -> None:
        with self.lock:
            self.calls.clear()
            self.counts.clear()

    # Server

    def build(self, app: web.Application) -> None:
        app.middlewares.insert(0, self._recorded)
        app.router.add_post("/token", self._token)
        app.router.add_post("/sts", self._exchange)
        app.router.add_post("/iam/serviceAccounts/{account}", self._impersonate)
        app.router.add_get("/view/{id}", self._view)
        app.router.add_get(CELL_PATH, self._form)
        app.router.add_post(CELL_PATH, self._edit_by_page)
        for method, path, name, action in ROUTES:
            app.router.add_route(method, path, self._handler(discovery().method(name), action), name=name)

    def kind_of(self, request: web.Request) -> str:
        """Returns `token`, `read`, `write`, or `view` for the HTML page."""
        name = request.match_info.route.name
        if name is None:
            return "token" if request.path.startswith(("/token", "/sts", "/iam/")) else "view"
        return "read" if name in READS else "write"

    @web.middleware
    async def _recorded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        kind = self.kind_of(request)
        if kind == "view":
            return await handler(request)
        record = Record(kind, request.match_info.route.name or kind)
        with self.lock:
            self.calls.append(record)
            self.counts[kind] += 1
        record.bytes_in = len(await request.read())
        answer = await handler(request)
        if request.transport is not None and not request.transport.is_closing():
            record.status = answer.status
            record.bytes_out = len(answer.body) if isinstance(answer, web.Response) and answer.body else 0  # type: ignore[arg-type]
        return answer

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        await asyncio.sleep(self.latency)
        with self.lock:
            try:
                return web.json_response(self.tokens.grant(form, f"{self.url}/token"))
            except TokenRefused as refused:
                date = {"Date": formatdate(self.tokens.wall(), usegmt=True)}
                return web.json_response(refused.body, status=400, headers=date)

    async def _exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        with self.lock:
            try:
                return web.json_response(self.tokens.exchange(form))
            except TokenRefused as refused:
                return web.json_response(refused.body, status=400)

    async def _impersonate(self, request: web.Request) -> web.Response:
        email = request.match_info["account"].partition(":")[0]
        wanted = await request.json()
        with self.lock:
            return web.json_response(self.tokens.impersonate(email, wanted["scope"]))

    async def _view(self, request: web.Request) -> web.Response:
        with self.lock:
            book = self.books.get(request.match_info["id"])
            if book is None:
                return web.Response(status=404, text="no such spreadsheet")
            return web.Response(text=page(book), content_type="text/html")

    async def _form(self, request: web.Request) -> web.Response:
        """The form for a cell."""
        with self.lock:
            found = self._cell_of(request)
            if found is None:
                return web.Response(status=404, text=NO_CELL)
            return web.Response(text=form(*found), content_type="text/html")

    async def _edit_by_page(self, request: web.Request) -> web.Response:
        """A visitor enters a text into a cell, and returns to it."""
        text = str((await request.post()).get("value", "")).replace("\r\n", "\n")
        with self.lock:
            found = self._cell_of(request)
            if found is None:
                return web.Response(status=404, text=NO_CELL)
            book, tab, row, column = found
            if len(text) > CELL_CHARACTERS:
                return web.Response(status=400, text=f"A cell has at most {CELL_CHARACTERS} characters.")
            if text != shown_text(tab.at(row, column)):
                self.person(book.id).enter(tab.title, row, column, text)
            return web.Response(status=303, headers={"Location": f"/view/{book.id}#{_place_of(request).anchor}"})

    def _cell_of(self, request: web.Request) -> tuple[Book, Tab, int, int] | None:
        book = self.books.get(request.match_info["id"])
        found = _place_of(request).find(book) if book is not None else None
        return None if book is None or found is None else (book, *found)

    def _handler(self, method: Method, action: Action) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            raw = await request.read()
            if self.latency:
                await asyncio.sleep(self.latency)
            with self.lock, _no_collection():
                return self._answer(request, method, action, raw)

        return handle

    def _answer(self, request: web.Request, method: Method, action: Action, raw: bytes) -> web.Response:
        try:
            status, body = 200, self._perform(request, method, action, raw)
        except GoogleError as error:
            status, body = error.code, error.body()
        encoded = msgspec.json.encode(body)
        if request.query.get("prettyPrint", "true").lower() not in {"false", "0"}:
            encoded = msgspec.json.format(encoded, indent=2) + b"\n"
        if status == 200 and method.id in READS and self.after_read is not None:
            self.after_read()
        return web.Response(body=encoded, status=status, content_type="application/json", charset="UTF-8")

    def _perform(self, request: web.Request, method: Method, action: Action, raw: bytes) -> dict[str, Any]:
        write = method.id not in READS
        account = self.tokens.authorise(request.headers.get("Authorization", ""), write=write)
        if self.api_disabled:
            raise errors.service_disabled()
        self.quotas.take("write" if write else "read", account)
        call = _checked(request, method, raw)
        if write and self.before_write is not None:
            self.before_write()
        book = self._shared(request.match_info["id"], account, write=write)
        if not write:
            return action(book, call)
        draft = book.copy()
        reply = action(draft, call)
        self.books[book.id] = draft
        return reply

    def _shared(self, spreadsheet_id: str, account: str, *, write: bool) -> Book:
        book = self.books.get(spreadsheet_id)
        if book is None:
            raise errors.not_found()
        if account not in (book.editors if write else book.editors | book.viewers):
            raise errors.not_shared()
        if book.office:
            raise errors.office_file()
        return book


def _place_of(request: web.Request) -> Place:
    return Place(int(request.match_info["row"]), int(request.match_info["column"]))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pauses the garbage collector: a call on 100,000 rows creates many objects, which it would scan repeatedly."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _checked(request: web.Request, method: Method, raw: bytes) -> Call:
    """Handles a call after the checks of the front end."""
    names = [name for name, _ in request.query.items()]
    check_query(method, names)
    fields = request.query.get("fields") or None
    mask = read_mask(method, fields)
    query = {name: request.query.getall(name) for name in names}
    return Call(request.match_info, query, read_body(method, raw), mask, fields is not None)
