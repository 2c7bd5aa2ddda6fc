"""The outcomes of a batch, as the key columns in replies prove them, and the notes to store. Pure."""

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
from sinks.google_sheets.config import POSITION, GoogleSheetsConfig
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
from sinks.google_sheets.write_planner import DueInterview, RowChange, TabWrite, row_key, sheet_cells
from sinks.spreadsheet.columns import KEY
from sinks.spreadsheet.values import CellValue

MOVED = RetryLater("rows moved", after=1.0, counts=False, destination_works=True)
"""Reason of a delivery whose row may contain values of another interview; the next flush writes it again."""
SOON = timedelta(seconds=1)
REPAIR = "repair"
"""Purpose of the follow-up that continues repairs when no interview is due."""
REWRITE = "rewrite"
"""Purpose of the follow-up that writes the row of an interview once more."""
RETRY_TAB = "tab"
"""Purpose of the follow-up that reads a tab again that waits for an operator; its subject is the tab's name."""
RETRY_TAB_DELAY = timedelta(seconds=300)
"""Delay until a tab that waits for an operator is read again, because a user may have restored it."""


@dataclass(slots=True)
class Entry:
    """One interview of the batch, and its tab. Without an outcome it is open."""

    interview: Interview
    note: RowNote | None
    tab: str
    remove: bool = False
    zone: tzinfo | None = None
    cells: Mapping[str, CellValue] = field(default_factory=dict)
    outcome: Outcome | None = None


def _of_refill(note: RowNote | None, refills: int) -> RowNote | None:
    """Returns the note of a row. A note from before the last refill forces a full write."""
    return note if note is None or note.refills == refills else replace(note, force=True)


class BatchOutcomes:
    """Keeps every delivery open until a reply proves its row. `tabs`, `intents` and `work` may be changed and are
    stored as notes; `tabs` contains those that `load` was given. `hit` are ids of rows outside of the batch that may
    contain values of others; `mark_hit` stores that.
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
            self._notes[name] = None  # the key of the row to write again is not an interview

    @property
    def names(self) -> Sequence[str]:
        """Returns the tabs of the batch, those with an unclear write, and those with pending repairs."""
        concerned = [entry.tab for entry in self._entries.values()]
        asks = sorted(self.work.asks) if self._is_answered else []
        under_way = (intent.tab for intent in self.intents)
        again = [delivery.key for delivery in self._deliveries if delivery.purpose == RETRY_TAB]
        return list(dict.fromkeys([*concerned, *under_way, *sorted(self.work.tabs), *asks, *again]))

    def load(self, notes: Mapping[str, Note]) -> None:
        """Loads the notes of the tabs that `names` returned."""
        self.add(self.names, notes)

    def add(self, names: Iterable[str], notes: Mapping[str, Note]) -> None:
        """Adds further tabs."""
        found = {name: read_tab_note(notes.get(tab_name(name))) for name in names}
        self.tabs |= found
        self._kept_tabs |= found

    def titles(self) -> dict[str, str]:
        """Returns the titles of the tabs, for those that have to be made."""
        interviews = {entry.tab: entry.interview for entry in self._entries.values()}  # one for each tab
        called = {name: title_of(interview, self._config.worksheet) for name, interview in interviews.items()}
        fallback = self._config.worksheet.replace(POSITION, OTHER)
        known = {name: tab.title for name, tab in self.tabs.items() if tab.title}
        return {name: called.get(name) or known.get(name, fallback) for name in self.names}

    @property
    def open_keys(self) -> Sequence[str]:
        return [key for key, entry in self._entries.items() if entry.outcome is None]

    @property
    def all_new(self) -> bool:
        """Whether no row has a note, so that all rows are new."""
        return all(entry.note is None for entry in self._entries.values())

    def wanted(self, tab: str, zone: tzinfo) -> list[DueInterview]:
        """Returns the open interviews of a tab, with their cells for a spreadsheet in `zone`."""
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
            columns, words = self._config.columns, self._config.words
            entry.cells = sheet_cells(entry.interview, columns, zone, words, clear=clear, empty=entry.remove)
        return entry.cells

    def deliver(self, done: Iterable[DueInterview], layout: Layout) -> None:
        """Settles interviews whose rows have the due values."""
        for wanted in done:
            entry = self._entries[wanted.key]
            if entry.remove:
                self._empty(entry, wanted)
                continue
            applied, refills = self._applied(entry, wanted, layout), self.tabs[entry.tab].refills
            self._settle(entry, Delivered(), RowNote(applied, tab=entry.tab, refills=refills, dated=wanted.dated))

    def _applied(self, entry: Entry, wanted: DueInterview, layout: Layout) -> Mapping[str, CellValue]:
        """Returns the values that the row has now. Protected cells keep their old values."""
        old = {} if wanted.in_full or wanted.note is None else wanted.note.applied or {}
        due = {name: value for name, value in wanted.cells.items() if name in layout.at and name != KEY}
        if any(old.get(name) != due[name] for name in wanted.protected if name in due):
            self.skip(entry.tab)
        return {**old, **{name: value for name, value in due.items() if name not in wanted.protected}}

    def skip(self, tab: str) -> None:
        """Marks a tab with cells that cannot be written, and asks for a verification that reports it."""
        if tab not in self.work.skipped:
            self.work = replace(self.work, skipped=self.work.skipped | {tab}, verify=True)

    def doubt_deletions(self, tab: str) -> None:
        """Marks a tab in which the sink may have written an id over that of another row, and asks for a verification
        that finds rows without their id.
        """
        self.tabs[tab] = replace(self.tabs[tab], ids_overwritten=True)
        self.work = replace(self.work, verify=True)

    def may_have_overwritten_ids(self, tab: str) -> bool:
        """Whether a missing row of this tab may be the result of a write of the sink."""
        return self.tabs[tab].ids_overwritten or any(each.restores for each in self.intents if each.tab == tab)

    def wait_for_operator(self, tab: str, reason: str) -> None:
        """Makes the interviews of this tab wait until an operator acts. Those of other tabs do not wait."""
        outcome = Waiting(tab_name(tab), reason)
        self._unavailable.add(tab)
        for entry in self._entries.values():
            if entry.tab == tab and entry.outcome is None:
                entry.outcome = outcome
        if self.may_have_overwritten_ids(tab):
            self.doubt_deletions(tab)
        # pending repairs of the tab are found again when it is restored
        self.tabs[tab] = replace(self.tabs[tab], stray_values=frozenset(), lost=frozenset(), undo=frozenset())
        self.intents = tuple(intent for intent in self.intents if intent.tab != tab)
        if tab not in self.work.asks:
            self.work = replace(self.work, asks=self.work.asks | {tab}, verify=True)

    def mark_available(self, tabs: Iterable[str]) -> None:
        """Marks tabs that exist and can be written."""
        tabs = set(tabs)
        self._available |= tabs
        back = self.work.asks.intersection(tabs)
        if back:
            self.work = replace(self.work, asks=self.work.asks - back, verify=True)

    def block(self, wanted: Iterable[DueInterview], outcome: Outcome) -> None:
        """Settles interviews that protected cells do not allow to be written at all."""
        for each in wanted:
            entry = self._entries[each.key]
            entry.outcome = outcome
            self.skip(entry.tab)

    def _empty(self, entry: Entry, wanted: DueInterview) -> None:
        """Records that the row is empty except for the id. The interview is open until the id is removed, too."""
        empty = {name: None for name in wanted.cells if name != KEY}
        self._note(entry, RowNote(empty, tab=entry.tab, refills=self.tabs[entry.tab].refills))

    def removed(self, gone: Iterable[DueInterview]) -> None:
        """Settles interviews of which the sheet contains nothing any more."""
        for wanted in gone:
            entry = self._entries[wanted.key]
            entry.outcome, entry.note = Delivered(), None
            self._notes[row_name(entry.interview.id)] = None

    def leave_deleted(self, gone: Iterable[DueInterview]) -> None:
        """Settles interviews whose rows users deleted. The rows stay deleted and count as in sync."""
        for wanted in gone:
            entry = self._entries[wanted.key]
            note = entry.note or RowNote(tab=entry.tab)
            refills = self.tabs[entry.tab].refills
            self._settle(entry, Delivered(), replace(note, force=False, gone=True, refills=refills))

    def forget_row(self, wanted: DueInterview) -> DueInterview:
        """Forgets a missing row, so that it is written again like a new one."""
        entry = self._entries[wanted.key]
        entry.note = None
        return replace(wanted, note=None, dated=True)

    def reject(self, wanted: DueInterview, reason: str) -> None:
        self._entries[wanted.key].outcome = Rejected(reason)

    def retry(self, keys: Iterable[str], outcome: RetryLater) -> None:
        for key in keys:
            self._entries[key].outcome = outcome

    def force(self, keys: Iterable[str]) -> None:
        """Forces a full write of rows that may contain values of others. Interviews of this batch are written within
        it.
        """
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
        """Records the new rows of an unclear write that was applied. A row that is missing now was deleted by users, or
        lost its id.
        """
        self._inserted |= dict.fromkeys(keys, tab)
        self.force(keys)

    def mark_hit(self, notes: Mapping[str, RowNote]) -> None:
        """Stores that the rows in `hit` must be written in full. A row without a note that was not `inserted` needs
        none: it is written in full anyway.
        """
        unformatted = {key: RowNote(tab=tab) for key, tab in self._inserted.items()}
        known = {key: note for key, note in {**unformatted, **notes}.items() if key in self.hit}
        forced = {row_name(key): replace(note, force=True, gone=False).encode() for key, note in known.items()}
        self._notes = {**forced, **self._notes}
        self.hit.clear()

    def apply(self, written: Mapping[str, Mapping[str, CellValue]]) -> None:
        """Records the values of rows after an unclear write that was applied."""
        for key, cells in written.items():
            entry = self._entries.get(key)
            if entry is None or entry.note is None:
                self.force([key])
            else:
                self._note(entry, replace(entry.note, applied={**(entry.note.applied or {}), **cells}))

    def keep(self, notes: Mapping[str, Note | None]) -> None:
        """Adds notes; `None` deletes one."""
        self._notes.update(notes)

    def holds(self, key: str) -> bool:
        """Whether the interview is in this batch."""
        return key in self._entries

    def call_again(self, keys: Iterable[str]) -> None:
        """Asks for another delivery of these interviews."""
        self._again.update(keys)

    def verify_in(self, delay: timedelta) -> None:
        """Asks for a verification; the earliest request counts."""
        self._calls[VERIFY] = min(delay, self._calls.get(VERIFY, delay))

    def _settle(self, entry: Entry, outcome: Outcome, note: RowNote) -> None:
        entry.outcome = outcome
        self._note(entry, note)

    def _note(self, entry: Entry, note: RowNote) -> None:
        if note != entry.note:
            entry.note = note
            self._notes[row_name(entry.interview.id)] = note.encode()

    def new_notes(self) -> Mapping[str, Note | None]:
        """Returns the notes that changed since the last call."""
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
        """Returns the result of the batch; `otherwise` is the outcome of open deliveries."""
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
            # not read: without a further follow-up the waiting interviews would be due again
            return replace(otherwise, counts=False) if isinstance(otherwise, RetryLater) else otherwise
        if delivery.purpose == REPAIR and isinstance(otherwise, RetryLater) and self.work.tabs:
            return replace(otherwise, counts=False)  # continues until everything is repaired
        return Delivered()

    def _repairs_wait(self, otherwise: Outcome) -> bool:
        """Whether the follow-up for repairs already has the delay of the whole flush."""
        called = any(delivery.purpose == REPAIR for delivery in self._deliveries)
        return called and isinstance(otherwise, RetryLater)


LATEST_MS = 600_000
"""A request is not executed after this time; Google stops it after 180 seconds (Usage limits)."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The result of a write. `clean`: no row moved, so all values are in their rows. `hit` are the keys whose rows may
    contain values of another interview, `stray_values` are those values, and `undo` are ids that may be in a wrong row,
    perhaps over one of the `lost`. The sheet contains nothing of the `removed`.
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
    """Compares the key column with the expected one. If they differ, it compares row by row."""
    chunk = tab_write.chunk
    if list(after.keys or ()) == list(tab_write.keys):
        return Settled(clean=True, proven=chunk.written, removed=chunk.removals)
    moved = [change for change in chunk.changes if _key_at(after, change.row) != change.key]
    hit = frozenset(key for change in moved if is_text(key := _key_at(after, change.row)))
    there = after.key_rows
    safe = {change.key for change in chunk.changes} - {change.key for change in moved}
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
        stray_values=_cells(moved),
        undo=undo,
        lost=frozenset(tab_write.view.key_rows.keys() - there.keys()) if undo else frozenset(),
        removed=[wanted for wanted in chunk.removals if wanted.key not in there],
    )


def _cells(moved: Iterable[RowChange | PlannedUpdate]) -> frozenset[StrayValue]:
    return frozenset(StrayValue(*cell) for change in moved for cell in change.cells.items())


def is_text(key: str) -> bool:
    """Whether the text of a key cell may be an id."""
    return bool(key) and not key.startswith(NOT_TEXT)


def _key_at(view: TabView, row: int) -> str:
    keys = view.keys or ()
    return keys[row].strip() if row < len(keys) else ""


@dataclass(frozen=True, slots=True)
class ClosedIntent:
    """The outcome of an unclear write after a read. `pending`: it is not applied and still may be. `force`: rows to
    write again in full. `inserted`: its new rows, which may be missing again. `applied` are the values that rows have
    because of it. `stray_values` and `undo` as for `Settled`; `lost` is empty, because the previous content of the rows
    is unknown.
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
    """Reads from the guard whether an unclear write was applied, and which rows it may have overwritten. A write that
    was not applied is refused after another write used its number. `now` is epoch milliseconds.
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
