"""Digests: what is counted, when it is shown, also after crashes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from connector.testing import START, LaneRunner, ManualClock
from sinks.slack import SlackSink
from tests.sinks.chat.channel_rules import figures
from tests.sinks.chat.streams import Feed, Payload
from tests.sinks.chat.test_living_message import DAY_SECONDS, Make, done, gone, make, run, scored, texts
from tests.sinks.slack.lanes import payload

__all__ = ["make"]


def invited(*numbers: int, position: int = 1) -> list[dict[str, Any]]:
    return [payload("create", number, START + number, position=position) for number in numbers]


async def test_a_burst_is_one_message_that_grows(slack: SlackEmulator, make: Make, channel: str) -> None:
    feed = await make()
    for number in range(1, 61):
        await feed.take(*invited(number))
        await feed.lane.run(until=feed.lane.clock.now() + 1_000)
        feed.lane.clock.advance(1)
    await feed.lane.run()
    assert texts(slack, channel) == ["Position 1 · 60 invited"]
    assert slack.requests.count("chat.update") == 2
    assert await feed.lane.pending() == []


async def test_each_position_has_its_own(slack: SlackEmulator, make: Make, channel: str) -> None:
    await run(await make(), *invited(1, 2), *invited(3, position=2))
    assert sorted(texts(slack, channel)) == [
        "Position 1 · 2 invited",
        "Position 2 · 1 invited",
    ]


@pytest.mark.parametrize(("minutes", "messages"), [(9, 1), (11, 2)])
async def test_ten_quiet_minutes_end_a_digest(
    slack: SlackEmulator, make: Make, channel: str, minutes: int, messages: int
) -> None:
    feed = await make(events={"finish": "digest"})
    await run(feed, done(number=1))
    feed.lane.clock.advance(minutes * 60)
    await run(feed, done(number=2))
    assert len(slack.messages(channel)) == messages
    assert figures(slack.messages(channel)) == {"finished": 2}


HOUR_SECONDS = 3600


async def test_invitations_of_a_day_are_one_message_however_far_apart(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make()
    for number in range(1, 6):
        await run(feed, *invited(number))
        feed.lane.clock.advance(2 * HOUR_SECONDS)
    assert texts(slack, channel) == ["Position 1 · 5 invited"]
    feed.lane.clock.advance(14 * HOUR_SECONDS)
    await run(feed, *invited(6))
    assert texts(slack, channel) == ["Position 1 · 5 invited", "Position 1 · 1 invited"]


async def test_an_invitation_is_added_to_the_digest_that_names_who_finished_the_same_day(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make(events={"finish": "digest"})
    await run(feed, *invited(1))
    feed.lane.clock.advance(HOUR_SECONDS)
    await run(feed, done(number=2))
    feed.lane.clock.advance(HOUR_SECONDS)
    await run(feed, *invited(3))
    assert [message.text for message in slack.messages(channel)] == [
        "Position 1 · 1 invited",
        "Position 1 · 1 finished: Candidate 2. · 1 invited",
    ]


async def test_finishes_of_a_night_are_a_new_message_also_after_an_invitation_of_the_evening(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    """An edit of the message of the day would notify no one."""
    feed = await make(quiet_hours={"start": "20:00", "end": "08:00"})
    await run(feed, *invited(1))
    feed.lane.clock.advance(10 * HOUR_SECONDS)  # 20:26 UTC
    await feed.take(*invited(2))
    await feed.lane.run(until=feed.lane.clock.now() + 1_000)
    feed.lane.clock.advance(HOUR_SECONDS)
    await feed.take(done(number=3))
    await feed.lane.run()
    assert [message.text for message in slack.messages(channel)] == [
        "Position 1 · 1 invited",
        "Position 1 · 1 finished: Candidate 3. · 1 invited",
    ]
    assert await feed.lane.pending() == []


async def test_an_edit_whose_answer_was_lost_counts_no_invitation_twice(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    """The finish starts no new digest then, because the old message may show the invitation already."""
    feed = await make(events={"finish": "digest"})
    await run(feed, *invited(1))
    feed.lane.clock.advance(HOUR_SECONDS)
    slack.faults.add(Fault(faults.FaultKind.DROP, "chat.update", 2))
    await feed.take(*invited(2))
    await feed.lane.run(until=feed.lane.clock.now() + 25_500)
    await run(feed, done(number=3))
    assert figures(slack.messages(channel)) == {"invited": 2, "finished": 1}
    assert await feed.lane.pending() == []


async def test_without_edits_invitations_wait_for_more_of_them(
    slack: SlackEmulator, clock: ManualClock, channel: str
) -> None:
    config = SlackSink.Config(webhook_url=slack.add_webhook(channel))
    async with LaneRunner(lambda: SlackSink("one", config), clock) as lane:
        feed = Feed(lane)
        for number in range(1, 5):
            await feed.take(*invited(number))
            await lane.run(until=clock.now() + HOUR_SECONDS * 1000)
        assert texts(slack, channel) == []
        await feed.take(done(number=5))
        await lane.run()
    assert texts(slack, channel) == ["✅ Candidate 5 finished · Position 1", "Position 1 · 4 invited"]


async def test_an_invitation_has_no_names(slack: SlackEmulator, make: Make, channel: str) -> None:
    await run(await make(), *invited(1))
    (message,) = slack.messages(channel)
    assert "Candidate" not in str([message.text, message.blocks])
    assert message.metadata["event_payload"].keys() == {"v", "k", "r", "p"}


async def test_off_means_none(slack: SlackEmulator, make: Make) -> None:
    feed = await make(digest="off")
    await run(feed, *invited(1, 2))
    assert (slack.requests, await feed.lane.pending()) == ([], [])


async def test_what_comes_while_its_posting_is_unclear_is_counted(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make()
    slack.faults.add(Fault(faults.FaultKind.DROP, "chat.postMessage"))
    await feed.take(*invited(1, 2))
    await feed.lane.run(until=feed.lane.clock.now() + 26_000)
    await run(feed, *invited(3, 4, 5))
    assert texts(slack, channel) == ["Position 1 · 5 invited"]
    assert await feed.lane.pending() == []


async def test_a_backlog_of_three_days_is_reported_by_digests_alone(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make(mentions=[{"who": "@here"}])
    backlog = [*invited(*range(40)), *(done(number=n) for n in range(20)), *(scored(3, START + 9, n) for n in range(9))]
    await feed.take(*backlog, gone(3))
    feed.lane.clock.advance(3 * DAY_SECONDS)
    await feed.lane.run()
    assert figures(slack.messages(channel)) == {"invited": 40, "finished": 19, "scored": 8}
    assert len(slack.messages(channel)) == 1
    assert [message.pings for message in slack.messages(channel)] == [[]]


async def test_a_late_event_still_brings_an_existing_message_up_to_date(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make(digest="off")
    await run(feed, done())
    await feed.take(scored(4, START + 9))
    feed.lane.clock.advance(3 * DAY_SECONDS)
    await feed.lane.run()
    (message,) = slack.messages(channel)
    assert "4 of 5" in message.blocks[1]["text"]["text"]


async def test_each_candidate_of_a_digest_gets_a_message_later(slack: SlackEmulator, make: Make, channel: str) -> None:
    feed = await make()
    await feed.take(*invited(1), done())
    feed.lane.clock.advance(3 * DAY_SECONDS)
    await feed.lane.run()
    await run(feed, scored(4, feed.lane.clock.now()))
    assert texts(slack, channel)[1] == "✅ Candidate 1 was scored 4 of 5 · Position 1"


HOURS = {"start": "12:00", "end": "13:00"}
NIGHT = {"quiet_hours": HOURS, "timezone": "Europe/Madrid"}


def shown(slack: SlackEmulator, channel: str) -> str:
    return json.dumps([[message.text, message.blocks] for message in slack.messages(channel)])


class TestNames:
    """A digest names candidates who finished, and a name is removed after a deletion."""

    async def test_a_candidate_counts_once_however_many_events_say_so(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make(**NIGHT)
        await feed.take(
            done(), done("status-change", at=START + 1_003), scored(3, START + 2_000), scored(4, START + 3_000)
        )
        await feed.lane.run()
        assert [message.text for message in slack.messages(channel)] == [
            "Position 1 · 1 finished: Candidate 1. · 1 scored"
        ]
        assert await feed.lane.pending() == []

    async def test_a_finish_of_the_night_is_not_announced_again_in_the_morning(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make(**NIGHT)
        await run(feed, done())
        await run(feed, scored(4, feed.lane.clock.now()))
        assert [message.text for message in slack.messages(channel)] == [
            "Position 1 · 1 finished: Candidate 1.",
            "✅ Candidate 1 was scored 4 of 5 · Position 1",
        ]

    @pytest.mark.parametrize("later", [[], invited(3)])
    async def test_a_deleted_candidate_disappears_from_it(
        self, slack: SlackEmulator, make: Make, channel: str, later: list[Payload]
    ) -> None:
        """Also from an older digest of the position that is over."""
        feed = await make(**NIGHT)
        await run(feed, done(number=1), done(number=2))
        feed.lane.clock.advance(DAY_SECONDS)
        await run(feed, *later)
        await run(feed, gone(1))
        assert slack.messages(channel)[0].text == "Position 1 · 2 finished: Candidate 2. and 1 more"
        assert len(slack.messages(channel)) == 1 + len(later)

    async def test_a_candidate_who_is_deleted_before_it_is_shown_is_not_named(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        feed = await make(**NIGHT)
        await feed.take(done(number=1), done(number=2))
        await feed.lane.run(until=START + 1_000)
        await run(feed, gone(1))
        assert "Candidate 1" not in shown(slack, channel)

    async def test_a_deletion_in_quiet_hours_removes_the_name_at_once(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        """The digest counts further events until the morning."""
        feed = await make(digest_window=1, quiet_hours={"start": "12:27", "end": "13:00"}, timezone="Europe/Madrid")
        await feed.take(done(number=1))
        feed.lane.clock.advance(2 * DAY_SECONDS)
        await feed.lane.run()
        feed.lane.clock.advance(60)
        await feed.take(*invited(3), done(number=4), gone(1))
        await feed.lane.run(until=feed.lane.clock.now() + 5_000)
        assert "Candidate 1" not in shown(slack, channel)
        assert "invited" not in shown(slack, channel)

    async def test_a_lost_answer_hides_no_name(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make(**NIGHT)
        await feed.take(done(number=1), done(number=2))
        await feed.lane.run(until=START + 34 * 60_000 - 1_000)
        slack.faults.add(Fault(faults.FaultKind.DROP, "chat.postMessage"))
        await feed.lane.step()
        await feed.take(gone(1))
        await feed.lane.run()
        assert "Candidate 1" not in shown(slack, channel)


class TestQuietHours:
    """START is 10:26 UTC, 12:26 in Madrid."""

    async def test_all_waits_for_one_digest_at_the_end(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make(quiet_hours=HOURS, timezone="Europe/Madrid")
        await feed.take(*invited(1, 2), done(), scored(3, START + 2_000))
        await feed.lane.run()
        (message,) = slack.messages(channel)
        assert message.text == "Position 1 · 1 finished: Candidate 1. · 1 scored · 2 invited"
        assert float(slack.messages(channel)[0].ts) * 1000 - START >= 33 * 60_000 + 20_000

    async def test_a_finish_may_be_exempt(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make(quiet_hours={**HOURS, "finish": "speak"}, timezone="Europe/Madrid")
        await run(feed, done())
        assert texts(slack, channel) == ["✅ Candidate 1 finished · Position 1"]
        assert feed.lane.clock.now() == START

    async def test_a_held_digest_holds_no_finish_back(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make(quiet_hours={**HOURS, "finish": "speak"}, timezone="Europe/Madrid")
        await feed.take(*invited(1), scored(3, START - 9), done())
        await feed.lane.run(until=START + 60_000)
        assert texts(slack, channel) == ["✅ Candidate 1 finished · Position 1"]


class TestMentions:
    async def test_one_a_minute_and_none_in_edits(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make(mentions=[{"who": "@here"}, {"who": "U0123456789"}])
        await run(feed, done(number=1), done(number=2))
        feed.lane.clock.advance(61)
        await run(feed, done(number=3), scored(3, START + 9, 1))
        pings = [message.pings for message in slack.messages(channel) if not message.is_reply]
        assert pings == [[], [], ["<!here>"]]
        assert slack.messages(channel)[0].raw["blocks"][-1]["elements"][0]["text"] == "<!here>"
        assert slack.problems(frozenset({"<!here>"})) == []

    @pytest.mark.parametrize(
        ("rule", "meets"),
        [
            ({}, True),
            ({"min_score": 3}, False),
            ({"positions": ["position *"]}, True),
            ({"positions": ["other *"]}, False),
            ({"positions": [f"{1:024x}"]}, True),
            ({"news": ["score_updated"]}, False),
        ],
    )
    async def test_a_rule_says_when(
        self, slack: SlackEmulator, make: Make, channel: str, rule: dict[str, Any], meets: bool
    ) -> None:
        await run(await make(mentions=[{"who": "S0123456789", **rule}]), done())
        (message,) = slack.messages(channel)
        assert message.pings == (["<!subteam^S0123456789>"] if meets else [])


@pytest.mark.parametrize(("private", "name"), [(True, "Candidate 1"), (False, "C. 1.")])
async def test_auto_shows_names_where_slack_says_that_the_channel_is_private(
    slack: SlackEmulator, clock: ManualClock, private: bool, name: str
) -> None:
    channel = slack.add_channel("hiring", private=private)
    config = SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url, privacy="auto")
    async with LaneRunner(lambda: SlackSink("one", config), clock) as lane:
        await run(Feed(lane), done(), done(number=2))
    assert slack.messages(channel)[0].text == f"✅ {name} finished · Position 1"
    assert slack.requests.count("conversations.info") == 1


async def test_auto_without_slacks_word_shows_initials(slack: SlackEmulator, make: Make, channel: str) -> None:
    slack.bot.scopes = ("chat:write",)
    await run(await make(privacy="auto"), done())
    assert slack.messages(channel)[0].text == "✅ C. 1. finished · Position 1"


async def test_a_webhook_posts_a_digest_every_ten_minutes(slack: SlackEmulator, channel: str) -> None:
    config = SlackSink.Config(webhook_url=slack.add_webhook(channel))
    async with LaneRunner(lambda: SlackSink("hook", config)) as lane:
        feed = Feed(lane)
        for number in range(1, 31):
            await feed.take(*invited(number))
            await lane.run(until=lane.clock.now() + 30_000)
            lane.clock.advance(30)
        await run(feed, done())
        await run(feed, scored(3, START + 2_000))
    texts = [message.text.split(". ")[0] for message in slack.messages(channel)]
    assert [text for text in texts if "invited" in text] != []
    counts = [re.search(r"(\d+) invited", text) for text in texts]
    assert sum(int(count[1]) for count in counts if count) == 30
    assert [text for text in texts if "invited" not in text] == [
        "✅ Candidate 1 finished · Position 1",
        "✅ Candidate 1 was scored 3 of 5 · Position 1",
    ]


async def test_invitations_of_an_unclear_call_are_posted_one_by_one_after_a_change_of_the_settings(
    slack: SlackEmulator, clock: ManualClock, channel: str
) -> None:
    """They were counted in one call. Now each makes a message, within the rate limit of the channel."""
    settings: Iterator[dict[str, Any]] = iter([{}, {"events": {"create": "post"}}])

    def make_sink() -> SlackSink:
        config = {"token": slack.token, "channel": channel, "api_url": slack.api_url, **next(settings)}
        return SlackSink("one", SlackSink.Config(**config))

    async with LaneRunner(make_sink, clock) as lane:
        await Feed(lane).take(*invited(*range(1, 9)))
        await lane.crash()
        await lane.run()
        assert {each.state for each in await lane.deliveries()} == {"delivered"}
    assert sorted(texts(slack, channel)) == [f"✉️ Candidate {number} was invited · Position 1" for number in range(1, 9)]
    assert slack.problems() == []


class TestBusyChannel:
    """At one message in ten seconds, sixty messages need ten minutes."""

    async def test_a_channel_that_would_need_ten_minutes_is_current_within_two(
        self, slack: SlackEmulator, make: Make, channel: str
    ) -> None:
        """Each finish is announced once, alone or in the digest of its position."""
        feed = await make(rate_per_second=0.1)
        await run(feed, *(done(number=number, position=number % 4) for number in range(100)))
        alone = [
            message.metadata["event_payload"]["i"]
            for message in slack.messages(channel)
            if "i" in message.metadata["event_payload"]
        ]
        assert len(set(alone)) == len(alone)
        assert len(alone) + figures(slack.messages(channel))["finished"] == 100
        assert feed.lane.clock.now() - START <= 120_000
        assert await feed.lane.pending() == []
        assert slack.problems() == []

    async def test_fewer_messages_are_posted_one_by_one(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make(rate_per_second=0.1)
        await run(feed, *(done(number=number) for number in range(10)))
        assert len(slack.messages(channel)) == 10

    async def test_invitations_do_not_make_a_channel_busy(self, slack: SlackEmulator, make: Make, channel: str) -> None:
        feed = await make(rate_per_second=0.1)
        await run(feed, *invited(*range(100)), done(number=200))
        assert [message for message in slack.messages(channel) if "200" in message.text] != []
