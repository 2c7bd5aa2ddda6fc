"""A state machine of events, edits of users and faults in any order, and the check of the sheet afterwards."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from connector.emulators import faults
from connector.emulators.faults import Fault, FaultKind
from connector.interview import Stage
from connector.testing import interview_id
from tests.sinks.google_sheets.conftest import TAB, TITLES, SheetHarness, person_of

INTERVIEWS = 14
OWNERS = {
    person_of(number).text(name): interview_id(number)
    for number in range(1, INTERVIEWS + 1)
    for name in ("candidate_email", "external_id")
}
NAMES = ["Ada", "=1+1", "+34 600", "007", "Zoë 🙂", "'; DROP", "مريم", "a\tb", "-1", "Email", "x" * 200]
FAULTS = [
    faults.REFUSE,
    faults.DROP,
    faults.TRUNCATE,
    faults.BROKEN_JSON,
    faults.APPLY_503,
    faults.HTML_503,
    Fault(FaultKind.STATUS, status=429, body="{}"),
    Fault(FaultKind.LATE),
]
READ_FAULTS = [fault for fault in FAULTS if fault.kind is not FaultKind.LATE]


class Users:
    """Users who edit the tab, and a record of their content."""

    def __init__(self, harness, chance):
        self.harness = harness
        self.chance = chance
        self.title = TAB
        self.texts = set()
        self.deleted = set()
        self.touched = set()
        self.copied = set()
        self.count = 0
        self.acts = 0

    def act(self):
        if self.title not in self.harness.google.titles(self.harness.id):
            return
        self.acts += 1
        acts = [self.sort, self.shuffle, self.insert_rows, self.insert_column, self.move_column, self.note, self.edit]
        rarely = [self.delete_row, self.copy_row, self.spoil_key, self.rename_header, self.rename_tab]
        rarely += [self.clear_row, self.delete_column, self.move_rows]
        self.chance.choice(acts * 2 + rarely)()

    @property
    def person(self):
        return self.harness.person

    @property
    def rows(self):
        return self.harness.google.rows(self.harness.id, self.title)

    def _header(self):
        return self.rows[0]

    def _key_place(self):
        tags = self.harness.google.column_tags(self.harness.id, self.title)
        return next((at for at, found in tags.items() if any(tag.value == "interview_id" for tag in found)), None)

    def _owned(self):
        return set(self.harness.google.column_tags(self.harness.id, self.title))

    def _some_row(self):
        """A row below the header: its number, its id, the texts of users, and its interview, also while a repair may
        have written a wrong id.
        """
        rows, place = self.rows, self._key_place()
        if len(rows) < 2 or place is None:
            return None
        row = self.chance.randrange(1, len(rows))
        cells = rows[row]
        key = cells[place] if place < len(cells) else None
        return row, key, {cell for cell in cells if cell in self.texts}, {key, *map(OWNERS.get, cells)} - {None}

    def sort(self):
        self.person.sort(self.title, self.chance.randrange(3), descending=self.chance.random() < 0.5)

    def shuffle(self):
        self.person.shuffle(self.title, self.chance, max(1, len(self.rows) - 1))

    def insert_rows(self):
        self.person.insert_rows(self.title, self.chance.randrange(1, len(self.rows) + 1))

    def move_rows(self):
        if len(self.rows) > 3:
            self.person.move_rows(self.title, 1, len(self.rows) - 1)

    def insert_column(self):
        if len(self._header()) < 20:
            at = self.chance.randrange(len(self._header()) + 1)
            self.person.insert_columns(self.title, at)
            self.person.edit(self.title, 0, at, self._text("column"))

    def move_column(self):
        width = len(self._header())
        self.person.move_columns(self.title, self.chance.randrange(width), self.chance.randrange(width))

    def _text(self, word):
        self.count += 1
        text = f"{word} {self.count}"
        self.texts.add(text)
        return text

    def note(self):
        free = [at for at, text in enumerate(self._header()) if text in self.texts]
        found = self._some_row()
        if free and found:
            at = self.chance.choice(free)
            before = self.rows[found[0]][at]
            if before is None:
                self.person.edit(self.title, found[0], at, self._text("note"))

    def edit(self):
        """Corrects a cell in a row with a certain id. The documentation says that content in other rows is at risk."""
        found = self._some_row()
        owned = sorted(self._owned() - {self._key_place()})
        if found and found[1] in self.harness.interviews and found[3] == {found[1]} and owned:
            self.touched.add(found[1])
            self.person.edit(self.title, found[0], self.chance.choice(owned), f"edited {self.chance.random()}")

    def delete_row(self):
        if found := self._some_row():
            self._gone(found)
            self.person.delete_rows(self.title, found[0])

    def clear_row(self):
        if found := self._some_row():
            self._gone(found)
            for column in range(len(self._header())):
                self.person.edit(self.title, found[0], column, None)

    def _gone(self, found):
        _, _, texts, owners = found
        self.texts -= texts
        self.deleted |= owners

    def copy_row(self):
        if found := self._some_row():
            self.person.copy_row(self.title, found[0], found[0] + 1)
            self.copied |= found[3]

    def spoil_key(self):
        if found := self._some_row():
            self.deleted |= found[3]
            self.person.edit(self.title, found[0], self._key_place(), self.chance.choice([None, "zzz", 17]))

    def rename_header(self):
        owned = sorted(self._owned())
        if owned:
            self.person.edit(self.title, 0, self.chance.choice(owned), f"renamed {self.chance.random()}")

    def rename_tab(self):
        new = f"Tab {self.chance.randrange(1000)}"
        self.person.rename_tab(self.title, new)
        self.title = new

    def delete_column(self):
        theirs = [at for at, text in enumerate(self._header()) if text in self.texts]
        if theirs:
            at = self.chance.choice(theirs)
            self.texts -= {row[at] for row in self.rows}
            self.person.delete_columns(self.title, at)


@dataclass(slots=True)
class Figures:
    """The figures of all successful runs."""

    runs: int = 0
    flushes: int = 0
    acts: int = 0
    faults: int = 0
    crashes: int = 0


class Machine(RuleBasedStateMachine):
    """The sink and the users at the same time."""

    google = None
    key_file = None
    figures = Figures()

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed):
        self.runner = asyncio.Runner()
        self.chance = random.Random(seed)
        self.harness = SheetHarness(self.google, self.key_file)
        self.users = Users(self.harness, self.chance)
        self.due = []
        self.run(self.news(list(range(1, 6))))

    def run(self, work):
        return self.runner.run(work)

    async def news(self, numbers):
        for number in numbers:
            known = self.harness.interviews.get(interview_id(number)) or person_of(number)
            at = known.updated_at + self.chance.choice([0, 60_000])
            values = {**known.values, "score": self.chance.choice([None, 1, 2.5, 4])}
            if self.chance.random() < 0.3:
                values["candidate_name"] = self.chance.choice(NAMES)
            stage = self.chance.choice([*Stage, known.stage, known.stage])
            self.harness.know([replace(known, values=values, stage=stage, updated_at=at)])
            self.due = list(dict.fromkeys([*self.due, known.id]))

    @rule(
        numbers=st.lists(st.integers(1, INTERVIEWS), max_size=5),
        edited_share=st.sampled_from([0.0, 0.4]),
        failing_share=st.sampled_from([0.0, 0.1, 0.4]),
        crash=st.booleans(),
    )
    def flush(self, numbers, edited_share, failing_share, crash):
        """Makes one call. Users edit in `edited_share` of the moments between two requests, and `failing_share` of the
        requests fail.
        """
        self.run(self.news(numbers))
        if not self.due:
            return
        self.figures.flushes += 1
        self.google.after_read = self.google.before_write = lambda: (
            self.chance.random() < edited_share and self.users.act()
        )
        self.google.faults.choose(lambda call: self._fault(call, failing_share))
        kept, known, asked = dict(self.harness.context.notes), len(self.harness.context.saved), list(self.due)
        self.due = self.run(self.harness._round(asked))
        self.google.after_read = self.google.before_write = None
        self.harness.context.clock.advance(self.chance.choice([0, 1, 20]))
        if crash and self.chance.random() < 0.3:
            self._crash(kept, known, asked)

    def _crash(self, kept, known, asked):
        """The process dies before the outcome is stored. Only saved notes are left."""
        self.figures.crashes += 1
        self.harness.context.notes = kept
        for notes in self.harness.context.saved[known:]:
            self.harness.context.apply(notes)
        self.due = asked
        self.run(self.harness.restart())

    def _fault(self, call, failing_share):
        # a read that fails is repeated after a pause, so that many of them would only take time
        failing_share = {"write": failing_share, "read": failing_share / 4}.get(call, 0)
        if self.chance.random() >= failing_share:
            return None
        fault = self.chance.choice(FAULTS if call == "write" else READ_FAULTS)
        self.figures.faults += 1
        return fault

    @rule(times=st.integers(1, 5))
    def people_act_and_what_was_late_arrives(self, times):
        for _ in range(times):
            self.users.act()
        if self.chance.random() < 0.5:
            self.google.faults.release()

    def teardown(self):
        if not hasattr(self, "runner"):
            return
        try:
            self.google.faults.clear()
            self.google.faults.release()
            self.google.faults.settle()
            self.run(self.rest())
            self.check()
            self.figures.runs += 1
            self.figures.acts += self.users.acts
        finally:
            self.google.faults.clear()
            self.google.after_read = self.google.before_write = None
            self.run(self.harness.sink.close())
            self.runner.close()
            self.google.forget_calls()
            self.google.books.pop(self.harness.id)

    async def rest(self):
        await self.harness._until_nothing_is_due(list(self.harness.interviews), 200, is_edited=False)
        await self.harness.verify_and_repair()

    def check(self):
        users, harness = self.users, self.harness
        rows = [row for row in self._records() if row["Interview ID"] in harness.interviews]
        self._every_interview_has_one_row(rows)
        for row in rows:
            key = row["Interview ID"]
            if key not in users.touched | users.deleted | users.copied:
                due = harness.interviews[key]
                assert row["Score"] == due.score
                assert row["Candidate"] == due.candidate_name.replace("\t", " ")
        found = {cell for row in users.rows for cell in row if isinstance(cell, str)}
        assert users.texts <= found
        report = self.run(harness.verify())
        wrong = {each.key for each in report.differences if str(each.kind) in report.wrong}
        assert wrong <= users.copied

    def _every_interview_has_one_row(self, rows):
        keys = [row["Interview ID"] for row in rows]
        users = self.users
        for key in self.harness.interviews:
            if key not in users.deleted | users.copied:
                assert keys.count(key) == 1
            elif key not in users.copied:
                assert keys.count(key) <= 1

    def _records(self):
        """The rows by the titles of the sink, wherever their columns are now."""
        fields = dict(zip([column.field for column in self.harness.config.columns], TITLES, strict=True))
        tags = self.google.column_tags(self.harness.id, self.users.title)
        places = {fields[tag.value]: at for at, found in tags.items() for tag in found}
        rows = self.users.rows[1:]
        return [{title: row[at] if at < len(row) else None for title, at in places.items()} for row in rows]


def play(google, key_file, **limits):
    """The figures of this number of runs. The first wrong one is reported with its steps."""
    Machine.google, Machine.key_file, Machine.figures = google, key_file, Figures()
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(Machine, settings=settings(deadline=None, suppress_health_check=checks, **limits))
    return Machine.figures


def test_whatever_happens_every_row_is_right_in_the_end_and_nothing_of_people_is_lost(google, key_file):
    figures = play(google, key_file, max_examples=15, stateful_step_count=12)
    assert figures.runs >= 15
    assert min(figures.flushes, figures.acts, figures.faults, figures.crashes) > 0


@pytest.mark.chaos
def test_two_thousand_times_over(google, key_file):
    figures = play(google, key_file, max_examples=2_000, stateful_step_count=25, derandomize=False)
    assert figures.runs >= 2_000
    assert min(figures.flushes, figures.acts, figures.faults, figures.crashes) > 2_000


def test_an_id_that_a_repair_overwrote_is_restored(google, key_file):
    """The long mode found these steps: only a crashed flush knew the row of the other interview."""
    Machine.google, Machine.key_file, Machine.figures = google, key_file, Figures()
    machine = Machine()
    machine.begin(seed=3860)
    machine.flush(crash=False, edited_share=0.0, numbers=[1, 1, 1, 1, 1], failing_share=0.1)
    machine.flush(crash=True, edited_share=0.0, numbers=[1], failing_share=0.0)
    machine.people_act_and_what_was_late_arrives(times=2)
    machine.people_act_and_what_was_late_arrives(times=1)
    machine.flush(crash=True, edited_share=0.0, numbers=[1, 6, 1], failing_share=0.1)
    machine.flush(crash=False, edited_share=0.4, numbers=[], failing_share=0.4)
    machine.flush(crash=False, edited_share=0.4, numbers=[1, 1, 3], failing_share=0.0)
    machine.teardown()
    assert machine.figures.runs == 1
