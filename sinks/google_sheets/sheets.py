"""One spreadsheet for the event loop: the blocking client lives in one thread, which keeps calls in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from connector.blocking import BlockingThread
from connector.http import reading
from sinks.google_sheets import requests
from sinks.google_sheets.account import Account, load_account
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import CallFailed, Passing, Trouble, read_only, unreadable
from sinks.google_sheets.ground import GROUND_FIELDS, Ground
from sinks.google_sheets.replies import (
    FORMAT_FIELDS,
    PROTECTED_FIELDS,
    READ_FIELDS,
    TABS_FIELDS,
    VALUES_FIELDS,
    WRITE_FIELDS,
    Book,
    Columns,
    Formats,
    Written,
)
from sinks.google_sheets.requests import Request

if TYPE_CHECKING:
    from sinks.google_sheets.client import Client

T = TypeVar("T")
_BOOK = msgspec.json.Decoder(Book)
_COLUMNS = msgspec.json.Decoder(Columns)
_WRITTEN = msgspec.json.Decoder(Written)
_FORMATS = msgspec.json.Decoder(Formats)
_GROUND = msgspec.json.Decoder(Ground)


class Sheets:
    """The calls that the sink makes. Each raises `CallFailed` and nothing else of the libraries below.

    A read is repeated at once when that may help; a write never is. `timeout` (seconds) holds for each wait on the
    network. A call that is cancelled goes on in its thread: the guard tells later what became of it.
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

    async def ground(self) -> Ground:
        """All tabs and the ids that are in use, without cells."""
        return await self._run(lambda: self._reading(lambda client: client.tabs(GROUND_FIELDS), _GROUND))

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
        body = msgspec.json.encode({"requests": [requests.change_nothing()]})
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
                self._disconnect()  # the next call reads the key again: a person may have replaced it
            raise
