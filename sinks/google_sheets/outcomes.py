"""Outcomes of the deliveries of a batch: what the key column in a reply proves, and the notes to keep. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta, tzinfo

from connector.capabilities import ERASE, VERIFY
from connector.sink import (
    Batch,
    Delivered,
    Delivery,
    FollowUp,
    Interview,
    Note,
    Outcome,
    Rejected,
    Result,
    RetryLater,
    Waiting,
)
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.sheet_view import NOT_TEXT, TabView
from sinks.google_sheets.state import (
    INTENT,
    RESUME,
    WORK,
    Intent,
    PendingWork,
    PlannedUpdate,
    RowNote,
    StrayValue,
    TabNote,
    digest,
    read_intents,
    read_pending_work,
    read_row_note,
    read_tab_note,
    row_name,
    tab_name,
    write_intents,
)
from sinks.google_sheets.tabs import OTHER, Layout, tab_of, title_of
from sinks.google_sheets.write_planner import Change, DueInterview, TabWrite, row_key, sheet_cells
from sinks.spreadsheet.columns import KEY
from sinks.spreadsheet.values import CellValue

MOVED = RetryLater("rows moved", after=1.0, counts=False)
"""The row may hold the values of another interview; the next flush writes it again."""
SOON = timedelta(seconds=1)
REPAIR = "repair"
"""Purpose of the follow-up that continues repairs when no interview is due."""
REWRITE = "rewrite"
"""Purpose of the follow-up that writes the row of an interview once more."""
RETRY_TAB = "tab"
"""Purpose of the follow-up that reads a tab again which waits for an operator; its subject is the tab's name."""
RETRY_TAB_DELAY = timedelta(seconds=300)
"""Until a tab that waits for an operator is read again: a user may have restored it."""


@dataclass(slots=True)
class Entry:
    """One interview of the batch, and its tab; without an outcome it is still open."""

    interview: Interview
    note: RowNote | None
    tab: str
    remove: bool = False
    zone: tzinfo | None = None
    cells: Mapping[str, CellValue] = field(default_factory=dict)
    outcome: Outcome | None = None


def _of_refill(note: RowNote | None, refills: int) -> RowNote | None:
    """The note of a row; a note from before the last refill forces a full write."""
    return note if note is None or note.refills == refills else replace(note, force=True)


class BatchOutcomes:
    """Keeps every delivery open until a reply proves its row.

    `tabs`, `intents` and `work` may be changed and are kept as notes; `tabs` has those that `load` was given. `hit` are
    ids of rows outside the batch that may hold values of others; `mark_hit` takes what is remembered of them.
    """

    def __init__(self, batch: Batch, config: GoogleSheetsConfig) -> None:
        self._config = config
        self._deliveries = batch.deliveries
        self._entries: dict[str, Entry] = {}
        self._notes: dict[str, Note | None] = {}
        self._again: set[str] = set()
        self._calls: dict[str, timedelta] = {}
        self.hit: set[str] = set()
        self._unavailable: set[str] = set()
        self._available: set[str] = set()
        self._inserted: dict[str, str] = {}
        self.verification: Outcome = Delivered()
        self.intents = read_intents(batch.notes.get(INTENT))
        self.work = read_pending_work(batch.notes.get(WORK))
        self._is_answered = RESUME in batch.notes
        self.tabs: dict[str, TabNote] = {}
        self._kept_tabs: dict[str, TabNote] = {}
        self._kept: tuple[tuple[Intent, ...], PendingWork] = (self.intents, self.work)
        for delivery in batch.deliveries:
            self._enter(delivery, batch.notes)

    def _enter(self, delivery: Delivery, notes: Mapping[str, Note]) -> None:
        interview, name = delivery.interview, row_name(delivery.key)
        if interview is not None and interview.id == delivery.key:
            note = read_row_note(notes.get(name))
            tab = tab_of(interview, self._config.worksheet) if note is None else note.tab
            self._entries[row_key(delivery.key)] = Entry(
                interview,
                note,
                tab,
                delivery.purpose == ERASE or self._config.removes(interview, unrouted=delivery.unrouted),
            )
        elif name in notes and delivery.purpose != RETRY_TAB:
            self._notes[name] = None  # a row was to be written again whose key turned out to be no interview

    @property
    def names(self) -> Sequence[str]:
        """The tabs that the batch is about, those with a write under way, and those with something to repair."""
        concerned = [entry.tab for entry in self._entries.values()]
        asks = sorted(self.work.asks) if self._is_answered else []
        under_way = (intent.tab for intent in self.intents)
        again = [delivery.key for delivery in self._deliveries if delivery.purpose == RETRY_TAB]
        return list(dict.fromkeys([*concerned, *under_way, *sorted(self.work.tabs), *asks, *again]))

    def load(self, notes: Mapping[str, Note]) -> None:
        """Gives it the notes of the tabs it named."""
        self.add(self.names, notes)

    def add(self, names: Iterable[str], notes: Mapping[str, Note]) -> None:
        """Takes further tabs into account."""
        found = {name: read_tab_note(notes.get(tab_name(name))) for name in names}
        self.tabs |= found
        self._kept_tabs |= found

    def titles(self) -> dict[str, str]:
        """What the tabs are called when they have to be made."""
        called = {entry.tab: title_of(entry.interview, self._config.worksheet) for entry in self._entries.values()}
        fallback = self._config.worksheet.replace("{position}", OTHER)
        known = {name: tab.title for name, tab in self.tabs.items() if tab.title}
        return {name: called.get(name) or known.get(name, fallback) for name in self.names}

    @property
    def open_keys(self) -> Sequence[str]:
        return [key for key, entry in self._entries.items() if entry.outcome is None]

    @property
    def all_new(self) -> bool:
        """Whether nothing is remembered of any row: then none should be there."""
        return all(entry.note is None for entry in self._entries.values())

    def wanted(self, tab: str, zone: tzinfo) -> list[DueInterview]:
        """What is still open in a tab, with its cells as a spreadsheet in `zone` holds them."""
        due = [(key, entry) for key, entry in self._entries.items() if entry.tab == tab and entry.outcome is None]
        refills = self.tabs[tab].refills
        return [self._wanted(key, entry, zone, refills) for key, entry in due]

    def _wanted(self, key: str, entry: Entry, zone: tzinfo, refills: int) -> DueInterview:
        note = _of_refill(entry.note, refills)
        is_dated = note is not None and note.refills == refills and note.dated
        return DueInterview(key, self._cells(entry, zone), note, entry.remove, dated=is_dated)

    def _cells(self, entry: Entry, zone: tzinfo) -> Mapping[str, CellValue]:
        if zone != entry.zone:
            entry.zone, clear = zone, self._config.on_delete == "clear"
            entry.cells = sheet_cells(entry.interview, self._config.columns, zone, clear=clear, empty=entry.remove)
        return entry.cells

    def deliver(self, done: Iterable[DueInterview], layout: Layout) -> None:
        """Their rows hold what is due."""
        for wanted in done:
            entry = self._entries[wanted.key]
            if entry.remove:
                self._empty(entry, wanted)
                continue
            applied, refills = self._applied(entry, wanted, layout), self.tabs[entry.tab].refills
            self._settle(entry, Delivered(), RowNote(applied, tab=entry.tab, refills=refills, dated=wanted.dated))

    def _applied(self, entry: Entry, wanted: DueInterview, layout: Layout) -> Mapping[str, CellValue]:
        """What the row holds now: cells that are closed hold what they held."""
        old = {} if wanted.in_full or wanted.note is None else wanted.note.applied or {}
        due = {name: value for name, value in wanted.cells.items() if name in layout.at and name != KEY}
        if any(old.get(name) != due[name] for name in wanted.protected if name in due):
            self.skip(entry.tab)
        return {**old, **{name: value for name, value in due.items() if name not in wanted.protected}}

    def skip(self, tab: str) -> None:
        """Something of this tab cannot be written; a verification reports it soon."""
        if tab not in self.work.skipped:
            self.work = replace(self.work, skipped=self.work.skipped | {tab}, verify=True)

    def wait_for_operator(self, tab: str, reason: str) -> None:
        """An operator must act before this tab can be written: its interviews wait, those of other tabs do not."""
        outcome = Waiting(tab_name(tab), reason)
        self._unavailable.add(tab)
        for entry in self._entries.values():
            if entry.tab == tab and entry.outcome is None:
                entry.outcome = outcome
        # what is left to repair in it is found again once it is back
        self.tabs[tab] = replace(self.tabs[tab], stray_values=frozenset(), lost=frozenset(), undo=frozenset())
        self.intents = tuple(intent for intent in self.intents if intent.tab != tab)
        if tab not in self.work.asks:
            self.work = replace(self.work, asks=self.work.asks | {tab}, verify=True)

    def mark_available(self, tabs: Iterable[str]) -> None:
        """These tabs exist and can be written."""
        tabs = set(tabs)
        self._available |= tabs
        back = self.work.asks.intersection(tabs)
        if back:
            self.work = replace(self.work, asks=self.work.asks - back, verify=True)

    def block(self, wanted: Iterable[DueInterview], outcome: Outcome) -> None:
        """Protected cells do not let them be written at all."""
        for each in wanted:
            entry = self._entries[each.key]
            entry.outcome = outcome
            self.skip(entry.tab)

    def _empty(self, entry: Entry, wanted: DueInterview) -> None:
        """Its row is empty now, but for the id; it stays open until that is gone too."""
        empty = {name: None for name in wanted.cells if name != KEY}
        self._note(entry, RowNote(empty, tab=entry.tab, refills=self.tabs[entry.tab].refills))

    def removed(self, gone: Iterable[DueInterview]) -> None:
        """Nothing of them is left in the sheet."""
        for wanted in gone:
            entry = self._entries[wanted.key]
            entry.outcome, entry.note = Delivered(), None
            self._notes[row_name(entry.interview.id)] = None

    def leave_deleted(self, gone: Iterable[DueInterview]) -> None:
        """Users deleted their rows; so they stay, and are in sync."""
        for wanted in gone:
            entry = self._entries[wanted.key]
            note = entry.note or RowNote(tab=entry.tab)
            refills = self.tabs[entry.tab].refills
            self._settle(entry, Delivered(), replace(note, force=False, gone=True, refills=refills))

    def forget_row(self, wanted: DueInterview) -> DueInterview:
        """Its row is gone and is to be written again, as if it had never been there."""
        entry = self._entries[wanted.key]
        entry.note = None
        return replace(wanted, note=None, dated=True)

    def reject(self, wanted: DueInterview, reason: str) -> None:
        self._entries[wanted.key].outcome = Rejected(reason)

    def retry(self, keys: Iterable[str], outcome: RetryLater) -> None:
        for key in keys:
            self._entries[key].outcome = outcome

    def force(self, keys: Iterable[str]) -> None:
        """Their rows may hold values of others: they are written again in full, those of this batch still in it."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                self.hit.add(key)
                self._again.add(key)
            else:
                self._note(entry, replace(entry.note or RowNote(tab=entry.tab), force=True, gone=False))
                if isinstance(entry.outcome, Delivered):
                    self._again.add(key)

    def inserted(self, keys: Iterable[str], tab: str) -> None:
        """New rows of a write whose outcome was not recorded were there: what is not there any more users took out,
        or only its id.
        """
        self._inserted |= dict.fromkeys(keys, tab)
        self.force(keys)

    def mark_hit(self, notes: Mapping[str, RowNote]) -> None:
        """Keeps that the rows which were `hit` are to be written in full. One that nothing is remembered of, and that
        was not `inserted`, needs no note: it is written in full if it is an interview's.
        """
        unformatted = {key: RowNote(tab=tab) for key, tab in self._inserted.items()}
        known = {key: note for key, note in {**unformatted, **notes}.items() if key in self.hit}
        forced = {row_name(key): replace(note, force=True, gone=False).encode() for key, note in known.items()}
        self._notes = {**forced, **self._notes}
        self.hit.clear()

    def apply(self, written: Mapping[str, Mapping[str, CellValue]]) -> None:
        """A write whose outcome was not recorded landed: that is what these rows hold now."""
        for key, cells in written.items():
            entry = self._entries.get(key)
            if entry is None or entry.note is None:
                self.force([key])
            else:
                self._note(entry, replace(entry.note, applied={**(entry.note.applied or {}), **cells}))

    def keep(self, notes: Mapping[str, Note | None]) -> None:
        """Further notes; `None` deletes one."""
        self._notes.update(notes)

    def holds(self, key: str) -> bool:
        """Whether the interview is in this batch."""
        return key in self._entries

    def call_again(self, keys: Iterable[str]) -> None:
        """These interviews are to be delivered once more."""
        self._again.update(keys)

    def verify_in(self, delay: timedelta) -> None:
        """Asks for the call that verifies; the earliest counts."""
        self._calls[VERIFY] = min(delay, self._calls.get(VERIFY, delay))

    def _settle(self, entry: Entry, outcome: Outcome, note: RowNote) -> None:
        entry.outcome = outcome
        self._note(entry, note)

    def _note(self, entry: Entry, note: RowNote) -> None:
        if note != entry.note:
            entry.note = note
            self._notes[row_name(entry.interview.id)] = note.encode()

    def new_notes(self) -> Mapping[str, Note | None]:
        """The notes that changed since they were last asked for."""
        notes, self._notes = self._notes, {}
        for name, tab in self.tabs.items():
            if tab != self._kept_tabs.get(name):
                notes[tab_name(name)] = tab.encode()
        self._kept_tabs = dict(self.tabs)
        repairing = {name for name, tab in self.tabs.items() if tab.in_repair}
        self.work = replace(self.work, tabs=self.work.tabs.difference(self.tabs).union(repairing))
        intents, work = self._kept
        if self.intents != intents:
            notes[INTENT] = write_intents(self.intents)
        if self.work != work:
            notes[WORK] = self.work.encode()
        self._kept = (self.intents, self.work)
        return notes

    def result(self, otherwise: Outcome) -> Result:
        """The answer to the dispatcher; `otherwise` for what is still open."""
        notes = self.new_notes()
        outcomes = [self._outcome(delivery, otherwise) for delivery in self._deliveries]
        if self.work.tabs and not self._repairs_wait(otherwise):
            self._calls[REPAIR] = SOON
        if self.work.verify:
            self.verify_in(SOON)
        rewrites = [FollowUp(REWRITE, interview=key) for key in sorted(self._again)]
        retries = [
            FollowUp(RETRY_TAB, RETRY_TAB_DELAY, subject=tab, group=tab_name(tab)) for tab in sorted(self._unavailable)
        ]
        return Result(outcomes, notes, [*rewrites, *retries, *(FollowUp(*each) for each in self._calls.items())])

    def _outcome(self, delivery: Delivery, otherwise: Outcome) -> Outcome:
        if delivery.interview is not None and delivery.interview.id == delivery.key:
            return self._entries[row_key(delivery.key)].outcome or otherwise
        if delivery.purpose == VERIFY:
            return self.verification
        if delivery.purpose == RETRY_TAB and delivery.key not in self._unavailable | self._available:
            # not read: without a further follow-up the interviews that wait would be delivered
            return replace(otherwise, counts=False) if isinstance(otherwise, RetryLater) else otherwise
        if delivery.purpose == REPAIR and isinstance(otherwise, RetryLater) and self.work.tabs:
            return replace(otherwise, counts=False)  # it goes on until everything is repaired
        return Delivered()

    def _repairs_wait(self, otherwise: Outcome) -> bool:
        """Whether the call for repairs is put off already, for as long as the whole flush is."""
        called = any(delivery.purpose == REPAIR for delivery in self._deliveries)
        return called and isinstance(otherwise, RetryLater)


LATEST_MS = 600_000
"""Milliseconds after which a request is not executed any more; Google stops after 180 seconds (Usage limits)."""


@dataclass(frozen=True, slots=True)
class Settled:
    """`clean`: nothing moved, so everything landed where it was aimed. `hit` are the keys whose rows may hold values
    of another interview, `stray_values` those values, and `undo` ids that may have been put into a wrong row, perhaps
    over one of the `lost`. Of those `removed` nothing is left.
    """

    clean: bool
    proven: Sequence[DueInterview]
    unproven: Sequence[DueInterview] = ()
    hit: frozenset[str] = frozenset()
    stray_values: frozenset[StrayValue] = frozenset()
    undo: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    removed: Sequence[DueInterview] = ()


def settle(tab_write: TabWrite, after: TabView) -> Settled:
    """Compares the whole key column with what it must be; where that fails, looks row by row."""
    chunk = tab_write.chunk
    if list(after.keys or ()) == list(tab_write.keys):
        return Settled(clean=True, proven=chunk.written, removed=chunk.removals)
    astray = [change for change in chunk.changes if _key_at(after, change.row) != change.key]
    hit = frozenset(key for change in astray if is_text(key := _key_at(after, change.row)))
    there = after.key_rows
    safe = {change.key for change in chunk.changes} - {change.key for change in astray}
    safe |= {wanted.key for wanted in chunk.inserts if wanted.key in there}
    proven: list[DueInterview] = []
    unproven: list[DueInterview] = []
    for wanted in chunk.written:
        (proven if wanted.key in safe and wanted.key not in hit else unproven).append(wanted)
    undo = frozenset(restore.key for restore in chunk.restores)
    return Settled(
        clean=False,
        proven=proven,
        unproven=unproven,
        hit=hit,
        stray_values=_cells(astray),
        undo=undo,
        lost=frozenset(tab_write.view.key_rows.keys() - there.keys()) if undo else frozenset(),
        removed=[wanted for wanted in chunk.removals if wanted.key not in there],
    )


def _cells(astray: Iterable[Change | PlannedUpdate]) -> frozenset[StrayValue]:
    return frozenset(StrayValue(*cell) for change in astray for cell in change.cells.items())


def is_text(key: str) -> bool:
    """Whether a key cell shows something that may be an id."""
    return bool(key) and not key.startswith(NOT_TEXT)


def _key_at(view: TabView, row: int) -> str:
    keys = view.keys or ()
    return keys[row].strip() if row < len(keys) else ""


@dataclass(frozen=True, slots=True)
class ClosedIntent:
    """What a read of the sheet makes of an open intent.

    `pending`: it has not landed and still may. `force`: rows to write again in full. `inserted`: new rows, whether they
    are still there or not. `applied` is what rows are known to hold by it. `stray_values` and `undo` as for `Settled`;
    `lost` is empty: the previous content of the rows is unknown.
    """

    landed: bool
    pending: bool = False
    moved: bool = False
    force: frozenset[str] = frozenset()
    inserted: frozenset[str] = frozenset()
    stray_values: frozenset[StrayValue] = frozenset()
    undo: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    applied: Mapping[str, Mapping[str, CellValue]] = field(default_factory=dict)


def close_intent(intent: Intent, view: TabView, now: int) -> ClosedIntent:
    """Reads from the guard whether an open write was applied, and which rows it may have overwritten.

    One that has not landed is refused permanently once another write used its number; `now` is epoch milliseconds.
    """
    if not intent.landed(view):
        young = now - intent.sent_at < LATEST_MS
        return ClosedIntent(landed=False, pending=young and view.newest_guard < intent.guard.number)
    inserted = frozenset(intent.inserts)
    if digest(view.keys or ()) == intent.keys:
        return ClosedIntent(
            landed=True,
            inserted=inserted,
            applied={update.key: update.cells for update in intent.updates if update.key},
        )
    at = {_key_at(view, update.row) for update in intent.updates} | {update.key for update in intent.updates}
    force = frozenset(key for key in at if is_text(key))
    stray_values, undo = _cells(intent.updates), frozenset(intent.restores)
    return ClosedIntent(landed=True, moved=True, force=force, inserted=inserted, stray_values=stray_values, undo=undo)
