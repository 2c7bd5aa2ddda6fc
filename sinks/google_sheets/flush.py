"""One flush: reads, then writes and settles in chunks, until everything that is due is in the sheet. A write is planned
from one view of every tab concerned. Its intent is stored before it is sent. The key columns in its reply prove it, and
are the next view. After any other reply the guards in the next read show whether the write was applied.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from connector.sink import Context, RateLimited, RetryLater, SinkBroken
from sinks.google_sheets import write_planner
from sinks.google_sheets.api_replies import Spreadsheet
from sinks.google_sheets.api_requests import column_letters
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import PROTECTED, CallFailed, FailureMeaning, SheetsFailure, emptied, unreadable
from sinks.google_sheets.formatting import (
    FormatQuery,
    FormattingState,
    UnformattedDates,
    format_new_tabs,
    may_lack_format,
    without_format,
)
from sinks.google_sheets.outcomes import MOVED, BatchOutcomes, ClosedIntent, Settled, close_intent, settle
from sinks.google_sheets.repair import Repairs, audit, recall_rows
from sinks.google_sheets.sheet_view import ProtectedCells, TabView, read_protected_cells, read_view
from sinks.google_sheets.sheets_client import LIST_PROTECTION, READ, REFILL_SECONDS, WRITE, Calls
from sinks.google_sheets.tabs import Layout, TabSnapshot, add_columns, has_shrunk, read_tabs, snapshot_of
from sinks.google_sheets.write_planner import (
    DueInterview,
    SheetWrite,
    TabChanges,
    TabWrite,
    WriteBudget,
    WriteChunk,
    WriteLimits,
    plan_rows,
    take_chunk,
    zone_of,
)
from sinks.spreadsheet.columns import KEY
from sinks.spreadsheet.values import LINK_TEXT

ROWS_MAX = WriteLimits().rows


class BisectionResult(Enum):
    """The result of a refused write whose content is the only possible cause."""

    SMALLER = auto()
    """Try with fewer rows."""
    BAD_ROW = auto()
    """Google refuses this row."""
    ANY_WRITE = auto()
    """No row is the cause: Google refuses a write without rows as well."""


@dataclass(slots=True)
class Bisection:
    """Finds the row that Google refuses, by smaller and smaller writes. `rows` is the most rows of the next write. It
    is kept between flushes, so that an interrupted search continues. `probed`: a write without rows succeeded, so a
    refused single row is the cause.
    """

    rows: int = ROWS_MAX
    probed: bool = False

    def taken(self, rows: int) -> None:
        """Records that a write of `rows` rows succeeded."""
        if not self.rows:
            self.probed = True
        elif rows:
            self.probed = False
        self.rows = min(max(1, self.rows * 2), ROWS_MAX)

    def refused(self, rows: int) -> BisectionResult:
        """Records that a write of `rows` rows was refused."""
        if not rows:
            return BisectionResult.ANY_WRITE
        if rows == 1 and self.probed:
            self.probed = False
            return BisectionResult.BAD_ROW
        self.rows = rows // 2
        return BisectionResult.SMALLER


FRESH_MS = 5_000
"""A flush that only inserts uses a reply up to this age as its read."""
CONFLICTS_MAX = 4
"""Most refusals of one flush because the sheet changed meanwhile; then it waits."""
CHANGING = RetryLater("the sheet is being changed", after=1.0, counts=False, destination_works=True)
PROTECTED_AGAIN = RetryLater(PROTECTED, after=300.0, counts=False)
REFUSED_FIX = "look at the tab: Google takes no change to it; see docs/google-sheets.md, Troubleshooting"


@dataclass(slots=True)
class Memory:
    """Caches between two flushes. A restart may lose them."""

    recent: Mapping[str, TabSnapshot] = field(default_factory=dict)
    recent_at: int = 0
    bisection: Bisection = field(default_factory=Bisection)
    formatting: FormattingState = field(default_factory=FormattingState)


@dataclass(frozen=True, slots=True)
class TabPlan:
    """The changes of one tab, the findings of its audit, and its date cells without a format."""

    due: TabChanges
    repairs: Repairs
    unformatted: UnformattedDates = field(default_factory=dict)


def _is_due(plan: TabPlan) -> bool:
    return bool(
        plan.due.changes or plan.due.inserts or plan.due.removals or plan.repairs.clears or plan.repairs.restores
    )


class Flush:
    """One call of `deliver`. `run` raises `RateLimited` only before the first call, and `SinkBroken` only when nothing
    was applied.
    """

    def __init__(
        self, config: GoogleSheetsConfig, outcomes: BatchOutcomes, calls: Calls, context: Context, memory: Memory
    ) -> None:
        self._config = config
        self._outcomes = outcomes
        self._calls = calls
        self._context = context
        self._memory = memory
        self._conflicts = 0
        self._landed = False
        self._snapshots: dict[str, TabSnapshot] = {}
        self._plans: dict[str, TabPlan] = {}
        self._audited: set[str] = set()
        self._hidden: Mapping[int, ProtectedCells] = {}
        self._unavailable: set[str] = set()

    async def run(self) -> RetryLater:
        """Writes everything that can be written. Returns the outcome of the other deliveries."""
        try:
            self._snapshots = await self._begin()
            while (write := await self._next_write()) is not None:
                if (rest := await self._send(write)) is not None:
                    return rest
        except CallFailed as error:
            return self._give_up(error)
        except RateLimited as wait:
            return self._without_quota(wait)
        if not any(tab.moving or tab.in_repair for tab in self._outcomes.tabs.values()):
            self._memory.recent, self._memory.recent_at = self._snapshots, self._context.now()
            tabs = [(each.view, each.layout) for each in self._snapshots.values()]
            await format_new_tabs(self._calls, tabs, self._config, self._memory.formatting)
        return CHANGING

    def _without_quota(self, wait: RateLimited) -> RetryLater:
        """Returns the outcome without a token; raises `RateLimited` if no call was made yet. A flush that had too few
        tokens for its reads continues with a full quota. With single tokens it would only repeat the first read.
        """
        if not self._calls.begun:
            raise wait
        after = wait.seconds if self._calls.sent else max(wait.seconds, REFILL_SECONDS)
        return RetryLater("no quota left", after=after, counts=False, pause_sink=not self._calls.sent)

    async def _begin(self) -> dict[str, TabSnapshot]:
        recent, self._memory.recent = self._memory.recent, {}
        if self._serves(recent):
            await self._calls.reserve(WRITE)
            self._outcomes.mark_available(self._outcomes.names)
            return {name: recent[name] for name in self._outcomes.names}
        await self._calls.reserve(READ, WRITE)
        del recent  # two views of 100,000 rows at once are enough
        return await self._read()

    def _serves(self, recent: Mapping[str, TabSnapshot]) -> bool:
        """Whether the last reply can be used as a read. Adding rows below others needs no newer one."""
        outcomes = self._outcomes
        if self._context.now() - self._memory.recent_at > FRESH_MS or outcomes.intents or not outcomes.all_new:
            return False
        if any(name not in recent or recent[name].tab != outcomes.tabs[name] for name in outcomes.names):
            return False
        there = [recent[name].view.key_rows.keys() for name in outcomes.names]
        return all(keys.isdisjoint(outcomes.open_keys) for keys in there)

    async def _read(self) -> dict[str, TabSnapshot]:
        self._plans.clear()
        unavailable: dict[str, SheetsFailure] = {}
        titles = {name: title for name, title in self._outcomes.titles().items() if name not in self._unavailable}
        read = await read_tabs(self._calls, self._config, titles, self._outcomes.tabs, unavailable)
        snapshots = {name: self._with_hidden(each) for name, each in read.items()}
        for name, each in snapshots.items():
            if (failure := self._check_tab(name, each)) is not None:
                unavailable[name] = failure
        for name, failure in unavailable.items():
            self._snapshots.pop(name, None)
            self._unavailable.add(name)
            self._outcomes.wait_for_operator(name, f"{failure.reason}; {failure.fix}")
        snapshots = {name: each for name, each in snapshots.items() if name not in unavailable}
        self._outcomes.mark_available(snapshots)
        self._close_intents(snapshots)
        return {name: replace(each, tab=self._outcomes.tabs[name]) for name, each in snapshots.items()}

    def _with_hidden(self, snapshot: TabSnapshot) -> TabSnapshot:
        """Returns the views with protected ranges that only the separate read showed."""
        hidden = self._hidden.get(snapshot.view.sheet_id)
        return snapshot if hidden is None else replace(snapshot, view=replace(snapshot.view, protected=hidden))

    def _check_tab(self, name: str, snapshot: TabSnapshot) -> SheetsFailure | None:
        """Compares a tab with its last read. Returns a failure if the tab was emptied, so that it waits for an
        operator. Raises `CallFailed` instead if it is the only tab of the sink.
        """
        before, view = self._outcomes.tabs[name], snapshot.view
        if has_shrunk(before, view):
            failure = emptied(self._calls.sink, view.title, before.count - len(view.key_rows), before.count)
            if not self._config.per_position:
                raise CallFailed(failure)
            return failure
        self._update_tab(name, snapshot)
        return None

    def _update_tab(self, name: str, snapshot: TabSnapshot) -> None:
        before, view = self._outcomes.tabs[name], snapshot.view
        has_new_column = bool(before.fields and snapshot.tab.fields - before.fields)
        changes_other_rows = has_new_column or before.zone not in {"", view.zone}
        may_allow_skipped = name in self._outcomes.work.skipped and before.protected != view.protected
        if changes_other_rows or may_allow_skipped:
            self._outcomes.work = replace(self._outcomes.work, verify=True)
        self._outcomes.tabs[name] = replace(snapshot.tab, count=len(view.key_rows), zone=view.zone)
        self._snapshots[name] = replace(snapshot, tab=self._outcomes.tabs[name])

    def _close_intents(self, snapshots: Mapping[str, TabSnapshot]) -> None:
        """Reads the outcome of unclear writes from the guards, and which rows they may have overwritten."""
        still_open = []
        for intent in self._outcomes.intents:
            if intent.tab not in snapshots:
                continue
            found = close_intent(intent, snapshots[intent.tab].view, self._context.now())
            self._outcomes.apply(found.applied)
            self._outcomes.force(found.force)
            self._outcomes.inserted(found.inserted, intent.tab)
            if found.moved:
                self._note_moved_rows(intent.tab, found)
            if found.pending:
                still_open.append(intent)
        self._outcomes.intents = tuple(still_open)

    def _note_moved_rows(self, name: str, found: Settled | ClosedIntent) -> None:
        """Stores that rows moved during a write to this tab, so its values may be in other rows."""
        tab = self._outcomes.tabs[name]
        stray_values, undo, lost = tab.stray_values | found.stray_values, tab.undo | found.undo, tab.lost | found.lost
        self._outcomes.tabs[name] = replace(tab, moving=True, stray_values=stray_values, undo=undo, lost=lost)
        if found.undo:
            self._outcomes.doubt_deletions(name)

    async def _next_write(self) -> SheetWrite | None:
        """Returns the next write, `None` when nothing is left to write."""
        if self._is_done():
            return None
        new = [
            name for name, snapshot in self._snapshots.items() if name not in self._plans and snapshot.layout.settled
        ]
        write, audits, queries = await self._calls.run(lambda: self._plan(new))
        if not audits and not queries:
            return write
        for name, due in audits.items():
            await self._audit(name, due)
        await self._find_unformatted({**queries, **self._format_queries(audits)})
        return await self._calls.run(self._compose)

    def _is_done(self) -> bool:
        settled = all(snapshot.layout.settled for snapshot in self._snapshots.values())
        in_repair = any(self._outcomes.tabs[name].in_repair for name in self._snapshots)
        return settled and not in_repair and not self._outcomes.open_keys

    def _plan(self, names: Sequence[str]) -> tuple[SheetWrite | None, dict[str, TabChanges], dict[str, FormatQuery]]:
        """Plans the changes of these tabs, and the write if no further read is needed. Returns the write, the due
        interviews of the tabs that need an audit first, and the cells whose formats must be read first.
        """
        audits = {}
        for name in names:
            due = self._due(name)
            if self._needs_audit(name, due):
                audits[name] = due
            else:
                self._add_plan(name, due, Repairs())
        queries = self._format_queries([name for name in names if name not in audits])
        return None if audits or queries else self._compose(), audits, queries

    def _due(self, name: str) -> TabChanges:
        view, layout = self._snapshots[name].view, self._layout_after(name)
        return plan_rows(view, layout, self._outcomes.wanted(name, zone_of(view.zone)))

    def _layout_after(self, name: str) -> Layout:
        """The layout with the columns that the next write adds."""
        return add_columns(self._snapshots[name].view, self._snapshots[name].layout)[0]

    def _needs_audit(self, name: str, due: TabChanges) -> bool:
        tab = self._outcomes.tabs[name]
        in_repair = tab.in_repair and name not in self._audited
        return bool(self._snapshots[name].view.exists and not tab.undo and (in_repair or due.absent))

    async def _audit(self, name: str, due: TabChanges) -> None:
        self._audited.add(name)
        snapshot, tab = self._snapshots[name], self._outcomes.tabs[name]
        repairs, self._outcomes.tabs[name] = await audit(self._calls, self._context, snapshot, tab, due)
        self._outcomes.force(repairs.force)
        if repairs.force:
            due = await self._calls.run(lambda: self._due(name))
        self._add_plan(name, due, repairs)

    def _add_plan(self, name: str, due: TabChanges, repairs: Repairs) -> None:
        self._outcomes.deliver([each for each in due.idle if not each.remove], self._layout_after(name))
        self._outcomes.removed(each for each in due.idle if each.remove)
        stuck = [each for each in due.absent if each.key in repairs.stuck]
        removals = [each for each in due.blocked if each.remove]
        for each in removals:
            self._outcomes.block([each], _left_cells(self._snapshots[name].view, self._layout_after(name), each))
        others = [each for each in due.blocked if not each.remove]
        self._outcomes.block([*others, *stuck], PROTECTED_AGAIN)
        self._without_row(name, due, repairs)
        self._plans[name] = TabPlan(due, repairs)

    def _format_queries(self, names: Iterable[str]) -> dict[str, FormatQuery]:
        """Returns the rows in which date cells may have no format, by planned tab."""
        queries = {}
        for name in names:
            rows = {change.row for change in self._plans[name].due.changes if may_lack_format(change)}
            query = FormatQuery(self._snapshots[name], self._layout_after(name), rows)
            if query.rows and query.places:
                queries[name] = query
        return queries

    async def _find_unformatted(self, queries: Mapping[str, FormatQuery]) -> None:
        """Finds date cells without a format in due rows; the write sets it with the value."""
        for name, unformatted in (await without_format(self._calls, queries)).items():
            plan = self._plans[name]
            plan.due.changes = [
                change._replace(wanted=replace(change.wanted, dated=True))
                if change.row in unformatted and change.wanted is not None
                else change
                for change in plan.due.changes
            ]
            self._plans[name] = replace(plan, unformatted=unformatted)

    def _without_row(self, name: str, due: TabChanges, repairs: Repairs) -> None:
        """Handles interviews whose row is missing: it was deleted by users, has to be recreated, or only lost
        its id.
        """
        found = {restore.key for restore in repairs.restores}
        exists, tab = self._snapshots[name].view.exists, self._outcomes.tabs[name]
        gone = [each for each in due.absent if each.key not in found and (each.key in repairs.gone or not exists)]
        missing = [*gone, *due.deleted]
        back = [
            each
            for each in missing
            if self._config.recreate or (each.note is not None and tab.is_wanted_back(each.note))
        ]
        due.inserts += [self._outcomes.forget_row(each) for each in back]
        self._outcomes.leave_deleted([each for each in missing if each not in back])

    def _compose(self) -> SheetWrite | None:
        """Returns one write with the next changes of each tab."""
        nonce, budget = secrets.token_hex(6), WriteBudget()
        tab_writes = [self._tab_write(name, snapshot, nonce, budget) for name, snapshot in self._snapshots.items()]
        chosen = [tab_write for tab_write in tab_writes if tab_write is not None]
        return SheetWrite(chosen) if chosen else None

    def _tab_write(self, name: str, snapshot: TabSnapshot, nonce: str, budget: WriteBudget) -> TabWrite | None:
        """Returns the next changes of a tab: tags, removal of wrong ids, restored ids, else rows."""
        view, layout = snapshot.view, snapshot.layout
        if view.exists and not layout.settled:
            return write_planner.tagging(name, view, layout, nonce)
        plan = self._plans[name]
        if not self._memory.bisection.rows:
            return write_planner.row_write(name, view, layout, WriteChunk(), nonce) if _is_due(plan) else None
        chunk = self._repairing(name, plan) or self._rows(name, snapshot, plan, budget)
        return write_planner.row_write(name, view, layout, chunk, nonce) if chunk is not None else None

    def _repairing(self, name: str, plan: TabPlan) -> WriteChunk | None:
        """Returns a write that only restores and removes ids, by row number only while rows do not move."""
        tab = self._outcomes.tabs[name]
        if tab.undo or plan.due.removals:
            removals = plan.due.removals
            return WriteChunk(undo=sorted({*tab.undo, *(each.key for each in removals)}), removals=removals)
        by_content = [restore for restore in plan.repairs.restores if restore.by_content]
        if by_content or not plan.repairs.restores:
            return WriteChunk(restores=by_content) if by_content else None
        return WriteChunk() if tab.moving else WriteChunk(restores=plan.repairs.restores)

    def _rows(self, name: str, snapshot: TabSnapshot, plan: TabPlan, budget: WriteBudget) -> WriteChunk | None:
        due = replace(plan.due, changes=[*plan.repairs.clears, *plan.due.changes])
        if not due.changes and not due.inserts:
            return None
        after, _ = add_columns(snapshot.view, snapshot.layout)
        limits = replace(WriteLimits(), rows=self._memory.bisection.rows)
        if self._outcomes.tabs[name].moving:
            limits = replace(limits, updates=1)
        chunk = take_chunk(due, after, limits, budget, link_text=self._config.words.gettext(LINK_TEXT))
        chunk.formats = [
            (change.row, after.at[field_])
            for change in chunk.changes
            if change.wanted is not None
            for field_ in plan.unformatted.get(change.row, frozenset()) - change.wanted.protected
        ]
        return chunk if chunk.rows else None

    async def _send(self, write: SheetWrite) -> RetryLater | None:
        """Sends one write and settles it. Returns the outcome of the rest if the flush must stop, else `None`."""
        await self._calls.ready_to_write()
        await self._save_intents(write)
        try:
            settled = await self._calls.write(write.body, lambda book: self._settled_or_error(write, book))
        except CallFailed as error:
            return await self._failed(write, error)
        if isinstance(settled, CallFailed):
            raise settled
        return settled

    def _settled_or_error(self, write: SheetWrite, book: Spreadsheet) -> RetryLater | CallFailed | None:
        """Calls `_settle` and returns its exception, so that it is not handled as a failure of the write."""
        try:
            return self._settle(write, book)
        except CallFailed as error:
            return error

    async def _save_intents(self, write: SheetWrite) -> None:
        """Stores the notes from which a restarted process finds out whether the write was applied."""
        for tab_write in write.tab_writes:
            tab = self._outcomes.tabs[tab_write.tab]
            tagged = () if tab_write.chunk.rows else tab_write.layout.untagged
            self._outcomes.tabs[tab_write.tab] = replace(tab, doubtful=tab.doubtful.union(tagged))
            self._outcomes.intents += (replace(tab_write.intent, sent_at=self._context.now()),)
        self._outcomes.mark_hit(await recall_rows(self._context, self._outcomes.hit))
        await self._context.save_notes(self._outcomes.new_notes())

    def _settle(self, write: SheetWrite, book: Spreadsheet) -> RetryLater | None:
        """Settles what the reply proves. Uses the reply as the next read only if no row moved."""
        views = {}
        for tab_write in write.tab_writes:
            key, header = tab_write.layout.at.get(KEY), tab_write.view.header_row
            view = read_view(book, tab_write.view.sheet_id, key, self._config.titles, header)
            if view is None or (view.keys is None and key is not None):
                return self._unclear(write, CallFailed(unreadable()))
            views[tab_write.tab] = view
        self._landed = True
        is_clean = [self._settle_tab(tab_write, views[tab_write.tab]) for tab_write in write.tab_writes]
        if not all(is_clean):
            return MOVED
        self._memory.bisection.taken(write.rows)
        settled = all(self._snapshots[tab_write.tab].layout.settled for tab_write in write.tab_writes)
        return None if settled else self._changed()

    def _settle_tab(self, tab_write: TabWrite, view: TabView) -> bool:
        outcomes, name = self._outcomes, tab_write.tab
        settled = settle(tab_write, view)
        unproven = [wanted.key for wanted in settled.unproven]
        # earlier intents had the same number, so Google refuses them from now on
        outcomes.intents = tuple(intent for intent in outcomes.intents if intent.tab != name)
        outcomes.removed(settled.removed)
        outcomes.deliver(settled.proven, tab_write.layout)
        outcomes.retry(unproven, MOVED)
        outcomes.force({*unproven, *settled.hit})
        tab = outcomes.tabs[name]
        # these ids were removed by cell content, so moved rows do not matter; search for them again
        undone = tab.undo.intersection(tab_write.chunk.undo)
        outcomes.tabs[name] = replace(tab, moving=False, undo=tab.undo - undone, lost=tab.lost | undone)
        self._plans.pop(name, None)
        if not settled.clean:
            self._note_moved_rows(name, settled)
            return False
        snapshot = snapshot_of(view, self._config, outcomes.tabs[name])
        self._update_tab(name, snapshot)
        return True

    def _changed(self) -> RetryLater | None:
        """The sheet was changed between read and write. Tries again, a limited number of times."""
        self._conflicts += 1
        return CHANGING if self._conflicts >= CONFLICTS_MAX else None

    async def _failed(self, write: SheetWrite, error: CallFailed) -> RetryLater | None:
        """Handles any answer except a parsed 200: finds out whether the write was applied, and how to continue."""
        failure = error.failure
        if failure.meaning is FailureMeaning.PROTECTED:
            return await self._handle_protected(write, error)
        if failure.meaning in {FailureMeaning.REFUSED, FailureMeaning.CONFLICT}:
            return await self._refused(write, failure)
        if failure.meaning is not FailureMeaning.UNCLEAR:
            self._outcomes.intents = self._outcomes.intents[: -len(write.tab_writes)]
            raise error
        return self._unclear(write, error)

    def _unclear(self, write: SheetWrite, error: CallFailed) -> RetryLater:
        """Keeps the intent of an unclear write. The next flush reads from the guard whether it was applied."""
        reason, after = error.failure.reason, self._calls.asked(error)
        sent = [wanted.key for wanted in write.interviews]
        self._outcomes.retry(sent, RetryLater(reason, after=after, unclear=True))
        return RetryLater(reason, after=after)

    async def _handle_protected(self, write: SheetWrite, error: CallFailed) -> RetryLater | None:
        """Handles cells that were protected after the read, or whose protection the read did not show. In the second
        case the refused rows are found by bisection, and the others are written.
        """
        self._outcomes.intents = self._outcomes.intents[: -len(write.tab_writes)]
        book = await self._calls.fetch(LIST_PROTECTION)
        now = {tab.properties.sheet_id: read_protected_cells(tab.protected_ranges) for tab in book.sheets}
        self._hidden = {id_: protected for id_, protected in now.items() if protected}
        return await self._refused(write, error.failure)

    async def _refused(self, write: SheetWrite, failure: SheetsFailure) -> RetryLater | None:
        """Reads again after a refusal: the write may be applied, the sheet may have changed, or Google does not accept
        the content.
        """
        self._snapshots = await self._read()
        if any(tab_write.tab not in self._snapshots for tab_write in write.tab_writes):
            return self._changed()
        if any(tab_write.guard in self._snapshots[tab_write.tab].view.guards for tab_write in write.tab_writes):
            return None
        same = all(tab_write.view.is_same_as(self._snapshots[tab_write.tab].view) for tab_write in write.tab_writes)
        if failure.meaning is FailureMeaning.CONFLICT or not same:
            return self._changed()
        found = self._memory.bisection.refused(write.rows)
        if found is BisectionResult.ANY_WRITE:
            raise CallFailed(replace(failure, meaning=FailureMeaning.BROKEN, fix=failure.fix or REFUSED_FIX))
        if found is BisectionResult.BAD_ROW and not write.interviews:
            return RetryLater(failure.reason)
        if found is BisectionResult.BAD_ROW and failure.meaning is FailureMeaning.PROTECTED:
            self._outcomes.block(write.interviews[:1], PROTECTED_AGAIN)
        elif found is BisectionResult.BAD_ROW:
            self._outcomes.reject(write.interviews[0], failure.reason)
        return None

    def _give_up(self, error: CallFailed) -> RetryLater:
        """Returns the outcome of the rest. Raises `SinkBroken` when an operator must act and nothing was applied."""
        failure = error.failure
        if failure.meaning is FailureMeaning.THROTTLED:
            return RetryLater(failure.reason, after=self._calls.pause(error), counts=False)
        if failure.meaning not in {FailureMeaning.BROKEN, FailureMeaning.EMPTIED}:
            return RetryLater(failure.short or failure.reason, after=self._calls.asked(error))
        if self._landed:
            return RetryLater(failure.short or failure.reason, counts=False)
        raise SinkBroken(
            failure.reason, failure.fix, until_resumed=failure.meaning is FailureMeaning.EMPTIED, label=failure.short
        )


def _left_cells(view: TabView, layout: Layout, wanted: DueInterview) -> RetryLater:
    """Returns the outcome of a removal whose protected cells remain, with the names of these cells."""
    row = view.key_rows[wanted.key] + 1
    places = sorted(layout.at[name] for name in wanted.protected)
    cells = ", ".join(f"{column_letters(place)}{row}" for place in places)
    return replace(PROTECTED_AGAIN, reason=f"protected cells: {cells}")
