"""Asynchronous access to one spreadsheet, within Google's quota.

The blocking client runs in one thread, which keeps its calls in order. Every call takes a token. When Google reports a
used-up quota, it is blocked for all processes of the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from connector.blocking import BlockingThread
from connector.http import epoch_ms, reading, retry_after
from connector.sink import Context, Token
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import (
    DECISION_FIELDS,
    EVERYTHING_FIELDS,
    FORMAT_FIELDS,
    OBJECTS_FIELDS,
    PROTECTED_FIELDS,
    READ_FIELDS,
    TABS_FIELDS,
    VALUES_FIELDS,
    WRITE_FIELDS,
    Columns,
    Formats,
    Spreadsheet,
    SpreadsheetObjects,
    UnreadCells,
    WriteReply,
)
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.config import CALLS_PER_MINUTE, Account, GoogleSheetsConfig, load_account
from sinks.google_sheets.errors import CallFailed, FailureMeaning, TransientCallFailed, read_only, unreadable

if TYPE_CHECKING:
    from sinks.google_sheets.client import Client

T = TypeVar("T")
U = TypeVar("U")
_BOOK = msgspec.json.Decoder(Spreadsheet)
_COLUMNS = msgspec.json.Decoder(Columns)
_WRITTEN = msgspec.json.Decoder(WriteReply)
_FORMATS = msgspec.json.Decoder(Formats)
_UNREAD = msgspec.json.Decoder(UnreadCells)
_OBJECTS = msgspec.json.Decoder(SpreadsheetObjects)
READ = "read"
WRITE = "write"
CALLS_PER_SECOND = 36 / 60
BURST_CALLS = 14
"""At most 50 calls of a kind in any minute; Google allows a service account 60 (Usage limits). Both grow with a larger
`calls_per_minute`."""
REFILL_SECONDS = BURST_CALLS / CALLS_PER_SECOND + 1
"""Seconds after which the quota is full again."""
_MINUTE_SECONDS = 60.0
"""Google's quota is per minute (Usage limits)."""


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """One read: its field mask, how its reply is decoded, its path below the spreadsheet, and its body."""

    fields: str
    decoder: msgspec.json.Decoder[T]
    path: str = ""
    body: bytes | None = None


LIST_TABS = Query(TABS_FIELDS, _BOOK)
"""Which tabs exist, without cells."""
LIST_PROTECTION = Query(PROTECTED_FIELDS, _BOOK)
"""Which parts of the tabs are protected, without cells."""
LIST_OBJECTS = Query(OBJECTS_FIELDS, _OBJECTS)
"""All tabs and the ids in use, without cells."""


def read_cells(filters: Sequence[Request]) -> Query[Spreadsheet]:
    """Returns the query for the parts that the filters select."""
    return Query(READ_FIELDS, _BOOK, ":getByDataFilter", msgspec.json.encode({"dataFilters": filters}))


def read_decisions(filters: Sequence[Request]) -> Query[Spreadsheet]:
    """Returns the query for whole columns that the filters select."""
    return Query(DECISION_FIELDS, _BOOK, ":getByDataFilter", msgspec.json.encode({"dataFilters": filters}))


def read_formats(filters: Sequence[Request]) -> Query[Formats]:
    """Returns the query for the number formats of the selected cells."""
    return Query(FORMAT_FIELDS, _FORMATS, ":getByDataFilter", msgspec.json.encode({"dataFilters": filters}))


def read_everything(filters: Sequence[Request]) -> Query[UnreadCells]:
    """Returns the query for all that the selected cells have: values, formats, notes and rules."""
    return Query(EVERYTHING_FIELDS, _UNREAD, ":getByDataFilter", msgspec.json.encode({"dataFilters": filters}))


def read_values(filters: Sequence[Request], *, dates_as_shown: bool = False) -> Query[Columns]:
    """Returns the query for the selected columns as plain values; dates are serial numbers. With `dates_as_shown` a
    date is the text that its cell shows; without a date format it is a number.
    """
    selected = {"dataFilters": filters, "majorDimension": "COLUMNS", "valueRenderOption": "UNFORMATTED_VALUE"}
    dates = "FORMATTED_STRING" if dates_as_shown else "SERIAL_NUMBER"
    body = msgspec.json.encode({**selected, "dateTimeRenderOption": dates})
    return Query(VALUES_FIELDS, _COLUMNS, "/values:batchGetByDataFilter", body)


class SheetsClient:
    """One spreadsheet for the event loop. Exceptions of the libraries become `CallFailed`.

    `fetch`, `write` and `check_write` block: they are called in the thread, by `run`. A read is repeated at once when
    that may help; a write never is. `timeout` (seconds) limits each wait on the network. A cancelled call continues in
    its thread; the guard shows later whether it was applied.
    """

    def __init__(self, config: GoogleSheetsConfig, timeout: float) -> None:
        self._config = config
        self._timeout = timeout
        self._thread = BlockingThread("google-sheets")
        self._client: Client | None = None

    @property
    def calls_per_minute(self) -> int:
        return self._config.calls_per_minute

    async def load(self) -> None:
        """Imports the libraries, so that the first call is not delayed."""
        await self.run(lambda: import_module("sinks.google_sheets.client"))

    async def account(self) -> Account:
        """Returns the account that signs in. Needs no network."""
        client = self._client
        return client.account if client is not None else await self.run(lambda: self._connected().account)

    async def address(self) -> str:
        """Returns the address to share the spreadsheet with, `""` when it is unknown before the first call."""
        return await self.run(lambda: self._connected().email)

    async def run(self, work: Callable[[], T]) -> T:
        """Runs blocking or long work in the thread, so that the event loop is not blocked."""
        return await self._thread.run(work)

    async def close(self) -> None:
        """Ends the thread after its running call, without waiting for it."""
        self._thread.close(self._disconnect)

    def fetch(self, query: Query[T]) -> T:
        """Reads what the query selects."""
        answer: T = reading(TransientCallFailed)(self._once, query.decoder, lambda client: _read(client, query))
        return answer

    def write(self, body: Mapping[str, Any]) -> Spreadsheet:
        """Sends one atomic batch. Returns the state of the spreadsheet after it."""
        encoded = msgspec.json.encode(body)
        return self._once(_WRITTEN, lambda client: _write(client, WRITE_FIELDS, encoded)).updated_spreadsheet

    def check_write(self) -> None:
        """Sends a write that changes nothing. Raises `CallFailed` with `BROKEN` when the account may only read."""
        _write(self._connected(), "spreadsheetId", msgspec.json.encode({"requests": [api_requests.change_nothing()]}))

    def _once(self, decoder: msgspec.json.Decoder[T], call: Callable[[Client], bytes]) -> T:
        try:
            return decoder.decode(call(self._connected()))
        except msgspec.MsgspecError as error:
            raise TransientCallFailed(unreadable()) from error
        except CallFailed as error:
            if error.failure.meaning is FailureMeaning.BROKEN:
                self._disconnect()  # the next call reads the key again: an operator may have replaced it
            raise

    def _connected(self) -> Client:
        if self._client is None:
            from sinks.google_sheets.client import Client

            config = self._config
            self._client = Client(load_account(config), config.spreadsheet, config.api_url, self._timeout)
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _read(client: Client, query: Query[T]) -> bytes:
    return client.read(query.path, query.fields, query.body)


def _write(client: Client, fields: str, body: bytes) -> bytes:
    """Sends one batch. After a refusal for missing rights it reads once, to distinguish an unshared sheet from a
    read-only one.
    """
    try:
        return client.write(fields, body)
    except CallFailed as error:
        if error.failure == read_only(client.email):
            client.read("", "spreadsheetId")
        raise


class Calls:
    """The calls of one flush. Raises `RateLimited` when the quota has no token, `CallFailed` as `SheetsClient` does."""

    def __init__(self, sink: str, client: SheetsClient, account: Account, context: Context) -> None:
        self.sink = sink
        """The sink's name, for the commands that a fix suggests."""
        self.account = account
        self._client = client
        self._bucket = account.bucket
        self._context = context
        self._held: Counter[str] = Counter()
        self.begun = False
        """Whether a call was made, so that some of the quota is used."""
        self.sent = False
        """Whether a write was sent, so that the flush must settle it."""

    async def reserve(self, *kinds: str) -> None:
        """Takes the tokens of the next calls, or none."""
        await self._context.take(*(self._token(kind) for kind in kinds))
        self._held.update(kinds)

    async def ready_to_write(self) -> None:
        """Takes a token for the next write, unless one is reserved."""
        if not self._held[WRITE]:
            await self.reserve(WRITE)

    async def fetch(self, query: Query[T]) -> T:
        """Reads what the query selects."""
        return await self.fetch_and(query, lambda reply: reply)

    async def fetch_and(self, query: Query[T], work: Callable[[T], U]) -> U:
        """Reads what the query selects. Returns the result of `work` on it, computed in the same thread."""
        if not self._held[READ]:
            await self.reserve(READ)
        self._held[READ] -= 1
        return await self._run(READ, lambda: work(self._client.fetch(query)))

    async def write(self, body: Mapping[str, Any], work: Callable[[Spreadsheet], T]) -> T:
        """Sends one atomic batch. Returns the result of `work` on the reply, computed in the same thread. Needs a
        reserved token, because the intent is stored between the reservation and the write.
        """
        self._held[WRITE] -= 1
        self.sent = True
        return await self._run(WRITE, lambda: work(self._client.write(body)))

    async def run(self, work: Callable[[], T]) -> T:
        """Runs work on thousands of rows in the thread, so that the event loop is not blocked."""
        return await self._client.run(work)

    async def _run(self, kind: str, call: Callable[[], T]) -> T:
        self.begun = True
        self._context.count_call(kind)
        try:
            return await self._client.run(call)
        except CallFailed as error:
            if error.status is not None or error.reply:
                self._context.record_reply(error.status, error.reply)
            if error.failure.meaning is FailureMeaning.THROTTLED:
                await self._context.block(self._token(kind).bucket, self.pause(error))
            raise

    def pause(self, error: CallFailed) -> float:
        """Returns the seconds until the quota is available: as Google asked, else until its next minute."""
        asked = self.asked(error)
        if asked is not None:
            return asked
        there = epoch_ms(error.failure.date)
        return _MINUTE_SECONDS - (self._context.now() if there is None else there) / 1000 % _MINUTE_SECONDS

    def asked(self, error: CallFailed) -> float | None:
        """Returns the delay in seconds that the answer asked for."""
        return retry_after({"retry-after": error.failure.retry_after}, self._context.now())

    def _token(self, kind: str) -> Token:
        quotas = self._client.calls_per_minute / CALLS_PER_MINUTE
        return Token(f"{self._bucket}:{kind}", CALLS_PER_SECOND * quotas, int(BURST_CALLS * quotas))
