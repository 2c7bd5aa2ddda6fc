"""Events, edits of users and faults in any order, over real HTTP: afterwards every row is correct and has its note."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault, FaultKind
from connector.testing import interview_id
from tests.sinks.google_sheets.conftest import TAB, person_of, scored

FLUSHES = 5
NOT_APPLIED = [faults.REFUSE, faults.HTML_503, Fault(FaultKind.STATUS, status=429, body="{}")]
UNCLEAR = [faults.DROP, faults.TRUNCATE, faults.BROKEN_JSON, faults.APPLY_503]


class Storm:
    """A harness, its users, and the expected content of the sheet."""

    def __init__(self, harness, seed):
        self.harness = harness
        self.chance = random.Random(seed)
        self.interviews = {}
        self.notes = {}

    def news(self):
        """Some new interviews, some with another score."""
        changed = []
        for number in self.chance.sample(range(1, 25), 6):
            known = self.interviews.get(number)
            now = person_of(number) if known is None else scored(known, self.chance.choice([1, 2.5, 4]))
            self.interviews[number] = now
            changed.append(now)
        return changed

    def act(self):
        """A user edits the tab."""
        person, rows = self.harness.person, len(self.harness.rows())
        acts = [
            lambda: person.shuffle(TAB, self.chance, rows - 1),
            lambda: person.sort(TAB, 0),
            lambda: person.insert_rows(TAB, self.chance.randrange(1, rows)),
            lambda: person.insert_columns(
                TAB, self.chance.randrange(self.harness.google.tab(self.harness.id, TAB).column_count)
            ),
            lambda: person.move_columns(TAB, self.chance.randrange(10), self.chance.randrange(10)),
            self.annotate,
        ]
        if rows > 2 and self.chance.random() < 0.6:
            self.chance.choice(acts)()

    def annotate(self):
        header = self.harness.google.header(self.harness.id, TAB)
        if "Notes" not in header:
            self.harness.person.insert_columns(TAB, 3)
            self.harness.person.edit(TAB, 0, 3, "Notes")
            header = self.harness.google.header(self.harness.id, TAB)
        records = self.harness.google.records(self.harness.id, TAB)
        row = self.chance.randrange(len(records))
        if (key := records[row].get("Interview ID")) and key not in self.notes:
            self.notes[key] = f"about {key}"
            self.harness.person.edit(TAB, row + 1, header.index("Notes"), self.notes[key])

    def check(self):
        records = self.harness.records()
        wanted = {each.id: (each.candidate_name, each.score) for each in self.interviews.values()}
        assert {key: (row["Candidate"], row["Score"]) for key, row in records.items()} == wanted
        assert {key: row["Notes"] for key, row in records.items() if row.get("Notes")} == self.notes


@pytest.mark.parametrize("seed", range(3))
async def test_edits_between_every_read_and_write_and_failing_calls(harness, seed):
    storm = Storm(harness, seed)
    await harness.settle(*storm.news())
    harness.google.after_read = harness.google.before_write = storm.act
    harness.google.faults.choose(lambda call: _one_in(storm.chance, 12, call, NOT_APPLIED))
    for _ in range(FLUSHES):
        await harness.settle(*storm.news(), rounds=200, is_edited=True)
    harness.google.after_read = harness.google.before_write = None
    harness.google.faults.clear()
    await harness.settle(*storm.interviews.values())
    storm.check()


@pytest.mark.parametrize("seed", range(4))
async def test_lost_answers_crashes_and_edits_between_the_flushes(harness, seed):
    storm = Storm(harness, seed)
    await harness.settle(*storm.news())
    harness.google.faults.choose(lambda call: _one_in(storm.chance, 4, call, UNCLEAR) if call == "write" else None)
    for _ in range(FLUSHES):
        news = storm.news()
        harness.context.clock.advance(20)
        kept, known = dict(harness.context.notes), len(harness.context.saved)
        await harness.deliver(*news)
        if storm.chance.random() < 0.3:  # a crash after the call: only what was remembered is left
            harness.context.notes = kept
            for notes in harness.context.saved[known:]:
                harness.context.apply(notes)
            await harness.restart()
        storm.act()
        await harness.settle(*news)
    harness.google.faults.clear()
    storm.check()


def _one_in(chance, number, call, kinds):
    return replace(chance.choice(kinds), match=call) if chance.randrange(number) == 0 else None


async def test_an_interview_keeps_its_row_through_everything(harness):
    await harness.show(person_of(1))
    for number in range(2, 8):
        harness.person.shuffle(TAB, random.Random(number), number - 1)
        await harness.settle(person_of(number), scored(person_of(1), number))
    assert harness.records()[interview_id(1)]["Score"] == 7
    assert len(harness.records()) == 7
