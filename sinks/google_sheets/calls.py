"""Calls within the quota: every call has a token, and a quota that Google says is used up is closed for everybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from connector.http import epoch_ms, retry_after
from connector.sink import Context, Token
from sinks.google_sheets.account import Account
from sinks.google_sheets.errors import CallFailed, Trouble
from sinks.google_sheets.ground import Ground
from sinks.google_sheets.replies import Book, Columns, Formats
from sinks.google_sheets.requests import Request
from sinks.google_sheets.sheets import Sheets

T = TypeVar("T")
READ = "read"
WRITE = "write"
RATE = 36 / 60
BURST = 14
"""With `RATE`: at most 50 calls of a kind in any minute; Google allows a service account 60 (Usage limits)."""
FULL_AGAIN = BURST / RATE + 1
"""Seconds after which the quota is as full as it gets, for sure."""
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

    async def ground(self) -> Ground:
        await self._claim(READ)
        return await self._counted(READ, self._sheets.ground())

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
        return Token(f"{self._bucket}:{kind}", RATE, BURST)
