"""Events, people and faults in any order, over real HTTP: when it rests, every row is right and every note is there."""

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
    """A desk, its people, and what must be true in the end."""

    def __init__(self, desk, seed):
        self.desk = desk
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
        """A person does something to the tab."""
        person, rows = self.desk.person, len(self.desk.rows())
        acts = [
            lambda: person.shuffle(TAB, self.chance, rows - 1),
            lambda: person.sort(TAB, 0),
            lambda: person.insert_rows(TAB, self.chance.randrange(1, rows)),
            lambda: person.insert_columns(
                TAB, self.chance.randrange(self.desk.google.tab(self.desk.id, TAB).column_count)
            ),
            lambda: person.move_columns(TAB, self.chance.randrange(10), self.chance.randrange(10)),
            self.annotate,
        ]
        if rows > 2 and self.chance.random() < 0.6:
            self.chance.choice(acts)()

    def annotate(self):
        header = self.desk.google.header(self.desk.id, TAB)
        if "Notes" not in header:
            self.desk.person.insert_columns(TAB, 3)
            self.desk.person.edit(TAB, 0, 3, "Notes")
            header = self.desk.google.header(self.desk.id, TAB)
        records = self.desk.google.records(self.desk.id, TAB)
        row = self.chance.randrange(len(records))
        if (key := records[row].get("Interview ID")) and key not in self.notes:
            self.notes[key] = f"about {key}"
            self.desk.person.edit(TAB, row + 1, header.index("Notes"), self.notes[key])

    def check(self):
        records = self.desk.records()
        wanted = {each.id: (each.candidate_name, each.score) for each in self.interviews.values()}
        assert {key: (row["Candidate"], row["Score"]) for key, row in records.items()} == wanted
        assert {key: row["Notes"] for key, row in records.items() if row.get("Notes")} == self.notes


@pytest.mark.parametrize("seed", range(3))
async def test_people_between_every_read_and_write_and_calls_that_fail(desk, seed):
    storm = Storm(desk, seed)
    await desk.settle(*storm.news())
    desk.google.after_read = desk.google.before_write = storm.act
    desk.google.faults.choose(lambda call: _one_in(storm.chance, 12, call, NOT_APPLIED))
    for _ in range(FLUSHES):
        await desk.settle(*storm.news(), rounds=200, calm=False)
    desk.google.after_read = desk.google.before_write = None
    desk.google.faults.clear()
    await desk.settle(*storm.interviews.values())
    storm.check()


@pytest.mark.parametrize("seed", range(4))
async def test_lost_answers_crashes_and_people_between_the_flushes(desk, seed):
    storm = Storm(desk, seed)
    await desk.settle(*storm.news())
    desk.google.faults.choose(lambda call: _one_in(storm.chance, 4, call, UNCLEAR) if call == "write" else None)
    for _ in range(FLUSHES):
        news = storm.news()
        desk.context.clock.advance(20)
        kept, known = dict(desk.context.notes), len(desk.context.saved)
        await desk.deliver(*news)
        if storm.chance.random() < 0.3:  # a crash after the call: only what was remembered is left
            desk.context.notes = kept
            for notes in desk.context.saved[known:]:
                desk.context.apply(notes)
            await desk.restart()
        storm.act()
        await desk.settle(*news)
    desk.google.faults.clear()
    storm.check()


def _one_in(chance, number, call, kinds):
    return replace(chance.choice(kinds), match=call) if chance.randrange(number) == 0 else None


async def test_an_interview_keeps_its_row_through_everything(desk):
    await desk.show(person_of(1))
    for number in range(2, 8):
        desk.person.shuffle(TAB, random.Random(number), number - 1)
        await desk.settle(person_of(number), scored(person_of(1), number))
    assert desk.records()[interview_id(1)]["Score"] == 7
    assert len(desk.records()) == 7
