"""Decisions with the buttons of a Slack message, through the real service: each reaches Hireflix once."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from connector.app import running
from connector.config import load
from connector.emulators.faults import APPLY_503, DROP, Fault
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.emulators.slack import SlackEmulator
from connector.emulators.slack.workspace import strings_of
from connector.hireflix.payload import read
from connector.store import notes, queries
from connector.store.queries import ListingFilter
from sinks.chat.record import InterviewRecord

ANA, BOB, EVE = "U00000ANA", "U00000BOB", "U00000EVE"
GROUP = "S00HIRING"
PATIENCE_SECONDS = 20.0
CONFIG = """
[hireflix]
webhook_secrets = ["hfx_test_secret_9f2c"]
api_key = "{hireflix.key}"
api_url = "{hireflix.api_url}"
[sinks.recruiting]
type = "slack"
token = "{slack.token}"
app_token = "{slack.app_token}"
channel = "{channel}"
api_url = "{slack.api_url}"
[sinks.recruiting.decisions]
deciders = ["{ana}", "{group}"]
"""


def now():
    return time.time_ns() // 1_000_000


class World:
    """A running service, an emulated channel with the message of a finished interview, and an emulated account."""

    def __init__(self, account, hireflix, slack, channel, service):
        self.account, self.hireflix, self.slack, self.channel, self.service = account, hireflix, slack, channel, service
        self.found, invited = account.invite(account.add_position("Baker"), "Ana García", at=now() - 60_000)
        self.seen = [invited, account.complete(self.found)]

    async def receive(self, *bodies):
        """What the receiver stores for these webhooks."""
        await asyncio.gather(*(self.service.store.offer(read(body, now()), body) for body in bodies))
        self.service.dispatcher.wake(["recruiting"])

    @property
    def message(self):
        return next(each for each in self.slack.messages(self.channel) if not each.is_reply)

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
        """Presses a button; returns the envelope, which must have been acknowledged in time."""
        envelope = await asyncio.wrap_future(self.slack.press(message or self.message, f"decide-{action}", user))
        assert envelope.acknowledged == [True]
        return envelope

    async def until(self, is_so):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():  # noqa: ASYNC110 - the fact is not ours to signal
                await asyncio.sleep(0.02)

    async def shows(self, *labels, stamp=""):
        """Waits until the message has these buttons and this stamp."""
        await self.until(lambda: self.buttons == list(labels) and stamp in self.text)

    async def hears(self, user, text):
        """Waits until only this user read a text."""
        await self.until(lambda: any(each.user == user and text in each.text for each in self.slack.ephemerals))

    async def settled(self):
        """Waits until the service knows which message the interview has."""
        key = InterviewRecord(self.found.id).key
        stored = {}
        while "message_id" not in stored.get(key, {}):
            stored = await self.service.store.query(
                lambda connection: notes.read(connection, "recruiting", self.channel, [key])
            )

    @property
    def sent(self):
        """What reached Hireflix."""
        return [name for name, _ in self.account.changes]

    async def audited(self):
        """What the audit log says, the oldest first."""
        rows = await self.service.store.query(
            lambda connection: queries.audit_entries(connection, ListingFilter(), 100)
        )
        return [(row.actor, row.target, row.detail) for row in reversed(rows)]


@asynccontextmanager
async def world_at(folder):
    account = Account(now)
    with HireflixEmulator(account) as hireflix, SlackEmulator() as slack:
        slack.workspace.groups[GROUP] = [BOB]
        channel = slack.add_channel("recruiting")
        file = folder / "config.toml"
        file.write_text(CONFIG.format(hireflix=hireflix, slack=slack, channel=channel, ana=ANA, group=GROUP))
        async with running(load(file, {}, folder), ["hfx_test_secret_9f2c"]) as service:
            world = World(account, hireflix, slack, channel, service)
            await world.receive(*world.seen)
            await world.until(lambda: slack.open_sockets and slack.messages(channel))
            await world.shows("Shortlist", "Discard…")
            await world.settled()
            yield world


@pytest.fixture
async def world(tmp_path):
    async with world_at(tmp_path) as one:
        yield one


async def test_a_click_shortlists_and_the_webhook_that_follows_keeps_the_stamp(world):
    await world.press("shortlist")
    await world.shows("Undo", stamp=f"Shortlisted by <@{ANA}>")

    await world.receive(world.account.shortlist(world.found, at=world.found.finalist))
    await world.until(lambda: world.text.count("hortlisted") > 1)

    assert world.buttons == ["Undo"]
    assert f"Shortlisted by <@{ANA}>" in world.text
    assert world.sent == ["finalist"]
    assert await world.audited() == [(f"slack:{ANA}", world.found.id, "shortlist")]


async def test_of_two_clicks_on_one_message_the_first_counts(world):
    seen = world.message
    await world.press("shortlist")
    await world.press("shortlist", BOB, seen)
    await world.hears(BOB, f"Already done: Shortlisted by <@{ANA}>")
    await world.shows("Undo", stamp=f"Shortlisted by <@{ANA}>")

    assert world.sent == ["finalist"]
    assert [actor for actor, *_ in await world.audited()] == [f"slack:{ANA}"]


async def test_an_envelope_that_slack_sends_again_changes_nothing(world):
    envelope = await world.press("shortlist")
    again = await asyncio.wrap_future(world.slack.redeliver(envelope))
    await world.shows("Undo", stamp="Shortlisted by")
    late = await asyncio.wrap_future(world.slack.redeliver(envelope))

    assert (again.acknowledged, late.acknowledged) == ([True] * 3, [True] * 3)
    assert world.sent == ["finalist"]


async def test_a_discard_asks_for_the_reason_and_sends_it_as_a_comment(world):
    await world.press("discard", BOB)
    await world.until(lambda: world.slack.views)
    envelope = await asyncio.wrap_future(world.slack.submit(world.slack.views[-1], BOB, reason="No permit"))
    await world.shows("Undo", stamp=f"Discarded by <@{BOB}>")

    assert envelope.acknowledged == [True]
    assert world.sent == ["comment", "archive"]
    assert [each["value"] for each in world.found.comments] == ["No permit"]
    assert await world.audited() == [(f"slack:{BOB}", world.found.id, "discard")]


async def test_undo_returns_to_the_stage_before(world):
    await world.press("shortlist")
    await world.shows("Undo", stamp="Shortlisted by")
    await world.press("undo", BOB)
    await world.until(lambda: "Shortlisted by" not in world.text)

    assert world.found.stage == "to_evaluate"
    assert world.buttons == ["Shortlist", "Discard…"]
    assert world.sent == ["finalist", "finalist"]
    assert [(actor, detail) for actor, _, detail in await world.audited()] == [
        (f"slack:{ANA}", "shortlist"),
        (f"slack:{BOB}", "back"),
    ]


async def test_a_user_who_may_not_decide_reads_who_may(world):
    await world.press("shortlist", EVE)
    await world.hears(EVE, f"Only <@{ANA}>, <!subteam^{GROUP}> may decide here.")

    assert (world.sent, await world.audited()) == ([], [])


@pytest.mark.parametrize("fault", [DROP, APPLY_503], ids=lambda fault: fault.kind)
async def test_a_decision_whose_reply_is_lost_reaches_hireflix_once(world, fault):
    calls = []

    def second(kind: str) -> Fault | None:
        calls.append(kind)
        return fault if len(calls) == 2 else None

    world.hireflix.faults.choose(second)
    await world.press("shortlist")
    await world.shows("Undo", stamp="Shortlisted by")

    assert world.sent == ["finalist"]
    assert [detail for *_, detail in await world.audited()] == ["shortlist"]


async def test_clicks_are_received_after_slack_closed_the_connection(world):
    world.slack.refresh_sockets()
    await world.until(lambda: world.slack.open_sockets == 1 and world.slack.requests.count("apps.connections.open") > 1)
    await world.press("shortlist")
    await world.shows("Undo", stamp="Shortlisted by")

    assert world.sent == ["finalist"]
