"""The state of the sink's tabs, and the notes that store it. Pure.

| note | holds |
|---|---|
| `tab`, `tab:<position>` | a tab's id, the fields that have a tag, what is left to repair in it |
| `intent` | the writes that are under way: their guards, and what they aim at which row of which tab |
| `row:<interview>` | the values last applied to the row, and its tab; whether to rewrite it, whether it was deleted |
| `work` | the tabs with something to repair, and whether everything is to be verified |
| `verify` | the last report |
| `asked` | when an operator last asked for a verification |
| `resume` | the choice of the operator who resumed the sink |

Some stored names differ from those in the code, because notes of earlier releases have them: `id` (`sheet_id`), `era`
(`refills`) and `suspects` (`stray_values`) of a tab; `open` (all intents), `aims` (`updates`) of an intent; `v`
(`VERSION`, or the `applied` values of an old row).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from connector.sink import Note
from sinks.google_sheets.sheet_view import NOTHING_PROTECTED, Guard, ProtectedCells, TabView, decode_protected_cells
from sinks.spreadsheet.values import CellValue

VERSION = 1
"""Version of the notes, their field `v`."""
TAB = "tab"
INTENT = "intent"
WORK = "work"
RESUME = "resume"


def tab_name(tab: str) -> str:
    """Returns the note of a tab. The empty name is that of the only tab, or of the tab for interviews without a
    position.
    """
    return f"{TAB}:{tab}" if tab else TAB


def row_name(key: str) -> str:
    return f"row:{key}"


class StrayValue(NamedTuple):
    """A value of the sink that may be in a wrong row."""

    field: str
    value: CellValue


@dataclass(frozen=True, slots=True)
class TabNote:
    """The state of a tab. `sheet_id` is the tab's id, `None` before the first contact; until `seen` it may not exist.

    `fields` had a tag at the last read. `doubtful` fields got their tag by the text of a header that may have moved
    meanwhile. `protected` are cells that the sink may not edit. `moving`: rows moved during the last write, so write
    one update at a time. `header` is the row of the header, `count` the number of ids, and `zone` the time zone of the
    written dates. `stray_values` may be in wrong rows, `lost` are ids that are gone while their rows may still be
    there, `undo` ids that may have been put into a wrong row. `ids_overwritten`: the sink may have written an id over
    that of another row. Until a verification finds every row, a missing one does not count as deleted by users.
    `refills` counts the refills that an operator asked for. A row that was written before the last refill is written in
    full, and with `refill` also if it is gone. `adopt`: a tab with the same `title` may replace this one.
    """

    sheet_id: int | None = None
    seen: bool = False
    fields: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    protected: ProtectedCells = NOTHING_PROTECTED
    moving: bool = False
    header: int = 0
    count: int = 0
    zone: str = ""
    stray_values: frozenset[StrayValue] = frozenset()
    lost: frozenset[str] = frozenset()
    undo: frozenset[str] = frozenset()
    ids_overwritten: bool = False
    refill: bool = False
    adopt: bool = False
    refills: int = 0
    title: str = ""

    def restarted(self, sheet_id: int | None) -> TabNote:
        """Returns the note for another tab in its place, of which nothing is known."""
        return TabNote(sheet_id, refill=self.refill, refills=self.refills)

    def is_wanted_back(self, row: RowNote) -> bool:
        """Whether a missing row is written again: an operator asked for it, or the sink may have removed its id."""
        is_refilled = self.refill and row.refills != self.refills
        return is_refilled or (self.ids_overwritten and not row.gone)

    @property
    def in_repair(self) -> bool:
        """Whether the tab must be audited before its content is trusted."""
        return bool(self.stray_values or self.lost or self.undo)

    def encode(self) -> Note:
        note: dict[str, Any] = {
            "v": VERSION,
            "id": self.sheet_id,
            "seen": self.seen,
            "moving": self.moving,
            "zone": self.zone,
        }
        note |= {name: sorted(getattr(self, name)) for name in _SETS if getattr(self, name)}
        note |= {name: getattr(self, name) for name in _VALUES if getattr(self, name)}
        if self.refills:
            note["era"] = self.refills
        if self.protected:
            note["protected"] = self.protected.encode()
        if self.stray_values:
            note["suspects"] = sorted(self.stray_values, key=repr)
        return note


_VALUES = ("header", "count", "ids_overwritten", "refill", "adopt", "title")
_SETS = ("fields", "doubtful", "lost", "undo")


def read_tab_note(note: Note | None) -> TabNote:
    if note is None:
        return TabNote()
    return TabNote(
        sheet_id=note["id"],
        seen=note["seen"],
        moving=note["moving"],
        header=note.get("header", 0),
        count=note.get("count", 0),
        zone=note["zone"],
        protected=decode_protected_cells(note),
        stray_values=frozenset(StrayValue(*each) for each in note.get("suspects", ())),
        ids_overwritten=note.get("ids_overwritten", False),
        refill=note.get("refill", False),
        adopt=note.get("adopt", False),
        refills=note.get("era", 0),
        title=note.get("title", ""),
        **{name: frozenset(note.get(name, ())) for name in _SETS},
    )


@dataclass(frozen=True, slots=True)
class RowNote:
    """The state of a row. `applied` are its values after the last proven write, by field; `None`: unknown. `tab` is its
    tab, and `refills` that of the tab at the write. `force`: write every owned cell again. `gone`: users deleted the
    row. `dated`: the date cells among those applied have a number format.
    """

    applied: Mapping[str, CellValue] | None = None
    force: bool = False
    gone: bool = False
    tab: str = ""
    refills: int = 0
    dated: bool = False

    def encode(self) -> Note:
        marks = {name: True for name, on in (("force", self.force), ("gone", self.gone), ("dated", self.dated)) if on}
        tab: dict[str, Any] = {"tab": self.tab} if self.tab else {}
        tab |= {"era": self.refills} if self.refills else {}
        return {"v": VERSION, "applied": dict(self.applied or {}), **marks, **tab}


def read_row_note(note: Note | None) -> RowNote | None:
    if note is None:
        return None
    marks = note.get("force", False), note.get("gone", False)
    where = note.get("tab", ""), note.get("era", 0)
    applied = note["v"] if isinstance(note.get("v"), Mapping) else note.get("applied")
    return RowNote(applied or {}, *marks, *where, note.get("dated", False))


@dataclass(frozen=True, slots=True)
class PlannedUpdate:
    """An update of one row: its place, its key (`""`: a row without an id), and its values."""

    row: int
    key: str
    cells: Mapping[str, CellValue]


@dataclass(frozen=True, slots=True)
class Intent:
    """One write to one tab, stored before it is sent. `keys` is the digest of the key column after the write if no row
    moves; `restores` are the ids that are restored by row number. `sent_at` is epoch milliseconds.
    """

    guard: Guard
    keys: str
    updates: Sequence[PlannedUpdate] = ()
    inserts: Sequence[str] = ()
    sent_at: int = 0
    tab: str = ""
    restores: Sequence[str] = ()

    def landed(self, view: TabView) -> bool:
        """Whether the write was applied, by its nonce in the guards."""
        return self.guard in view.guards

    def encode(self) -> Note:
        updates = [[update.row, update.key, dict(update.cells)] for update in self.updates]
        return {
            "guard": list(self.guard),
            "keys": self.keys,
            "aims": updates,
            "inserts": list(self.inserts),
            "sent_at": self.sent_at,
            "tab": self.tab,
            "restores": list(self.restores),
        }


def write_intents(intents: Sequence[Intent]) -> Note | None:
    return {"v": VERSION, "open": [intent.encode() for intent in intents]} if intents else None


def read_intents(note: Note | None) -> tuple[Intent, ...]:
    return tuple(_intent(each) for each in note["open"]) if note is not None else ()


def _intent(note: Note) -> Intent:
    updates = tuple(PlannedUpdate(row, key, cells) for row, key, cells in note["aims"])
    guard, inserts, restores = Guard(*note["guard"]), tuple(note["inserts"]), tuple(note["restores"])
    return Intent(guard, note["keys"], updates, inserts, note["sent_at"], note["tab"], restores)


@dataclass(frozen=True, slots=True)
class PendingWork:
    """The work besides deliveries: tabs to audit, and whether to verify everything soon. `rounds` counts verifications
    in a row. `skipped` are tabs with cells that wait for the end of their protection, and `asks` are tabs that wait for
    a decision of an operator.
    """

    tabs: frozenset[str] = frozenset()
    verify: bool = False
    rounds: int = 0
    skipped: frozenset[str] = frozenset()
    asks: frozenset[str] = frozenset()

    def encode(self) -> Note | None:
        note: dict[str, Any] = {"v": VERSION, "tabs": sorted(self.tabs), "verify": self.verify, "rounds": self.rounds}
        note |= {name: sorted(getattr(self, name)) for name in ("skipped", "asks") if getattr(self, name)}
        return note if self.tabs or self.verify or self.skipped or self.asks else None


def read_pending_work(note: Note | None) -> PendingWork:
    if note is None:
        return PendingWork()
    skipped, asks = frozenset(note.get("skipped", ())), frozenset(note.get("asks", ()))
    return PendingWork(frozenset(note["tabs"]), note["verify"], note["rounds"], skipped, asks)


def digest(keys: Sequence[str]) -> str:
    """Returns a hash of a key column, for comparisons."""
    return sha256("\n".join(keys).encode()).hexdigest()[:32]
