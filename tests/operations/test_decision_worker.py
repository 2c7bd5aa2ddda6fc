"""Requests of users are carried out once, also when replies are lost, a process is killed, or two of them work."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from connector.capabilities import CHOICES, DECIDED, decided_key
from connector.decision import Decision, DecisionRequest, Via
from connector.emulators.faults import APPLY_HANG, DROP, HANG, HTML_503, LATE, REFUSE
from connector.hireflix import CREATE, SCORE_UPDATED, STATUS_CHANGE
from connector.hireflix.api import HireflixApi
from connector.hireflix.payload import DECISION
from connector.hireflix.snapshot import IDENTITY
from connector.interview import score_of
from connector.merge import stage_of
from connector.operations import status
from connector.operations.decision_worker import AT_ONCE_MAX, SLOW_SECONDS, DecisionWorker
from connector.store import decisions, enrichment, erase, leases, notes, queries, retention, schema
from connector.store import source as documents
from connector.store.decisions import WaitsFor
from connector.store.enrichment import EnrichmentProgress
from connector.store.queries import ListingFilter
from connector.store.schema import RequestState, Sent
from connector.testing import ManualClock
from tests.delivery.rig import until
from tests.operations.hireflix_world import DAY, at_once, source_at

SHEET = "sheet"


class World:
    """An emulated account with one completed interview, a store and two workers on it."""

    def __init__(self, source):
        self.source, self.account, self.store = source, source.account, source.store
        self.found, _ = self.account.invite(self.account.add_position("Baker"), "Ana García")
        self.account.complete(self.found)
        self.woken = []
        self.workers = [self.worker(name) for name in ("one", "two")]

    def worker(self, name, api=HireflixApi):
        server, clock = self.source.server, self.source.clock
        return DecisionWorker(
            lambda: api(server.key, server.api_url, now=clock.now, sleep=at_once),
            self.store,
            clock,
            name,
            wake=self.woken.extend,
            sleep=at_once,
        )

    async def ask(self, decision, value=None, *, key="k", **options):
        request = DecisionRequest(
            key=key,
            interview_id=self.found.id,
            decision=Decision(decision),
            value=value,
            actor="sheet",
            via=Via.SHEET,
            **options,
        )
        return await self.write(decisions.ask, request, self.source.clock.now(), sink_name=SHEET)

    async def write(self, job, *values, **named):
        return await self.store.write(lambda connection: job(connection, *values, **named))

    async def get(self, request):
        return await self.write(decisions.get, request.id)

    async def step(self):
        return await step(self.workers[0])

    async def ask_others(self, count):
        """Requests for further interviews."""
        position = next(iter(self.account.positions.values()))
        for number in range(count):
            found, _ = self.account.invite(position, "Ben")
            self.account.complete(found)
            request = DecisionRequest(
                key=f"other {number}",
                interview_id=found.id,
                decision=Decision.SHORTLIST,
                actor="sheet",
                via=Via.SHEET,
            )
            await self.write(decisions.ask, request, self.source.clock.now())

    @property
    def sent(self):
        return [name for name, _ in self.account.changes]

    async def audited(self):
        rows = await self.write(queries.audit_entries, ListingFilter(), 100)
        return [(row.actor, row.detail) for row in rows]

    async def shown(self, request):
        """The note with the result for the sink, and the calls that it is asked for."""
        calls = [row.subject for row in await self.source.deliveries(SHEET) if row.purpose == DECIDED]
        found = await self.write(notes.read, SHEET, "", [decided_key(each, self.found.id) for each in calls])
        return next(iter(found.values()), None), calls


async def step(worker):
    """Carries out what is due. Returns how many requests were finished or put off."""
    done = 0
    while tasks := await worker.begin_due():
        done += sum(await asyncio.gather(*tasks))
    return done


def at_call(number, fault):
    """A chooser of faults: the first call is the look, the second one sends."""
    calls = []

    def choose(kind):
        calls.append(kind)
        return fault if len(calls) == number else None

    return choose


@pytest.fixture
async def world(tmp_path):
    async with source_at(tmp_path) as source:
        yield World(source)


async def test_a_request_is_carried_out_and_shown_where_it_came_from(world):
    asked = await world.ask("shortlist", place="tab 3")
    assert await world.step() == 1

    done = await world.get(asked)
    note, calls = await world.shown(asked)
    assert (done.state, world.sent, await world.audited()) == (
        RequestState.DONE,
        ["finalist"],
        [("sheet", "shortlist")],
    )
    assert (note["state"], note["place"], note["changed"], calls) == ("done", "tab 3", True, [f"{asked.id}-done"])
    assert world.woken == [SHEET]
    assert await world.step() == 0


@pytest.mark.parametrize(
    ("decision", "value", "stage", "score"),
    [
        ("shortlist", None, "shortlisted", None),
        ("discard", "No permit", "discarded", None),
        ("score", "4", "to_evaluate", 4),
    ],
)
async def test_the_store_shows_a_decision_at_once_and_the_webhook_that_follows_changes_nothing(
    world, decision, value, stage, score
):
    await world.source.receive(world.account.webhook(CREATE, world.found, world.found.created_at))
    before = world.source.clock.now()
    world.source.clock.advance(60)
    await world.ask(decision, value)
    await world.step()
    values = await world.source.values(world.found.id)
    assert (stage_of(values).value, score_of(values)) == (stage, score)
    [made] = [row for row in await world.source.events() if row.identity.startswith(IDENTITY)]
    assert made.mark == DECISION
    assert before < made.occurred_at <= world.source.clock.now()

    follows = SCORE_UPDATED if decision == "score" else STATUS_CHANGE
    await world.source.receive(world.account.webhook(follows, world.found, world.found.updated_at))
    after = await world.source.values(world.found.id)
    assert after == values | {"status": after["status"]}


async def test_a_decision_is_done_also_when_the_stored_interview_cannot_be_read(world):
    """For example because a newer version wrote it: the decision is in Hireflix."""
    await world.source.receive(world.account.webhook(CREATE, world.found, world.found.created_at))
    newer = schema.interview.update().values(state='{"v":99}')
    await world.store.write(lambda connection: connection.execute(newer))
    asked = await world.ask("shortlist")
    await world.step()
    assert ((await world.get(asked)).state, world.sent) == (RequestState.DONE, ["finalist"])


async def test_a_score_has_the_date_of_the_decision_also_when_hireflix_dates_no_scores(world, monkeypatch):
    """Otherwise a chat would take it for old news."""
    monkeypatch.setattr(world.account, "rate", partial(world.account.rate, touch=False))
    await world.source.receive(world.account.webhook(CREATE, world.found, world.found.created_at))
    world.source.clock.advance(3 * DAY)
    decided_at = world.source.clock.now()
    await world.ask("score", "4")
    await world.step()
    assert (await world.source.events())[-1].occurred_at >= decided_at - 1_000


@pytest.mark.parametrize(("decision", "value"), [("comment", "Good"), ("share", None)])
async def test_a_comment_or_a_link_that_a_user_adds_is_read_for_the_sheet_soon(world, decision, value):
    """Hireflix sends no webhook for it."""
    await world.source.receive(world.account.webhook(STATUS_CHANGE, world.found, world.found.updated_at))
    await world.write(documents.write, enrichment.KEY, EnrichmentProgress())
    await world.ask(decision, value)
    await world.step()
    assert [row.interview_id for row in await world.source.rows(schema.enrichment)] == [world.found.id]


async def test_a_request_that_is_repeated_is_the_same(world):
    first, again = await world.ask("comment", "Good"), await world.ask("comment", "Good")
    await world.step()
    assert (first.id, world.sent) == (again.id, ["comment"])


async def test_two_workers_carry_a_request_out_once(world):
    await world.ask("comment", "Good")
    await asyncio.gather(*map(step, world.workers))
    assert (world.sent, len(await world.audited())) == (["comment"], 1)


async def test_requests_for_one_interview_are_carried_out_in_their_order(world):
    await world.ask("discard", key="1")
    await world.ask("back", key="2")
    assert await world.step() == 2
    assert await world.audited() == [("sheet", "back"), ("sheet", "discard")]
    assert world.found.stage == "to_evaluate"


@pytest.mark.parametrize(("decision", "value"), [("shortlist", None), ("score", "4"), ("comment", "Good")])
async def test_a_process_that_is_killed_after_it_sent_leaves_one_change_and_one_audit_row(world, decision, value):
    asked = await world.ask(decision, value)
    world.source.server.faults.choose(at_call(2, APPLY_HANG))
    killed = asyncio.create_task(world.step())
    await until(lambda: world.sent)
    killed.cancel()
    await asyncio.wait([killed])
    assert (await world.get(asked)).state is RequestState.WAITING

    await step(world.workers[1])

    assert (await world.get(asked)).state is RequestState.DONE
    assert (len(world.sent), len(await world.audited())) == (1, 1)


async def test_a_stop_lets_the_running_request_finish(world):
    asked = await world.ask("comment", "Good")
    faults = world.source.server.faults
    faults.choose(at_call(2, APPLY_HANG))
    [worker, _] = world.workers
    worker.start()
    await until(lambda: world.sent)
    stopping = asyncio.create_task(worker.stop(30, asyncio.Event()))
    while not stopping.done():
        faults.release()
        await asyncio.sleep(0)
    assert (await world.get(asked)).state is RequestState.DONE


async def test_a_forced_stop_leaves_the_running_request_to_the_next_process(world):
    asked = await world.ask("shortlist")
    world.source.server.faults.choose(at_call(2, APPLY_HANG))
    [worker, following] = world.workers
    worker.start()
    await until(lambda: world.sent)
    force = asyncio.Event()
    force.set()
    await worker.stop(30, force)
    assert (await world.get(asked)).state is RequestState.WAITING
    await step(following)
    assert ((await world.get(asked)).state, world.sent) == (RequestState.DONE, ["finalist"])


async def test_a_request_waits_while_hireflix_is_unavailable(world):
    world.source.server.faults.choose(lambda kind: HTML_503)
    asked = await world.ask("shortlist")
    await world.step()
    assert await world.step() == 0
    put_off = await world.get(asked)
    assert (put_off.state, "no usable answer" in put_off.reason) == (RequestState.WAITING, True)
    note, _ = await world.shown(asked)
    assert note["state"] == "waiting"

    world.source.server.faults.choose(lambda kind: None)
    world.source.clock.advance(60)
    await world.step()
    assert (await world.get(asked)).state is RequestState.DONE


def hang(faults):
    """Lets every call hang. Returns the list of them."""
    calls = []

    def choose(kind):
        calls.append(kind)
        return HANG

    faults.choose(choose)
    return calls


async def released(faults, work):
    """Waits for work whose calls hang; they are answered now."""
    while not work.done():
        faults.release()
        await asyncio.sleep(0)
    await work


async def test_a_new_decision_does_not_wait_behind_those_that_hireflix_does_not_answer(world):
    """However many they are: each one holds its turn for a few seconds."""
    [worker, _] = world.workers
    faults = world.source.server.faults
    await world.ask_others(30)
    calls = hang(faults)
    hanging = [*await worker.begin_due()]
    assert await worker.begin_due() == []
    for _ in range(3):
        world.source.clock.advance(SLOW_SECONDS)
        hanging += await worker.begin_due()
    assert len(hanging) == 4 * AT_ONCE_MAX
    asked = await world.ask("shortlist")

    await until(lambda: len(calls) == len(hanging))
    faults.choose(lambda kind: None)
    world.source.clock.advance(SLOW_SECONDS)
    [first, *others] = await worker.begin_due()
    await first
    assert (await world.get(asked)).state is RequestState.DONE
    await released(faults, asyncio.gather(*hanging, *others))


async def test_a_new_decision_is_tried_before_those_that_are_tried_again(world):
    """Also when they have been due for long, as after an outage."""
    world.source.server.faults.choose(lambda kind: HTML_503)
    await world.ask_others(AT_ONCE_MAX)
    await world.step()
    world.source.clock.advance(3600)
    asked = await world.ask("shortlist")
    first, *_ = await world.write(decisions.due, world.source.clock.now(), AT_ONCE_MAX)
    assert first.id == asked.id


async def test_what_another_process_carries_out_takes_no_turn(world):
    name = f"decide:{world.found.id}"
    await world.write(leases.register_lease, name)
    await world.write(leases.acquire, name, "other", world.source.clock.now(), table=schema.lease)
    await world.ask("shortlist")
    assert await world.write(decisions.due, world.source.clock.now(), 1) == []


async def test_a_waiting_decision_says_what_it_waits_for(world):
    now = world.source.clock.now()
    first = await world.ask("shortlist", key="1")
    second = await world.ask("back", key="2")
    assert await world.write(decisions.waits_for, first, now) is WaitsFor.TURN
    assert await world.write(decisions.waits_for, second, now) is WaitsFor.EARLIER

    faults = world.source.server.faults
    calls = hang(faults)
    running = asyncio.create_task(world.step())
    await until(lambda: calls)
    assert await world.write(decisions.waits_for, first, now) is WaitsFor.REPLY

    faults.choose(lambda kind: HTML_503)
    await released(faults, running)
    assert await world.write(decisions.waits_for, await world.get(first), now) is WaitsFor.NEXT_TRY


async def test_a_request_that_makes_the_connector_fail_does_not_delay_the_others(world):
    class Failing(HireflixApi):
        async def interview(self, id_):
            if id_ == world.found.id:
                raise KeyError("a name that the answer does not have")
            return await super().interview(id_)

    first = await world.ask("shortlist", key="1")
    other, _ = world.account.invite(next(iter(world.account.positions.values())), "Ben")
    world.account.complete(other)
    request = DecisionRequest(key="2", interview_id=other.id, decision=Decision.SHORTLIST, actor="sheet", via=Via.SHEET)
    await world.write(decisions.ask, request, world.source.clock.now())
    worker = world.worker("three", Failing)
    await step(worker)
    failed = await world.get(first)
    assert (failed.state, "KeyError" in failed.reason, world.sent) == (RequestState.WAITING, True, ["finalist"])


async def test_a_request_that_waited_for_a_day_is_refused(world):
    world.source.server.faults.choose(lambda kind: HTML_503)
    asked = await world.write(
        decisions.ask,
        DecisionRequest(key="k", interview_id=world.found.id, decision=Decision.BACK, actor="sheet", via=Via.SHEET),
        1_000,
    )
    await world.step()
    assert ((await world.get(asked)).state, world.sent) == (RequestState.REFUSED, [])


async def test_an_unknown_interview_is_refused_with_the_reason(world):
    world.account.delete(world.found)
    asked = await world.ask("shortlist")
    await world.step()
    assert (await world.get(asked)).reason == f"Hireflix has no interview {world.found.id}"
    assert await world.audited() == []


async def unclear(world, fault):
    """A comment whose reply is lost and that Hireflix does not show."""
    asked = await world.ask("comment", "Good")
    world.source.server.faults.choose(at_call(2, fault))
    await world.step()
    assert (await world.get(asked)).state is RequestState.UNCLEAR
    assert await world.step() == 0
    return asked


async def test_an_unclear_comment_that_arrived_after_all_is_not_sent_again(world):
    asked = await unclear(world, LATE)
    world.source.server.faults.release()
    world.source.server.faults.settle()

    await world.write(decisions.answer, asked.id, do=True, actor="dashboard:ada", now=world.source.clock.now())
    await world.step()

    assert (await world.get(asked)).state is RequestState.DONE
    assert [each["value"] for each in world.found.comments] == ["Good"]
    assert await world.audited() == [("sheet", "comment"), ("dashboard:ada", "confirm comment")]


async def test_an_unclear_comment_that_is_missing_is_sent_when_an_operator_says_so(world):
    asked = await unclear(world, REFUSE)

    await world.write(decisions.answer, asked.id, do=True, actor="dashboard:ada", now=world.source.clock.now())
    assert (await world.get(asked)).sent is Sent.AGAIN
    await world.step()

    assert (await world.get(asked)).state is RequestState.DONE
    assert [each["value"] for each in world.found.comments] == ["Good"]


async def test_a_held_request_waits_for_an_operator(world):
    asked = await world.ask("discard", hold="8 rows changed at once")
    assert (await world.step(), world.sent) == (0, [])
    assert (await world.shown(asked))[0]["state"] == "held"

    await world.write(decisions.answer, asked.id, do=True, actor="dashboard:ada", now=world.source.clock.now())
    await world.step()
    assert world.sent == ["archive"]


async def test_a_dropped_request_is_never_carried_out(world):
    asked = await world.ask("discard", hold="8 rows changed at once")
    now = world.source.clock.now()
    assert (await world.write(decisions.answer, asked.id, do=False, actor="dashboard:ada", now=now)) is not None
    assert (await world.write(decisions.answer, asked.id, do=True, actor="dashboard:bo", now=now)) is None
    assert (await world.step(), world.sent) == (0, [])
    assert await world.audited() == [("dashboard:ada", "drop discard")]


async def test_erase_deletes_the_requests_with_their_texts(world):
    await world.ask("comment", "Ana is strong")
    await world.write(erase.erase, world.found.id, [], world.source.clock.now())
    assert await world.source.rows(schema.decision_request) == []
    assert await world.step() == 0


async def test_a_request_that_is_stored_after_the_erase_is_deleted_and_never_sent(world):
    await world.write(erase.erase, world.found.id, [], world.source.clock.now())
    await world.ask("comment", "Ana is strong")
    await world.step()
    assert (world.sent, await world.source.rows(schema.decision_request)) == ([], [])


class WrongClock(ManualClock):
    """A clock of a machine that is an hour ahead of the database."""

    def now(self):
        return super().now() + 3_600_000

    def in_sql(self):
        return super().now()


async def test_a_machine_whose_clock_is_ahead_does_not_take_the_lease_of_another_process(world):
    def held(connection):
        leases.register_lease(connection, name)
        leases.acquire(connection, name, "other", world.source.clock.now(), table=schema.lease)

    name = f"decide:{world.found.id}"
    await world.write(held)
    await world.ask("shortlist")
    world.source.clock = WrongClock(world.source.clock.now())
    assert (await step(world.worker("three")), world.sent) == (0, [])


async def test_retention_deletes_finished_requests_and_keeps_open_ones(world):
    await world.ask("comment", "Good", key="1")
    await world.step()
    await world.ask("comment", "Better", key="2", hold="many at once")
    cutoff = world.source.clock.now() + 400 * DAY * 1000

    await world.write(retention.delete_slice, retention.RetentionKind.DECISIONS, cutoff, retention.START, 100)

    assert [row.key for row in await world.source.rows(schema.decision_request)] == ["2"]


async def test_a_lost_reply_of_a_stage_is_looked_up(world):
    world.source.server.faults.choose(at_call(2, DROP))
    await world.ask("shortlist")
    await world.step()
    assert (world.sent, await world.audited()) == (["finalist"], [("sheet", "shortlist")])


async def test_a_restored_store_asks_before_it_carries_out_old_requests(world):
    await world.ask("discard")
    await world.write(notes.write, SHEET, "", {CHOICES: {"v": 1}})
    await world.write(decisions.after_restore)

    assert (await world.step(), world.sent) == (0, [])
    assert await world.write(notes.read, SHEET, "", [CHOICES]) == {}
    [held] = await world.write(decisions.for_operators)
    assert "restored from a backup" in held.reason


async def test_decisions_that_no_process_carries_out_are_reported(world):
    await world.ask("shortlist")
    at = world.source.clock.now() + 3600 * 1000
    found = await world.write(status.health, at, None)
    [trouble] = [each for each in found.troubles if "decision" in each.what]
    assert trouble.what == "1 decision waits for Hireflix, the oldest for 1 h"
    assert "CONNECTOR_HIREFLIX__API_KEY" in trouble.fix


async def test_a_decision_that_waits_for_hireflix_is_reported_with_the_reason(world):
    """However long it waits: a missing key is not the cause."""
    world.source.server.faults.choose(lambda kind: HTML_503)
    await world.ask("shortlist")
    await world.step()
    at = world.source.clock.now() + 3600 * 1000
    found = await world.write(status.health, at, None)
    [trouble] = [each for each in found.troubles if "decision" in each.what]
    assert trouble.what == "1 decision waits for Hireflix, the oldest for 1 h"
    assert "no usable answer (HTTP 503)" in trouble.fix


async def test_an_operator_may_confirm_after_days(world):
    asked = await world.ask("discard", hold="8 rows changed at once")
    world.source.clock.advance(5 * DAY)
    await world.write(decisions.answer, asked.id, do=True, actor="web:ada", now=world.source.clock.now())
    world.source.server.faults.choose(lambda kind: HTML_503)
    await world.step()
    assert (await world.get(asked)).state is RequestState.WAITING


async def test_on_postgresql_two_processes_ask_and_carry_out_once(tmp_path, postgres_url):
    async with source_at(tmp_path, url=postgres_url) as source:
        world = World(source)
        await asyncio.gather(*(world.ask("comment", "Good", key=str(number % 3)) for number in range(9)))
        await asyncio.gather(*map(step, world.workers))
        while await world.step() or await world.write(decisions.counts):
            pass
        assert (world.sent, len(await world.audited())) == (["comment"], 1)
        assert len(await source.rows(schema.decision_request)) == 3
