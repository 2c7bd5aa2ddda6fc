"""After a lost answer the delivery is called again with `maybe_sent`, and its message is searched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from connector.sink import Delivered, RetryLater, Stage
from connector.testing import FakeContext, ManualClock
from sinks.slack.sink import SlackSink
from tests.sinks.slack.test_sink import NOTE, delivery, says, turn


class TestLookUp:
    """After a lost answer the delivery is called again with `maybe_sent`."""

    async def lose(self, slack: SlackEmulator, sink: SlackSink, context: FakeContext, fault: Fault) -> int:
        slack.faults.add(fault)
        started = context.now()
        await turn(sink, context, delivery())
        context.clock.advance(5)
        return started

    async def again(self, sink: SlackSink, context: FakeContext, started: int, one: Any = None) -> Any:
        return await turn(sink, context, one or delivery(attempt=2), started_at=started, maybe_sent=True)

    async def test_a_message_that_arrived_is_adopted(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
    ) -> None:
        started = await self.lose(slack, sink, context, faults.DROP)
        slack.say(channel, "somebody talks")
        outcome = await self.again(sink, context, started)
        assert outcome == Delivered(reference=slack.messages(channel)[0].ts)
        assert context.notes[NOTE]["announced"]["finished"]
        assert slack.problems() == []

    async def test_a_message_that_did_not_arrive_is_posted(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
    ) -> None:
        started = await self.lose(slack, sink, context, faults.REFUSE)
        assert isinstance(await self.again(sink, context, started), Delivered)
        assert [message.key for message in slack.messages(channel)] == ["interview.finish"]

    async def test_a_deletion_in_between_does_not_hide_an_adopted_message(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext
    ) -> None:
        started = await self.lose(slack, sink, context, faults.DROP)
        await self.again(sink, context, started, delivery(stage=Stage.DELETED))
        assert context.notes[NOTE]["message_id"]
        assert "intent" not in context.notes[NOTE]

    async def test_a_change_in_between_is_announced_after_an_adopted_message(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
    ) -> None:
        started = await self.lose(slack, sink, context, faults.DROP)
        await self.again(sink, context, started, delivery(stage=Stage.SHORTLISTED))
        await turn(sink, context, delivery("interview.status-change", Stage.SHORTLISTED))
        assert len(slack.messages(channel)) == 2

    async def test_without_an_intent_nothing_was_sent_and_nothing_is_looked_for(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext
    ) -> None:
        await turn(sink, context, delivery(), maybe_sent=True)
        assert slack.requests == ["chat.postMessage"]

    async def test_a_search_waits_until_the_message_must_be_visible(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext
    ) -> None:
        started = await self.lose(slack, sink, context, faults.DROP)
        context.clock = ManualClock(started + 1000)
        outcome = await self.again(sink, context, started)
        assert outcome == RetryLater("settling", after=2.0, counts=False, unclear=True)
        assert slack.requests == ["chat.postMessage"]

    async def test_after_a_second_lost_answer_the_search_waits_again(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext
    ) -> None:
        started = await self.lose(slack, sink, context, faults.REFUSE)
        slack.faults.add(replace(faults.DROP, match="chat.postMessage"))
        await self.again(sink, context, started)
        outcome = await self.again(sink, context, started)
        assert outcome == RetryLater("settling", after=3.0, counts=False, unclear=True)

    @pytest.mark.parametrize("skew", [-120, 0, 120])
    async def test_the_clock_that_counts_is_slacks(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str, skew: int
    ) -> None:
        slack.clock = lambda: context.now() / 1000 + skew
        started = await self.lose(slack, sink, context, faults.DROP)
        await self.again(sink, context, started)
        assert len(slack.messages(channel)) == 1
        assert slack.requests == ["chat.postMessage", "auth.test", "conversations.history"]

    async def test_a_busy_channel_is_searched_page_by_page(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
    ) -> None:
        started = await self.lose(slack, sink, context, faults.DROP)
        for _ in range(450):
            slack.say(channel, "chatter")
        await self.again(sink, context, started)
        assert slack.requests.count("conversations.history") == 3
        assert slack.problems() == []

    @pytest.mark.parametrize("scopes", [("chat:write",), ("chat:write", "groups:history")])
    async def test_where_slack_does_not_let_us_look_the_message_is_sent_again(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext, scopes: tuple[str, ...]
    ) -> None:
        slack.bot.scopes = scopes
        started = await self.lose(slack, sink, context, faults.REFUSE)
        assert isinstance(await self.again(sink, context, started), Delivered)

    async def test_after_a_429_of_the_search_the_delivery_stays_unclear(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext
    ) -> None:
        started = await self.lose(slack, sink, context, faults.DROP)
        slack.faults.add(replace(says(429, "", **{"Retry-After": "9"}), match="conversations.history"))
        outcome = await self.again(sink, context, started)
        assert outcome == RetryLater("look-up: http 429", after=9.0, counts=False, unclear=True)
        assert [bucket.split(":")[0] for bucket, _ in context.blocked] == ["slack-history"]

    async def test_after_a_failed_search_the_delivery_stays_unclear(
        self, slack: SlackEmulator, sink: SlackSink, context: FakeContext
    ) -> None:
        started = await self.lose(slack, sink, context, faults.DROP)
        slack.faults.add(replace(faults.HTML_503, match="conversations.history"))
        outcome = await self.again(sink, context, started)
        assert outcome == RetryLater("look-up: http 503", unclear=True)


async def test_a_note_of_version_1_still_finds_the_message_of_a_lost_answer(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
) -> None:
    """An upgrade between a call and the search for its message posts nothing twice."""
    started = context.now()
    slack.faults.add(faults.DROP)
    await turn(sink, context, delivery())
    intent = context.notes[NOTE]["intent"]
    (call,) = intent["calls"]
    announced = {"announced": True, "stage": "To evaluate", "stage_at": started}
    said = [{"told": announced, "hash": call["content_hash"]}]
    old = {"k": intent["delivery_id"], "at": intent["at_ms"], "thread": "", "said": said, "plain": "", "mention": ""}
    context.apply({NOTE: {"intent": old}})
    context.clock.advance(5)
    outcome = await turn(sink, context, delivery(attempt=2), started_at=started, maybe_sent=True)
    (message,) = slack.messages(channel)
    assert outcome == Delivered(message.ts)
    assert context.notes[NOTE]["announced"] == {"finished": True, "stage": "To evaluate", "stage_ms": started}
