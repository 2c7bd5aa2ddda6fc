"""Any mix of events and jobs in a group, with any failures: the answers, and the content of the file."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from connector.errors import StoreUnavailable
from connector.store.schema import meta
from connector.store.sqlite import database
from tests.store.bench import Bench, held, marked, queued
from tests.store.kit import rows
from tests.stores import make_store_file

SCHEMA = """
INSERT INTO meta VALUES ('written', '0');
PRAGMA foreign_keys = ON;
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TRIGGER refuse BEFORE INSERT ON event WHEN NEW.interview_id = 'refused'
BEGIN SELECT RAISE(ABORT, 'refused by the test'); END;
CREATE TRIGGER orphan AFTER INSERT ON event WHEN NEW.interview_id = 'fails at commit'
BEGIN INSERT INTO child VALUES (99); END;
"""

events = st.sampled_from(["new", "new", "new", "repeat", "refused", "fails at commit"])
groups = st.lists(st.tuples(st.lists(events, max_size=6), st.lists(st.booleans(), max_size=2)), max_size=5)


def count(connection):
    """A job that counts itself."""
    return connection.execute(update(meta).where(meta.c.key == "written").values(value=meta.c.value.op("+")(1)))


def fail(connection):
    """A job that raises after it has counted itself."""
    count(connection)
    raise LookupError


async def play(path, played):
    """Offers each group at once. Returns the expected answers and the actual ones."""
    connection = database.connect(path)
    connection.executescript(SCHEMA)
    bench = Bench(path, connection)
    expected, came, numbers, jobs_done = [], [], 0, 0
    for kinds, jobs in played:
        async with held(bench):
            answers = []
            for kind in kinds:
                numbers += kind == "new"
                interview = f"i{numbers}" if kind in {"new", "repeat"} else kind
                answers.append(bench.offer(interview))
            tasks = [await queued(bench, count if works else fail) for works in jobs]
        came.append([type(answer) for answer in await asyncio.gather(*answers, return_exceptions=True)])
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, LookupError) for result in results] == [not works for works in jobs]
        jobs_done += sum(jobs)
        expected.append([StoreUnavailable if kind in {"refused", "fails at commit"} else tuple for kind in kinds])
    await bench.writer.close()
    assert marked(bench) == str(jobs_done)
    return expected, [[tuple if issubclass(kind, tuple) else kind for kind in group] for group in came]


@settings(max_examples=15, deadline=None)
@given(groups)
def test_each_event_of_a_mixed_group_gets_its_answer(played):
    """A bad event is refused, the others have numbers without a gap, and each job is done once or undone."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_store_file(Path(folder) / "store.db")
        expected, came = asyncio.run(play(path, played))
        assert came == expected
        stored = rows(path, "SELECT seq, interview_id FROM event ORDER BY seq")
        assert [seq for seq, _ in stored] == list(range(1, len(stored) + 1))
        assert not {"refused", "fails at commit"} & {interview for _, interview in stored}
        assert rows(path, "SELECT event_seq FROM delivery ORDER BY id") == [(seq,) for seq, _ in stored]
