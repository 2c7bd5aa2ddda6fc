"""Reminders and weekly summaries in Slack: their lines, and their content after crashes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from connector.capabilities import ERASE, SNOOZE
from connector.emulators.slack import SlackEmulator
from connector.routing import Route
from connector.store import notes, settle
from connector.testing import START, LaneRunner, ManualClock, interview_id, make_event
from sinks.chat.reminders import KEY, REMIND, ReminderRecord
from sinks.chat.summary import SUMMARIZE
from sinks.slack.sink import SlackSink
from tests.sinks.chat.test_living_message import says

DAY = 86_400_000
"""START is a Wednesday at 10:26 UTC."""
NOW = START + 7 * DAY
"""Five business days later."""
SILENT = dict.fromkeys(("create", "finish", "score_updated", "status_change"), "silent")
"""So that the channel holds nothing but what these tests are about."""


class Channel:
    """A lane with reminders, whose time is five business days after START."""

    def __init__(self, lane: LaneRunner, slack: SlackEmulator, channel: str) -> None:
        self.lane = lane
        self.settings: dict[str, Any] = {}
        """Changes of the settings, from the next process on."""
        self._slack = slack
        self._channel = channel

    async def finish(self, number: int, days: int = 0, **fields: Any) -> None:
        """A candidate finishes this number of days after START."""
        at = START + days * DAY
        await self.lane.add(
            make_event(number=number, occurred_at=at, completed=at, candidate_name=f"Ana {number}", **fields)
        )
        await self.lane.run()

    async def change(self, number: int, **fields: Any) -> None:
        """The interview is decided or deleted now."""
        at = self.lane.clock.now()
        name = "interview.delete" if "deleted" in fields else "interview.status-change"
        await self.lane.add(make_event(name, number=number, occurred_at=at, candidate_name=f"Ana {number}", **fields))
        await self.lane.run()

    async def ask(self, purpose: str = REMIND) -> None:
        now = self.lane.clock.now()
        await self.lane.store.write(lambda connection: settle.plan_calls(connection, "one", [purpose], now))

    async def remind(self, purpose: str = REMIND) -> str:
        """Makes the call that is due now; returns its outcome."""
        await self.ask(purpose)
        await self.lane.run()
        return [each for each in await self.lane.deliveries() if each.purpose == purpose][-1].state

    async def snooze(self, number: int, until: int) -> None:
        values = {f"{SNOOZE}{interview_id(number)}": {"until": until}}
        await self.lane.store.write(lambda connection: notes.write(connection, "one", self._channel, values))

    @property
    def messages(self) -> list[Any]:
        return list(self._slack.messages(self._channel))

    def lines(self, at: int = -1) -> list[str]:
        """The lines of a message as users see them."""
        texts = [block["text"]["text"] for block in self.messages[at].blocks if block["type"] == "section"]
        return [line for text in texts for line in text.split("\n")]

    def held(self, at: int | None = None) -> str:
        """Everything that Slack stores about the messages, or about one."""
        chosen = self.messages if at is None else [self.messages[at]]
        return str([[message.text, message.blocks, message.metadata] for message in chosen])

    def clear(self) -> None:
        """Users delete all messages."""
        self._slack.channel(self._channel).messages.clear()


Make = Callable[..., Awaitable[Channel]]


@pytest.fixture
async def make(slack: SlackEmulator, clock: ManualClock, channel: str) -> Any:
    """Makes a channel with settings of its own."""
    async with AsyncExitStack() as stack:

        async def make(routes: Sequence[Route] = (), **settings: Any) -> Channel:
            values = {"reminders": {"after_days": 3}, "weekly_summary": {}, "events": SILENT, **settings}
            clock.advance(7 * 86_400)
            changes: dict[str, Any] = {}

            def make_sink() -> SlackSink:
                access = {"token": slack.token, "channel": channel, "api_url": slack.api_url}
                return SlackSink("one", SlackSink.Config(**access, **(values | changes)))

            made = Channel(await stack.enter_async_context(LaneRunner(make_sink, clock, routes)), slack, channel)
            made.settings = changes
            return made

        yield make


async def test_it_lists_who_waits_longest_first(make: Make) -> None:
    channel = await make()
    for number, days in ((1, 2), (2, 0), (3, 6)):
        await channel.finish(number, days)
    await channel.finish(4, finalist=START)
    assert await channel.remind() == "delivered"
    assert channel.lines() == [
        "Ana 2 · Graduate Program · 5 business days",
        "Ana 1 · Graduate Program · 3 business days",
    ]
    assert "2 candidates wait for a decision" in channel.messages[0].text


async def test_a_candidate_who_was_moved_to_a_position_of_another_channel_is_not_listed(make: Make) -> None:
    channel = await make(routes=[Route(("one",), positions=("Graduate *",)), Route(("other",), positions=("Cook",))])
    await channel.finish(1)
    await channel.finish(2)
    await channel.change(2, position_name="Cook", completed=START)
    await channel.remind()
    assert channel.lines() == ["Ana 1 · Graduate Program · 5 business days"]


async def test_it_has_ten_lines_at_most_and_counts_the_rest(make: Make) -> None:
    channel = await make()
    for number in range(1, 14):
        await channel.finish(number)
    await channel.remind()
    assert len(channel.lines()) == 10
    assert "13 candidates wait" in channel.messages[0].text
    assert "and 3 more" in channel.held()


async def test_a_line_has_a_button_that_opens_the_interview(make: Make) -> None:
    channel = await make()
    await channel.finish(1)
    await channel.remind()
    (section,) = [block for block in channel.messages[0].blocks if block["type"] == "section"]
    assert section["accessory"]["url"] == f"https://admin.hireflix.com/interview/{interview_id(1)}"


async def test_no_candidate_is_listed_after_the_last_day(make: Make) -> None:
    channel = await make(reminders={"after_days": 1, "until_days": 4})
    await channel.finish(1)
    assert await channel.remind() == "superseded"
    assert channel.messages == []


async def test_a_snoozed_candidate_is_listed_again_afterwards(make: Make) -> None:
    channel = await make()
    await channel.finish(1)
    await channel.snooze(1, NOW + DAY)
    assert await channel.remind() == "superseded"
    channel.lane.clock.advance(86_401)
    assert await channel.remind() == "delivered"


async def test_a_snooze_that_ended_leaves_nothing(make: Make) -> None:
    channel = await make()
    await channel.finish(1)
    await channel.snooze(1, NOW + DAY)
    channel.lane.clock.advance(86_401)
    await channel.remind()
    assert [name for name in await channel.lane.notes() if name.startswith(SNOOZE)] == []


@pytest.mark.parametrize(
    ("positions", "listed"),
    [
        ({}, ["Ana 1"]),
        ({"graduate *": 1}, ["Ana 1", "Ana 2"]),
        ({"Cook": 1}, ["Ana 1"]),
        ({"Graduate Program": 4, "*": 1}, ["Ana 1"]),
        ({"*": 1, "Graduate Program": 4}, ["Ana 1", "Ana 2"]),
    ],
)
async def test_a_position_may_have_days_of_its_own(make: Make, positions: dict[str, int], listed: list[str]) -> None:
    channel = await make(reminders={"after_days": 3, "positions": positions})
    await channel.finish(1)
    await channel.finish(2, 6)
    await channel.remind()
    assert [line.split(" · ")[0] for line in channel.lines()] == listed


@pytest.mark.parametrize("fields", [{"finalist": NOW}, {"archived": NOW}, {"deleted": True}])
async def test_a_line_disappears_with_the_decision(make: Make, fields: dict[str, Any]) -> None:
    """The event itself posts nothing."""
    channel = await make()
    await channel.finish(1)
    await channel.finish(2)
    await channel.remind()
    await channel.change(1, **fields)
    assert channel.lines() == ["Ana 2 · Graduate Program · 5 business days"]
    await channel.change(2, **fields)
    assert "Every candidate of this reminder has a decision" in channel.messages[0].text
    assert "Ana" not in channel.held() + str((await channel.lane.notes())[KEY])


async def test_the_next_reminder_replaces_the_one_before(make: Make) -> None:
    """So one message names a candidate."""
    channel = await make()
    await channel.finish(1)
    await channel.remind()
    channel.lane.clock.advance(86_400)
    await channel.remind()
    assert "Ana" not in channel.held(0)
    assert channel.lines(1) == ["Ana 1 · Graduate Program · 6 business days"]


async def test_names_are_shown_as_privacy_allows(make: Make) -> None:
    channel = await make(privacy="initials")
    await channel.finish(1)
    await channel.remind()
    assert channel.lines() == ["A. 1. · Graduate Program · 5 business days"]


async def test_in_quiet_hours_it_waits_for_their_end(make: Make) -> None:
    """For example, a sink that was paused in the evening is called at night."""
    channel = await make(quiet_hours={"start": "10:00", "end": "11:00"})
    await channel.finish(1)
    await channel.ask()
    await channel.lane.run(until=NOW + 60_000)
    assert channel.messages == []
    await channel.lane.run()
    assert len(channel.messages) == 1
    assert channel.lane.clock.now() >= NOW - NOW % DAY + 11 * 3_600_000


async def test_a_reminder_whose_outcome_was_lost_is_posted_once(make: Make) -> None:
    """A decision in between removes its line, too."""
    channel = await make()
    await channel.finish(1)
    await channel.finish(2)
    await channel.ask()
    await channel.lane.crash()
    await channel.change(1, finalist=NOW)
    assert len(channel.messages) == 1
    assert channel.lines() == ["Ana 2 · Graduate Program · 5 business days"]


async def test_an_erase_removes_the_line_and_every_note(make: Make) -> None:
    channel = await make()
    await channel.finish(1)
    await channel.finish(2)
    await channel.snooze(1, 1)
    await channel.remind()
    await channel.lane.erase(interview_id(1))
    await channel.lane.run()
    left = channel.held() + str(await channel.lane.notes())
    assert "Ana 1" not in left
    assert interview_id(1) not in left
    assert channel.lines() == ["Ana 2 · Graduate Program · 5 business days"]


async def test_a_line_disappears_with_a_deletion_also_after_reminders_were_switched_off(make: Make) -> None:
    channel = await make()
    await channel.finish(1)
    await channel.finish(2)
    await channel.remind()
    channel.settings["reminders"] = None
    await channel.lane.crash()
    await channel.change(1, deleted=True)
    assert channel.lines() == ["Ana 2 · Graduate Program · 5 business days"]


async def test_an_erase_deletes_a_reminder_that_slack_does_not_change(make: Make, slack: SlackEmulator) -> None:
    channel = await make()
    await channel.finish(1)
    await channel.remind()
    slack.faults.add(says("edit_window_closed", "chat.update"))
    await channel.lane.erase(interview_id(1))
    await channel.lane.run()
    assert channel.messages == []


async def test_an_erase_says_that_a_reminder_can_neither_be_changed_nor_deleted(
    make: Make, slack: SlackEmulator
) -> None:
    channel = await make()
    await channel.finish(1)
    await channel.remind()
    slack.faults.add(says("edit_window_closed", "chat.update"), says("cant_delete_message", "chat.delete"))
    await channel.lane.erase(interview_id(1))
    await channel.lane.run()
    (erase,) = [each for each in await channel.lane.deliveries() if each.purpose == ERASE]
    assert erase.state == "dead"
    assert "a reminder can neither be changed nor deleted" in erase.reason


async def test_a_removed_line_is_not_in_the_note_of_a_call_under_way() -> None:
    lines = [{"id": "i1", "text": "Ana 1", "link": ""}, {"id": "i2", "text": "Ana 2", "link": ""}]
    record = ReminderRecord(intent={"delivery_id": "d", "calls": [{"lines": lines, "more": 0, "content_hash": "h"}]})
    after = record.without("i1")
    assert "Ana 1" not in str(after.note())
    assert [line["id"] for line in after.posted("m1", after.intent["calls"][0]).lines] == ["i2"]


async def test_a_reminder_that_users_deleted_is_not_posted_again_that_day(make: Make) -> None:
    channel = await make()
    await channel.finish(1)
    await channel.finish(2)
    await channel.remind()
    channel.clear()
    await channel.change(1, finalist=NOW)
    assert channel.messages == []


async def test_the_weekly_summary_has_no_names(make: Make) -> None:
    channel = await make()
    await channel.finish(1, 1)
    await channel.finish(2, 2)
    assert await channel.remind(SUMMARIZE) == "delivered"
    assert channel.messages[0].text.startswith("📊 Week of 10 September")
    assert channel.lines() == ["Graduate Program: 0 invited (-2), 2 finished (+2), 0 decided (+0)"]
    assert "Ana" not in channel.held()


async def test_a_summary_whose_outcome_was_lost_is_posted_once(make: Make) -> None:
    channel = await make()
    await channel.finish(1, 1)
    await channel.ask(SUMMARIZE)
    await channel.lane.crash()
    await channel.lane.run()
    assert len(channel.messages) == 1


def test_messages_are_scheduled_at_their_times() -> None:
    """START is a Wednesday at 10:26 UTC, so the next Monday at 09:00 is almost five days later."""
    config = SlackSink.Config(token="xoxb-1-2-abc", channel="C0123456789", reminders={}, weekly_summary={})
    sink = SlackSink("one", config)
    assert sink.scheduled(START, START + DAY - 1) == [REMIND]
    assert sink.scheduled(START, START + 5 * DAY) == [REMIND, SUMMARIZE]
    silent = SlackSink("two", SlackSink.Config(token="xoxb-1-2-abc", channel="C0123456789"))
    assert (sink.schedules, silent.schedules) == (True, False)
    assert silent.scheduled(START, NOW) == []


def test_an_incoming_webhook_has_no_reminders() -> None:
    with pytest.raises(ValueError, match="use a bot"):
        SlackSink.Config(webhook_url="https://hooks.slack.com/services/T0/B0/x", reminders={})
