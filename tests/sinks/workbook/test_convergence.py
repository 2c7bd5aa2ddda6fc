"""After any events and any edits of users the file has one correct row per interview that they did not delete, and
keeps their text.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sink import Stage
from connector.testing import START, interview_id, make_interview
from tests.sinks.workbook.conftest import WorkbookFile, asked

COLUMNS = [{"field": "candidate_name"}, {"field": "stage"}, {"field": "score"}, {"field": "interview_id"}]

numbers = st.integers(1, 4)
names = st.sampled_from(["Ana", "=1+1", "Zoë", "李雷", "a_x0041_b"])
upstream = st.tuples(st.just("upstream"), numbers, names, st.sampled_from(Stage), st.sampled_from([None, 1, 4.5]))
users = st.one_of(
    st.tuples(st.sampled_from(["note", "correct", "drop"]), numbers),
    st.tuples(
        st.sampled_from(
            ["sort", "shift", "rename column", "keep copy", "restore copy", "rename tab", "remove file", "below"]
        )
    ),
)
acts = st.lists(st.one_of(upstream, users), min_size=3, max_size=10)


class Office:
    """Hireflix and the users, with the content that the file must have after their actions."""

    def __init__(self, folder):
        self.workbook = WorkbookFile(folder / "interviews.xlsx", columns=COLUMNS)
        self.interviews = {}
        self.corrected = set()
        self.notes = {}
        self.deleted = set()
        self.either = set()  # an older copy is as good a witness as none
        self.score = "Score"
        self.copy = None

    async def deliver(self, *keys):
        result = await self.workbook.show(*(self.interviews[key] for key in keys))
        while asked(result):
            result = await self.workbook.show(*(self.interviews[key] for key in asked(result)))

    async def play(self, act, *details):
        if act == "upstream":
            number, name, stage, score = details
            key = interview_id(number)
            self.interviews[key] = make_interview(
                number=number, candidate_name=name, stage=stage, score=score, status="odd"
            )
            await self.deliver(key)
        elif self.workbook.path.exists():
            self.act_of_users(act, *(interview_id(number) for number in details))

    def act_of_users(self, act, key=None):
        if act == "remove file":
            self.workbook.path.unlink()
            self.notes, self.corrected, self.deleted, self.either = {}, set(), set(), set()
            self.score = "Score"
        elif act == "keep copy":
            rows = set(self.rows(self.workbook.sheet()))
            self.copy = self.workbook.path.read_bytes(), rows, dict(self.notes), set(self.corrected), self.score
        elif act == "restore copy":
            if self.copy:
                content, rows, notes, corrected, self.score = self.copy
                self.either = self.interviews.keys() - rows
                self.notes, self.corrected, self.deleted = dict(notes), set(corrected), set()
                self.workbook.path.write_bytes(content)
        else:
            with self.workbook.edit() as sheet:
                self.edit(sheet, act, key)

    def edit(self, sheet, act, key):
        rows = self.rows(sheet)
        if act == "sort":
            self.reverse(sheet, sorted(rows.values()))
        elif act == "shift":
            self.workbook.insert_column(sheet, 1)
        elif act == "rename column":
            sheet.cell(1, self.at(sheet, self.score)).value = "Stars"
            self.score = "Stars"
        elif act == "rename tab":
            sheet.title = f"{sheet.title[:20]}+"
        elif act == "below":
            sheet.cell(sheet.max_row + 2, self.at(sheet, "Stage")).value = "legend"
        elif key in rows:
            self.edit_row(sheet, act, key, rows[key])

    def edit_row(self, sheet, act, key, row):
        if act == "note":
            sheet.cell(row, self.at(sheet, "Interview ID") + 1).value = f"note on {key}"
            self.notes[key] = f"note on {key}"
        elif act == "correct":
            sheet.cell(row, self.at(sheet, "Candidate")).value = "corrected"
            self.corrected.add(key)
        elif act == "drop":
            sheet.delete_rows(row)
            self.notes.pop(key, None)
            self.corrected.discard(key)
            self.deleted.add(key)

    def reverse(self, sheet, rows):
        contents = [[cell.value for cell in sheet[row]] for row in rows]
        for row, values in zip(reversed(rows), contents, strict=True):
            for column, value in enumerate(values, start=1):
                cell = sheet.cell(row, column)
                cell.value = value
                if isinstance(value, str):
                    cell.data_type = "s"

    @property
    def titles(self):
        return {"candidate_name": "Candidate", "stage": "Stage", "score": self.score}

    def at(self, sheet, title):
        return next(cell.column for cell in sheet[1] if cell.value == title)

    def rows(self, sheet):
        at = self.at(sheet, "Interview ID")
        found = [(sheet.cell(row, at).value, row) for row in range(2, sheet.max_row + 1) if sheet.cell(row, at).value]
        assert len(dict(found)) == len(found), "a row is doubled"
        return dict(found)

    def check(self):
        sheet = self.workbook.sheet()
        rows = self.rows(sheet)
        assert rows.keys() - self.either == self.interviews.keys() - self.deleted - self.either
        for key, row in rows.items():
            shown = {field: sheet.cell(row, self.at(sheet, title)).value for field, title in self.titles.items()}
            assert shown["stage"] == self.interviews[key].stage_word
            assert shown["score"] == self.interviews[key].score
            right = {self.interviews[key].candidate_name.replace("_x0041_", "＿x0041_")}
            assert shown["candidate_name"] in right | ({"corrected"} if key in self.corrected else set())
        for key, note in self.notes.items():
            assert sheet.cell(rows[key], self.at(sheet, "Interview ID") + 1).value == note


@settings(max_examples=20, deadline=None)
@given(acts)
def test_the_file_converges_and_keeps_what_users_wrote(acts):
    asyncio.run(play_and_check(acts))


@pytest.mark.chaos
@settings(max_examples=2_000, deadline=None)
@given(acts)
def test_the_file_converges_in_long_runs(acts):
    asyncio.run(play_and_check(acts))


async def play_and_check(acts):
    with tempfile.TemporaryDirectory() as folder:
        office = Office(Path(folder))
        for act in acts:
            await office.play(*act)
        # an event of another interview is enough to find what was lost
        await office.play("upstream", 5, "Last", Stage.PENDING, START % 5 + 0.5)
        office.check()
