"""Clicks in Slack: payloads of any form, permissions, and what is stored before an acknowledgement."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from connector.capabilities import Known, StoredDecision
from connector.decision import DecisionRequest
from connector.emulators.faults import Fault, FaultKind
from connector.emulators.slack import SlackEmulator
from connector.errors import SinkBroken, StoreUnavailable
from connector.sink import Finding
from connector.testing import START, make_interview
from sinks.chat.record import InterviewRecord
from sinks.slack.interactions import interaction_of
from sinks.slack.sink import SlackSink
from tests.delivery.rig import until

ANA, BOB, EVE, GROUP = "U00000ANA", "U00000BOB", "U00000EVE", "S00HIRING"
ABOUT = make_interview(completed=START)


class Inbox:
    """A `connector.capabilities.Inbox` that knows one interview with a message, and may be unavailable."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self.asked: list[DecisionRequest] = []
        self.is_available = True
        self.ready = asyncio.Event()

    def connected(self) -> None:
        self.ready.set()

    async def look(self, sink: str, interview_id: str, notes: Any) -> Known | None:
        assert sink == "hiring"
        if interview_id != ABOUT.id:
            return None
        return Known(ABOUT, {InterviewRecord(ABOUT.id).key: {"v": 2, "message_id": self.message_id}}, START)

    async def ask(self, sink: str, request: DecisionRequest) -> StoredDecision:
        if not self.is_available:
            raise StoreUnavailable("the disk is full")
        same = [each for each in self.asked if each.key == request.key]
        self.asked += [] if same else [request]
        return StoredDecision(same[0] if same else request, "waiting", START)


def sink_of(slack: SlackEmulator, channel: str, **settings: Any) -> SlackSink:
    values = {"token": slack.token, "app_token": slack.app_token, "channel": channel, "api_url": slack.api_url}
    deciders = {"deciders": [ANA, GROUP]}
    return SlackSink("hiring", SlackSink.Config(**{**values, "decisions": deciders, **settings}))


@asynccontextmanager
async def listening(sink: SlackSink, inbox: Inbox) -> AsyncIterator[None]:
    task = asyncio.create_task(sink.listen([sink], inbox))
    await asyncio.wait_for(inbox.ready.wait(), 60)
    yield
    task.cancel()
    await asyncio.wait([task])


def post_with_buttons(slack: SlackEmulator, channel: str) -> Any:
    message = slack.say(channel, "Ana finished the interview")
    message.blocks = [
        {
            "type": "actions",
            "elements": [
                {"type": "button", "action_id": f"decide-{choice}", "value": f"0 {ABOUT.id}"}
                for choice in ("shortlist", "discard")
            ]
            + [{"type": "button", "action_id": "open", "url": "https://admin.hireflix.com/"}],
        }
    ]
    return message


async def press(slack: SlackEmulator, message: Any, action: str, user: str) -> bool:
    envelope = await asyncio.wrap_future(slack.press(message, action, user))
    return envelope.acknowledged[-1]


@pytest.mark.parametrize("user", [ANA, BOB])
async def test_members_and_members_of_groups_may_decide(slack: SlackEmulator, channel: str, user: str) -> None:
    slack.workspace.groups[GROUP] = [BOB]
    message = post_with_buttons(slack, channel)
    inbox = Inbox(message.ts)
    async with listening(sink_of(slack, channel), inbox):
        assert await press(slack, message, "decide-shortlist", user)
    assert [request.actor for request in inbox.asked] == [f"slack:{user}"]


async def test_the_members_of_a_group_are_remembered(slack: SlackEmulator, channel: str) -> None:
    slack.workspace.groups[GROUP] = [BOB]
    message = post_with_buttons(slack, channel)
    async with listening(sink_of(slack, channel), Inbox(message.ts)):
        for _ in range(3):
            assert await press(slack, message, "decide-shortlist", BOB)
    assert slack.requests.count("usergroups.users.list") == 1


async def test_without_an_answer_about_a_group_nothing_is_decided(slack: SlackEmulator, channel: str) -> None:
    message = post_with_buttons(slack, channel)
    inbox = Inbox(message.ts)
    slack.faults.add(Fault(FaultKind.STATUS, "usergroups.users.list"))
    async with listening(sink_of(slack, channel), inbox):
        assert await press(slack, message, "decide-shortlist", BOB)
        await until(lambda: slack.ephemerals)
    assert inbox.asked == []
    assert "did not say who may decide" in slack.ephemerals[0].text


async def test_a_click_that_cannot_be_stored_is_not_acknowledged(
    slack: SlackEmulator, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = post_with_buttons(slack, channel)
    inbox = Inbox(message.ts)
    inbox.is_available = False
    slack.sockets.ack_seconds = 0.3
    async with listening(sink_of(slack, channel), inbox):
        assert not await press(slack, message, "decide-shortlist", ANA)
    assert "click not stored and not acknowledged: StoreUnavailable" in caplog.text


async def test_a_click_on_a_link_is_acknowledged_and_nothing_else(slack: SlackEmulator, channel: str) -> None:
    message = post_with_buttons(slack, channel)
    inbox = Inbox(message.ts)
    async with listening(sink_of(slack, channel), inbox):
        assert await press(slack, message, "open", EVE)
    assert (inbox.asked, slack.ephemerals) == ([], [])


async def test_a_click_on_another_message_decides_nothing(slack: SlackEmulator, channel: str) -> None:
    message = post_with_buttons(slack, channel)
    inbox = Inbox("1761566424.000999")
    async with listening(sink_of(slack, channel), inbox):
        assert await press(slack, message, "decide-shortlist", ANA)
        await until(lambda: slack.ephemerals)
    assert inbox.asked == []
    assert "a newer message" in slack.ephemerals[0].text


async def test_a_user_learns_that_the_dialog_did_not_open(
    slack: SlackEmulator, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = post_with_buttons(slack, channel)
    inbox = Inbox(message.ts)
    slack.faults.add(Fault(FaultKind.STATUS, "views.open"))
    async with listening(sink_of(slack, channel), inbox):
        assert await press(slack, message, "decide-discard", ANA)
        await until(lambda: slack.ephemerals and "reply to a click failed" in caplog.text)
    assert [(each.user, each.text) for each in slack.ephemerals] == [
        (ANA, "The dialog did not open. Press the button again.")
    ]
    assert inbox.asked == []


async def test_a_click_in_a_channel_of_no_sink_decides_nothing(slack: SlackEmulator, channel: str) -> None:
    message = post_with_buttons(slack, slack.add_channel("elsewhere"))
    inbox = Inbox(message.ts)
    async with listening(sink_of(slack, channel), inbox):
        assert await press(slack, message, "decide-shortlist", ANA)
    assert (inbox.asked, slack.ephemerals) == ([], [])


async def test_a_refused_app_token_says_what_to_do(slack: SlackEmulator, channel: str) -> None:
    slack.app_error = "invalid_auth"
    sink = sink_of(slack, channel)
    with pytest.raises(SinkBroken) as error:
        await sink.listen([sink], Inbox(""))
    assert error.value.reason == "the app-level token is not valid (invalid_auth)"
    assert "connections:write" in error.value.fix


async def test_without_decisions_a_sink_does_not_listen(slack: SlackEmulator, channel: str) -> None:
    assert sink_of(slack, channel, decisions=None).account == ""
    assert sink_of(slack, channel).account == sink_of(slack, slack.add_channel("other")).account != ""


async def test_check_online_tries_the_app_token_and_the_groups(slack: SlackEmulator, channel: str) -> None:
    slack.workspace.groups[GROUP] = []
    findings = await sink_of(slack, channel).check_connection()
    assert Finding("ok", "the app-level token works, so decisions are received") in findings
    assert Finding("warning", f"the user group {GROUP} has no members", "check `deciders`") in findings


async def test_check_online_says_what_is_wrong_with_the_app_token(slack: SlackEmulator, channel: str) -> None:
    slack.app_error = "missing_scope"
    findings = await sink_of(slack, channel).check_connection()
    [problem] = [each for each in findings if each.level == "problem" and "decisions" in each.message]
    assert "lacks the scope connections:write" in problem.message


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"type": "shortcut"},
        {"type": "block_actions", "actions": []},
        {"type": "block_actions", "actions": [{"action_id": "decide-fly", "value": "0 i"}], "container": {}},
        {"type": "view_submission", "view": {"callback_id": "other"}},
        {"type": "view_submission", "view": {"callback_id": "decide-discard", "private_metadata": "{"}},
        {"type": "view_submission", "view": {"callback_id": "decide-discard", "private_metadata": json.dumps([])}},
    ],
)
def test_a_payload_in_another_form_is_no_decision(payload: object) -> None:
    assert interaction_of(payload) is None
