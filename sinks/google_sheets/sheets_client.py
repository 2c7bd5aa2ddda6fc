"""Asynchronous access to one spreadsheet, within Google's quota.

The blocking client runs in one thread, which keeps its calls in order. Every call takes a token, and a quota that
Google reports as used up is closed for all processes of the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from connector.blocking import BlockingThread
from connector.http import epoch_ms, reading, retry_after
from connector.sink import Context, Token
from sinks.google_sheets import api_requests
from sinks.google_sheets.account import Account, load_account
from sinks.google_sheets.api_replies import (
    FORMAT_FIELDS,
    OBJECTS_FIELDS,
    PROTECTED_FIELDS,
    READ_FIELDS,
    TABS_FIELDS,
    VALUES_FIELDS,
    WRITE_FIELDS,
    Book,
    Columns,
    Formats,
    SpreadsheetObjects,
    Written,
)
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import CallFailed, Passing, Trouble, read_only, unreadable

if TYPE_CHECKING:
    from sinks.google_sheets.client import Client

T = TypeVar("T")
_BOOK = msgspec.json.Decoder(Book)
_COLUMNS = msgspec.json.Decoder(Columns)
_WRITTEN = msgspec.json.Decoder(Written)
_FORMATS = msgspec.json.Decoder(Formats)
_OBJECTS = msgspec.json.Decoder(SpreadsheetObjects)


class Sheets:
    """The calls that the sink makes. Each raises `CallFailed` and nothing else of the libraries below.

    A read is repeated at once when that may help; a write never is. `timeout` (seconds) holds for each wait on the
    network. A call that is cancelled goes on in its thread: the guard shows later whether it was applied.
    """

    def __init__(self, config: GoogleSheetsConfig, timeout: float) -> None:
        self._config = config
        self._timeout = timeout
        self._thread = BlockingThread("google-sheets")
        self._client: Client | None = None

    async def load(self) -> None:
        """Imports the libraries, so that the first call does not have to."""
        await self._run(lambda: import_module("sinks.google_sheets.client"))

    async def account(self) -> Account:
        """Who we are to Google; needs no network."""
        return await self._run(lambda: self._connected().account)

    async def address(self) -> str:
        """The address to share the spreadsheet with, `""` when it is not known; after the first call at the latest."""
        return await self._run(lambda: self._connected().email)

    async def tabs(self) -> Book:
        """Which tabs there are, without cells."""
        return await self._run(lambda: self._reading(lambda client: client.tabs(TABS_FIELDS), _BOOK))

    async def protection(self) -> Book:
        """Which parts of the tabs are protected, without cells."""
        return await self._run(lambda: self._reading(lambda client: client.tabs(PROTECTED_FIELDS), _BOOK))

    async def objects(self) -> SpreadsheetObjects:
        """All tabs and the ids that are in use, without cells."""
        return await self._run(lambda: self._reading(lambda client: client.tabs(OBJECTS_FIELDS), _OBJECTS))

    async def read(self, filters: Sequence[Request]) -> Book:
        """The parts that the filters select."""
        body = msgspec.json.encode({"dataFilters": filters})
        return await self._run(lambda: self._reading(lambda client: client.read(READ_FIELDS, body), _BOOK))

    async def values(self, filters: Sequence[Request]) -> Columns:
        """The columns that the filters select, as plain values; dates are serial numbers."""
        wanted = {"dataFilters": filters, "majorDimension": "COLUMNS"}
        options = {"valueRenderOption": "UNFORMATTED_VALUE", "dateTimeRenderOption": "SERIAL_NUMBER"}
        body = msgspec.json.encode({**wanted, **options})
        return await self._run(lambda: self._reading(lambda client: client.values(VALUES_FIELDS, body), _COLUMNS))

    async def shown_dates(self, filters: Sequence[Request]) -> Columns:
        """As `values`, but a date is the text that its cell shows; without a date format it stays a number."""
        wanted = {"dataFilters": filters, "majorDimension": "COLUMNS"}
        options = {"valueRenderOption": "UNFORMATTED_VALUE", "dateTimeRenderOption": "FORMATTED_STRING"}
        body = msgspec.json.encode({**wanted, **options})
        return await self._run(lambda: self._reading(lambda client: client.values(VALUES_FIELDS, body), _COLUMNS))

    async def formats(self, filters: Sequence[Request]) -> Formats:
        """The number formats of the cells that the filters select."""
        body = msgspec.json.encode({"dataFilters": filters})
        return await self._run(lambda: self._reading(lambda client: client.read(FORMAT_FIELDS, body), _FORMATS))

    async def write(self, body: Mapping[str, Any]) -> Book:
        """One atomic batch; gives the spreadsheet as it left it."""
        return await self._run(lambda: self._writing(body))

    async def try_to_write(self) -> None:
        """A write that changes nothing. Raises `CallFailed` with `BROKEN` when we may only read."""
        body = msgspec.json.encode({"requests": [api_requests.change_nothing()]})
        await self._run(lambda: self._write("spreadsheetId", body))

    async def think(self, work: Callable[[], T]) -> T:
        """Does work for thousands of rows in the thread, so that the loop can go on answering."""
        return await self._run(work)

    async def close(self) -> None:
        """Ends the thread once the call it is in is over, without waiting for that."""
        self._thread.close(self._disconnect)

    async def _run(self, call: Callable[[], T]) -> T:
        return await self._thread.run(call)

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

    def _reading(self, call: Callable[[Client], bytes], decoder: msgspec.json.Decoder[T]) -> T:
        answer: T = reading(Passing)(self._once, call, decoder)
        return answer

    def _writing(self, body: Mapping[str, Any]) -> Book:
        encoded = msgspec.json.encode(body)
        return self._once(lambda _: self._write(WRITE_FIELDS, encoded), _WRITTEN).updated_spreadsheet

    def _write(self, fields: str, body: bytes) -> bytes:
        """One batch. Refused for lack of rights, it asks whether we can still read: a sheet that was unshared since
        our last read is not one that is shared read-only.
        """
        client = self._connected()
        try:
            return client.write(fields, body)
        except CallFailed as error:
            if error.failure == read_only(client.email):
                client.tabs("spreadsheetId")
            raise

    def _once(self, call: Callable[[Client], bytes], decoder: msgspec.json.Decoder[T]) -> T:
        try:
            return decoder.decode(call(self._connected()))
        except msgspec.MsgspecError as error:
            raise Passing(unreadable()) from error
        except CallFailed as error:
            if error.failure.trouble is Trouble.BROKEN:
                self._disconnect()  # the next call reads the key again: an operator may have replaced it
            raise


READ = "read"
WRITE = "write"
CALLS_PER_SECOND = 36 / 60
BURST_CALLS = 14
"""At most 50 calls of a kind in any minute; Google allows a service account 60 (Usage limits)."""
REFILL_SECONDS = BURST_CALLS / CALLS_PER_SECOND + 1
"""Seconds after which the quota is full again."""
_MINUTE = 60.0


class Calls:
    """The calls of one flush. Raises `RateLimited` when the quota has no token, `CallFailed` as `Sheets` does."""

    def __init__(self, sheets: Sheets, account: Account, context: Context) -> None:
        self.account = account
        self._sheets = sheets
        self._bucket = account.bucket
        self._context = context
        self._held: Counter[str] = Counter()
        self.begun = False
        """Whether a call was made: from then on what stops for want of quota has used some of it up."""
        self.sent = False
        """Whether a write was sent: from then on a flush must settle what it did."""

    async def reserve(self, *kinds: str) -> None:
        """Takes the tokens of the next calls, all or nothing."""
        await self._context.take(*(self._token(kind) for kind in kinds))
        self._held.update(kinds)

    async def tabs(self) -> Book:
        await self._claim(READ)
        return await self._counted(READ, self._sheets.tabs())

    async def protection(self) -> Book:
        await self._claim(READ)
        return await self._counted(READ, self._sheets.protection())

    async def values(self, filters: Sequence[Request]) -> Columns:
        await self._claim(READ)
        return await self._counted(READ, self._sheets.values(filters))

    async def shown_dates(self, filters: Sequence[Request]) -> Columns:
        await self._claim(READ)
        return await self._counted(READ, self._sheets.shown_dates(filters))

    async def formats(self, filters: Sequence[Request]) -> Formats:
        await self._claim(READ)
        return await self._counted(READ, self._sheets.formats(filters))

    async def objects(self) -> SpreadsheetObjects:
        await self._claim(READ)
        return await self._counted(READ, self._sheets.objects())

    async def read(self, filters: Sequence[Request]) -> Book:
        await self._claim(READ)
        return await self._counted(READ, self._sheets.read(filters))

    async def write(self, body: Mapping[str, Any]) -> Book:
        """Needs a token reserved before: the intent is noted between the two."""
        self._held[WRITE] -= 1
        self.sent = True
        return await self._counted(WRITE, self._sheets.write(body))

    async def think(self, work: Callable[[], T]) -> T:
        """As `Sheets.think`."""
        return await self._sheets.think(work)

    async def ready_to_write(self) -> None:
        """Makes sure of a token for the next write."""
        if not self._held[WRITE]:
            await self.reserve(WRITE)

    async def _claim(self, kind: str) -> None:
        if not self._held[kind]:
            await self.reserve(kind)
        self._held[kind] -= 1

    async def _counted(self, kind: str, call: Awaitable[T]) -> T:
        self.begun = True
        self._context.count_call(kind)
        try:
            return await call
        except CallFailed as error:
            if error.failure.trouble is Trouble.THROTTLED:
                await self._context.block(self._token(kind).bucket, self.pause(error))
            raise

    def pause(self, error: CallFailed) -> float:
        """Seconds until the quota is back: as asked, else to the next minute of Google's clock."""
        asked = self.asked(error)
        if asked is not None:
            return asked
        there = epoch_ms(error.failure.date)
        return _MINUTE - (self._context.now() if there is None else there) / 1000 % _MINUTE

    def asked(self, error: CallFailed) -> float | None:
        """Seconds that the answer asked us to wait."""
        return retry_after({"retry-after": error.failure.retry_after}, self._context.now())

    def _token(self, kind: str) -> Token:
        return Token(f"{self._bucket}:{kind}", CALLS_PER_SECOND, BURST_CALLS)
