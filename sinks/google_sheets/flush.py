"""One flush: look, then write and settle, part by part, until everything that is due stands in the sheet.

A write is prepared from one view, noted, sent, and proven by the key column in its own reply, which is the next view.
Whatever else comes back, the guard tells with the next read whether it landed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace

from connector.sink import Context, RetryLater, SinkBroken, Wait
from sinks.google_sheets import batch, settle
from sinks.google_sheets.batch import Write
from sinks.google_sheets.calls import READ, WRITE, Calls
from sinks.google_sheets.columns import add_columns
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import CallFailed, Failure, Trouble, unreadable
from sinks.google_sheets.ledger import MOVED, Ledger
from sinks.google_sheets.look import Look, look, understand
from sinks.google_sheets.narrowing import Narrowing, Verdict
from sinks.google_sheets.plan import Limits, Part, key_rows, sort_out, take_part, zone_of
from sinks.google_sheets.polish import Wardrobe, polish
from sinks.google_sheets.reading import View, read_view
from sinks.google_sheets.replies import Book
from sinks.table import KEY

FRESH = 5_000
"""Milliseconds for which a reply may serve as the read of a flush that only inserts."""
CONFLICTS = 4
"""Refusals because the sheet changed meanwhile, in one flush, before it waits a little."""
CHANGING = RetryLater("the sheet is being changed", after=1.0, counts=False)
REFUSED_FIX = "look at the tab: Google takes no change to it; see docs/google-sheets.md, Troubleshooting"


@dataclass(slots=True)
class Memory:
    """What a sink knows between two flushes without having to: lost in a restart, and nothing is wrong."""

    recent: Look | None = None
    recent_at: int = 0
    narrowing: Narrowing = field(default_factory=Narrowing)
    wardrobe: Wardrobe = field(default_factory=Wardrobe)


class Flush:
    """One call of `deliver`. `run` may raise `Wait` or `SinkBroken`, both before anything was applied."""

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
        self._seen: Look

    async def run(self) -> RetryLater:
        """Does all that can be done; gives the outcome of what is left."""
        try:
            self._seen = await self._begin()
            while (write := await self._calls.think(self._next_write)) is not None:
                if (rest := await self._send(write)) is not None:
                    return rest
        except CallFailed as error:
            return self._give_up(error)
        except Wait as wait:
            if not self._calls.sent:
                raise
            return RetryLater("no quota left", after=wait.seconds, counts=False)
        if not self._ledger.tab.moving:
            self._memory.recent, self._memory.recent_at = self._seen, self._context.now()
            seen = [(self._seen.view, self._seen.layout)]
            await polish(self._calls, seen, self._config, self._memory.wardrobe)
        return CHANGING

    async def _begin(self) -> Look:
        recent, self._memory.recent = self._memory.recent, None
        if recent is not None and self._serves(recent):
            await self._calls.reserve(WRITE)
            return recent
        await self._calls.reserve(READ, WRITE)
        return await self._look()

    def _serves(self, recent: Look) -> bool:
        """Whether a reply of a moment ago is good enough: new rows can be put below others without harm."""
        fresh = self._context.now() - self._memory.recent_at <= FRESH
        settled = recent.tab == self._ledger.tab and not self._ledger.intents and self._ledger.all_new
        return fresh and settled and key_rows(recent.view).keys().isdisjoint(self._ledger.open_keys)

    async def _look(self) -> Look:
        seen = await look(self._calls, self._config.worksheet, self._config.columns, self._ledger.tab)
        self._ledger.tab = seen.tab
        self._close_intents(seen.view)
        return seen

    def _close_intents(self, view: View) -> None:
        """Reads from the guards what became of the writes that are noted as under way, and whom they may have hit."""
        still_open = []
        for intent in self._ledger.intents:
            closed = settle.close_intent(intent, view, self._context.now())
            self._ledger.force(closed.force)
            self._ledger.mark_deleted(closed.deleted)
            if closed.moved:
                self._ledger.tab = replace(self._ledger.tab, moving=True)
            if closed.pending:
                still_open.append(intent)
        self._ledger.intents = tuple(still_open)

    def _next_write(self) -> Write | None:
        """The next batch, or `None` when nothing is left to write."""
        view, layout = self._seen.view, self._seen.layout
        nonce = secrets.token_hex(6)
        if view.exists and not layout.settled:
            return batch.tagging(view, layout, nonce)
        after, _ = add_columns(view, layout)
        due = sort_out(view, after, self._ledger.wanted(zone_of(view.zone)))
        self._ledger.deliver(due.idle, after)
        self._ledger.leave_deleted(due.deleted)
        if not due.changes and not due.inserts:
            return None
        part = take_part(due, after, self._limits()) if self._memory.narrowing.rows else Part()
        return batch.row_write(view, layout, part, nonce)

    def _limits(self) -> Limits:
        limits = replace(Limits(), rows=self._memory.narrowing.rows)
        return replace(limits, updates=1) if self._ledger.tab.moving else limits

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
        tab = self._ledger.tab
        tagged = () if write.part.rows else write.layout.untagged
        self._ledger.tab = replace(tab, doubtful=tab.doubtful.union(tagged))
        self._ledger.intents += (replace(write.intent, sent_at=self._context.now()),)
        await self._context.remember(self._ledger.new_notes())

    def _settle(self, write: Write, book: Book) -> RetryLater | None:
        """Takes from the reply what is proven. Goes on with it as the next read only if nothing moved."""
        view = read_view(book, write.view.sheet_id, write.layout.at.get(KEY))
        if view is None or (view.keys is None and KEY in write.layout.at):
            return self._unclear(write, CallFailed(unreadable()))
        self._landed = True
        settled = settle.settle(write, view)
        unproven = [wanted.key for wanted in settled.unproven]
        self._ledger.intents = ()  # those before it had the same number, and are refused from now on
        self._ledger.deliver(settled.proven, write.layout)
        self._ledger.retry(unproven, MOVED)
        self._ledger.force({*unproven, *settled.hit})
        self._ledger.tab = replace(self._ledger.tab, moving=not settled.clean)
        if not settled.clean:
            return MOVED
        self._seen = understand(view, self._config.columns, self._ledger.tab)
        self._ledger.tab = self._seen.tab
        self._memory.narrowing.taken(write.part.rows)
        return None if self._seen.layout.settled else self._changed()

    def _changed(self) -> RetryLater | None:
        """The sheet was changed between our read and our write: once more, but not for ever."""
        self._conflicts += 1
        return CHANGING if self._conflicts >= CONFLICTS else None

    async def _failed(self, write: Write, error: CallFailed) -> RetryLater | None:
        """After anything but a parsed 200: was it applied, and what next?"""
        failure = error.failure
        if failure.trouble in {Trouble.REFUSED, Trouble.CONFLICT}:
            return await self._refused(write, failure)
        if failure.trouble is not Trouble.UNCLEAR:
            self._ledger.intents = self._ledger.intents[:-1]
            raise error
        return self._unclear(write, error)

    def _unclear(self, write: Write, error: CallFailed) -> RetryLater:
        """Its intent stays: the next flush reads from the guard whether it landed."""
        reason, after = error.failure.reason, self._calls.asked(error)
        sent = [wanted.key for wanted in write.part.everybody]
        self._ledger.retry(sent, RetryLater(reason, after=after, unclear=True))
        return RetryLater(reason, after=after)

    async def _refused(self, write: Write, failure: Failure) -> RetryLater | None:
        """Looks again: did it land all the same, did the sheet change, or does Google not take what is in it?"""
        self._seen = await self._look()
        view = self._seen.view
        if write.guard in view.guards:
            return None
        if failure.trouble is Trouble.CONFLICT or not write.view.same_ground(view):
            return self._changed()
        verdict = self._memory.narrowing.refused(write.part.rows)
        if verdict is Verdict.EVERYTHING:
            raise CallFailed(replace(failure, trouble=Trouble.BROKEN, fix=REFUSED_FIX))
        if verdict is Verdict.POISON:
            self._ledger.reject(write.part.everybody[0], failure.reason)
        return None

    def _give_up(self, error: CallFailed) -> RetryLater:
        """The outcome of what is left; raises `SinkBroken` when a person must act and nothing was applied."""
        failure = error.failure
        if failure.trouble is Trouble.THROTTLED:
            return RetryLater(failure.reason, after=self._calls.pause(error), counts=False)
        if failure.trouble is not Trouble.BROKEN:
            return RetryLater(failure.reason, after=self._calls.asked(error))
        if self._landed:
            return RetryLater(failure.reason, counts=False)
        raise SinkBroken(failure.reason, failure.fix)
