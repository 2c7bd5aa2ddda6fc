"""The message of an interview after decisions: stamp, undo, answers, and what users or Slack do meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from connector.decision import Decision, DecisionRequest, Via
from connector.emulators.faults import DROP
from connector.emulators.slack import SlackEmulator
from connector.emulators.slack.workspace import strings_of
from connector.store import decisions
from connector.store.decisions import Decided
from connector.store.schema import RequestState
from connector.testing import START, LaneRunner, ManualClock
from sinks.slack.sink import SlackSink
from tests.sinks.chat.streams import Feed
from tests.sinks.slack.lanes import payload

ANA = "U00000ANA"
ID = f"{1:024x}"
DONE = {"status": "completed", "completed": START + 1_000}
SOON_MS = 30_000


class Channel:
    """A lane with the message of a finished interview."""

    def __init__(self, slack: SlackEmulator, channel: str, feed: Feed) -> None:
        self.slack, self.channel, self.feed, self.lane = slack, channel, feed, feed.lane

    async def run(self, seconds: float = SOON_MS / 1000) -> None:
        await self.lane.run(until=self.lane.clock.now() + round(seconds * 1000))

    async def conclude(self, state: RequestState, *, reason: str = "", stage: str | None = "shortlisted") -> None:
        """What the service stores when it has carried out the click of Ana."""
        now = self.lane.clock.now()
        request = DecisionRequest(
            key=f"k{now}",
            interview_id=ID,
            decision=Decision.SHORTLIST,
            actor=f"slack:{ANA}",
            via=Via.CHAT,
            place="shortlist to_evaluate click",
        )
        result = Decided(changed=True, stage=stage) if state is RequestState.DONE else None

        def job(connection: Any) -> None:
            stored = decisions.ask(connection, request, now, sink_name="one")
            decisions.conclude(connection, stored.id, state, now=now, reason=reason, result=result)

        await self.lane.store.write(job)
        await self.run()

    @property
    def buttons(self) -> list[str]:
        [message] = [each for each in self.slack.messages(self.channel) if not each.is_reply]
        elements = [item for block in message.blocks for item in block.get("elements", [])]
        return [item["text"]["text"] for item in elements if "value" in item]

    @property
    def text(self) -> str:
        return " ".join(text for each in self.slack.messages(self.channel) for text in strings_of(each.blocks))


@pytest.fixture
async def finished(slack: SlackEmulator, clock: ManualClock, channel: str) -> AsyncIterator[Channel]:
    config = SlackSink.Config(
        token=slack.token,
        app_token=slack.app_token,
        channel=channel,
        api_url=slack.api_url,
        decisions={"deciders": [ANA]},
    )
    async with LaneRunner(lambda: SlackSink("one", config), clock) as lane:
        made = Channel(slack, channel, Feed(lane))
        await made.feed.take(payload("finish", 1, START + 1_000, **DONE))
        await made.run()
        yield made


async def test_undo_disappears_after_ten_minutes_and_the_stamp_stays(finished: Channel) -> None:
    await finished.conclude(RequestState.DONE)
    assert finished.buttons == ["Undo"]

    await finished.run(700)
    assert finished.buttons == ["Discard…", "Back to evaluation"]
    assert f"Shortlisted by <@{ANA}>" in finished.text


async def test_a_later_event_keeps_stamp_and_undo(finished: Channel) -> None:
    await finished.conclude(RequestState.DONE)
    now = finished.lane.clock.now()
    await finished.feed.take(payload("status-change", 1, now, **DONE, finalist=now))
    await finished.feed.take(payload("score-updated", 1, now + 500, **DONE, finalist=now, score={"value": 4}))
    await finished.run()

    assert finished.buttons == ["Undo"]
    assert f"Shortlisted by <@{ANA}>" in finished.text
    assert await finished.lane.dead() == []


async def test_a_decision_in_hireflix_replaces_the_stamp(finished: Channel) -> None:
    await finished.conclude(RequestState.DONE)
    now = finished.lane.clock.now()
    await finished.feed.take(payload("status-change", 1, now, **DONE, archived=now))
    await finished.run()

    assert finished.buttons == ["Shortlist", "Back to evaluation"]
    assert "Shortlisted by" not in finished.text


async def test_only_the_user_reads_why_a_request_was_refused(finished: Channel) -> None:
    await finished.conclude(RequestState.REFUSED, reason="Hireflix has no interview")

    [answer] = finished.slack.ephemerals
    assert (answer.user, answer.text) == (ANA, "This did not work: Hireflix has no interview")
    assert finished.buttons == ["Shortlist", "Discard…"]
    assert "did not work" not in finished.text


async def test_a_user_reads_once_that_a_decision_waits_for_hireflix(finished: Channel) -> None:
    now = finished.lane.clock.now()
    request = DecisionRequest(
        key="k",
        interview_id=ID,
        decision=Decision.SHORTLIST,
        actor=f"slack:{ANA}",
        via=Via.CHAT,
        place="shortlist to_evaluate click",
    )

    def job(connection: Any) -> None:
        stored = decisions.ask(connection, request, now, sink_name="one")
        for _ in range(2):
            decisions.put_off(connection, stored.id, "no answer", now + 15_000, now=now)

    await finished.lane.store.write(job)
    await finished.run()

    [answer] = finished.slack.ephemerals
    assert (answer.user, answer.text) == (
        ANA,
        "Your decision is kept, and tried again automatically for a day: no answer",
    )
    assert f"Shortlist, requested by <@{ANA}>, waits for Hireflix" in finished.text
    assert finished.buttons == ["Shortlist", "Discard…"]


async def test_an_edit_whose_answer_is_lost_is_repeated(finished: Channel) -> None:
    finished.slack.faults.add(DROP)
    await finished.conclude(RequestState.DONE)
    await finished.run(120)

    assert finished.buttons == ["Undo"]
    assert await finished.lane.dead() == []


async def test_a_deleted_message_is_left_so(finished: Channel) -> None:
    finished.slack.channel(finished.channel).messages.clear()
    await finished.conclude(RequestState.DONE)

    assert finished.slack.messages(finished.channel) == []
    assert await finished.lane.dead() == []


async def test_an_erase_leaves_no_note_about_the_decision(finished: Channel) -> None:
    await finished.conclude(RequestState.DONE)
    await finished.lane.erase(ID)
    await finished.run(700)

    assert finished.slack.messages(finished.channel) == []
    assert [key for key in await finished.lane.notes() if ID in key and not key.startswith("parent:")] == []
