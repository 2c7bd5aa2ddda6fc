"""One flush: read, then write and settle in chunks, until everything that is due is in the sheet.

A write is planned from one view of every tab concerned, noted, sent, and proven by the key columns in its own reply,
which is the next view. After any other reply the guards in the next read show whether the write was applied.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from connector.sink import Context, RateLimited, RetryLater, SinkBroken
from sinks.google_sheets import outcomes, write_planner
from sinks.google_sheets.api_replies import Book
from sinks.google_sheets.columns import Layout, add_columns
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.date_formats import Bare, Question, is_unsure, without_format
from sinks.google_sheets.errors import PROTECTED, CallFailed, Failure, Trouble, emptied, unreadable
from sinks.google_sheets.formatting import Wardrobe, polish
from sinks.google_sheets.outcomes import MOVED, Ledger, Settled
from sinks.google_sheets.protection import Closed, read_closed
from sinks.google_sheets.repair import Repairs, audit, recall_rows
from sinks.google_sheets.sheet_view import View, read_view
from sinks.google_sheets.sheets_client import FULL_AGAIN, READ, WRITE, Calls
from sinks.google_sheets.tabs import Look, has_shrunk, look, titles_of, understand
from sinks.google_sheets.write_planner import Due, Limits, Part, Share, Spent, Write, sort_out, take_part, zone_of
from sinks.spreadsheet.columns import KEY

MOST = Limits().rows


class Verdict(Enum):
    """What a refusal says that has no other cause than what was in the write."""

    SMALLER = auto()
    """Try with fewer rows."""
    POISON = auto()
    """It is this row."""
    EVERYTHING = auto()
    """It is no row: not even a write without any is taken."""


@dataclass(slots=True)
class Narrowing:
    """`rows` is how many the next write may hold. It lives on from one flush to the next, so that a search which the
    quota interrupts goes on where it was.

    `probed`: a write without rows went through, so that the next refusal is the fault of its one row.
    """

    rows: int = MOST
    probed: bool = False

    def taken(self, rows: int) -> None:
        """A write of so many rows went through."""
        if not self.rows:
            self.probed = True
        elif rows:
            self.probed = False
        self.rows = min(max(1, self.rows * 2), MOST)

    def refused(self, rows: int) -> Verdict:
        """A write of so many rows was refused."""
        if not rows:
            return Verdict.EVERYTHING
        if rows == 1 and self.probed:
            self.probed = False
            return Verdict.POISON
        self.rows = rows // 2
        return Verdict.SMALLER


FRESH = 5_000
"""Milliseconds for which a reply may serve as the read of a flush that only inserts."""
CONFLICTS = 4
"""Refusals because the sheet changed meanwhile, in one flush, before it waits a little."""
CHANGING = RetryLater("the sheet is being changed", after=1.0, counts=False)
PROTECTED_AGAIN = RetryLater(PROTECTED, after=300.0, counts=False)
SHUT_SECONDS = 300.0
"""Until a tab that waits for a person is looked at again."""
REFUSED_FIX = "look at the tab: Google takes no change to it; see docs/google-sheets.md, Troubleshooting"


@dataclass(slots=True)
class Memory:
    """What a sink knows between two flushes without having to: lost in a restart, and nothing is wrong."""

    recent: Mapping[str, Look] = field(default_factory=dict)
    recent_at: int = 0
    narrowing: Narrowing = field(default_factory=Narrowing)
    wardrobe: Wardrobe = field(default_factory=Wardrobe)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one view of a tab calls for, what an audit of it found, and date cells that have no format."""

    due: Due
    repairs: Repairs
    bare: Bare = field(default_factory=dict)


def _is_due(plan: Plan) -> bool:
    return bool(
        plan.due.changes or plan.due.inserts or plan.due.removals or plan.repairs.clears or plan.repairs.restores
    )


class Flush:
    """One call of `deliver`. `run` raises `RateLimited` before any call, `SinkBroken` before anything was applied."""

    def __init__(
        self, config: GoogleSheetsConfig, ledger: Ledger, calls: Calls, context: Context, memory: Memory
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._calls = calls
        self._context = context
        self._memory = memory
        self._conflicts = 0
        self._landed = False
        self._seen: dict[str, Look] = {}
        self._plans: dict[str, Plan] = {}
        self._audited: set[str] = set()
        self._hidden: Mapping[int, Closed] = {}
        self._shut: set[str] = set()

    async def run(self) -> RetryLater:
        """Does all that can be done; gives the outcome of what is left."""
        try:
            self._seen = await self._begin()
            while (write := await self._next()) is not None:
                if (rest := await self._send(write)) is not None:
                    return rest
        except CallFailed as error:
            return self._give_up(error)
        except RateLimited as wait:
            return self._without_quota(wait)
        if not any(tab.moving or tab.in_repair for tab in self._ledger.tabs.values()):
            self._memory.recent, self._memory.recent_at = self._seen, self._context.now()
            seen = [(each.view, each.layout) for each in self._seen.values()]
            await polish(self._calls, seen, self._config, self._memory.wardrobe)
        return CHANGING

    def _without_quota(self, wait: RateLimited) -> RetryLater:
        """Waits for a token if nothing was done yet. What needs several reads and had too few begins with a full quota:
        with each token as it comes it would spend that on the first read, for ever.
        """
        if not self._calls.begun:
            raise wait
        after = wait.seconds if self._calls.sent else max(wait.seconds, FULL_AGAIN)
        return RetryLater("no quota left", after=after, counts=False, pause_sink=not self._calls.sent)

    async def _begin(self) -> dict[str, Look]:
        recent, self._memory.recent = self._memory.recent, {}
        if self._serves(recent):
            await self._calls.reserve(WRITE)
            self._ledger.back(self._ledger.names)
            return {name: recent[name] for name in self._ledger.names}
        await self._calls.reserve(READ, WRITE)
        del recent  # two views of 100,000 rows at once are enough
        return await self._look()

    def _serves(self, recent: Mapping[str, Look]) -> bool:
        """Whether a reply of a moment ago is good enough: new rows can be put below others without harm."""
        ledger = self._ledger
        if self._context.now() - self._memory.recent_at > FRESH or ledger.intents or not ledger.all_new:
            return False
        if any(name not in recent or recent[name].tab != ledger.tabs[name] for name in ledger.names):
            return False
        there = [recent[name].view.key_rows.keys() for name in ledger.names]
        return all(keys.isdisjoint(ledger.open_keys) for keys in there)

    async def _look(self) -> dict[str, Look]:
        self._plans.clear()
        shut: dict[str, Failure] = {}
        titles = {name: title for name, title in self._ledger.titles().items() if name not in self._shut}
        seen = await look(self._calls, self._config, titles, self._ledger.tabs, shut)
        seen = {name: self._with_hidden(each) for name, each in seen.items()}
        for name, each in seen.items():
            if (failure := self._watch(name, each)) is not None:
                shut[name] = failure
        for name, failure in shut.items():
            self._seen.pop(name, None)
            self._shut.add(name)
            self._ledger.shut(name, RetryLater(failure.short, after=SHUT_SECONDS, counts=False))
        seen = {name: each for name, each in seen.items() if name not in shut}
        self._ledger.back(seen)
        self._close_intents(seen)
        return {name: replace(each, tab=self._ledger.tabs[name]) for name, each in seen.items()}

    def _with_hidden(self, seen: Look) -> Look:
        """With the protection that only a look at nothing else showed."""
        hidden = self._hidden.get(seen.view.sheet_id)
        return seen if hidden is None else replace(seen, view=replace(seen.view, closed=hidden))

    def _watch(self, name: str, seen: Look) -> Failure | None:
        """Notices what changed in a tab since it was last seen. Returns why it waits for a person when it was emptied;
        raises that as `CallFailed` when it is the only tab.
        """
        before, view = self._ledger.tabs[name], seen.view
        if has_shrunk(before, view):
            failure = emptied(view.title, before.count - len(view.key_rows), before.count)
            if not self._config.per_position:
                raise CallFailed(failure)
            return failure
        self._learn(name, seen)
        return None

    def _learn(self, name: str, seen: Look) -> None:
        before, view = self._ledger.tabs[name], seen.view
        has_new_column = bool(before.fields and seen.tab.fields - before.fields)
        if has_new_column or before.zone not in {"", view.zone}:
            self._ledger.work = replace(self._ledger.work, verify=True)  # rows outside this batch are to change
        if name in self._ledger.work.skipped and before.closed != view.closed:
            self._ledger.work = replace(self._ledger.work, verify=True)  # what could not be written may be by now
        self._ledger.tabs[name] = replace(seen.tab, count=len(view.key_rows), zone=view.zone)
        self._seen[name] = replace(seen, tab=self._ledger.tabs[name])

    def _close_intents(self, seen: Mapping[str, Look]) -> None:
        """Reads from the guards what became of the writes that are noted as under way, and whom they may have hit."""
        still_open = []
        for intent in self._ledger.intents:
            if intent.tab not in seen:
                continue
            closed = outcomes.close_intent(intent, seen[intent.tab].view, self._context.now())
            self._ledger.apply(closed.applied)
            self._ledger.force(closed.force)
            self._ledger.inserted(closed.inserted, intent.tab)
            if closed.moved:
                self._suspect(intent.tab, closed)
            if closed.pending:
                still_open.append(intent)
        self._ledger.intents = tuple(still_open)

    def _suspect(self, name: str, found: Settled | outcomes.Closed) -> None:
        """Rows moved under a write to this tab: what it held may stand anywhere."""
        tab = self._ledger.tabs[name]
        suspects, undo, lost = tab.suspects | found.suspects, tab.undo | found.undo, tab.lost | found.lost
        self._ledger.tabs[name] = replace(tab, moving=True, suspects=suspects, undo=undo, lost=lost)

    async def _next(self) -> Write | None:
        """The next batch, or `None` when nothing is left to write."""
        new = [name for name, seen in self._seen.items() if name not in self._plans and seen.layout.settled]
        for name in new:
            self._plans[name] = await self._plan(name, self._seen[name])
        await self._find_bare(new)
        return await self._calls.think(self._compose)

    async def _plan(self, name: str, seen: Look) -> Plan:
        after, _ = add_columns(seen.view, seen.layout)
        due = await self._due(name, seen.view, after)
        repairs = Repairs()
        tab = self._ledger.tabs[name]
        in_repair = tab.in_repair and name not in self._audited
        if seen.view.exists and not tab.undo and (in_repair or due.absent):
            self._audited.add(name)
            repairs, self._ledger.tabs[name] = await audit(self._calls, self._context, seen, tab, due)
            self._ledger.force(repairs.force)
            if repairs.force:
                due = await self._due(name, seen.view, after)
        self._ledger.deliver([each for each in due.idle if not each.remove], after)
        self._ledger.removed(each for each in due.idle if each.remove)
        stuck = [each for each in due.absent if each.key in repairs.stuck]
        self._ledger.block([*due.blocked, *stuck], PROTECTED_AGAIN)
        self._without_row(name, due, repairs)
        return Plan(due, repairs)

    async def _find_bare(self, names: Sequence[str]) -> None:
        """Looks for date cells without a format in rows that may have such; they get one with the value."""
        questions = {}
        for name in names:
            layout, _ = add_columns(self._seen[name].view, self._seen[name].layout)
            rows = {change.row for change in self._plans[name].due.changes if is_unsure(change)}
            questions[name] = Question(self._seen[name], layout, rows)
        for name, bare in (await without_format(self._calls, questions)).items():
            plan = self._plans[name]
            plan.due.changes = [
                change._replace(wanted=replace(change.wanted, dated=True))
                if change.row in bare and change.wanted is not None
                else change
                for change in plan.due.changes
            ]
            self._plans[name] = replace(plan, bare=bare)

    async def _due(self, name: str, view: View, layout: Layout) -> Due:
        return await self._calls.think(lambda: sort_out(view, layout, self._ledger.wanted(name, zone_of(view.zone))))

    def _without_row(self, name: str, due: Due, repairs: Repairs) -> None:
        """Interviews whose row is nowhere: people deleted it, unless it is wanted back or only its id is gone."""
        found = {restore.key for restore in repairs.restores}
        exists, tab = self._seen[name].view.exists, self._ledger.tabs[name]
        gone = [each for each in due.absent if each.key not in found and (each.key in repairs.gone or not exists)]
        missing = [*gone, *due.deleted]
        back = [
            each
            for each in missing
            if self._config.recreate or (each.note is not None and tab.is_wanted_back(each.note))
        ]
        due.inserts += [self._ledger.forget_row(each) for each in back]
        self._ledger.leave_deleted([each for each in missing if each not in back])

    def _compose(self) -> Write | None:
        """One batch with what each tab needs first."""
        nonce, spent = secrets.token_hex(6), Spent()
        shares = [self._share(name, seen, nonce, spent) for name, seen in self._seen.items()]
        chosen = [share for share in shares if share is not None]
        return Write(chosen) if chosen else None

    def _share(self, name: str, seen: Look, nonce: str, spent: Spent) -> Share | None:
        """What a tab needs first: its tags, wrong ids out, ids back, else rows."""
        view, layout = seen.view, seen.layout
        if view.exists and not layout.settled:
            return write_planner.tagging(name, view, layout, nonce)
        plan = self._plans[name]
        if not self._memory.narrowing.rows:
            return write_planner.row_write(name, view, layout, Part(), nonce) if _is_due(plan) else None
        part = self._repairing(name, plan) or self._rows(name, seen, plan, spent)
        return write_planner.row_write(name, view, layout, part, nonce) if part is not None else None

    def _repairing(self, name: str, plan: Plan) -> Part | None:
        """Ids are put back and taken out apart from everything else, by row number only on firm ground."""
        tab = self._ledger.tabs[name]
        if tab.undo or plan.due.removals:
            removals = plan.due.removals
            return Part(undo=sorted({*tab.undo, *(each.key for each in removals)}), removals=removals)
        by_content = [restore for restore in plan.repairs.restores if restore.by_content]
        if by_content or not plan.repairs.restores:
            return Part(restores=by_content) if by_content else None
        return Part() if tab.moving else Part(restores=plan.repairs.restores)

    def _rows(self, name: str, seen: Look, plan: Plan, spent: Spent) -> Part | None:
        due = replace(plan.due, changes=[*plan.repairs.clears, *plan.due.changes])
        if not due.changes and not due.inserts:
            return None
        after, _ = add_columns(seen.view, seen.layout)
        limits = replace(Limits(), rows=self._memory.narrowing.rows)
        if self._ledger.tabs[name].moving:
            limits = replace(limits, updates=1)
        part = take_part(due, after, limits, spent)
        part.formats = [
            (change.row, after.at[field_])
            for change in part.changes
            if change.wanted is not None
            for field_ in plan.bare.get(change.row, frozenset()) - change.wanted.closed
        ]
        return part if part.rows else None

    async def _send(self, write: Write) -> RetryLater | None:
        """Sends one write and settles it; gives what to say of the rest when the flush has to end here."""
        await self._calls.ready_to_write()
        await self._note(write)
        try:
            book = await self._calls.write(write.body)
        except CallFailed as error:
            return await self._failed(write, error)
        return await self._calls.think(lambda: self._settle(write, book))

    async def _note(self, write: Write) -> None:
        """What must survive a crash between here and the outcome."""
        for share in write.shares:
            tab = self._ledger.tabs[share.tab]
            tagged = () if share.part.rows else share.layout.untagged
            self._ledger.tabs[share.tab] = replace(tab, doubtful=tab.doubtful.union(tagged))
            self._ledger.intents += (replace(share.intent, sent_at=self._context.now()),)
        self._ledger.mark_hit(await recall_rows(self._context, self._ledger.hit))
        await self._context.save_notes(self._ledger.new_notes())

    def _settle(self, write: Write, book: Book) -> RetryLater | None:
        """Takes from the reply what is proven. Goes on with it as the next read only if nothing moved."""
        titles = titles_of(self._config)
        views = {}
        for share in write.shares:
            key, header = share.layout.at.get(KEY), share.view.header_row
            view = read_view(book, share.view.sheet_id, key, titles, header)
            if view is None or (view.keys is None and key is not None):
                return self._unclear(write, CallFailed(unreadable()))
            views[share.tab] = view
        self._landed = True
        is_clean = [self._settle_share(share, views[share.tab]) for share in write.shares]
        if not all(is_clean):
            return MOVED
        self._memory.narrowing.taken(write.rows)
        settled = all(self._seen[share.tab].layout.settled for share in write.shares)
        return None if settled else self._changed()

    def _settle_share(self, share: Share, view: View) -> bool:
        ledger, name = self._ledger, share.tab
        settled = outcomes.settle(share, view)
        unproven = [wanted.key for wanted in settled.unproven]
        # those before it had the same number, and are refused from now on
        ledger.intents = tuple(intent for intent in ledger.intents if intent.tab != name)
        ledger.removed(settled.removed)
        ledger.deliver(settled.proven, share.layout)
        ledger.retry(unproven, MOVED)
        ledger.force({*unproven, *settled.hit})
        tab = ledger.tabs[name]
        # taken out by what the cells showed, wherever they were by then; what was put in wrongly is to be found again
        undone = tab.undo.intersection(share.part.undo)
        ledger.tabs[name] = replace(tab, moving=False, undo=tab.undo - undone, lost=tab.lost | undone)
        self._plans.pop(name, None)
        if not settled.clean:
            self._suspect(name, settled)
            return False
        seen = understand(view, self._config, ledger.tabs[name])
        self._learn(name, seen)
        return True

    def _changed(self) -> RetryLater | None:
        """The sheet was changed between our read and our write: once more, but not for ever."""
        self._conflicts += 1
        return CHANGING if self._conflicts >= CONFLICTS else None

    async def _failed(self, write: Write, error: CallFailed) -> RetryLater | None:
        """After anything but a parsed 200: was it applied, and what next?"""
        failure = error.failure
        if failure.trouble is Trouble.PROTECTED:
            return await self._protected(write, error)
        if failure.trouble in {Trouble.REFUSED, Trouble.CONFLICT}:
            return await self._refused(write, failure)
        if failure.trouble is not Trouble.UNCLEAR:
            self._ledger.intents = self._ledger.intents[: -len(write.shares)]
            raise error
        return self._unclear(write, error)

    def _unclear(self, write: Write, error: CallFailed) -> RetryLater:
        """Its intent stays: the next flush reads from the guard whether it landed."""
        reason, after = error.failure.reason, self._calls.asked(error)
        sent = [wanted.key for wanted in write.everybody]
        self._ledger.retry(sent, RetryLater(reason, after=after, unclear=True))
        return RetryLater(reason, after=after)

    async def _protected(self, write: Write, error: CallFailed) -> RetryLater | None:
        """Cells were protected after our read, or the read did not show it: then the rows that Google refuses are
        singled out, and the others are written.
        """
        self._ledger.intents = self._ledger.intents[: -len(write.shares)]
        book = await self._calls.protection()
        now = {tab.properties.sheet_id: read_closed(tab.protected_ranges) for tab in book.sheets}
        self._hidden = {id_: closed for id_, closed in now.items() if closed}
        return await self._refused(write, error.failure)

    async def _refused(self, write: Write, failure: Failure) -> RetryLater | None:
        """Looks again: did it land all the same, did the sheet change, or does Google not take what is in it?"""
        self._seen = await self._look()
        if any(share.tab not in self._seen for share in write.shares):
            return self._changed()
        if any(share.guard in self._seen[share.tab].view.guards for share in write.shares):
            return None
        same = all(share.view.same_ground(self._seen[share.tab].view) for share in write.shares)
        if failure.trouble is Trouble.CONFLICT or not same:
            return self._changed()
        verdict = self._memory.narrowing.refused(write.rows)
        if verdict is Verdict.EVERYTHING:
            raise CallFailed(replace(failure, trouble=Trouble.BROKEN, fix=failure.fix or REFUSED_FIX))
        if verdict is Verdict.POISON and not write.everybody:
            return RetryLater(failure.reason)
        if verdict is Verdict.POISON and failure.trouble is Trouble.PROTECTED:
            self._ledger.block(write.everybody[:1], PROTECTED_AGAIN)
        elif verdict is Verdict.POISON:
            self._ledger.reject(write.everybody[0], failure.reason)
        return None

    def _give_up(self, error: CallFailed) -> RetryLater:
        """The outcome of what is left; raises `SinkBroken` when a person must act and nothing was applied."""
        failure = error.failure
        if failure.trouble is Trouble.THROTTLED:
            return RetryLater(failure.reason, after=self._calls.pause(error), counts=False)
        if failure.trouble not in {Trouble.BROKEN, Trouble.EMPTIED}:
            return RetryLater(failure.reason, after=self._calls.asked(error))
        if self._landed:
            return RetryLater(failure.reason, counts=False)
        raise SinkBroken(failure.reason, failure.fix, until_person=failure.trouble is Trouble.EMPTIED)
