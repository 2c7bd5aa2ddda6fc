"""Two receivers on one PostgreSQL store get events at the same time."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from connector.hireflix.payload import read
from connector.merge import decode, encode, merge
from connector.testing import START
from tests.postgres import empty_store, rows
from tests.store.kit import CREATE, FINISH, SCORE, WITH_BODY, body, routing_table
from tests.store.receivers import Receiver

INTERVIEWS = ["i1", "i2", "i3", "größe \U0001f600"]

bodies = st.builds(
    lambda name, interview, later, score: body(name, interview, START + later, score={"value": score}),
    st.sampled_from([CREATE, FINISH, SCORE, "interview.vanished"]),
    st.sampled_from(INTERVIEWS),
    st.integers(0, 3),
    st.integers(1, 5),
)
sequences = st.lists(st.lists(bodies, max_size=12), max_size=3)


async def send(receiver, groups):
    """Offers each group at once, one after the other; returns the answers by body."""
    answered = []
    for group in groups:
        answers = await asyncio.gather(*(receiver.writer.offer(read(raw, START), raw) for raw in group))
        answered += zip(group, answers, strict=True)
    return answered


async def storm(url, *plays):
    """Sends to several receivers at the same time. Returns the answers of each."""
    receivers = [Receiver(url, routing_table(chat=False, sheet=True)) for _ in plays]
    answers_of_all = await asyncio.gather(*(send(*pair) for pair in zip(receivers, plays, strict=True)))
    for receiver in receivers:
        await receiver.writer.close()
    return answers_of_all


def check(url, answers_of_all):
    """Asserts one event per identity, the merge of its first body, a delivery for each sink, and the same answers."""
    stored = {identity: (seq, raw) for seq, identity, raw in rows(url, f"SELECT seq, identity, body FROM {WITH_BODY}")}
    answers = [(read(raw, START).identity, answer) for one in answers_of_all for raw, answer in one]
    assert {identity for identity, _ in answers} == set(stored)
    assert all(answer.seq == stored[identity][0] for identity, answer in answers)
    first = [identity for identity, answer in answers if not answer.duplicate]
    assert sorted(first) == sorted(stored)
    assert dict(rows(url, "SELECT id, state FROM interview")) == merged(raw for _, raw in stored.values())
    sent = "SELECT d.sink, d.event_seq FROM delivery d JOIN event e ON e.seq = d.event_seq WHERE e.kind = 'event'"
    known = {seq for (seq,) in rows(url, "SELECT seq FROM event WHERE kind = 'event'")}
    assert sorted(rows(url, sent)) == sorted((sink, seq) for sink in ("chat", "sheet") for seq in known)


def merged(raws):
    """Every interview as merged from all events in any order."""
    states = {}
    for reading in (read(raw, START) for raw in raws):
        if reading.kind == "event":
            states[reading.interview_id] = merge(states.get(reading.interview_id), reading)
    return {id_: encode(state) for id_, state in states.items()}


@settings(max_examples=12)
@given(sequences, sequences)
def test_nothing_is_lost_doubled_or_merged_wrong(one, other):
    """The store is the same as with one receiver that got all events."""
    with empty_store() as url:
        check(url, asyncio.run(storm(url, one, other)))


async def test_a_storm_about_few_interviews(postgres_url):
    """Hundreds of events in different orders with repeats: receivers conflict all the time, and no event is refused."""
    chance = random.Random(5)
    events = [
        body(name, interview, START + number, score={"value": number % 5})
        for number in range(60)
        for name in (CREATE, FINISH)
        for interview in INTERVIEWS
    ]
    plays = []
    for _ in range(3):
        mine = chance.sample(events, 300)
        plays.append([mine[at : at + 10] for at in range(0, len(mine), 10)])
    with capture_logs() as logs:
        answers_of_all = await storm(postgres_url, *plays)
    check(postgres_url, answers_of_all)
    assert logs == []


async def test_events_of_one_receiver_keep_their_order(postgres_url):
    """What is acknowledged before the next one is sent has the smaller number, and its delivery the smaller id."""
    plays = [[[body(CREATE, f"{who}{number}")] for number in range(30)] for who in "ab"]
    await storm(postgres_url, *plays)
    for who in "ab":
        found = rows(
            postgres_url, "SELECT key FROM delivery WHERE sink = 'chat' AND key LIKE %s ORDER BY id", f"{who}%"
        )
        assert [key for (key,) in found] == [f"{who}{number}" for number in range(30)]


async def test_versions_count_the_changes(postgres_url):
    """Each group that changed an interview is one version, in any process."""
    answers_of_all = await storm(
        postgres_url, *[[[body(SCORE, "i1", START + 2 * n + who)] for n in range(25)] for who in (0, 1)]
    )
    check(postgres_url, answers_of_all)
    ((version, state),) = rows(postgres_url, "SELECT version, state FROM interview")
    assert version == 50
    assert decode(state).base[0] == START + 49
