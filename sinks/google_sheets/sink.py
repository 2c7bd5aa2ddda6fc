"""The google_sheets sink: keeps one correct row per interview in a tab that users edit, and verifies it regularly."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from connector.capabilities import (
    ASKED,
    CHOICES,
    DECIDED,
    ERASE,
    REPORT,
    VERIFY,
    CellPreview,
    Debounce,
    Preview,
    Report,
)
from connector.http import utc
from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    Finding,
    Interview,
    Note,
    Outcome,
    RateLimited,
    Result,
    RetryLater,
    Sink,
    SinkBroken,
    Superseded,
)
from sinks.google_sheets import api_requests, decision_column
from sinks.google_sheets.api_replies import Spreadsheet
from sinks.google_sheets.config import Account, GoogleSheetsConfig, load_account
from sinks.google_sheets.decision_column import READ_DECISIONS, DecisionColumn, DecisionOutcomes
from sinks.google_sheets.decision_rules import read_choices
from sinks.google_sheets.errors import CallFailed, FailureMeaning, SheetsFailure
from sinks.google_sheets.flush import Flush, Memory
from sinks.google_sheets.outcomes import BatchOutcomes
from sinks.google_sheets.repair import recall_rows, rows_of, shown
from sinks.google_sheets.sheet_view import read_protected_cells
from sinks.google_sheets.sheets_client import (
    LIST_PROTECTION,
    LIST_TABS,
    REFILL_SECONDS,
    Calls,
    SheetsClient,
    read_values,
)
from sinks.google_sheets.state import INTENT, RESUME, TAB, VERSION, WORK, row_name, tab_name
from sinks.google_sheets.tabs import TabSnapshot, add_columns, read_tabs, tab_of, title_of
from sinks.google_sheets.verify import Findings, Verification
from sinks.google_sheets.write_planner import RowChange, TabChanges, plan_rows, zone_of
from sinks.spreadsheet.columns import SPECS, cell_values
from sinks.spreadsheet.comparison import ComparisonResult
from sinks.spreadsheet.values import LINK_TEXT, CellKind, CellValue, from_serial

REWRITES_MAX = 10_000
"""Most rows that one verification writes again; the next one continues."""
ROUNDS_MAX = 5
"""Most verifications in a row that each found something to repair. Then the next regular one continues."""
PROTECTED_SECONDS = 300.0
"""Interval between two checks whether skipped cells are still protected."""
DECISION_PURPOSES = frozenset({READ_DECISIONS, DECIDED})
REPAIRABLE = frozenset(
    {ComparisonResult.MISSING, ComparisonResult.DIFFERENT, ComparisonResult.BROKEN_KEY, ComparisonResult.STRAY}
)
UNREACHED_FIX = (
    "try again in a minute; if it stays so, see that this machine reaches the hosts of api_url and token_uri"
)


def apply_resume_mode(outcomes: BatchOutcomes, batch: Batch) -> None:
    """Applies the mode that the operator chose with `connector resume` after many rows or a tab disappeared."""
    note = batch.notes.get(RESUME)
    if note is None or not outcomes.tabs:  # a call without rows keeps it for the next one
        return
    mode = note.get("mode")
    asked = [name for name in outcomes.tabs if name in outcomes.work.asks] or list(outcomes.tabs)
    for name in asked:
        tab = outcomes.tabs[name]
        refill = mode in {"refill", "adopt"}
        # found by its id if it exists, else made again
        outcomes.tabs[name] = replace(
            tab,
            seen=False,
            count=0,
            refill=refill,
            adopt=mode == "adopt",
            ids_overwritten=False,  # the operator decided about the missing rows
            refills=tab.refills + 1 if refill else tab.refills,
        )
    outcomes.work = replace(outcomes.work, verify=True, asks=outcomes.work.asks.difference(asked))
    outcomes.keep({RESUME: None})


def interval(outcomes: BatchOutcomes, config: GoogleSheetsConfig) -> float:
    """Returns the seconds until the next call that may verify."""
    return min(config.verify_interval, PROTECTED_SECONDS) if outcomes.work.skipped else config.verify_interval


async def is_due(
    batch: Batch, outcomes: BatchOutcomes, config: GoogleSheetsConfig, calls: Calls, context: Context
) -> bool:
    """Whether this call has to verify: an operator or a change of all rows asked for it, protection changed, or the
    interval is over.
    """
    now = context.now()
    if all(delivery.purpose != VERIFY for delivery in batch.deliveries):
        return False
    asked = batch.notes.get(ASKED, {}).get("at", 0)
    last = batch.notes.get(REPORT, {}).get("at", 0)
    if outcomes.work.verify or asked > last or now >= last + config.verify_interval * 1000:
        return True
    return bool(outcomes.work.skipped) and await _is_protection_changed(outcomes, calls, context)


async def _is_protection_changed(outcomes: BatchOutcomes, calls: Calls, context: Context) -> bool:
    """Whether the protection of a tab with skipped cells has changed, as far as one small read shows it."""
    await _load(outcomes.work.skipped, outcomes, context)
    try:
        book = await calls.fetch(LIST_PROTECTION)
    except (CallFailed, RateLimited):  # an exception would hide what this call has written
        return False  # the next call checks again
    now = {tab.properties.sheet_id: read_protected_cells(tab.protected_ranges) for tab in book.sheets}
    tabs = [outcomes.tabs[name] for name in outcomes.work.skipped]
    return any(now.get(tab.sheet_id or 0) != tab.protected for tab in tabs)


async def verify_and_repair(
    config: GoogleSheetsConfig, outcomes: BatchOutcomes, calls: Calls, context: Context
) -> None:
    """Verifies, stores the report, and asks for a delivery of every wrong row. Raises the exceptions of `Flush.run`."""
    at = context.now()
    try:
        findings = await Verification(config, calls, context, _ignore_progress).run()
        await _repair(findings, outcomes, context)
    except RateLimited as wait:
        # it starts again from the beginning, when the quota is enough for all of it
        outcomes.verification = RetryLater("no quota left", after=max(wait.seconds, REFILL_SECONDS), counts=False)
        return
    except CallFailed as error:
        outcomes.verification = _failed(error, calls)
        return
    outcomes.keep({REPORT: {"v": VERSION, **findings.report(at, calls.sink).note()}})


def _ignore_progress(_done: int, _total: int) -> None:
    pass


def _failed(error: CallFailed, calls: Calls) -> RetryLater:
    failure = error.failure
    if failure.meaning is FailureMeaning.THROTTLED:
        return RetryLater(failure.reason, after=calls.pause(error), counts=False)
    if failure.meaning is FailureMeaning.BROKEN and not calls.sent:
        raise SinkBroken(failure.reason, failure.fix, label=failure.short) from error
    return RetryLater(failure.reason, after=calls.asked(error))


async def _repair(findings: Findings, outcomes: BatchOutcomes, context: Context) -> None:
    found = findings.only(REPAIRABLE)
    again = {
        key for (_, key), each in found.items() if each.kind in {ComparisonResult.MISSING, ComparisonResult.DIFFERENT}
    }
    outcomes.call_again(sorted(again)[:REWRITES_MAX])
    await _load({name for name, _ in found} | set(findings.protected), outcomes, context)
    skipped = frozenset(name for name, _ in findings.only({ComparisonResult.PROTECTED}))
    asks = frozenset({*findings.unavailable, *findings.emptied})
    for (name, key), each in found.items():
        if each.kind is ComparisonResult.BROKEN_KEY:
            outcomes.tabs[name] = replace(outcomes.tabs[name], lost=outcomes.tabs[name].lost | {key})
    for name, protected in findings.protected.items():
        outcomes.tabs[name] = replace(outcomes.tabs[name], protected=protected)
    doubted = await _mark_deleted(findings, outcomes, context)
    await _have_dated(findings, outcomes, context)
    moved = await recall_rows(context, [key for key in findings.moved if not outcomes.holds(key)])
    in_full = {key: replace(note, force=True, dated=False) for key, note in moved.items()}
    outcomes.keep({row_name(key): note.encode() for key, note in in_full.items()})
    goes_on = bool(found or doubted) and outcomes.work.rounds < ROUNDS_MAX
    rounds = outcomes.work.rounds + 1 if goes_on else 0
    outcomes.work = replace(outcomes.work, verify=goes_on, rounds=rounds, skipped=skipped, asks=asks)


async def _mark_deleted(findings: Findings, outcomes: BatchOutcomes, context: Context) -> bool:
    """Marks the rows that users deleted. Returns whether some may be missing because of a write of the sink that was
    not known when the verification began; the next one finds them missing.
    """
    deleted = findings.only({ComparisonResult.DELETED})
    notes = await recall_rows(context, {key for _, key in deleted})
    new = [(name, key) for name, key in deleted if key in notes and not notes[key].gone]
    doubted = {name for name, _ in new if outcomes.may_have_overwritten_ids(name)}
    outcomes.keep({row_name(key): replace(notes[key], gone=True).encode() for name, key in new if name not in doubted})
    wrong = {name for name, _ in findings.only(REPAIRABLE)}
    under_way = {intent.tab for intent in outcomes.intents}
    for name in findings.protected.keys() - doubted - wrong - under_way:
        if not outcomes.tabs[name].in_repair:  # every row was found, so no id is overwritten any more
            outcomes.tabs[name] = replace(outcomes.tabs[name], ids_overwritten=False)
    return bool(doubted)


async def _have_dated(findings: Findings, outcomes: BatchOutcomes, context: Context) -> None:
    """Asks for new writes of dates that show as plain numbers, so that they get a format."""
    keys = [key for key in findings.undated if not outcomes.holds(key)]
    for key, note in (await recall_rows(context, keys)).items():
        applied = {name: each for name, each in (note.applied or {}).items() if name not in findings.undated[key]}
        outcomes.keep({row_name(key): replace(note, applied=applied, dated=False).encode()})


async def _load(names: Collection[str], outcomes: BatchOutcomes, context: Context) -> None:
    others = sorted(set(names) - set(outcomes.tabs))
    outcomes.add(others, await context.get_notes([tab_name(name) for name in others]))


def _problem(error: CallFailed) -> Finding:
    return Finding("problem", error.failure.reason, error.failure.fix or UNREACHED_FIX)


class GoogleSheetsSink(Sink[GoogleSheetsConfig]):
    """One read and one atomic write per call for any number of interviews. Only large writes are divided."""

    Config = GoogleSheetsConfig
    state = True
    resume_modes = frozenset({"accept", "refill", "adopt"})
    counts_calls = True
    max_batch = 10_000
    timeout = 300
    debounce = Debounce(above=100, idle=0.5, max_wait=5.0)
    call_timeout: ClassVar[float] = 30
    """Most seconds of one call. A longer call is unclear; the guard shows whether it was applied."""

    def __init__(self, name: str, config: GoogleSheetsConfig) -> None:
        super().__init__(name, config)
        self._client = SheetsClient(config, self.call_timeout)
        self._memory = Memory()
        self._own_tabs: set[int] = set()
        """Ids of tabs of this sink, for the decision column; a restart may lose them."""
        self._has_forgotten_choices = False
        """Whether the notes about a decision column that is no longer configured were deleted."""

    @property
    def destination(self) -> str:
        """The spreadsheet's id and the tab's title."""
        return f"{self.config.spreadsheet}/{self.config.worksheet}"

    def note_keys(self, delivery: Delivery) -> Iterable[str]:
        if delivery.purpose in DECISION_PURPOSES:
            return (*decision_column.note_keys(delivery), RESUME)
        common = (TAB, INTENT, WORK, RESUME)
        if delivery.interview is None:
            return (*common, REPORT, ASKED, row_name(delivery.key))
        tab = tab_of(delivery.interview, self.config.worksheet)
        return dict.fromkeys((*common, tab_name(tab), row_name(delivery.key)))

    async def open(self) -> None:
        await self._client.load()

    async def close(self) -> None:
        await self._client.close()

    @property
    def schedules(self) -> bool:
        """Whether the decision column is read at set times."""
        return self.config.decides

    def scheduled(self, after_ms: int, until_ms: int) -> Sequence[str]:  # noqa: ARG002 - as often as it is asked
        """Asks for a read of the decision column."""
        return (READ_DECISIONS,) if self.schedules else ()

    async def deliver(self, batch: Batch, context: Context) -> Result:
        about_decisions = [each for each in batch.deliveries if each.purpose in DECISION_PURPOSES]
        others = [each for each in batch.deliveries if each.purpose not in DECISION_PURPOSES]
        result = Result([])
        account = await self._account()  # before the first write, because it may raise
        if others:
            result = await self._deliver(replace(batch, deliveries=others), account, context)
        outcomes = dict(zip((each.id for each in others), result.outcomes, strict=True))
        done = await self._decide(batch, about_decisions, account, context)
        outcomes |= done.outcomes
        return Result(
            [outcomes[each.id] for each in batch.deliveries],
            {**result.notes, **done.notes},
            [*result.follow_ups, *done.follow_ups],
            result.settles,
            done.decisions,
        )

    async def _decide(
        self, batch: Batch, deliveries: Sequence[Delivery], account: Account, context: Context
    ) -> DecisionOutcomes:
        """Reads decisions and shows their results. Without a column everything about decisions is forgotten."""
        notes = dict(batch.notes)
        if not self.config.decision_column:
            outcomes: dict[str, Outcome] = {each.id: Superseded("there is no decision column") for each in deliveries}
            forgotten: dict[str, Note | None] = {} if self._has_forgotten_choices else {CHOICES: None}
            forgotten |= {name: None for each in deliveries for name in decision_column.note_keys(each)}
            self._has_forgotten_choices = True
            return DecisionOutcomes(outcomes, forgotten, [], [])
        kept: dict[str, Note | None] = {}
        if RESUME in notes:
            notes.pop(CHOICES, None)  # after a refill or another tab the next read is a baseline
            kept[CHOICES] = None
        elif erased := {each.key for each in batch.deliveries if each.purpose == ERASE}:
            before = read_choices((await context.get_notes([CHOICES])).get(CHOICES))
            if before is not None:
                notes[CHOICES] = kept[CHOICES] = before.without(erased).encode()
        if not deliveries:
            return DecisionOutcomes({}, kept, [], [])
        calls = Calls(self.name, self._client, account, context)
        done = await DecisionColumn(self.name, self.config, calls, context, self._own_tabs).run(deliveries, notes)
        done.notes = {**kept, **done.notes}
        return done

    async def _deliver(self, batch: Batch, account: Account, context: Context) -> Result:
        calls = Calls(self.name, self._client, account, context)
        outcomes = BatchOutcomes(batch, self.config)
        others = [tab_name(name) for name in outcomes.names if name]
        outcomes.load({**batch.notes, **(await context.get_notes(others) if others else {})})
        apply_resume_mode(outcomes, batch)
        rest: Outcome = Delivered()
        if outcomes.names:
            rest = await Flush(self.config, outcomes, calls, context, self._memory).run()
        if await is_due(batch, outcomes, self.config, calls, context):
            await verify_and_repair(self.config, outcomes, calls, context)
        outcomes.mark_hit(await recall_rows(context, outcomes.hit))
        outcomes.verify_in(timedelta(seconds=interval(outcomes, self.config)))
        return outcomes.result(rest)

    def erase_leaves(self) -> Sequence[str]:
        """Data that only users can remove."""
        return (
            "the version history of the spreadsheet",
            "cells that users wrote, in the row and elsewhere",
            "a row whose id users removed",
        )

    async def verify(self, context: Context, progress: Callable[[int, int], None]) -> Report:
        """Reads every owned cell and compares it with the store; reads again when something differs."""
        calls = Calls(self.name, self._client, await self._account(), context)
        at = context.now()
        try:
            return (await Verification(self.config, calls, context, progress).run()).report(at, self.name)
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
        """Opens the spreadsheet, and checks the right to edit by a write that changes nothing."""
        try:
            book = await self._client.run(lambda: self._client.fetch(LIST_TABS))
            email = await self._client.address()
        except CallFailed as error:
            return [_problem(error)]
        try:
            await self._client.run(self._client.check_write)
        except CallFailed as error:
            if error.failure.meaning not in {FailureMeaning.REFUSED, FailureMeaning.CONFLICT}:
                return [self._found(book, email), _problem(error)]
        return [self._found(book, email)]

    def _found(self, book: Spreadsheet, email: str) -> Finding:
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

    async def preview(self, batch: Batch, context: Context) -> Sequence[Preview]:
        """Returns what would change in the present sheet, or the new row when the sheet cannot be read."""
        try:
            calls = Calls(self.name, self._client, await self._client.account(), context)
            return await changes(self.config, batch, calls)
        except CallFailed as error:
            why = f"the sheet cannot be read now: {error.failure.reason}"
            rows = [describe(delivery.interview, self.config) for delivery in batch.deliveries]
            return [replace(row, text=f"{row.text}\n{why}") for row in rows]


async def changes(config: GoogleSheetsConfig, batch: Batch, calls: Calls) -> Sequence[Preview]:
    """Returns one preview per delivery: the cells that would change, with their old and new values. Raises
    `CallFailed`.
    """
    outcomes = BatchOutcomes(batch, config)
    outcomes.load(batch.notes)
    previews: dict[str, Preview] = {}
    inserted: set[str] = set()
    unavailable: dict[str, SheetsFailure] = {}
    for name, snapshot in (await read_tabs(calls, config, outcomes.titles(), outcomes.tabs, unavailable)).items():
        after, _ = add_columns(snapshot.view, snapshot.layout)
        due = plan_rows(snapshot.view, after, outcomes.wanted(name, zone_of(snapshot.view.zone)))
        previews |= _without_a_change(snapshot, due)
        inserted |= {each.key for each in due.inserts}
        for change in due.changes:
            previews[change.key] = await _changed(calls, snapshot, change, config)
    return [_preview(previews, inserted, delivery.interview, config) for delivery in batch.deliveries]


def _without_a_change(snapshot: TabSnapshot, due: TabChanges) -> dict[str, Preview]:
    title = snapshot.view.title
    new = {each.key: f"a new row in the tab {title}" for each in due.inserts}
    idle = {each.key: f"nothing changes in the tab {title}" for each in due.idle}
    gone = {each.key: f"nothing: users deleted its row in the tab {title}" for each in [*due.deleted, *due.absent]}
    protected = {each.key: f"nothing: protected cells in the tab {title} do not allow it" for each in due.blocked}
    return {key: Preview(text) for key, text in (new | idle | gone | protected).items()}


async def _changed(calls: Calls, snapshot: TabSnapshot, change: RowChange, config: GoogleSheetsConfig) -> Preview:
    view, layout, row = snapshot.view, snapshot.layout, change.row
    places = sorted(set(layout.at.values()))
    reply = await calls.fetch(
        read_values([api_requests.cells_filter(view.sheet_id, place, row, row + 1) for place in places])
    )
    now = next((found.cells for found in rows_of(reply, view.sheet_id, layout, row)), {})
    titles, link_text = {column.field: column.title for column in config.columns}, config.words.gettext(LINK_TEXT)
    cells = [
        CellPreview(titles[name], _written(name, value, link_text), before=_cell(name, now.get(name), link_text))
        for name, value in change.cells.items()
    ]
    return Preview(f"row {row + 1} in the tab {view.title}", cells)


def _written(name: str, value: CellValue, link_text: str) -> str:
    """Returns the text of a value that would be written, with the address of a link and the day that days count from.
    Two links look the same in their cells.
    """
    kind = SPECS[name].kind
    if kind is CellKind.LINK and value is not None:
        return f"{link_text} ({value})"
    if kind is CellKind.DAYS_SINCE and isinstance(value, int | float):
        return f"the days since {from_serial(value):%Y-%m-%d}"
    return _cell(name, shown(name, value), link_text)


def _cell(name: str, value: CellValue, link_text: str) -> str:
    if value is not None and SPECS[name].kind is CellKind.LINK:
        return link_text
    if isinstance(value, int | float):
        is_date = SPECS[name].kind is CellKind.DATETIME
        return f"{from_serial(value):%Y-%m-%d %H:%M:%S}" if is_date else f"{value:g}"
    return "" if value is None else value


def _preview(
    previews: Mapping[str, Preview], inserted: Collection[str], interview: Interview | None, config: GoogleSheetsConfig
) -> Preview:
    """Returns the preview of an interview, with all its cells when its row is new."""
    key = "" if interview is None else interview.id.strip()
    if interview is None or key not in previews:
        return describe(interview, config)
    return replace(previews[key], cells=_cells(interview, config)) if key in inserted else previews[key]


def describe(interview: Interview | None, config: GoogleSheetsConfig) -> Preview:
    """Returns the whole row: the columns with a value. Times are in UTC; the sheet shows them in its time zone."""
    if interview is None:
        return Preview("no row: nothing is known of this interview")
    title = title_of(interview, config.worksheet)
    return Preview(f"row {interview.id} in the tab {title}", _cells(interview, config))


def _cells(interview: Interview, config: GoogleSheetsConfig) -> list[CellPreview]:
    values = zip(config.columns, cell_values(interview, config.columns, config.words), strict=True)
    link_text = config.words.gettext(LINK_TEXT)
    return [
        CellPreview(column.title, _shown(value, column.kind, link_text))
        for column, value in values
        if value is not None
    ]


def _shown(value: CellValue, kind: CellKind, link_text: str) -> str:
    if kind is CellKind.DATETIME and isinstance(value, int):
        return f"{utc(value):%Y-%m-%d %H:%M} UTC"
    if kind is CellKind.DAYS_SINCE and isinstance(value, int):
        return f"the days since {utc(value):%Y-%m-%d}"
    if kind is CellKind.LINK:
        return f"{link_text} ({value})"
    return f"{value:g}" if isinstance(value, float) else str(value)
