"""A decision reaches Hireflix exactly once, also when replies are lost and commands are repeated."""

from __future__ import annotations

import asyncio

import pytest

from connector.decision import Decision, DecisionRequest, Via
from connector.emulators.faults import APPLY_503, DROP, HTML_503, REFUSE, TRUNCATE, Fault, FaultKind
from connector.emulators.hireflix import HireflixEmulator
from connector.errors import ConnectorError
from connector.hireflix.api import HireflixApi
from connector.hireflix.snapshot import Origin
from connector.interview import Stage
from connector.operations.decide import Busy, RequestStore, Unclear, carry_out
from connector.operations.decision_worker import DecisionWorker
from connector.store import decisions, leases, queries, schema
from connector.store.queries import ListingFilter
from connector.testing import START
from tests.operations.hireflix_world import at_once, source_at


class World:
    def __init__(self, source):
        self.source, self.account, self.server, self.store = source, source.account, source.server, source.store
        self.found, _ = self.account.invite(self.account.add_position("Baker"), "Ana García")
        self.account.complete(self.found)
        self.asked = 0

    def worker(self, owner):
        server, clock = self.server, self.source.clock
        return DecisionWorker(
            lambda: HireflixApi(server.key, server.api_url, now=clock.now, sleep=at_once, tries=2),
            self.store,
            clock,
            owner,
            wake=lambda _: None,
            sleep=at_once,
        )

    async def decide(self, decision, value=None, **options):
        self.asked += 1
        request = DecisionRequest(
            key=f"command:{self.asked}",
            interview_id=self.found.id,
            decision=Decision(decision),
            value=value,
            actor="cli:ada",
            via=Via.COMMAND,
            **options,
        )
        stored = await self.store.write(lambda connection: decisions.ask(connection, request, self.source.clock.now()))
        return await self.worker(stored.key).finish(stored)

    async def wait(self, decision):
        """A request of a sheet that the service has not carried out yet."""
        request = DecisionRequest(
            key="sheet:1", interview_id=self.found.id, decision=Decision(decision), actor="sheet", via=Via.SHEET
        )
        await self.store.write(lambda connection: decisions.ask(connection, request, self.source.clock.now()))

    async def states(self):
        return [row.state for row in await self.source.rows(schema.decision_request)]

    @property
    def sent(self):
        return [name for name, _ in self.account.changes]

    async def audited(self):
        rows = await self.store.query(lambda connection: queries.audit_entries(connection, ListingFilter(), 100))
        return [(row.actor, row.target, row.detail) for row in rows]


@pytest.fixture
async def world(tmp_path):
    async with source_at(tmp_path) as source:
        yield World(source)


def after_first(fault):
    """A chooser of faults: the first call is the look, the second one sends."""
    calls = []

    def choose(kind):
        calls.append(kind)
        return fault if len(calls) == 2 else None

    return choose


@pytest.mark.parametrize(
    ("decision", "stage", "sent"),
    [("shortlist", Stage.SHORTLISTED, ["finalist"]), ("discard", Stage.DISCARDED, ["archive"])],
)
async def test_a_stage_is_sent_once(world, decision, stage, sent):
    result = await world.decide(decision)
    assert (result.changed, result.stage, world.sent) == (True, stage, sent)

    again = await world.decide(decision)
    assert (again.changed, again.stage, world.sent) == (False, stage, sent)


async def test_back_takes_both_decisions_back(world):
    world.account.discard(world.found)
    world.account.shortlist(world.found)

    result = await world.decide("back")

    assert (result.stage, world.sent) == (Stage.TO_EVALUATE, ["archive", "finalist"])


async def test_a_shortlist_after_a_discard_leaves_one_mark(world):
    await world.decide("discard")
    await world.decide("shortlist")

    assert (world.found.archived, world.found.finalist) == (None, START)


async def test_an_interview_that_is_not_completed_cannot_go_back(world):
    world.found.completed = None

    with pytest.raises(ConnectorError, match="not completed"):
        await world.decide("back")


@pytest.mark.parametrize("fault", [DROP, APPLY_503, TRUNCATE], ids=lambda fault: fault.kind)
async def test_a_lost_reply_is_looked_up_and_nothing_is_sent_again(world, fault):
    world.server.faults.choose(after_first(fault))

    result = await world.decide("shortlist")

    assert (result.changed, result.stage, world.sent) == (True, Stage.SHORTLISTED, ["finalist"])


@pytest.mark.parametrize("fault", [REFUSE, HTML_503], ids=lambda fault: fault.kind)
async def test_a_stage_that_did_not_arrive_is_sent_again(world, fault):
    world.server.faults.choose(after_first(fault))

    result = await world.decide("shortlist")

    assert (result.stage, world.sent) == (Stage.SHORTLISTED, ["finalist"])


async def test_a_score_is_sent_once(world):
    assert (await world.decide("score", "4.5")).score == 4.5
    assert (await world.decide("score", "4.5")).changed is False
    assert world.sent == ["score"]


async def test_a_score_is_removed(world):
    world.account.rate(world.found, 3)
    assert (await world.decide("score", "none")).score is None


async def test_a_score_whose_reply_was_lost_is_not_sent_again(world):
    world.server.faults.choose(after_first(DROP))
    assert (await world.decide("score", "4")).changed
    assert world.sent == ["score"]


@pytest.mark.parametrize("value", [None, "6", "4.2", "good", "nan"])
async def test_another_score_is_refused_before_anything_is_sent(world, value):
    with pytest.raises(ConnectorError, match="half steps"):
        await world.decide("score", value)
    assert world.server.calls.total() == 0


async def test_the_same_comment_is_added_once_unless_it_is_to_be_repeated(world):
    assert (await world.decide("comment", "A strong interview")).changed
    assert not (await world.decide("comment", "A strong interview")).changed
    assert (await world.decide("comment", "A strong interview", repeat=True)).changed
    assert world.sent == ["comment", "comment"]


async def test_a_comment_whose_reply_was_lost_is_found(world):
    world.server.faults.choose(after_first(DROP))
    assert (await world.decide("comment", "Good")).changed
    assert [each["value"] for each in world.found.comments] == ["Good"]


async def test_a_comment_that_may_still_arrive_is_left_to_an_operator(world):
    world.server.faults.choose(after_first(Fault(FaultKind.LATE)))
    with pytest.raises(Unclear, match="look at the interview"):
        await world.decide("comment", "Good")

    world.server.faults.release()
    world.server.faults.settle()

    assert not (await world.decide("comment", "Good")).changed
    assert [each["value"] for each in world.found.comments] == ["Good"]


async def test_a_discard_that_is_refused_after_its_comment_leaves_the_comment_in_the_audit_log(world):
    """The log says what Hireflix shows."""
    answered = iter([None, None])  # the comments are read, and the comment is sent
    world.server.faults.choose(lambda _: next(answered, Fault(FaultKind.STATUS, status=400)))
    with pytest.raises(ConnectorError, match="HTTP 400"):
        await world.decide("discard", "No permit")
    assert world.sent == ["comment"]
    assert await world.audited() == [("cli:ada", world.found.id, "comment")]


async def test_the_reason_of_a_discard_is_a_comment(world):
    await world.decide("discard", "No permit")
    assert world.sent == ["comment", "archive"]
    assert [each["value"] for each in world.found.comments] == ["No permit"]


async def test_a_share_makes_one_link_and_returns_it_again(world):
    made = await world.decide("share", "100")
    again = await world.decide("share")

    assert made.link.startswith("https://shared.hireflix.com/")
    assert (again.changed, again.link, world.sent) == (False, made.link, ["share"])


async def test_an_expired_link_is_replaced(world):
    world.found.link = {"url": "https://shared.hireflix.com/interview/old", "expires": START - 1}

    assert not (await world.decide("share")).link.endswith("old")


async def test_two_at_a_time_do_not_decide_on_one_interview(world):
    def held(connection):
        leases.register_lease(connection, f"decide:{world.found.id}")
        leases.acquire(connection, f"decide:{world.found.id}", "other", world.source.clock.now(), table=schema.lease)

    await world.store.write(held)
    await world.wait("shortlist")
    request_store = RequestStore(world.store, world.source.clock)
    reader = world.source.reader(Origin.DECISION)
    with pytest.raises(Busy):
        await carry_out(world.source.api, request_store, 1, world.found.id, owner="one", on_read=reader.refresh)
    assert world.sent == []


async def test_an_earlier_request_that_waits_is_carried_out_before_a_command(world):
    await world.wait("shortlist")
    await world.decide("discard")
    assert [detail for _, _, detail in await world.audited()] == ["discard", "shortlist"]
    assert world.found.stage == Stage.DISCARDED


async def test_a_command_does_not_overtake_a_request_that_waits_for_hireflix(world):
    await world.wait("shortlist")
    world.server.faults.choose(lambda kind: HTML_503)
    with pytest.raises(ConnectorError, match="waits for an earlier decision on the interview; it is kept"):
        await world.decide("discard")
    assert (world.sent, await world.states()) == ([], ["waiting", "waiting"])


async def test_nothing_is_left_of_the_lease(world):
    await world.decide("shortlist")
    assert await world.source.rows(schema.lease) == []


async def test_what_was_sent_is_in_the_audit_log_without_the_text_of_a_comment(world):
    await world.decide("score", "4")
    await world.decide("score", "4")
    await world.decide("comment", "Ana is strong")

    assert await world.audited() == [
        ("cli:ada", world.found.id, "comment"),
        ("cli:ada", world.found.id, "score 4"),
    ]


async def test_an_unknown_interview_is_named(world):
    world.account.delete(world.found)
    with pytest.raises(ConnectorError, match=f"no interview {world.found.id}"):
        await world.decide("shortlist")


async def test_an_api_that_does_not_show_stages_is_left_alone(world):
    without = ("archived", "discardedAt", "finalist", "shortlistedAt")
    with HireflixEmulator(world.account, without=without) as server:
        world.server = server
        with pytest.raises(Unclear, match="decide in Hireflix"):
            await world.decide("shortlist")
    assert world.sent == []


async def test_repeated_clicks_at_once_reach_hireflix_once(world):
    results = await asyncio.gather(*(world.decide("comment", "Good") for _ in range(4)))
    assert sum(result.changed for result in results) == 1
    assert world.sent == ["comment"]
