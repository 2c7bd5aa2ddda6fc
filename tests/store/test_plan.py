"""The plan of one group of events: independent of the grouping, and by the routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count, pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.hireflix import EVENT_NAMES
from connector.hireflix.payload import SYNTHETIC_MARKS
from connector.interview import Stage
from connector.merge import decode, merge
from connector.routing import Route
from connector.store.ingest import (
    DEFAULT_PRIORITY,
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    INTERVIEW_COLUMNS,
    StoredInterview,
    plan_group,
    plan_one,
)
from connector.testing import START
from tests.store.kit import CREATE, FINISH, SCORE, arrival, body, reading, routing_table

# --- a store made of dictionaries


@dataclass
class Fake:
    """Applies plans the way the tables do."""

    routing_table: object
    known: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    bodies: dict = field(default_factory=dict)
    interviews: dict = field(default_factory=dict)
    subscriptions: list = field(default_factory=list)
    deliveries: list = field(default_factory=list)
    answers: list = field(default_factory=list)

    def group(self, arrivals):
        stored = {
            id_: StoredInterview(row["state"], row["version"], self.sinks(id_)) for id_, row in self.interviews.items()
        }
        plan = plan_group(arrivals, dict(self.known), stored, self.routing_table, count(len(self.events) + 1))
        for values in plan.events:
            row = dict(zip(EVENT_COLUMNS, values, strict=True))
            assert row["identity"] not in self.known
            self.known[row["identity"]] = row["seq"]
            self.events.append(row)
        self.bodies |= {seq: body for seq, _, body, _ in plan.bodies}
        for values in plan.interviews:
            row = dict(zip(INTERVIEW_COLUMNS, values, strict=True))
            self.interviews[row["id"]] = row
        assert not set(plan.subscriptions) & set(self.subscriptions)
        self.subscriptions += plan.subscriptions
        self.deliveries += [dict(zip(DELIVERY_COLUMNS, values, strict=True)) for values in plan.deliveries]
        self.answers += plan.answers
        return plan

    def shown(self, *columns):
        return {id_: tuple(row[name] for name in columns) for id_, row in self.interviews.items()}

    def sinks(self, interview_id):
        return tuple(sorted(sink for sink, id_ in self.subscriptions if id_ == interview_id))

    def sent(self, sink):
        return [row["event_seq"] for row in self.deliveries if row["sink"] == sink]


def run(arrivals, cuts, of):
    """Applies the arrivals, with a new group at each cut."""
    fake = Fake(of)
    places = [0, *sorted({min(cut, len(arrivals)) for cut in cuts}), len(arrivals)]
    for begin, end in pairwise(places):
        if begin < end:
            fake.group(arrivals[begin:end])
    return fake


def all_kinds():
    """Every condition a route can have, on both kinds of sinks."""
    routes = [
        Route(("sheet",), events=(FINISH,)),
        Route(("talents",), stages=(Stage.SHORTLISTED,)),
        Route(("chat",), ("Cook*",)),
        Route(("chat", "sheet"), min_score=4),
        Route(("rest",), otherwise=True),
    ]
    return routing_table(routes, sheet=True, talents=True, chat=False, rest=False, priority={FINISH: 1})


positions = st.sampled_from(
    [{"id": "p1", "name": "Cook"}, {"id": "p1", "name": "Cook (night)"}, {"id": "p2", "name": "Poet"}]
)
marks = st.none() | st.integers(START, START + 3)
event_bodies = st.builds(
    body,
    st.sampled_from(sorted(EVENT_NAMES)),
    st.sampled_from(["i1", "i2", "i3"]),
    st.integers(START, START + 5),
    position=positions,
    score=st.none() | st.fixed_dictionaries({"value": st.sampled_from([1, 4, 5])}),
    finalist=marks,
    archived=marks,
)
strange_bodies = st.sampled_from([b"not json", b"{}", body("interview.vanished", "i1")])
sequences = st.lists(st.one_of(event_bodies, event_bodies, event_bodies, strange_bodies), max_size=14)
cuts = st.lists(st.integers(0, 14), max_size=6)


def one_body_per_identity(bodies):
    """Of several bodies with one identity the first counts, so their order would matter."""
    return list({one.reading.identity: one for one in map(arrival, bodies)}.values())


@given(sequences, cuts)
def test_the_grouping_does_not_matter(bodies, places):
    """Any split of the same arrivals into transactions gives the same rows in every table and the same answers."""
    arrivals = [arrival(raw) for raw in bodies]
    at_once, parts = run(arrivals, [], all_kinds()), run(arrivals, places, all_kinds())
    assert parts.events == at_once.events
    assert parts.deliveries == at_once.deliveries
    assert parts.answers == at_once.answers
    shown = [name for name in INTERVIEW_COLUMNS if name != "version"]
    assert parts.shown(*shown) == at_once.shown(*shown)


@given(sequences, cuts, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(bodies, places, randomness):
    """Any order, any grouping and any repetition gives the same interviews, and each event to each sink once."""
    arrivals = one_body_per_identity(bodies)
    shuffled = arrivals + randomness.sample(arrivals, len(arrivals) // 2)
    randomness.shuffle(shuffled)
    of = routing_table(
        [Route(("sheet", "chat")), Route(("finishes",), events=(FINISH,))], sheet=True, chat=False, finishes=True
    )
    one, other = run(arrivals, [], of), run(shuffled, places, of)
    shown = ("state", "stage", "position_id", "position_name", "updated_at")
    assert other.shown(*shown) == one.shown(*shown)
    assert {row["identity"] for row in other.events} == {row["identity"] for row in one.events}
    understood = [row["seq"] for row in other.events if row["kind"] == "event"]
    for sink in ("sheet", "chat"):
        assert sorted(other.sent(sink)) == understood


@settings(max_examples=60, deadline=None)
@given(st.lists(event_bodies, min_size=1, max_size=8))
def test_the_row_is_the_merge_of_its_events(bodies):
    """The stored row is exactly the result of the merging rules."""
    fake = run([arrival(raw) for raw in bodies], [3], all_kinds())
    for id_, row in fake.interviews.items():
        state = None
        seqs = [event["seq"] for event in fake.events if event["interview_id"] == id_]
        for raw in (fake.bodies[seq] for seq in seqs):
            state = merge(state, arrival(raw).reading)
        assert decode(row["state"]) == state


# --- identities


def test_repeats_inside_a_group_and_across_groups():
    """The first of an identity is stored, and the others are answered with its number."""
    fake = Fake(routing_table(chat=False))
    fake.group([arrival(), arrival(), arrival(interview="i2")])
    plan = fake.group([arrival(interview="i2"), arrival(interview="i3"), arrival(interview="i3")])
    assert fake.answers == [(1, False), (1, True), (2, False), (2, True), (3, False), (3, True)]
    assert plan.duplicates == 2
    assert fake.sent("chat") == [1, 2, 3]


def test_of_several_bodies_with_one_identity_the_first_counts():
    """A later body with the same date, interview and name changes nothing."""
    fake = Fake(routing_table(chat=False))
    fake.group([arrival(candidate={"name": "First"}), arrival(candidate={"name": "Second"})])
    assert decode(fake.interviews["i1"]["state"]).values["candidate_name"] == "First"
    assert len(fake.events) == 1


# --- what is not understood


@pytest.mark.parametrize(("raw", "kind"), [(b"\xff", "unreadable"), (body("interview.vanished"), "unknown")])
def test_what_is_not_understood_is_stored_only(raw, kind):
    """It is an event row with its kind: nothing is merged, routed or woken."""
    plan = Fake(routing_table(chat=False, sheet=True)).group([arrival(raw)])
    assert [event[EVENT_COLUMNS.index("kind")] for event in plan.events] == [kind]
    assert (plan.interviews, plan.deliveries, plan.woken) == ([], [], set())
    assert plan.received == {kind: 1}


def test_an_unreadable_body_beside_a_readable_one():
    """The others of its group are not affected."""
    fake = Fake(routing_table(chat=False))
    fake.group([arrival(b"{"), arrival(), arrival(b"["), arrival(interview="i2")])
    assert fake.sent("chat") == [2, 4]


# --- state sinks


def test_entry_is_remembered_and_later_events_follow():
    """After the first delivery every event of the interview is sent there, whatever the routes are then."""
    fake = Fake(routing_table([Route(("sheet",), events=(FINISH,))], sheet=True))
    fake.group([arrival(name=CREATE)])
    assert fake.sent("sheet") == []
    fake.group([arrival(name=FINISH, at=START + 1), arrival(name=SCORE, at=START + 2)])
    fake.group([arrival(name=CREATE, at=START - 5)])
    assert fake.sent("sheet") == [2, 3, 4]
    assert fake.sinks("i1") == ("sheet",)


def test_entry_is_of_one_interview():
    """Another interview is not subscribed by it."""
    fake = Fake(routing_table([Route(("sheet",), events=(FINISH,))], sheet=True))
    fake.group([arrival(name=FINISH), arrival(name=SCORE, interview="i2")])
    assert fake.subscriptions == [("sheet", "i1")]


def test_an_event_that_leads_into_a_sheet_twice_goes_there_once():
    """A new subscription does not add a second delivery."""
    fake = Fake(routing_table([Route(("sheet",)), Route(("sheet",), events=(FINISH,))], sheet=True))
    fake.group([arrival(), arrival(at=START + 1)])
    assert fake.sent("sheet") == [1, 2]


def test_a_name_that_was_a_sheet_and_is_a_chat_by_now_follows_its_routes():
    """Old subscriptions add neither second messages nor events that its routes leave out."""
    fake = Fake(routing_table([Route(("news",))], news=True))
    fake.group([arrival()])
    fake.routing_table = routing_table([Route(("news",), events=(FINISH,))], news=False)
    fake.group([arrival(name=FINISH, at=START + 1), arrival(name=SCORE, at=START + 2)])
    assert fake.sent("news") == [1, 2]


def test_a_sink_that_is_not_there_gets_nothing_and_keeps_its_entries():
    """The subscriptions of a sink that is not configured are kept."""
    fake = Fake(routing_table(chat=False))
    fake.interviews["i1"] = {
        "state": Fake(routing_table()).group([arrival()]).interviews[0][1],
        "version": 7,
    }
    fake.subscriptions.append(("old", "i1"))
    fake.group([arrival(name=SCORE, at=START + 1)])
    assert fake.subscriptions == [("old", "i1")]
    assert fake.interviews["i1"]["version"] == 8
    assert {row["sink"] for row in fake.deliveries} == {"chat"}


# --- message sinks, priorities, counts


def test_message_sinks_follow_the_routes_event_by_event():
    """A chat has no subscription by route: only matching events are sent to it."""
    fake = Fake(routing_table([Route(("chat",), events=(FINISH,))], chat=False))
    fake.group([arrival(name=FINISH), arrival(name=SCORE, at=START + 1), arrival(name=FINISH, interview="i2")])
    assert fake.sent("chat") == [1, 3]
    assert fake.subscriptions == []


def test_routes_look_at_the_merged_interview():
    """A score that came earlier counts for an event that does not carry it."""
    fake = Fake(routing_table([Route(("chat",), events=(FINISH,), min_score=4)], chat=False))
    fake.group([arrival(name=SCORE, score={"value": 5}), arrival(name=FINISH, at=START + 1)])
    assert fake.sent("chat") == [2]


def test_a_delivery_has_the_priority_of_its_event():
    """The sink defines it; events without one have the middle priority."""
    fake = Fake(routing_table(chat=False, priority={FINISH: 1}))
    fake.group([arrival(name=FINISH), arrival(name=SCORE)])
    assert [row["priority"] for row in fake.deliveries] == [1, DEFAULT_PRIORITY]


def test_the_window_runs_from_receipt():
    """The date of the event does not matter for the retry window."""
    fake = Fake(routing_table(chat=False))
    fake.group([arrival(body(at=START - 90 * 86_400_000), START + 3)])
    assert [row["since"] for row in fake.deliveries] == [START + 3]


def test_older_events_are_counted():
    """An event older than what is stored is merged and counted; a repeat is not counted as one."""
    fake = Fake(routing_table(chat=False))
    fake.group([arrival(at=START + 10)])
    plan = fake.group([arrival(at=START), arrival(at=START + 20), arrival(at=START + 15), arrival(at=START)])
    assert plan.older == 2


def test_the_woken_are_those_with_new_work():
    """A repeat wakes no sink."""
    fake = Fake(routing_table([Route(("chat",), events=(FINISH,)), Route(("sheet",))], chat=False, sheet=True))
    assert fake.group([arrival(name=FINISH)]).woken == {"chat", "sheet"}
    assert fake.group([arrival(name=SCORE)]).woken == {"sheet"}
    assert fake.group([arrival(name=SCORE)]).woken == set()


def test_events_are_counted_by_their_name():
    """Names that senders make up do not become labels."""
    plan = Fake(routing_table()).group(
        [arrival(), arrival(name=SCORE), arrival(body("made.up.1")), arrival(body("made.up.2"))]
    )
    assert plan.received == {FINISH: 1, SCORE: 1, "unknown": 2}


@pytest.mark.parametrize("mark", sorted(SYNTHETIC_MARKS))
def test_events_that_the_connector_made_do_not_count_as_received(mark):
    """A backfill does not count as load from Hireflix."""
    one = arrival()
    plan = Fake(routing_table()).group(
        [one._replace(reading=msgspec.structs.replace(one.reading, mark=mark)), arrival(name=SCORE)]
    )
    assert plan.received == {"synthetic": 1, SCORE: 1}
    assert [row[1:2] + row[4:] for row in plan.rollup] == [(SCORE, 1)]


# --- late application


def test_an_event_that_is_stored_already_is_applied_late():
    """Merged and routed under its old number, with no new event row."""
    plan = plan_one(reading(), 5, None, routing_table(chat=False, sheet=True))
    assert plan.events == []
    assert sorted(row[:2] + row[3:4] for row in plan.deliveries) == [("chat", "i1", 5), ("sheet", "i1", 5)]
    assert plan.subscriptions == [("sheet", "i1")]


def test_late_application_respects_what_is_known():
    """The stored interview is merged with, not replaced."""
    fake = Fake(routing_table(sheet=True))
    fake.group([arrival(at=START + 10, candidate={"name": "Newer"})])
    row = fake.interviews["i1"]
    late = reading(name=SCORE, at=START, candidate={"name": "Older"}, score={"value": 3})
    plan = plan_one(late, 9, StoredInterview(row["state"], row["version"], fake.sinks("i1")), fake.routing_table)
    values = decode(plan.interviews[0][1]).values
    assert (values["candidate_name"], values["score"]) == ("Newer", 3)
