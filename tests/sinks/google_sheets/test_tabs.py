"""A tab per position: made on demand, found after a change of its title, with one read and one write for all tabs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulators import faults
from connector.emulators.google import once
from connector.sink import Delivered, Delivery, FollowUp, RetryLater, Waiting
from connector.testing import interview_id, run_batch
from sinks.google_sheets.errors import emptied, tab_gone, tab_replaced
from sinks.google_sheets.outcomes import RETRY_TAB
from sinks.google_sheets.tabs import free_title, new_id, title_of
from tests.sinks.google_sheets.conftest import TAB, TITLES, person_of, scored


def applicant(number, job, name=None):
    return person_of(number, position_id=f"job-{job}", position_name=name or f"Job {job}")


JOBS = [applicant(number, number % 3) for number in range(1, 10)]


@pytest.fixture
async def jobs(make_harness):
    """Nine interviews for three positions, each position in its own tab."""
    harness = make_harness(worksheet="{position}")
    await harness.show(*JOBS)
    harness.google.forget_calls()
    harness.context.clock.advance(60)
    return harness


async def test_each_position_gets_a_tab_in_one_read_and_one_write(make_harness):
    harness = make_harness(worksheet="{position}")
    await harness.show(*JOBS)
    assert (harness.counts()["read"], harness.counts()["write"]) == (1, 1)
    assert harness.google.titles(harness.id) == ["Sheet1", "Job 1", "Job 2", "Job 0"]
    assert all(len(harness.records(f"Job {job}")) == 3 for job in range(3))
    assert harness.google.header(harness.id, "Job 1") == TITLES


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


def waits(failure):
    """The interviews wait for the operator, and the reason has the fix."""
    return Waiting("tab:job-1", f"{failure.reason}; {failure.fix}")


ASKS = waits(tab_gone("hiring", "Job 1"))


def of_job(job):
    return [each for each in JOBS if each.position_id == f"job-{job}"]


async def answered(harness, mode, *interviews):
    """An operator resumes the sink with this mode."""
    harness.context.notes["resume"] = {"mode": mode}
    await harness.settle(*interviews)
    await harness.verify_and_repair()


async def without_job_1(harness):
    harness.person.delete_tab("Job 1")
    harness.context.clock.advance(60)
    lost, others = of_job(1), [*of_job(0), *of_job(2)]
    result = await harness.deliver(*[scored(each, 4) for each in [*lost, *others]])
    assert result.outcomes == [ASKS] * len(lost) + [Delivered()] * len(others)
    return lost


async def test_a_deleted_tab_waits_for_an_operator_while_the_others_are_written(jobs):
    await without_job_1(jobs)
    assert "Job 1" not in jobs.google.titles(jobs.id)
    assert {row["Score"] for job in (0, 2) for row in jobs.records(f"Job {job}").values()} == {4}


def retries(result):
    """The follow-ups that read a tab again."""
    return [each for each in result.follow_ups if each.purpose == RETRY_TAB]


async def read_again(harness, tab):
    follow_up = FollowUp(RETRY_TAB, subject=tab, group=f"tab:{tab}")
    delivery = Delivery(id="again", key=tab, event=None, interview=None, follow_up=follow_up)
    return await run_batch(harness.sink, [delivery], harness.context)


async def test_the_interviews_of_a_deleted_tab_wait_for_a_call_that_reads_the_tab_again(jobs):
    lost = await without_job_1(jobs)
    [retry] = retries(await jobs.deliver(scored(lost[0], 5)))
    assert (retry.subject, retry.group, retry.after.total_seconds()) == ("job-1", ASKS.group, 300)


async def test_a_tab_that_is_still_deleted_is_read_again_later(jobs):
    await without_job_1(jobs)
    result = await read_again(jobs, "job-1")
    assert result.outcomes == [Delivered()]
    assert [each.group for each in retries(result)] == [ASKS.group]


async def test_a_tab_that_is_restored_releases_the_interviews_that_wait_for_it(jobs):
    tab = next(tab for tab in jobs.google.book(jobs.id).tabs if tab.title == "Job 1")
    tags = dict(jobs.google.book(jobs.id).tags)
    await without_job_1(jobs)
    jobs.google.book(jobs.id).tabs.append(tab)
    jobs.google.book(jobs.id).tags |= tags
    result = await read_again(jobs, "job-1")
    assert (result.outcomes, retries(result)) == ([Delivered()], [])


async def test_a_tab_that_could_not_be_read_again_keeps_its_interviews_waiting(jobs):
    await without_job_1(jobs)
    jobs.google.faults.add(replace(faults.BROKEN_JSON, match="read", times=99))
    result = await read_again(jobs, "job-1")
    assert isinstance(result.outcomes[0], RetryLater)


async def test_a_deleted_tab_is_asked_about_in_the_report(jobs):
    lost = await without_job_1(jobs)
    report = await jobs.verify()
    assert not report.in_sync
    assert {each.key for each in report.differences} == {each.id for each in lost}
    [question] = report.asks
    assert question.startswith('the tab "Job 1" was deleted: ')
    assert "connector resume hiring --accept" in question
    assert "connector resume hiring --refill" in question


async def test_refill_writes_the_rows_of_a_deleted_tab_into_a_new_one(jobs):
    lost = await without_job_1(jobs)
    await answered(jobs, "refill", scored(lost[0], 4))
    assert jobs.records("Job 1").keys() == {each.id for each in lost}
    assert len(jobs.google.titles(jobs.id)) == 4
    assert (await jobs.verify()).in_sync


async def test_a_row_that_is_deleted_after_a_refill_stays_deleted(jobs):
    lost = await without_job_1(jobs)
    await answered(jobs, "refill", *[scored(each, 4) for each in lost])
    jobs.person.delete_rows("Job 1", 1)
    jobs.context.clock.advance(60)
    await jobs.show(*[scored(each, 5) for each in lost])
    assert len(jobs.records("Job 1")) == len(lost) - 1


async def test_accept_leaves_the_rows_of_a_deleted_tab_deleted_and_new_interviews_get_a_tab(jobs):
    lost = await without_job_1(jobs)
    await answered(jobs, "accept", *[scored(each, 4) for each in lost])
    assert "Job 1" not in jobs.google.titles(jobs.id)
    assert (await jobs.verify()).in_sync
    new = replace(lost[0], id=interview_id(99))
    await jobs.show(new)
    assert jobs.records("Job 1").keys() == {new.id}


async def test_a_restored_tab_is_used_again_automatically(jobs):
    book = jobs.google.book(jobs.id)
    tab = next(tab for tab in book.tabs if tab.title == "Job 1")
    tags = dict(book.tags)
    lost = await without_job_1(jobs)
    book = jobs.google.book(jobs.id)
    book.tabs.append(tab)
    book.tags = {**tags, **book.tags}
    await jobs.settle(*[scored(each, 4) for each in lost])
    await jobs.verify_and_repair()
    assert {row["Score"] for row in jobs.records("Job 1").values()} == {4}
    assert (await jobs.verify()).in_sync


async def test_a_tab_that_was_replaced_under_its_title_is_adopted_on_request(jobs):
    rows = jobs.google.rows(jobs.id, "Job 1")
    jobs.person.delete_tab("Job 1")
    jobs.person.add_tab("Job 1")
    jobs.person.write("Job 1", [[value if value is not None else "" for value in row] for row in rows[:-1]])
    jobs.context.clock.advance(60)
    lost = of_job(1)
    waiting = waits(tab_replaced("hiring", "Job 1"))
    assert (await jobs.deliver(scored(lost[0], 4))).outcomes == [waiting]
    [question] = (await jobs.verify()).asks
    assert question.startswith('the tab "Job 1" was replaced by another tab with the same title: ')
    await answered(jobs, "adopt", scored(lost[0], 4))
    assert jobs.records("Job 1").keys() == {each.id for each in lost}
    assert jobs.records("Job 1")[lost[0].id]["Score"] == 4
    assert (await jobs.verify()).in_sync


async def test_an_emptied_tab_waits_for_an_operator_while_the_others_are_written(make_harness):
    harness = make_harness(worksheet="{position}")
    full = [applicant(number, 1) for number in range(1, 41)]
    await harness.show(*full, applicant(41, 2))
    harness.person.delete_rows("Job 1", 1, 20)
    harness.context.clock.advance(60)
    result = await harness.deliver(scored(full[30], 4), scored(applicant(41, 2), 4))
    assert result.outcomes == [waits(emptied("hiring", "Job 1", 20, 40)), Delivered()]
    await answered(harness, "refill", scored(full[30], 4))
    assert len(harness.records("Job 1")) == 40


async def test_the_only_tab_that_was_replaced_says_how_to_adopt_it(harness):
    await harness.show(person_of(1), person_of(2))
    harness.person.delete_tab(TAB)
    harness.person.add_tab(TAB)
    harness.context.clock.advance(60)
    error = await harness.broken(scored(person_of(1), 4))
    assert error.reason == 'the tab "Interviews" was replaced by another tab with the same title'
    assert "connector resume hiring --adopt" in error.fix
    await answered(harness, "adopt", scored(person_of(1), 4))
    assert harness.records().keys() == {person_of(1).id, person_of(2).id}


@pytest.mark.parametrize(("mode", "rows"), [("accept", [3]), ("refill", [1, 2, 3])])
async def test_the_mode_of_the_operator_decides_about_the_rows_of_the_only_tab(harness, mode, rows):
    await harness.show(person_of(1), person_of(2))
    harness.person.delete_tab(TAB)
    harness.context.clock.advance(60)
    await harness.broken(scored(person_of(1), 4))
    await answered(harness, mode, scored(person_of(1), 4), person_of(3))
    assert harness.records().keys() == {person_of(number).id for number in rows}
    assert (await harness.verify()).in_sync


async def test_without_a_position_there_is_a_tab_for_the_others(make_harness):
    harness = make_harness(worksheet="Hiring {position}")
    await harness.show(person_of(1, position_id=None, position_name="x"), applicant(2, 1))
    assert harness.google.titles(harness.id)[1:] == ["Hiring Other", "Hiring Job 1"]


async def test_a_title_in_use_gets_a_number(make_harness):
    harness = make_harness(tabs=["engineer"], worksheet="{position}")
    await harness.show(applicant(1, 1, "Engineer"), applicant(2, 2, "ENGINEER"))
    assert harness.google.titles(harness.id) == ["engineer", "Engineer (2)", "ENGINEER (3)"]


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


async def test_a_lost_answer_doubles_no_tab_and_no_row(make_harness):
    harness = make_harness(worksheet="{position}")
    harness.google.faults.add(replace(faults.APPLY_503, match="write"))
    await harness.settle(*JOBS)
    assert len(harness.google.titles(harness.id)) == 4
    assert sum(len(harness.records(f"Job {job}")) for job in range(3)) == 9


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "Data 'Science' Lead", "مقابلات 🙂", "x" * 300, " \n "])
async def test_a_position_may_have_any_name(make_harness, name):
    harness = make_harness(worksheet="{position}")
    await harness.show(applicant(1, 1, name))
    await harness.show(scored(applicant(1, 1, name), 4))
    [title] = harness.google.titles(harness.id)[1:]
    assert harness.records(title)[interview_id(1)]["Score"] == 4


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
