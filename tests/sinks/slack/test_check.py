"""`check --online`: what works, what does not, and what to do."""

from __future__ import annotations

import pytest

from connector.emulators import faults
from connector.emulators.slack import ALL_SCOPES, SlackEmulator
from connector.sink import Finding
from sinks.slack.sink import SlackSink


async def test_all_is_well(slack: SlackEmulator, sink: SlackSink, channel: str) -> None:
    assert await sink.check_connection() == [
        Finding("ok", "signed in to Example Team (T0EXAMPLE1) as @hireflix"),
        Finding("ok", f"granted scopes: {', '.join(sorted(ALL_SCOPES))}"),
        Finding("ok", "all scopes are granted"),
        Finding("ok", f"channel {channel} (#recruiting) is there and the app is in it"),
    ]
    assert slack.messages(channel) == []


async def test_a_sink_that_is_not_open_can_be_checked(slack: SlackEmulator, channel: str) -> None:
    sink = SlackSink("one", SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url))
    assert {finding.level for finding in await sink.check_connection()} == {"ok"}


async def test_a_dead_token_is_the_only_finding(slack: SlackEmulator, sink: SlackSink) -> None:
    slack.bot.error = "token_revoked"
    (finding,) = await sink.check_connection()
    assert finding.level == "problem"
    assert finding.message == "the token cannot be used: the token was revoked (token_revoked)"
    assert "Install App" in finding.fix


async def test_missing_scopes_are_reported_with_their_purpose(slack: SlackEmulator, sink: SlackSink) -> None:
    slack.bot.scopes = ("channels:read",)
    findings = await sink.check_connection()
    assert (
        Finding(
            "problem",
            "scope chat:write is missing",
            "add the bot scope chat:write under OAuth & Permissions, then reinstall the app",
        )
        in findings
    )
    assert [finding.level for finding in findings].count("warning") == 4


@pytest.mark.parametrize(
    ("flags", "scopes", "level", "words"),
    [
        ({"archived": True}, ALL_SCOPES, "problem", "is archived"),
        ({"private": True, "member": False}, ALL_SCOPES, "problem", "private and the app is not in it"),
        ({"member": False}, ("chat:write", "channels:read"), "problem", "the app is not in channel"),
        ({"member": False}, ALL_SCOPES, "warning", "cannot look for lost messages"),
        ({}, ("chat:write",), "warning", "was not checked: missing_scope"),
    ],
)
async def test_the_state_of_the_channel_is_reported(
    slack: SlackEmulator, flags: dict[str, bool], scopes: tuple[str, ...], level: str, words: str
) -> None:
    slack.bot.scopes = scopes
    channel = slack.add_channel("other", **flags)
    sink = SlackSink("one", SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url))
    last = (await sink.check_connection())[-1]
    assert (last.level, words in last.message, bool(last.fix)) == (level, True, True)


@pytest.mark.parametrize(
    ("fault", "level"),
    [
        (faults.HTML_503, "problem"),
        (faults.DROP, "problem"),
        (faults.Fault(faults.FaultKind.STATUS, status=429), "warning"),
    ],
)
async def test_no_answer_is_a_finding_too(
    slack: SlackEmulator, sink: SlackSink, fault: faults.Fault, level: str
) -> None:
    slack.faults.add(fault)
    (finding,) = await sink.check_connection()
    assert (finding.level, bool(finding.fix)) == (level, True)


async def test_a_webhook_cannot_be_checked_and_says_what_else_it_cannot_do(slack: SlackEmulator, channel: str) -> None:
    sink = SlackSink("hook", SlackSink.Config(webhook_url=slack.add_webhook(channel), privacy="auto"))
    findings = await sink.check_connection()
    assert [finding.level for finding in findings] == ["warning"] * 3
    messages = " ".join(finding.message for finding in findings)
    assert [
        word for word in ("edit", "threads", "names back", "lost messages", "initials") if word not in messages
    ] == []
    assert slack.requests == []


@pytest.mark.parametrize(
    ("private", "level", "words"), [(True, "ok", "names are shown in full"), (False, "warning", "by initials")]
)
async def test_what_auto_means_in_this_channel_is_said(
    slack: SlackEmulator, private: bool, level: str, words: str
) -> None:
    channel = slack.add_channel("hiring", private=private)
    config = SlackSink.Config(token=slack.token, channel=channel, api_url=slack.api_url, privacy="auto")
    finding = (await SlackSink("one", config).check_connection())[-1]
    assert finding.level == level
    assert words in finding.message
