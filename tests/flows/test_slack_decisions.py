"""Decisions with the buttons of a Slack message, through the real service: each reaches Hireflix once."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from copy import deepcopy

import pytest
import pytest_asyncio
from sqlalchemy import func, select

from connector.app import running
from connector.config import load
from connector.emulators.faults import APPLY_503, APPLY_HANG, DROP, Fault, FaultKind
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.emulators.slack import SlackEmulator
from connector.emulators.slack.workspace import strings_of
from connector.hireflix.payload import read
from connector.store import notes
from connector.store.queries import ListingFilter, audit_entries
from connector.store.schema import delivery
from connector.store.source import BACKFILL_KEY, Backfill
from connector.store.source import read as read_document
from sinks.chat.record import InterviewRecord
from sinks.chat.service import ABOUT_INTERVIEW
from sinks.slack import channel as slack_channel
from sinks.slack import listener
from tests.flows.slack_decisions import ANA, BOB, EVE, slack_sink
from tests.serving import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP = "S00HIRING"
PATIENCE_SECONDS = 60.0
DENIED = Fault(FaultKind.STATUS, status=401)
SECRET = "hfx_test_secret_9f2c"


def now():
    return time.time_ns() // 1_000_000


class World:
    """An emulated channel, an emulated account, and the service."""

    def __init__(self, folder, account, hireflix, slack):
        self.folder, self.account, self.hireflix, self.slack = folder, account, hireflix, slack
        self.position = account.add_position("Baker")
        self.channel = slack.add_channel("recruiting")
        self.service = None

    @asynccontextmanager
    async def running(self):
        """Runs the service; a second run continues with the store of the first one."""
        file = self.folder / "config.toml"
        source = (
            f'[hireflix]\nwebhook_secrets = ["{SECRET}"]\n'
            f'api_key = "{self.hireflix.key}"\napi_url = "{self.hireflix.api_url}"\n'
        )
        file.write_text(source + slack_sink(self.slack, self.channel, [ANA, GROUP]))
        async with running(load(file, {}, self.folder), [SECRET]) as self.service:
            await until(lambda: self.slack.open_sockets)
            await self.backfilled()
            yield self

    async def finished(self, name):
        """An interview that was finished a moment ago, with its message."""
        found, invited = self.account.invite(self.position, name, at=now() - 60_000)
        case = Case(self, found)
        await self.receive(invited, self.account.complete(found))
        await until(lambda: case.messages)
        await case.shows("Shortlist", "Discard…")
        key = InterviewRecord(found.id).key

        async def is_remembered():
            stored = await self.query(lambda connection: notes.read(connection, "recruiting", self.channel, [key]))
            return "message_id" in stored.get(key, {})

        await until(is_remembered)
        return case

    async def receive(self, *bodies):
        """What the receiver stores for these webhooks."""
        await asyncio.gather(*(self.service.store.offer(read(body, now()), body) for body in bodies))
        self.service.dispatcher.wake(["recruiting"])

    async def backfilled(self):
        """Waits until nothing but decisions calls Hireflix."""

        async def is_filled():
            found = await self.query(lambda connection: read_document(connection, BACKFILL_KEY, Backfill))
            return found is not None and found.finished_at is not None

        await until(is_filled)

    def fail_second_call(self, fault):
        """The first call of a decision reads the interview, the second one changes it."""
        calls = iter((None, fault))
        self.hireflix.faults.choose(lambda _: next(calls, None))

    @property
    def texts(self):
        """What each message of the channel shows."""
        return [" ".join(strings_of(each.blocks)) for each in self.slack.messages(self.channel)]

    async def delivered(self):
        """Waits until the sink has delivered every event."""
        pending = select(func.count()).where(delivery.c.done_at.is_(None), delivery.c.event_seq.is_not(None))

        async def is_delivered():
            return not await self.query(lambda connection: connection.execute(pending).scalar_one())

        await until(is_delivered)

    async def query(self, job):
        return await self.service.store.query(job)


class Case:
    """One interview with its message."""

    def __init__(self, world, found):
        self.world, self.found, self.slack = world, found, world.slack

    @property
    def messages(self):
        about = {ABOUT_INTERVIEW: self.found.id}
        found = [each for each in self.slack.messages(self.world.channel) if not each.is_reply]
        return [each for each in found if about.items() <= each.metadata.get("event_payload", {}).items()]

    @property
    def message(self):
        return self.messages[0]

    @property
    def buttons(self):
        """The labels of the buttons for decisions, in the message as it is now."""
        elements = [item for block in self.message.blocks for item in block.get("elements", [])]
        return [item["text"]["text"] for item in elements if item["type"] == "button" and "value" in item]

    @property
    def text(self):
        """Everything that the blocks of the message show."""
        return " ".join(strings_of(self.message.blocks))

    async def press(self, action, user=ANA, message=None):
        """Presses a button; returns the envelope, which must have been acknowledged."""
        envelope = await asyncio.wrap_future(self.slack.press(message or self.message, f"decide-{action}", user))
        assert envelope.acknowledged == [True]
        return envelope

    async def shows(self, *labels, stamp=""):
        """Waits until the message has these buttons and this stamp."""
        await until(lambda: self.buttons == list(labels) and stamp in self.text)

    async def hears(self, user, text):
        """Waits until only this user was shown a text."""
        await until(lambda: any(each.user == user and text in each.text for each in self.slack.ephemerals))

    @property
    def sent(self):
        """What reached Hireflix."""
        return [name for name, id_ in self.world.account.changes if id_ == self.found.id]

    async def audited(self):
        """What the audit log says, the oldest first."""
        rows = await self.world.query(lambda connection: audit_entries(connection, ListingFilter(), 100))
        return [(row.actor, row.detail) for row in reversed(rows) if row.target == self.found.id]


@asynccontextmanager
async def world_at(folder):
    account = Account(now)
    with HireflixEmulator(account) as hireflix, SlackEmulator() as slack, pytest.MonkeyPatch.context() as patch:
        # a busy machine may need longer than Slack waits
        slack.sockets.ack_seconds = PATIENCE_SECONDS
        patch.setattr(listener, "ACK_SECONDS", PATIENCE_SECONDS)
        patch.setattr(slack_channel, "EDIT_RATE", 20.0)  # so that no test waits for the limit of Slack
        slack.workspace.groups[GROUP] = [BOB]
        yield World(folder, account, hireflix, slack)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    async with world_at(tmp_path_factory.mktemp("decisions")) as made, made.running():
        yield made


async def test_a_click_shortlists_and_the_webhook_that_follows_keeps_the_stamp(world):
    case = await world.finished("Ana García")
    await case.press("shortlist")
    await case.shows("Undo", stamp=f"Shortlisted by <@{ANA}>")

    await until(lambda: case.text.count("hortlisted") > 1)  # the stage too, before any webhook

    await world.delivered()
    shown = world.texts
    await world.receive(world.account.shortlist(case.found, at=case.found.finalist))
    await world.delivered()

    assert world.texts == shown
    assert case.buttons == ["Undo"]
    assert f"Shortlisted by <@{ANA}>" in case.text
    assert case.sent == ["finalist"]
    assert await case.audited() == [(f"slack:{ANA}", "shortlist")]


async def test_of_two_clicks_on_one_message_the_first_counts(world):
    case = await world.finished("Bea Soto")
    seen = deepcopy(case.message)
    await case.press("shortlist")
    await case.shows("Undo", stamp=f"Shortlisted by <@{ANA}>")
    await case.press("shortlist", BOB, seen)
    await case.hears(BOB, f"Already done: Shortlisted by <@{ANA}>")

    assert case.sent == ["finalist"]
    assert await case.audited() == [(f"slack:{ANA}", "shortlist")]


async def test_an_envelope_that_slack_sends_again_changes_nothing(world):
    case = await world.finished("Cleo Park")
    envelope = await case.press("shortlist")
    again = await asyncio.wrap_future(world.slack.redeliver(envelope))
    await case.shows("Undo", stamp="Shortlisted by")
    late = await asyncio.wrap_future(world.slack.redeliver(envelope))

    assert (again.acknowledged, late.acknowledged) == ([True] * 3, [True] * 3)
    assert case.sent == ["finalist"]


async def test_a_discard_asks_for_the_reason_and_sends_it_as_a_comment(world):
    case = await world.finished("Dan Weiss")
    await case.press("discard", BOB)
    await until(lambda: world.slack.views)
    envelope = await asyncio.wrap_future(world.slack.submit(world.slack.views[-1], BOB, reason="No permit"))
    await case.shows("Undo", stamp=f"Discarded by <@{BOB}>")

    assert envelope.acknowledged == [True]
    assert case.sent == ["comment", "archive"]
    assert [each["value"] for each in case.found.comments] == ["No permit"]
    assert await case.audited() == [(f"slack:{BOB}", "discard")]


async def test_undo_returns_to_the_stage_before(world):
    case = await world.finished("Eli Roth")
    await case.press("shortlist")
    await case.shows("Undo", stamp="Shortlisted by")
    await case.press("undo", BOB)
    await until(lambda: "Shortlisted by" not in case.text)

    assert case.found.stage == "to_evaluate"
    assert case.buttons == ["Shortlist", "Discard…"]
    assert case.sent == ["finalist", "finalist"]
    assert await case.audited() == [(f"slack:{ANA}", "shortlist"), (f"slack:{BOB}", "back")]


async def test_a_user_who_may_not_decide_reads_who_may(world):
    case = await world.finished("Flo Berg")
    await case.press("shortlist", EVE)
    await case.hears(EVE, f"Only <@{ANA}>, <!subteam^{GROUP}> may decide here.")

    assert (case.sent, await case.audited()) == ([], [])


@pytest.mark.parametrize("fault", [DROP, APPLY_503], ids=lambda fault: fault.kind)
async def test_a_decision_whose_reply_is_lost_reaches_hireflix_once(world, fault):
    case = await world.finished("Gus Lima")
    world.fail_second_call(fault)
    await case.press("shortlist")
    await case.shows("Undo", stamp="Shortlisted by")

    assert case.sent == ["finalist"]
    assert await case.audited() == [(f"slack:{ANA}", "shortlist")]


async def test_clicks_are_received_after_slack_closed_the_connection(world):
    case = await world.finished("Hal Quist")
    opened = world.slack.opened_sockets
    world.slack.refresh_sockets()
    await until(lambda: world.slack.opened_sockets > opened and world.slack.open_sockets == 1)
    await case.press("shortlist")
    await case.shows("Undo", stamp="Shortlisted by")

    assert case.sent == ["finalist"]


async def test_while_hireflix_does_not_answer_the_message_and_a_second_user_read_whose_decision_waits(world):
    case = await world.finished("Bo Lind")
    world.hireflix.faults.choose(lambda _: DENIED)  # such a call is not repeated at once
    await case.press("shortlist")
    waits = f"Shortlist, requested by <@{ANA}>, waits for Hireflix"
    await case.shows("Shortlist", "Discard…", stamp=waits)
    await case.press("shortlist", BOB)
    await case.hears(BOB, f"{waits} since <!date^")
    assert case.sent == []


async def test_a_click_that_was_acknowledged_survives_the_end_of_the_process(tmp_path):
    """The process ends after Hireflix applied the decision and before it answered; the next one finishes it."""
    async with world_at(tmp_path) as world:
        async with world.running():
            case = await world.finished("Ida Noor")
            world.fail_second_call(APPLY_HANG)
            await case.press("shortlist")
            await until(lambda: case.sent)
        assert case.buttons == ["Shortlist", "Discard…"]

        async with world.running():
            await case.shows("Undo", stamp=f"Shortlisted by <@{ANA}>")
            assert case.sent == ["finalist"]
            assert await case.audited() == [(f"slack:{ANA}", "shortlist")]
