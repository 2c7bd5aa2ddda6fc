"""Notes are read as they were written, also those of earlier versions."""

from __future__ import annotations

import pytest

from sinks.google_sheets.api_replies import Block
from sinks.google_sheets.sheet_view import Guard, ProtectedBlock, ProtectedCells
from sinks.google_sheets.state import (
    Intent,
    PendingWork,
    PlannedUpdate,
    RowNote,
    StrayValue,
    TabNote,
    read_intents,
    read_pending_work,
    read_row_note,
    read_tab_note,
    write_intents,
)

ROW = RowNote({"stage": "Shortlisted", "score": 4.5}, force=True, tab="p1", refills=2, dated=True)
TAB = TabNote(
    7,
    seen=True,
    fields=frozenset({"stage"}),
    protected=ProtectedCells((ProtectedBlock(Block(1, 2, 0, None)),)),
    moving=True,
    header=2,
    count=11,
    zone="UTC",
    stray_values=frozenset({StrayValue("stage", "Pending")}),
    lost=frozenset({"a"}),
    ids_overwritten=True,
    refills=1,
    title="Interviews",
)
INTENT = Intent(Guard(3, "nonce"), "digest", (PlannedUpdate(4, "a", {"stage": "Pending"}),), ("b",), 9, "p1", ("c",))
WORK = PendingWork(frozenset({"p1"}), verify=True, rounds=1, skipped=frozenset({"p2"}), asks=frozenset({"p3"}))


def test_every_note_is_read_back():
    assert read_row_note(ROW.encode()) == ROW
    assert read_tab_note(TAB.encode()) == TAB
    assert read_intents(write_intents([INTENT])) == (INTENT,)
    assert read_pending_work(WORK.encode()) == WORK


@pytest.mark.parametrize("note", [ROW.encode(), TAB.encode(), write_intents([INTENT]), WORK.encode()])
def test_every_note_carries_its_version(note):
    assert note["v"] == 1


def test_a_row_note_without_a_version_had_its_values_under_v():
    earlier = {"v": {"stage": "Shortlisted", "score": 4.5}, "force": True, "tab": "p1", "era": 2, "dated": True}
    assert read_row_note(earlier) == ROW


def test_a_row_note_without_a_version_and_values_is_read():
    assert read_row_note({"v": {}, "gone": True}) == RowNote({}, gone=True)


def test_a_tab_note_without_a_version_is_read():
    earlier = {
        "id": 7,
        "seen": True,
        "moving": False,
        "zone": "UTC",
        "fields": ["stage"],
        "suspects": [["stage", None]],
    }
    expected = TabNote(7, seen=True, zone="UTC", fields=frozenset({"stage"}), stray_values=frozenset({("stage", None)}))
    assert read_tab_note(earlier) == expected


def test_intents_without_a_version_are_read():
    earlier = {
        "guard": [3, "nonce"],
        "keys": "digest",
        "aims": [[4, "a", {"stage": "Pending"}]],
        "inserts": ["b"],
        "sent_at": 9,
        "tab": "p1",
        "restores": ["c"],
    }
    assert read_intents({"open": [earlier]}) == (INTENT,)


def test_pending_work_without_a_version_is_read():
    assert read_pending_work({"tabs": ["p1"], "verify": True, "rounds": 0}) == PendingWork(
        frozenset({"p1"}), verify=True
    )
