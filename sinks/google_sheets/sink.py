"""The google_sheets sink: keeps one row per interview right in a tab that users edit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import ClassVar

from connector.capabilities import ASKED, REPORT, Debounce, Report
from connector.sink import Batch, Context, Delivered, Delivery, Finding, Outcome, Result, Sink, SinkBroken
from sinks.google_sheets import maintenance
from sinks.google_sheets.account import Account, load_account
from sinks.google_sheets.api_replies import Book
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import CallFailed, Trouble
from sinks.google_sheets.flush import Flush, Memory
from sinks.google_sheets.outcomes import BatchOutcomes
from sinks.google_sheets.preview import changes, describe
from sinks.google_sheets.repair import recall_rows
from sinks.google_sheets.sheets_client import LIST_TABS, Calls, SheetsClient
from sinks.google_sheets.state import INTENT, RESUME, TAB, WORK, row_name, tab_name
from sinks.google_sheets.tabs import tab_of
from sinks.google_sheets.verify import Verification

UNREACHED_FIX = (
    "try again in a minute; if it stays so, see that this machine reaches the hosts of api_url and token_uri"
)


def _problem(error: CallFailed) -> Finding:
    return Finding("problem", error.failure.reason, error.failure.fix or UNREACHED_FIX)


class GoogleSheetsSink(Sink[GoogleSheetsConfig]):
    """One read and one atomic write per call, whatever the number of interviews; split only by size."""

    Config = GoogleSheetsConfig
    state = True
    resume_modes = frozenset({"accept", "refill", "adopt"})
    counts_calls = True
    max_batch = 10_000
    timeout = 300
    debounce = Debounce(above=100, idle=0.5, max_wait=5.0)
    call_timeout: ClassVar[float] = 30
    """Seconds to wait for Google in one call. A longer call is unclear; the guard shows whether it was applied."""

    def __init__(self, name: str, config: GoogleSheetsConfig) -> None:
        super().__init__(name, config)
        self._client = SheetsClient(config, self.call_timeout)
        self._memory = Memory()

    @property
    def destination(self) -> str:
        """The spreadsheet's id and the tab's title."""
        return f"{self.config.spreadsheet}/{self.config.worksheet}"

    def note_keys(self, delivery: Delivery) -> Iterable[str]:
        common = (TAB, INTENT, WORK, RESUME)
        if delivery.interview is None:
            return (*common, REPORT, ASKED, row_name(delivery.key))
        tab = tab_of(delivery.interview, self.config.worksheet)
        return dict.fromkeys((*common, tab_name(tab), row_name(delivery.key)))

    async def open(self) -> None:
        await self._client.load()

    async def close(self) -> None:
        await self._client.close()

    async def deliver(self, batch: Batch, context: Context) -> Result:
        calls = Calls(self.name, self._client, await self._account(), context)
        outcomes = BatchOutcomes(batch, self.config)
        others = [tab_name(name) for name in outcomes.names if name]
        outcomes.load({**batch.notes, **(await context.get_notes(others) if others else {})})
        maintenance.apply_resume_mode(outcomes, batch)
        rest: Outcome = Delivered()
        if outcomes.names:
            rest = await Flush(self.config, outcomes, calls, context, self._memory).run()
        if await maintenance.is_due(batch, outcomes, self.config, calls, context):
            await maintenance.verify_and_repair(self.config, outcomes, calls, context)
        outcomes.mark_hit(await recall_rows(context, outcomes.hit))
        outcomes.verify_in(timedelta(seconds=maintenance.interval(outcomes, self.config)))
        return outcomes.result(rest)

    async def verify(self, context: Context, progress: Callable[[int, int], None]) -> Report:
        """Reads every owned cell and compares it with the truth; one more read when something is wrong."""
        calls = Calls(self.name, self._client, await self._account(), context)
        at = context.now()
        try:
            return (await Verification(self.config, calls, context, progress).run()).report(at)
        except CallFailed as error:
            raise SinkBroken(error.failure.reason, error.failure.fix or UNREACHED_FIX) from error

    async def _account(self) -> Account:
        try:
            return await self._client.account()
        except CallFailed as error:
            raise SinkBroken(error.failure.reason, error.failure.fix) from error

    def validate(self) -> list[Finding]:
        """Reads the service account's key."""
        try:
            load_account(self.config)
        except CallFailed as error:
            return [_problem(error)]
        return []

    async def check_connection(self) -> list[Finding]:
        """Opens the spreadsheet, and tries whether it may be edited by a write that changes nothing."""
        try:
            book = await self._client.run(lambda: self._client.fetch(LIST_TABS))
            email = await self._client.address()
        except CallFailed as error:
            return [_problem(error)]
        try:
            await self._client.run(self._client.check_write)
        except CallFailed as error:
            if error.failure.trouble not in {Trouble.REFUSED, Trouble.CONFLICT}:
                return [self._found(book, email), _problem(error)]
        return [self._found(book, email)]

    def _found(self, book: Book, email: str) -> Finding:
        who = email or "the account of the Application Default Credentials (google-auth does not know its address)"
        tabs = self._tabs_found({tab.properties.title.casefold() for tab in book.sheets})
        return Finding("ok", f'{who} can open the spreadsheet "{book.properties.title}"; {tabs}')

    def _tabs_found(self, titles: Collection[str]) -> str:
        worksheet = self.config.worksheet
        if self.config.per_position:
            return f'each position gets a tab of its own, titled "{worksheet}", when its first row is written'
        if worksheet.casefold() in titles:
            return f'the tab "{worksheet}" exists'
        return f'the tab "{worksheet}" is created with the first row'

    async def preview(self, batch: Batch, context: Context) -> Sequence[str]:
        """What would change in the sheet as it is now; the row as it would be when the sheet cannot be read."""
        try:
            calls = Calls(self.name, self._client, await self._client.account(), context)
            return await changes(self.config, batch, calls)
        except CallFailed as error:
            why = f"(the sheet cannot be read now: {error.failure.reason})"
            return [f"{describe(delivery.interview, self.config)}\n{why}" for delivery in batch.deliveries]
