"""The outbox in any order of arrivals, calls, outcomes, crashes and late workers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, select

from connector.delivery import batches
from connector.delivery.outcomes import CallFailure, Policy, settlement_of
from connector.errors import LeaseLost, RateLimited, SinkBroken
from connector.sink import Delivered, FollowUp, Rejected, Result, RetryLater
from connector.store import claim, leases, rate_limit, settle
from connector.store.claim import Claim
from connector.store.leases import Lease
from connector.store.schema import delivery, sink
from connector.testing import START
from tests.postgres import rolled_back
from tests.store.kit import DEAD, DELIVERED, PENDING, SUPERSEDED, add, memory

POLICY = Policy(random=lambda low, high: high)
SINKS = ("chat", "sheet")
BATCH = 3

sinks = st.sampled_from(SINKS)
keys = st.sampled_from(["i1", "i1", "i2", "i3"])
outcomes = st.lists(
    st.sampled_from(
        [
            Delivered(),
            Delivered("ts-1"),
            Rejected("too long"),
            RetryLater("failed"),
            RetryLater("429", after=30, counts=False),
            RetryLater("timeout", unclear=True),
        ]
    ),
    min_size=BATCH,
    max_size=BATCH,
)
failures = st.sampled_from([CallFailure("timeout"), RateLimited("channel", 20), SinkBroken("no access", "share it")])
asked = st.dictionaries(st.sampled_from(["i1", "i2", "digest"]), st.sampled_from([0, 25, 600]), max_size=2)


@dataclass
class Call:
    """A call in flight."""

    lease: Lease
    claim: Claim


class Outbox(RuleBasedStateMachine):
    empty = staticmethod(memory)

    @initialize()
    def open(self):
        self.stack = ExitStack()
        self.connection = self.stack.enter_context(self.empty())
        self.now = START
        self.seq = 0
        self.generation = 0
        self.calls: dict[str, Call] = {}
        self.lost: list[tuple[str, Call]] = []
        self.unclear: dict[int, str] = {}
        self.done: dict[int, int] = {}
        self.delivered = dict.fromkeys(SINKS, 0)
        leases.register(self.connection, dict.fromkeys(SINKS, "any"))
        self.leases = {name: self.acquired(name) for name in SINKS}

    def teardown(self):
        if hasattr(self, "stack"):
            try:
                self.drain()
            finally:
                self.stack.close()

    def acquired(self, name):
        lease = leases.acquire(self.connection, name, f"worker {self.generation}", self.now, by_force=True)
        assert lease is not None
        return lease

    def rows(self):
        return {row.id: row for row in self.connection.execute(select(delivery).order_by(delivery.c.id))}

    # --- what can happen

    @rule(arrivals=st.lists(st.tuples(keys, st.sampled_from([1, 100])), min_size=1, max_size=4))
    def arrive(self, arrivals):
        """Events, each for both sinks."""
        for key, priority in arrivals:
            self.seq += 1
            for name in SINKS:
                add(self.connection, key, sink=name, event_seq=self.seq, priority=priority, since=self.now)

    @rule(seconds=st.sampled_from([0.001, 0.5, 1, 2, 30, 900, 86_400 * 8]))
    def wait(self, seconds):
        self.now += round(seconds * 1000)

    @rule(name=sinks)
    def call(self, name):
        """A worker claims what is due and marks it."""
        if name in self.calls:
            return
        found = self.claimed(name)
        if found is None:
            return
        self.check_claim(name, found)
        claim.mark(self.connection, self.leases[name], found, state_sink=name == "sheet")
        self.calls[name] = Call(self.leases[name], found)

    @rule(name=sinks, results=outcomes, again=asked)
    def answer(self, name, results, again):
        """A call, if none is in flight, and the sink's result: an outcome per delivery, and follow-ups."""
        self.call(name)
        if name in self.calls:
            later = [FollowUp("edit", timedelta(seconds=each), interview=key) for key, each in again.items()]
            self.settle(name, Result(results[: len(self.calls[name].claim.works)], follow_ups=later))

    @rule(name=sinks, failure=failures)
    def fail(self, name, failure):
        """As `answer`, but the sink raises, has no token or finds its destination broken."""
        self.call(name)
        if name in self.calls:
            if isinstance(failure, RateLimited):
                rate_limit.block(self.connection, failure.bucket, failure.seconds, self.now)
            self.settle(name, failure)

    @precondition(lambda self: self.calls)
    @rule()
    def crash(self):
        """The process dies in its calls; another one takes the leases over."""
        for name, call in self.calls.items():
            self.lost.append((name, call))
            if name == "chat":
                self.unclear |= {work.id: call.claim.batch for work in call.claim.works}
        self.calls = {}
        self.generation += 1
        self.leases = {name: self.acquired(name) for name in SINKS}

    @precondition(lambda self: self.lost)
    @rule(results=outcomes)
    def settle_without_lease(self, results):
        """A worker that lost its lease settles: nothing is written."""
        name, call = self.lost.pop()
        before = self.rows()
        answer = Result(results[: len(call.claim.works)])
        settlement = settlement_of(call.claim, answer, self.now, self.now, POLICY)
        with pytest.raises(LeaseLost):
            settle.settle(self.connection, call.lease, "place", settlement)
        with pytest.raises(LeaseLost):
            claim.mark(self.connection, call.lease, call.claim, state_sink=name == "sheet")
        assert self.rows() == before

    # --- how

    def claimed(self, name):
        if name == "chat":
            return batches.claim_messages(self.connection, name, self.now, BATCH)
        return batches.claim_states(self.connection, leases.row(self.connection, name), self.now, BATCH)

    def settle(self, name, answer):
        call = self.calls.pop(name)
        settlement = settlement_of(call.claim, answer, self.now, self.now, POLICY)
        if name == "sheet" and isinstance(answer, RateLimited | SinkBroken):
            settlement.unsent = []
        settle.settle(self.connection, call.lease, "place", settlement)
        self.done |= {id_: DELIVERED for id_, _ in settlement.delivered}
        self.done |= {id_: DEAD for id_, _ in settlement.dead}
        self.done |= dict.fromkeys(settlement.superseded, SUPERSEDED)
        self.delivered[name] += len(settlement.delivered)
        if name == "chat":
            self.remember_unclear(call.claim, answer)

    def remember_unclear(self, claimed, answer):
        """An unclear delivery stays unclear until it is settled."""
        if isinstance(answer, RateLimited | SinkBroken):
            return
        failed = [RetryLater("", unclear=True)] * len(claimed.works)
        for work, outcome in zip(claimed.works, answer.outcomes if isinstance(answer, Result) else failed, strict=True):
            if isinstance(outcome, RetryLater) and (outcome.unclear or claimed.maybe_sent) and work.id not in self.done:
                self.unclear[work.id] = claimed.batch
            else:
                self.unclear.pop(work.id, None)

    def check_claim(self, name, found):
        rows = self.rows()
        ids = [work.id for work in found.works]
        assert len({work.key if name == "sheet" else (work.purpose, work.key) for work in found.works}) == len(ids)
        for id_ in (*ids, *(older for work in found.works for older in work.older)):
            assert id_ not in self.done
            assert rows[id_].sink == name
            assert rows[id_].not_before <= self.now or found.maybe_sent
        if name == "sheet":
            assert all(older < work.id and rows[older].key == work.key for work in found.works for older in work.older)
            assert found.maybe_sent == (leases.row(self.connection, name).batch is not None)
        else:
            self.check_messages(found, rows, ids)

    def check_messages(self, found, rows, ids):
        pending = [row for row in rows.values() if row.sink == "chat" and row.state == PENDING]
        if found.maybe_sent:
            assert sorted(ids) == sorted(id_ for id_, batch in self.unclear.items() if batch == found.batch)
            return
        assert not self.unclear.keys() & set(ids)
        for id_ in ids:
            mine = rows[id_]
            for other in pending:
                if (other.purpose, other.key) == (mine.purpose, mine.key) and other.id != id_:
                    assert not other.blocks_key
                    assert not other.attempts
                    assert other.id not in self.unclear
                    is_earlier = other.priority == mine.priority and other.id < id_
                    assert not is_earlier or other.bucket is not None

    def drain(self):
        """A sink that works from now on gets everything that is pending, in finite time."""
        for name in list(self.calls):
            self.settle(name, SinkBroken("stopped", ""))
        for name in SINKS:
            for _ in range(200):
                self.call(name)
                if name in self.calls:
                    self.settle(name, Result([Delivered()] * len(self.calls[name].claim.works)))
                    continue
                due = claim.next_due(self.connection, name)
                if due is None:
                    break
                assert due.at > self.now, "nothing is due, and yet it is time"
                self.now = due.at
        states = {row.state for row in self.rows().values()}
        assert PENDING not in states
        self.check_ends()

    def check_ends(self):
        rows = self.rows().values()
        assert all(row.state != SUPERSEDED for row in rows if row.sink == "chat")
        newest = {row.key: row for row in rows if row.sink == "sheet"}
        for row in rows:
            if row.state == SUPERSEDED:
                assert row.id < newest[row.key].id
        assert all(row.state in {DELIVERED, DEAD} for row in newest.values() if row.event_seq is not None)

    # --- what always holds

    @invariant()
    def every_event_has_its_rows(self):
        """Every event has a row for every sink, and settled rows do not change."""
        rows = self.rows()
        assert sorted((row.event_seq, row.sink) for row in rows.values() if row.event_seq is not None) == [
            (seq, name) for seq in range(1, self.seq + 1) for name in SINKS
        ]
        assert {id_: row.state for id_, row in rows.items() if row.state != PENDING} == self.done

    @invariant()
    def one_row_of_a_key_holds_the_others(self):
        """At most one delivery of a message sink and key is in flight, failed or unclear."""
        held = select(func.count()).where(
            delivery.c.sink == "chat", delivery.c.state == PENDING, delivery.c.blocks_key == 1
        )
        counts = self.connection.execute(held.group_by(delivery.c.purpose, delivery.c.key)).scalars()
        assert max(counts, default=0) <= 1

    @invariant()
    def next_due_agrees_with_claims(self):
        """A delivery can be claimed exactly when the next one is due, so a lane neither misses work nor searches
        without a pause.
        """
        for name in SINKS:
            if name not in self.calls:
                due = claim.next_due(self.connection, name)
                is_time = due is not None and due.at <= self.now
                assert is_time == (self.claimed(name) is not None)

    @invariant()
    def one_follow_up_per_key(self):
        """At most one call without an event waits for a sink and key."""
        waiting = select(func.count()).where(delivery.c.state == PENDING, delivery.c.event_seq.is_(None))
        counts = self.connection.execute(
            waiting.group_by(delivery.c.sink, delivery.c.purpose, delivery.c.key)
        ).scalars()
        assert max(counts, default=0) <= 1

    @invariant()
    def deliveries_are_counted(self):
        """Each success is counted once."""
        assert dict(self.connection.execute(select(sink.c.name, sink.c.delivered)).all()) == self.delivered


class OutboxOnPostgres(Outbox):
    """The same statements on the other database."""

    empty = staticmethod(rolled_back)


class LongOutbox(Outbox):
    """The same with more steps, for rare combinations of a lost answer, a retry and a missing token."""


Outbox.TestCase.settings = settings(max_examples=12, stateful_step_count=18, deadline=None)
OutboxOnPostgres.TestCase.settings = settings(max_examples=5, stateful_step_count=18, deadline=None)
LongOutbox.TestCase.settings = settings(max_examples=3000, stateful_step_count=40, deadline=None)

TestOutbox = Outbox.TestCase
TestOutboxOnPostgres = OutboxOnPostgres.TestCase
TestLongOutbox = pytest.mark.chaos(pytest.mark.timeout(3600)(LongOutbox.TestCase))
