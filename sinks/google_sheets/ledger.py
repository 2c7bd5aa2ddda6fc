"""What became of each delivery of a batch, and the notes to keep. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo

from connector.sink import Batch, Delivered, Delivery, Interview, Note, Outcome, Rejected, Result, RetryLater
from sinks.google_sheets.columns import Layout
from sinks.google_sheets.notes import (
    INTENT,
    TAB,
    Intent,
    RowNote,
    TabNote,
    read_intents,
    read_row_note,
    read_tab_note,
    row_name,
    write_intents,
)
from sinks.google_sheets.plan import Wanted, row_key, sheet_cells
from sinks.table import KEY, CellValue, Column

MOVED = RetryLater("rows moved", after=1.0, counts=False)
"""The row may hold the values of another interview; the next flush writes it again."""


@dataclass(slots=True)
class Entry:
    """One interview of the batch; without an outcome it is still open."""

    interview: Interview
    note: RowNote | None
    cells: Mapping[str, CellValue] | None = None
    outcome: Outcome | None = None


class Ledger:
    """Keeps every delivery open until a reply proves its row. `tab` and `intents` may be set and are kept as notes."""

    def __init__(self, batch: Batch, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._deliveries = batch.deliveries
        self._entries: dict[str, Entry] = {}
        self._notes: dict[str, Note | None] = {}
        self._again: dict[str, timedelta] = {}
        self._zone: tzinfo | None = None
        self.tab: TabNote = read_tab_note(batch.notes.get(TAB))
        self.intents: tuple[Intent, ...] = read_intents(batch.notes.get(INTENT))
        self._kept = (self.tab, self.intents)
        for delivery in batch.deliveries:
            self._enter(delivery, batch.notes)

    def _enter(self, delivery: Delivery, notes: Mapping[str, Note]) -> None:
        interview, name = delivery.interview, row_name(delivery.key)
        if interview is not None and interview.id == delivery.key:
            self._entries[row_key(delivery.key)] = Entry(interview, read_row_note(notes.get(name)))
        elif name in notes:
            self._notes[name] = None  # a row was to be written again whose key turned out to be no interview

    @property
    def open_keys(self) -> Sequence[str]:
        return [key for key, entry in self._entries.items() if entry.outcome is None]

    @property
    def all_new(self) -> bool:
        """Whether nothing is remembered of any row: then none should be there."""
        return all(entry.note is None for entry in self._entries.values())

    def wanted(self, zone: tzinfo) -> list[Wanted]:
        """What is still open, with its cells as a spreadsheet in `zone` holds them."""
        if zone != self._zone:
            self._zone = zone
            for entry in self._entries.values():
                entry.cells = sheet_cells(entry.interview, self._columns, zone)
        return [
            Wanted(key, entry.cells or {}, entry.note) for key, entry in self._entries.items() if entry.outcome is None
        ]

    def deliver(self, done: Iterable[Wanted], layout: Layout) -> None:
        """Their rows hold what is due."""
        for wanted in done:
            entry = self._entries[wanted.key]
            old = entry.note.applied if entry.note is not None else None
            now = {name: value for name, value in wanted.cells.items() if name in layout.at and name != KEY}
            self._settle(entry, Delivered(), RowNote({**(old or {}), **now}))

    def leave_deleted(self, gone: Iterable[Wanted]) -> None:
        """People deleted their rows; so they stay, and are in step."""
        for wanted in gone:
            entry = self._entries[wanted.key]
            self._settle(entry, Delivered(), replace(entry.note or RowNote(), force=False, gone=True))

    def reject(self, wanted: Wanted, reason: str) -> None:
        self._entries[wanted.key].outcome = Rejected(reason)

    def retry(self, keys: Iterable[str], outcome: RetryLater) -> None:
        for key in keys:
            self._entries[key].outcome = outcome

    def force(self, keys: Iterable[str]) -> None:
        """Their rows may hold values of others: they are written again in full, those of this batch still in it."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                self._notes[row_name(key)] = RowNote(force=True).encode()
                self._again[key] = timedelta(0)
            else:
                self._note(entry, replace(entry.note or RowNote(), force=True, gone=False))

    def mark_deleted(self, keys: Iterable[str]) -> None:
        """Their rows were written and are gone: people deleted them before this was known."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                self._notes[row_name(key)] = RowNote(gone=True).encode()
            else:
                self._note(entry, replace(entry.note or RowNote(), gone=True))

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
        tab, intents = self._kept
        if self.tab != tab:
            notes[TAB] = self.tab.encode()
        if self.intents != intents:
            notes[INTENT] = write_intents(self.intents)
        self._kept = (self.tab, self.intents)
        return notes

    def result(self, otherwise: Outcome) -> Result:
        """The answer to the dispatcher; `otherwise` for what is still open."""
        outcomes = [self._outcome(delivery, otherwise) for delivery in self._deliveries]
        return Result(outcomes, self.new_notes(), self._again)

    def _outcome(self, delivery: Delivery, otherwise: Outcome) -> Outcome:
        if delivery.interview is None or delivery.interview.id != delivery.key:
            return Delivered()
        return self._entries[row_key(delivery.key)].outcome or otherwise
