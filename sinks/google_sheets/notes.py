"""What the sink remembers about its tab, and the notes it is kept in. Pure.

| note | holds |
|---|---|
| `tab` | the tab's id, the fields that have a tag, whether rows were seen to move |
| `intent` | the writes that are under way: their guards, and what they aim at which row |
| `row:<interview>` | the values last applied to the row; marks for a row to rewrite, and for one that people deleted |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from connector.sink import Note
from sinks.google_sheets.reading import Guard, View
from sinks.table import CellValue

TAB = "tab"
INTENT = "intent"


def row_name(key: str) -> str:
    return f"row:{key}"


@dataclass(frozen=True, slots=True)
class TabNote:
    """`sheet_id` is the tab's own id, `None` before the first contact; until `seen` it may not have been made yet.

    `fields` had a tag when last seen. `doubtful` got theirs by the text of a header that may have moved meanwhile.
    `moving`: rows moved under the last write, so go one update at a time.
    """

    sheet_id: int | None = None
    seen: bool = False
    fields: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    moving: bool = False

    def encode(self) -> Note:
        marks = {"seen": self.seen, "moving": self.moving}
        return {"id": self.sheet_id, "fields": sorted(self.fields), "doubtful": sorted(self.doubtful), **marks}


def read_tab_note(note: Note | None) -> TabNote:
    if note is None:
        return TabNote()
    fields, doubtful = frozenset(note["fields"]), frozenset(note["doubtful"])
    return TabNote(note["id"], note["seen"], fields, doubtful, note["moving"])


@dataclass(frozen=True, slots=True)
class RowNote:
    """`applied` is what a row holds by our last proven write, by field; `None`: nothing is known.

    `force`: write every owned cell again. `gone`: people deleted the row.
    """

    applied: Mapping[str, CellValue] | None = None
    force: bool = False
    gone: bool = False

    def encode(self) -> Note:
        marks = {name: True for name, on in (("force", self.force), ("gone", self.gone)) if on}
        return {"v": dict(self.applied or {}), **marks}


def read_row_note(note: Note | None) -> RowNote | None:
    if note is None:
        return None
    return RowNote(note.get("v") or {}, note.get("force", False), note.get("gone", False))


@dataclass(frozen=True, slots=True)
class Aim:
    """An update of one row: where it was sent, for whom, and what."""

    row: int
    key: str
    cells: Mapping[str, CellValue]


@dataclass(frozen=True, slots=True)
class Intent:
    """One write, noted before it is sent.

    `keys` is the digest of the key column as it must be afterwards, if nothing moved. `sent_at` is epoch milliseconds.
    """

    guard: Guard
    keys: str
    aims: Sequence[Aim] = ()
    inserts: Sequence[str] = ()
    sent_at: int = 0

    def landed(self, view: View) -> bool:
        """Whether the write was applied: only it knew its nonce."""
        return self.guard in view.guards

    def encode(self) -> Note:
        aims = [[aim.row, aim.key, dict(aim.cells)] for aim in self.aims]
        inserts = list(self.inserts)
        return {"guard": list(self.guard), "keys": self.keys, "aims": aims, "inserts": inserts, "sent_at": self.sent_at}


def write_intents(intents: Sequence[Intent]) -> Note | None:
    return {"open": [intent.encode() for intent in intents]} if intents else None


def read_intents(note: Note | None) -> tuple[Intent, ...]:
    return tuple(_intent(each) for each in note["open"]) if note is not None else ()


def _intent(note: Note) -> Intent:
    aims = tuple(Aim(row, key, cells) for row, key, cells in note["aims"])
    return Intent(Guard(*note["guard"]), note["keys"], aims, tuple(note["inserts"]), note["sent_at"])


def digest(keys: Sequence[str]) -> str:
    """Tells whether two key columns are the same, without keeping one."""
    return sha256("\n".join(keys).encode()).hexdigest()[:32]
