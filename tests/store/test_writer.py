"""The writer: acknowledged events are on the disk, and the writer continues after any failure."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from math import exp

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update
from structlog.testing import capture_logs

from connector.errors import StoreUnavailable
from connector.store.base import LOAD_SECONDS, IngestResult, Load, Overloaded
from connector.store.schema import interview
from connector.store.sqlite import database
from connector.store.writer import RefusalLog
from connector.testing import START
from tests.full_disk import full_disk
from tests.store.bench import Bench, held, marked, queued, rounds, until_taken, writes
from tests.store.kit import arrival, body, locked, rows
from tests.stores import make_store_file

REFUSES_BAD = """
CREATE TRIGGER refuse BEFORE INSERT ON event WHEN NEW.interview_id = 'bad'
BEGIN SELECT RAISE(ABORT, 'refused by the test'); END;
"""
ENDS_ALL = """
CREATE TRIGGER refuse BEFORE INSERT ON event WHEN NEW.interview_id = 'bad'
BEGIN SELECT RAISE(ROLLBACK, 'refused by the test'); END;
"""
FAILS_AT_COMMIT = """
PRAGMA foreign_keys = ON;
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TRIGGER orphan AFTER INSERT ON event WHEN NEW.interview_id = 'orphan'
BEGIN INSERT INTO child VALUES (99); END;
"""


# --- what an answer promises


async def test_an_answer_comes_after_the_commit(bench_of):
    """Another connection reads the event after its answer."""
    bench = bench_of()
    for number in range(30):
        answer = await bench.offer(f"i{number}")
        assert (answer.seq, f"i{number}") in bench.stored()


async def test_no_answer_while_the_commit_is_under_way(bench_of):
    """When COMMIT begins, no event of the group was answered."""
    bench = bench_of()
    answered_at_commit = []

    def watch(statement):
        if statement == "COMMIT":
            answered_at_commit.append(any(answer.done() for answer in answers))

    async with held(bench):
        answers = [bench.offer(f"i{number}") for number in range(5)]
        bench.connection.set_trace_callback(watch)
    await asyncio.gather(*answers)
    assert answered_at_commit == [False, False]  # that of `held` is the first one


async def test_a_group_is_one_transaction(bench_of):
    """All waiting events are committed together, with the waiting jobs."""
    bench = bench_of()
    async with held(bench):
        answers = [bench.offer(f"i{number}") for number in range(20)]
        job = await queued(bench, writes("rode along"))
    seqs = [answer.seq for answer in await asyncio.gather(*answers)]
    await job
    assert seqs == list(range(1, 21))
    assert marked(bench) == "rode along"
    assert bench.statements.count("COMMIT") == 2  # that of `held` is the first one


async def test_repeats_are_answered_with_the_first_number(bench_of):
    """Within a group and across groups an identity is stored once."""
    bench = bench_of()
    first = await bench.offer()
    async with held(bench):
        answers = [bench.offer(), bench.offer("i2"), bench.offer("i2", thumbnail="another body")]
    assert await asyncio.gather(*answers) == [IngestResult(1, True), IngestResult(2, False), IngestResult(2, True)]
    assert first == IngestResult(1, duplicate=False)
    assert bench.stored() == [(1, "i1"), (2, "i2")]


async def test_a_group_has_a_limit(bench_of):
    """A burst is divided into transactions of 512 events."""
    bench = bench_of()
    async with held(bench):
        answers = [bench.offer(f"i{number}") for number in range(600)]
    await asyncio.gather(*answers)
    assert [len(plan.events) for plan in bench.plans] == [512, 88]


async def test_a_group_of_large_bodies_is_cut_by_size(bench_of):
    """A transaction has four bodies of 1 MiB, so that the event loop is not blocked."""
    bench = bench_of()
    async with held(bench):
        answers = [bench.offer(f"i{number}", filler="x" * 2**20) for number in range(5)]
    await asyncio.gather(*answers)
    assert [len(plan.events) for plan in bench.plans] == [4, 1]


async def test_a_cancelled_wait_does_not_affect_other_events(bench_of):
    """A cancelled wait leaves its event stored and the others answered."""
    bench = bench_of()
    async with held(bench):
        gone, waits = bench.offer("i1"), bench.offer("i2")
        job = await queued(bench, writes("done"))
        gone.cancel()
        job.cancel()
        await rounds()
    assert (await waits).seq == 2
    assert bench.stored() == [(1, "i1"), (2, "i2")]


async def test_the_load_is_the_number_of_events_per_second(bench_of):
    """Lanes see how busy the receiver is."""
    bench = bench_of()
    assert bench.writer.load.rate == 0
    async with held(bench):
        answers = [bench.offer(f"i{number}") for number in range(7)]
    await asyncio.gather(*answers)
    load = bench.writer.load
    assert load.rate == 7 / LOAD_SECONDS
    assert load.at <= asyncio.get_running_loop().time()


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 10)), max_size=20), st.floats(0, 10))
def test_the_load_does_not_depend_on_the_grouping(groups, after):
    """The same events at the same times are the same load in any groups."""
    load, now, passed = Load(), 0.0, []
    for size, pause in groups:
        now += pause
        load = load.with_group(size, now)
        passed.append((size, now))
    faded = sum(size / LOAD_SECONDS * exp((at - now - after) / LOAD_SECONDS) for size, at in passed)
    assert load.rate_at(now + after) == pytest.approx(faded)


# --- another process writes


async def test_another_writer_delays_and_nothing_fails(bench_of):
    """While another connection writes, events wait and the event loop runs. Then they are stored."""
    bench = bench_of()
    with locked(bench.path) as other:
        other.execute("UPDATE meta SET value = 'by the other' WHERE key = 'written'")
        answer = bench.offer()
        await rounds()
        assert not answer.done()
    assert (await answer).seq == 1
    assert marked(bench) == "by the other"


OTHER_PROCESS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE meta SET value = 'by a process' WHERE key = 'written'")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


async def test_another_process_delays_and_nothing_fails(bench_of):
    """A command that writes to the file of a running service only delays events."""
    bench = bench_of()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OTHER_PROCESS, bench.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert await child.stdout.readline() == b"locked\n"
    answers = [bench.offer(f"i{number}") for number in range(20)]
    await rounds()
    assert not any(answer.done() for answer in answers)
    await child.communicate(b"go on\n")
    assert [answer.seq for answer in await asyncio.gather(*answers)] == list(range(1, 21))
    assert marked(bench) == "by a process"


async def test_the_wait_for_another_writer_is_limited(bench_of):
    """After the limit waiting and new events are refused. When the other writer has finished, events are stored."""
    bench = bench_of(busy_ms=20)
    with locked(bench.path):
        with pytest.raises(StoreUnavailable, match="locked"):
            await bench.offer()
        with pytest.raises(StoreUnavailable, match="locked"):
            bench.offer()
        with pytest.raises(StoreUnavailable, match="locked"):
            await bench.writer.run(writes("too late"))
    await until_taken(bench.offer)
    assert marked(bench) == "0"


# --- a statement fails


@pytest.mark.parametrize("place", [0, 2, 4])
async def test_a_bad_event_fails_alone(bench_of, place):
    """An event that the store refuses does not affect the others of its group, and uses no number."""
    bench = bench_of(REFUSES_BAD)
    names = [f"i{number}" for number in range(4)]
    names.insert(place, "bad")
    async with held(bench):
        answers = [bench.offer(name) for name in names]
        job = await queued(bench, writes("settled"))
    results = await asyncio.gather(*answers, return_exceptions=True)
    await job
    assert isinstance(results.pop(place), StoreUnavailable)
    assert results == [IngestResult(number, duplicate=False) for number in range(1, 5)]
    assert [seq for seq, _ in bench.stored()] == [1, 2, 3, 4]
    assert marked(bench) == "settled"


async def test_a_bad_event_that_comes_alone_is_refused(bench_of):
    """An event alone in its transaction is refused, too, and the next one gets its number."""
    bench = bench_of(REFUSES_BAD)
    with pytest.raises(StoreUnavailable, match="refused by the test"):
        await bench.offer("bad")
    assert (await bench.offer("good")).seq == 1


async def test_a_bad_event_is_logged(bench_of):
    """The sender gets a 503. The log has the driver's reason, without the event's values."""
    bench = bench_of(REFUSES_BAD)
    with capture_logs() as logs, pytest.raises(StoreUnavailable):
        await bench.offer("bad", candidate={"name": "Zoë Secret"})
    assert logs == [{"event": "events refused", "count": 1, "reason": "refused by the test", "log_level": "error"}]


def test_a_store_that_refuses_every_event_does_not_fill_the_log():
    """The first refusal and another reason are logged at once, the others with their number, and none is left out."""
    seconds = [0.0]
    refusals = RefusalLog(lambda: seconds[0])
    with capture_logs() as logs:
        for second in range(25):
            seconds[0] = float(second)
            refusals.add(2, "disk is full")
        refusals.add(1, "locked")
        refusals.flush()
        refusals.flush()
    assert [(each["count"], each["reason"]) for each in logs] == [
        (2, "disk is full"),
        (20, "disk is full"),
        (20, "disk is full"),
        (8, "disk is full"),
        (1, "locked"),
    ]


async def test_a_value_the_driver_refuses_fails_alone(bench_of):
    """Not only SQLite can refuse: a number beyond 64 bits never reaches it."""
    bench = bench_of()
    odd = arrival(interview="odd")
    reading = msgspec.structs.replace(odd.reading, received_at=2**70)
    async with held(bench):
        good, bad = bench.offer(), bench.writer.offer(reading, odd.body)
    with pytest.raises(StoreUnavailable, match="OverflowError"):
        await bad
    assert (await good).seq == 1


async def test_an_interview_of_a_newer_version_refuses_its_own_events_alone(bench_of):
    """The sender repeats them, until this process is upgraded."""
    bench = bench_of()
    await bench.offer("newer")
    newer = {"state": '{"v":2}'}
    await bench.writer.run(
        lambda connection: connection.execute(update(interview).where(interview.c.id == "newer").values(newer))
    )
    async with held(bench):
        refused, good = bench.offer("newer", at=START + 1), bench.offer("good")
    with pytest.raises(StoreUnavailable, match="newer version"):
        await refused
    assert (await good).seq == 2


async def test_a_bad_event_that_ends_the_transaction_fails_alone(bench_of):
    """Also when it rolled back all of its group."""
    bench = bench_of(ENDS_ALL)
    async with held(bench):
        answers = [bench.offer("good"), bench.offer("bad")]
        job = await queued(bench, writes("settled"))
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(result) for result in results] == [IngestResult, StoreUnavailable]
    await job
    assert (await bench.offer("next")).seq == 2


# --- COMMIT fails


async def test_an_event_that_fails_at_the_commit_fails_alone(bench_of):
    """It alone is refused, and no number is lost or used twice."""
    bench = bench_of(FAILS_AT_COMMIT)
    await bench.offer("before")
    async with held(bench):
        answers = [bench.offer(name) for name in ("i1", "orphan", "i2")]
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(result) for result in results] == [IngestResult, StoreUnavailable, IngestResult]
    assert bench.stored() == [(1, "before"), (2, "i1"), (3, "i2")]


async def test_a_job_in_a_failed_transaction_is_repeated_alone(bench_of):
    """A settlement does not fail because of the events in its transaction."""
    bench = bench_of(FAILS_AT_COMMIT)
    runs = []

    def job(connection):
        runs.append(1)
        return writes("settled")(connection) and "result"

    async with held(bench):
        answer = bench.offer("orphan")
        task = await queued(bench, job)
    with pytest.raises(StoreUnavailable):
        await answer
    assert await task == "result"
    assert marked(bench) == "settled"
    assert len(runs) == 2


async def test_a_transaction_that_stayed_open_is_ended(bench_of):
    """When a rollback fails, the next transaction begins with it, so that the writer continues."""
    bench = bench_of()
    bench.connection.execute("BEGIN IMMEDIATE")
    bench.connection.execute("UPDATE meta SET value = 'left over' WHERE key = 'written'")
    assert (await bench.offer()).seq == 1
    assert marked(bench) == "0"


async def test_a_failed_commit_is_raised_to_the_job(bench_of):
    """A job alone in its transaction gets the failure, once."""
    bench = bench_of(FAILS_AT_COMMIT)
    with pytest.raises(StoreUnavailable, match="FOREIGN KEY"):
        await bench.writer.run(lambda connection: connection.exec_driver_sql("INSERT INTO child VALUES (5)").rowcount)
    await bench.writer.run(writes("goes on"))
    assert marked(bench) == "goes on"
    assert rows(bench.path, "SELECT * FROM child") == []


# --- a full disk


def size_of_log(path):
    return path.with_name(f"{path.name}-wal").stat().st_size


async def test_a_disk_that_is_full_at_commit(bench_of):
    """The write of the log fails: the event is refused, and stored with the next number when there is space."""
    bench = bench_of()
    await bench.offer("before")
    with full_disk(size_of_log(bench.path)):
        async with held(bench):
            answers = [bench.offer(f"i{number}") for number in range(5)]
            job = await queued(bench, writes("settled"))
        results = await asyncio.gather(*answers, job, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 6
    assert (await bench.offer("after")).seq == 2
    assert bench.stored() == [(1, "before"), (2, "after")]
    assert rows(bench.path, "PRAGMA integrity_check") == [("ok",)]


def grow(bench, pages):
    """Allows the file to grow by this number of pages."""
    present = bench.connection.execute("PRAGMA page_count").fetchone()[0]
    bench.connection.execute(f"PRAGMA max_page_count = {present + pages}")


async def test_a_file_that_may_not_grow(bench_of):
    """A statement that finds no space refuses its group at once; jobs that need none are done."""
    bench = bench_of()
    grow(bench, 0)
    async with held(bench):
        answers = [bench.offer(f"i{number}", filler="x" * 9000) for number in range(3)]
        job = await queued(bench, writes("settled"))
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert "full" in str(results[0])
    await job
    assert marked(bench) == "settled"
    grow(bench, 1000)
    assert (await bench.offer("after")).seq == 1


async def test_a_job_that_fills_the_disk_takes_only_its_transaction_with_it(bench_of):
    """SQLite ends the transaction then; the writer notices it and continues."""
    bench = bench_of()
    grow(bench, 0)
    large = "x" * 200_000
    with pytest.raises(StoreUnavailable, match="full"):
        await bench.writer.run(writes(large))
    grow(bench, 1000)
    await bench.writer.run(writes(large))
    assert marked(bench) == large


# --- jobs


async def test_a_job_that_raises_undoes_only_its_own_changes(bench_of):
    """The caller gets the exception itself; the events"""
    bench = bench_of()

    def failing(connection):
        connection.exec_driver_sql("INSERT INTO meta VALUES ('mine', '1')")
        raise LookupError("no such thing")

    async with held(bench):
        answer = bench.offer()
        bad, good = await queued(bench, failing), await queued(bench, writes("kept"))
    with pytest.raises(LookupError, match="no such thing"):
        await bad
    await good
    assert (await answer).seq == 1
    assert marked(bench) == "kept"
    assert rows(bench.path, "SELECT * FROM meta WHERE key = 'mine'") == []
    assert bench.statements.count("COMMIT") == 2  # that of `held` is the first one


async def test_a_mistake_in_a_job_is_not_taken_for_a_lack_of_the_store(bench_of):
    """A wrong statement must not look like a full disk, because it would be tried again without end."""
    bench = bench_of()
    with pytest.raises(Exception, match="no such table") as caught:
        await bench.writer.run(lambda connection: connection.exec_driver_sql("SELECT * FROM strangers"))
    assert not isinstance(caught.value, StoreUnavailable)


async def test_a_job_sees_the_jobs_before_it(bench_of):
    """Jobs run in the order in which they were submitted."""
    bench = bench_of()
    tasks = [await queued(bench, writes(str(number))) for number in range(5)]
    await asyncio.gather(*tasks)
    assert marked(bench) == "4"


# --- limits and the end


async def test_beyond_the_limit_events_are_refused_at_once(bench_of):
    """What waits is bounded; what was taken is answered."""
    bench = bench_of(limit=3)
    async with held(bench):
        answers = [bench.offer(f"i{number}") for number in range(3)]
        with pytest.raises(Overloaded):
            bench.offer("too many")
    assert [answer.seq for answer in await asyncio.gather(*answers)] == [1, 2, 3]


async def test_the_bytes_that_wait_are_bounded(bench_of):
    """Large bodies reach the limit of bytes before that of events. Settled ones make room again."""
    bench = bench_of()
    large = arrival(body(filler="x" * 2**20))
    answers = []
    async with held(bench):
        with pytest.raises(Overloaded):
            answers.extend(bench.writer.offer(*large) for _ in range(100))
    assert len(answers) in {64, 65}
    assert {answer.seq for answer in await asyncio.gather(*answers)} == {1}
    assert (await bench.offer("i2")).seq == 2


async def test_close_finishes_what_waits(bench_of):
    """Everything that was taken is answered, then the file is closed and nothing more is taken."""
    bench = bench_of()
    answers = [bench.offer(f"i{number}") for number in range(5)]
    job = await queued(bench, writes("settled"))
    await bench.writer.close()
    assert [answer.result().seq for answer in answers] == [1, 2, 3, 4, 5]
    assert job.done()
    assert marked(bench) == "settled"
    with pytest.raises(Overloaded):
        bench.offer()
    with pytest.raises(StoreUnavailable, match="closed"):
        await bench.writer.run(writes("too late"))
    with pytest.raises(sqlite3.ProgrammingError):
        bench.connection.execute("SELECT 1")


async def test_close_ends_even_if_the_store_is_gone(bench_of):
    """A file that stays locked refuses what waits and lets the service stop."""
    bench = bench_of(busy_ms=20)
    with locked(bench.path):
        answer = bench.offer()
        await bench.writer.close()
    assert isinstance(answer.exception(), StoreUnavailable)


# --- the file


async def test_commits_are_synced(bench_of):
    """Write-ahead log and full synchronous mode, so that an answered event survives a power loss."""
    bench = bench_of()
    assert bench.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert bench.connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_numbers_go_on_after_a_restart(tmp_path):
    """A new writer on an old file continues where the file ends."""
    path = make_store_file(tmp_path / "again.db")
    for expected in (1, 2):
        bench = Bench(path, database.connect(path))
        assert (await bench.offer(f"i{expected}")).seq == expected
        await bench.writer.close()
