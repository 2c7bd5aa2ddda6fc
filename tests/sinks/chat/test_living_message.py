"""What users and Slack may change in a channel, and what the sink does then."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from connector.testing import START, LaneRunner, ManualClock
from sinks.slack.sink import SlackSink
from tests.sinks.chat.streams import Feed, Payload
from tests.sinks.slack.lanes import payload

DAY_SECONDS = 86_400


def done(name: str = "finish", number: int = 1, at: int = START + 1_000, **data: Any) -> Payload:
    return payload(name, number, at, status="completed", completed=START + 1_000, **data)


def scored(score: float, at: int, number: int = 1) -> Payload:
    return done("score-updated", number, at, score={"value": score})


def gone(number: int = 1) -> Payload:
    return done("delete", number, START + 90_000, deleted=True)


def says(word: str, method: str, times: int = 1) -> Fault:
    body = json.dumps({"ok": False, "error": word})
    return Fault(faults.FaultKind.STATUS, method, times, status=200, body=body, content_type="application/json")


Make = Callable[..., Awaitable[Feed]]


@pytest.fixture
async def make(slack: SlackEmulator, clock: ManualClock, channel: str) -> AsyncIterator[Make]:
    """A lane for a sink with these settings."""
    async with AsyncExitStack() as lanes:

        async def make(**settings: Any) -> Feed:
            config = SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url, **settings)
            return Feed(await lanes.enter_async_context(LaneRunner(lambda: SlackSink("one", config), clock)))

        yield make


async def run(feed: Feed, *payloads: Payload) -> None:
    await feed.take(*payloads)
    await feed.lane.run()


def texts(slack: SlackEmulator, channel: str) -> list[str]:
    return [message.text.split(". ")[0] for message in slack.messages(channel)]


def shows(message: Any, text: str) -> bool:
    return text in json.dumps([message.text, message.blocks])


class TestPeople:
    """Users delete messages."""

    async def test_a_deleted_message_is_left_so(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make()
        await run(feed, done())
        slack.channel(channel).messages.clear()
        await run(feed, scored(3, START + 2_000), scored(4, START + 3_000))
        assert slack.messages(channel) == []
        assert (await feed.lane.dead(), await feed.lane.pending()) == ([], [])

    async def test_a_deleted_message_is_replaced_on_request(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make(deleted_message="replace")
        await run(feed, done())
        slack.channel(channel).messages.clear()
        await run(feed, scored(3, START + 2_000))
        (message,) = slack.messages(channel)
        assert shows(message, "3 of 5")
        await run(feed, scored(4, START + 3_000))
        assert texts(slack, channel)[1] == "Score 3 → 4"

    async def test_an_edit_finds_the_loss_as_well(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make(deleted_message="replace", events={"score_updated": "edit"})
        await run(feed, done())
        slack.channel(channel).messages.clear()
        await run(feed, scored(3, START + 2_000))
        assert [shows(message, "3 of 5") for message in slack.messages(channel)] == [True]

    async def test_a_first_announcement_makes_a_new_message(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make()
        await run(feed, payload("status-change", 1, START, status="on_hold"))
        slack.channel(channel).messages.clear()
        await run(feed, payload("status-change", 1, START + 500, status="later"), done())
        assert texts(slack, channel) == ["✅ Candidate 1 finished · Position 1"]

    async def test_a_deleted_digest_ends_and_the_rest_starts_a_new_one(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make()
        await run(feed, payload("create", 1, START), payload("create", 2, START))
        slack.channel(channel).messages.clear()
        await run(feed, payload("create", 3, START))
        assert texts(slack, channel) == ["Position 1 · 1 invited"]


class TestThreads:
    @pytest.mark.parametrize("word", ["cannot_reply_to_message", "restricted_action_thread_locked"])
    async def test_a_thread_that_takes_no_replies_is_continued_in_a_new_message(
        self, slack: SlackEmulator, make: Make, channel: str, word: str
    ) -> None:
        feed = await make()
        await run(feed, done())
        slack.faults.add(says(word, "chat.postMessage"))
        await run(feed, scored(3, START + 2_000))
        old, new = slack.messages(channel)
        assert old.text == "A newer message about this interview is below."
        assert "Candidate" not in json.dumps(old.blocks)
        assert shows(new, "3 of 5")

    async def test_post_makes_a_message_each_time_and_edits_the_newest(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make(events={"score_updated": "post"})
        await run(feed, done())
        await run(feed, scored(3, START + 2_000))
        await run(feed, scored(4, START + 3_000))
        assert [text.startswith("A newer") for text in texts(slack, channel)] == [True, True, False]

    @pytest.mark.parametrize("word", ["cant_update_message", "edit_window_closed"])
    async def test_a_message_that_cannot_be_edited_is_replaced(
        self, slack: SlackEmulator, make: Make, channel: str, word: str
    ) -> None:
        feed = await make(events={"score_updated": "edit"})
        await run(feed, done())
        slack.faults.add(says(word, "chat.update"))
        await run(feed, scored(3, START + 2_000))
        assert shows(slack.messages(channel)[-1], "3 of 5")


class TestDeletion:
    async def test_every_message_with_the_name_loses_it(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make()
        await run(feed, payload("status-change", 1, START, status="on_hold"))
        await run(feed, done())
        await run(feed, scored(3, START + 2_000))
        parent, loud, line = slack.messages(channel)
        assert (loud.broadcast, line.is_reply) == (True, True)
        await run(feed, gone())
        assert "Candidate 1" not in json.dumps([[message.text, message.blocks] for message in (parent, loud, line)])
        assert line.text == "Score 3"
        assert parent.key.endswith("-1")

    async def test_a_deletion_between_a_finish_and_its_turn_leaves_no_word(
        self, slack: SlackEmulator, make: Make
    ) -> None:
        feed = await make()
        await run(feed, done(), gone())
        assert slack.requests == []

    async def test_a_name_that_cannot_be_taken_back_is_a_dead_letter(self, slack: SlackEmulator, make: Make) -> None:
        """An operator has to see it: the deletion, and the follow-up that would have shown it."""
        feed = await make()
        await run(feed, done())
        slack.faults.add(says("cant_update_message", "chat.update"))
        await run(feed, gone())
        assert await feed.lane.dead() == ["cant_update_message"] * 2

    @pytest.mark.parametrize(("refusal", "times"), [("cant_update_message", 1), ("invalid_blocks", 2)])
    async def test_a_name_that_a_refused_edit_left_is_removed_with_the_next_event(
        self, slack: SlackEmulator, make: Make, channel: str, refusal: str, times: int
    ) -> None:
        """A refused edit is not stored as shown, so that a replay or a later event repeats it."""
        feed = await make()
        await run(feed, done())
        slack.faults.add(says(refusal, "chat.update", times))
        await run(feed, gone())
        assert "Candidate 1" in slack.messages(channel)[0].text
        await run(feed, done("delete", 1, START + 95_000, deleted=True))
        assert "Candidate 1" not in json.dumps([slack.messages(channel)[0].text, slack.messages(channel)[0].blocks])

    async def test_an_orphan_that_appears_after_a_deletion_is_removed(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        """The call of the first message is abandoned, the interview is deleted, and then Slack applies the call."""
        feed = await make()
        slack.faults.add(faults.LATE)
        await feed.take(done())
        await feed.lane.step()
        await feed.take(payload("create", 1, START), gone())
        await feed.lane.run(until=feed.lane.clock.now() + 20_000)
        slack.faults.release()
        slack.faults.settle()
        assert [text for text in texts(slack, channel) if "Candidate" in text] != []
        await feed.lane.run()
        assert [text for text in texts(slack, channel) if "Candidate" in text] == []


class TestRefusals:
    async def test_an_edit_that_is_refused_goes_out_as_text(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make()
        await run(feed, done())
        slack.faults.add(says("invalid_blocks", "chat.update"))
        await run(feed, scored(3, START + 2_000))
        parent = slack.messages(channel)[0]
        assert (parent.blocks, shows(parent, "3 of 5")) == ([], True)
        await run(feed, scored(4, START + 3_000))
        assert slack.messages(channel)[0].blocks != []

    async def test_an_edit_that_is_refused_twice_is_dead_and_holds_nothing(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make()
        await run(feed, done())
        slack.faults.add(says("invalid_blocks", "chat.update", 2))
        await run(feed, scored(3, START + 2_000))
        assert await feed.lane.dead() == ["invalid_blocks"]
        await run(feed, scored(4, START + 3_000))
        assert shows(slack.messages(channel)[0], "4 of 5")

    @pytest.mark.parametrize("method", ["chat.postMessage", "chat.update", "conversations.history"])
    async def test_one_429_shuts_the_bucket_and_keeps_the_doubt(
        self, slack: SlackEmulator, make: Make, channel: str, method: str
    ) -> None:
        feed = await make()
        slack.faults.add(Fault(faults.FaultKind.DROP, "chat.postMessage"))
        slack.faults.add(Fault(faults.FaultKind.STATUS, method, status=429, body="", headers={"Retry-After": "7"}))
        await run(feed, done(), payload("create", 2, START))
        await run(feed, scored(3, START + 2_000))
        assert feed.lane.clock.now() - START >= 7_000
        assert texts(slack, channel).count("✅ Candidate 1 was scored 3 of 5 · Position 1") == 1
        assert slack.problems() == []

    @pytest.mark.parametrize("failure", ["archived", "token"])
    async def test_a_broken_channel_keeps_its_queue_and_continues(
        self, slack: SlackEmulator, make: Make, channel: str, failure: str
    ) -> None:
        feed = await make()
        await run(feed, done(number=9))
        slack.channel(channel).archived = failure == "archived"
        slack.bot.error = "" if failure == "archived" else "token_revoked"
        await feed.take(*(done(number=number) for number in range(1, 4)), scored(3, START + 2_000, number=9))
        await feed.lane.run(until=feed.lane.clock.now() + 60_000)
        assert feed.lane.broken
        assert all(broken.fix for broken in feed.lane.broken)
        slack.channel(channel).archived, slack.bot.error = False, ""
        await feed.lane.run()
        assert sorted(texts(slack, channel)[2:] + texts(slack, channel)[1:2])[:3] != []
        assert len([message for message in slack.messages(channel) if not message.is_reply]) == 4
        assert slack.problems() == []


class TestHolds:
    async def test_an_edit_in_backoff_holds_back_no_finish(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        """Not even that of its own interview."""
        feed = await make()
        await run(feed, payload("status-change", 1, START, status="on_hold"))
        slack.faults.add(Fault(faults.FaultKind.STATUS, "chat.update", 50))
        await feed.take(payload("status-change", 1, START + 500, status="later"))
        await feed.lane.run(until=feed.lane.clock.now() + 30_000)
        await feed.take(done())
        await feed.lane.run(until=feed.lane.clock.now() + 60_000)
        assert slack.messages(channel)[-1].broadcast
        slack.faults.clear()
        await feed.lane.run()
        assert slack.problems() == []

    async def test_an_earlier_event_waits_while_the_first_message_is_unclear(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        """Otherwise there would be two messages."""
        feed = await make()
        slack.faults.add(Fault(faults.FaultKind.DROP, "chat.postMessage"))
        await feed.take(payload("status-change", 1, START, status="on_hold"), done())
        await feed.lane.step()
        await run(feed, gone())
        assert len(slack.messages(channel)) == 1
        assert "Candidate 1" not in json.dumps([slack.messages(channel)[0].text, slack.messages(channel)[0].blocks])
