"""A tab per position: made on demand, found again whatever people call it, all tabs in one read and one write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulators import faults
from connector.emulators.google import once
from connector.testing import interview_id
from sinks.google_sheets.tabs import free_title, new_id, title_of
from tests.sinks.google_sheets.conftest import TITLES, person_of, scored


def applicant(number, job, name=None):
    return person_of(number, position_id=f"job-{job}", position_name=name or f"Job {job}")


JOBS = [applicant(number, number % 3) for number in range(1, 10)]


@pytest.fixture
async def jobs(make_desk):
    """Nine interviews for three positions, each in the tab of its own."""
    desk = make_desk(worksheet="{position}")
    await desk.show(*JOBS)
    desk.google.forget_calls()
    desk.context.clock.advance(60)
    return desk


async def test_each_position_gets_a_tab_in_one_read_and_one_write(make_desk):
    desk = make_desk(worksheet="{position}")
    await desk.show(*JOBS)
    assert (desk.counts()["read"], desk.counts()["write"]) == (1, 1)
    assert desk.google.titles(desk.id) == ["Sheet1", "Job 1", "Job 2", "Job 0"]
    assert all(len(desk.records(f"Job {job}")) == 3 for job in range(3))
    assert desk.google.header(desk.id, "Job 1") == TITLES


async def test_news_for_all_tabs_is_one_read_and_one_write(jobs):
    await jobs.show(*[scored(each, 4) for each in JOBS], applicant(10, 1))
    assert jobs.counts() == {"read": 1, "write": 1}
    assert {row["Score"] for job in (0, 2) for row in jobs.records(f"Job {job}").values()} == {4}


async def test_an_interview_keeps_the_tab_it_entered(jobs):
    moved = applicant(1, 2, "Another job")
    await jobs.show(scored(moved, 4))
    assert jobs.records("Job 1")[interview_id(1)]["Position"] == "Another job"
    assert interview_id(1) not in jobs.records("Job 2")


async def test_a_renamed_tab_is_followed_after_a_restart_too(jobs):
    jobs.person.rename_tab("Job 1", "Mine")
    await jobs.restart()
    await jobs.show(applicant(10, 1, "Job 1, renamed"))
    assert len(jobs.records("Mine")) == 4
    assert len(jobs.google.titles(jobs.id)) == 4


async def test_a_deleted_tab_stops_the_sink_and_is_not_made_again(jobs):
    jobs.person.delete_tab("Job 1")
    error = await jobs.broken(scored(JOBS[0], 4))
    assert error.reason == 'the tab "Job 1" was deleted'
    assert "Job 1" not in jobs.google.titles(jobs.id)


async def test_without_a_position_there_is_a_tab_for_the_others(make_desk):
    desk = make_desk(worksheet="Hiring {position}")
    await desk.show(person_of(1, position_id=None, position_name="x"), applicant(2, 1))
    assert desk.google.titles(desk.id)[1:] == ["Hiring Other", "Hiring Job 1"]


async def test_a_title_in_use_gets_a_number(make_desk):
    desk = make_desk(tabs=["engineer"], worksheet="{position}")
    await desk.show(applicant(1, 1, "Engineer"), applicant(2, 2, "ENGINEER"))
    assert desk.google.titles(desk.id) == ["engineer", "Engineer (2)", "ENGINEER (3)"]


async def test_lost_notes_make_no_second_tab(jobs):
    jobs.context.notes.clear()
    await jobs.restart()
    await jobs.show(*JOBS)
    assert len(jobs.google.titles(jobs.id)) == 4
    assert all(len(jobs.records(f"Job {job}")) == 3 for job in range(3))


async def test_rows_that_move_in_one_tab_are_repaired_there(jobs):
    jobs.google.before_write = once(lambda: jobs.person.sort("Job 1", 0, descending=True))
    await jobs.settle(*[scored(each, 4) for each in JOBS[:6]])
    found = {key: row["Score"] for job in range(3) for key, row in jobs.records(f"Job {job}").items()}
    assert found == {interview_id(n): (4 if n < 7 else None) for n in range(1, 10)}


async def test_a_lost_answer_doubles_no_tab_and_no_row(make_desk):
    desk = make_desk(worksheet="{position}")
    desk.google.faults.add(replace(faults.APPLY_503, match="write"))
    await desk.settle(*JOBS)
    assert len(desk.google.titles(desk.id)) == 4
    assert sum(len(desk.records(f"Job {job}")) for job in range(3)) == 9


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "Data 'Science' Lead", "مقابلات 🙂", "x" * 300, " \n "])
async def test_a_position_may_have_any_name(make_desk, name):
    desk = make_desk(worksheet="{position}")
    await desk.show(applicant(1, 1, name))
    await desk.show(scored(applicant(1, 1, name), 4))
    [title] = desk.google.titles(desk.id)[1:]
    assert desk.records(title)[interview_id(1)]["Score"] == 4


@given(st.text(max_size=150), st.lists(st.text(max_size=120), max_size=5))
def test_a_title_is_legal_and_unique(name, used):
    title = free_title(title_of(person_of(1, position_name=name), "Hiring {position}"), used)
    assert 1 <= len(title.encode("utf-16-le")) // 2 <= 100
    assert title.casefold() not in {each.casefold() for each in used}
    assert title == title.strip()


@given(st.text(), st.sets(st.integers(1, 2**31 - 1), max_size=4))
def test_a_new_tab_s_id_is_a_legal_one_that_is_free(name, used):
    taken = used | {new_id(name, used)}
    assert new_id(name, taken) not in taken
    assert 1 <= new_id(name, taken) < 2**31
