"""Messages: posted, edited, deleted, read back, as the Web API documents it."""

from __future__ import annotations

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from connector.emulators.slack import SlackEmulator
from connector.testing import ManualClock

META = {"event_type": "test", "event_payload": {"k": "one"}}


async def refused(call) -> dict:
    with pytest.raises(SlackApiError) as error:
        await call
    return error.value.response.data


async def test_a_post_answers_with_channel_and_timestamp(slack: SlackEmulator, client: AsyncWebClient) -> None:
    channel = slack.add_channel("one")
    answer = await client.chat_postMessage(channel=channel, text="hello")
    assert (answer["channel"], answer["ts"]) == (channel, slack.messages(channel)[0].ts)


async def test_timestamps_are_unique_and_increase_while_the_clock_is_stopped(
    slack: SlackEmulator, client: AsyncWebClient
) -> None:
    channel = slack.add_channel("one")
    stamps = [(await client.chat_postMessage(channel=channel, text="x"))["ts"] for _ in range(5)]
    assert stamps == sorted(set(stamps), key=float)


async def test_metadata_is_shown_only_on_request(slack: SlackEmulator, client: AsyncWebClient) -> None:
    channel = slack.add_channel("one")
    await client.chat_postMessage(channel=channel, text="x", metadata=META)
    without = await client.conversations_history(channel=channel)
    with_it = await client.conversations_history(channel=channel, include_all_metadata=True)
    assert "metadata" not in without["messages"][0]
    assert with_it["messages"][0]["metadata"] == META


async def test_history_pages_from_the_newest_message(slack: SlackEmulator, client: AsyncWebClient) -> None:
    channel = slack.add_channel("one")
    for word in "abc":
        slack.say(channel, word)
    first = await client.conversations_history(channel=channel, limit=2)
    cursor = first["response_metadata"]["next_cursor"]
    second = await client.conversations_history(channel=channel, limit=2, cursor=cursor)
    assert [message["text"] for message in [*first["messages"], *second["messages"]]] == ["c", "b", "a"]
    assert not second["has_more"]


@pytest.mark.parametrize(("inclusive", "expected"), [(True, ["b", "a"]), (False, ["b"])])
async def test_oldest_is_a_bound_inside_only_when_inclusive(
    slack: SlackEmulator, client: AsyncWebClient, inclusive: bool, expected: list[str]
) -> None:
    channel = slack.add_channel("one")
    bound = slack.say(channel, "a").ts
    slack.say(channel, "b")
    page = await client.conversations_history(channel=channel, oldest=bound, inclusive=inclusive)
    assert [message["text"] for message in page["messages"]] == expected


async def test_replies_stand_in_the_thread_and_broadcasts_also_in_the_channel(
    slack: SlackEmulator, client: AsyncWebClient
) -> None:
    channel = slack.add_channel("one")
    parent = (await client.chat_postMessage(channel=channel, text="parent"))["ts"]
    await client.chat_postMessage(channel=channel, text="quiet", thread_ts=parent)
    await client.chat_postMessage(channel=channel, text="loud", thread_ts=parent, reply_broadcast=True)
    thread = await client.conversations_replies(channel=channel, ts=parent)
    page = await client.conversations_history(channel=channel)
    assert [message["text"] for message in thread["messages"]] == ["parent", "quiet", "loud"]
    assert [message["text"] for message in page["messages"]] == ["loud", "parent"]


async def test_an_edit_keeps_metadata_that_it_does_not_name(slack: SlackEmulator, client: AsyncWebClient) -> None:
    channel = slack.add_channel("one")
    ts = (await client.chat_postMessage(channel=channel, text="before", metadata=META))["ts"]
    await client.chat_update(channel=channel, ts=ts, text="after")
    kept = slack.messages(channel)[0]
    assert (kept.text, kept.metadata, kept.edited) == ("after", META, True)
    await client.chat_update(channel=channel, ts=ts, text="after", metadata={})
    assert slack.messages(channel)[0].metadata == {}


async def test_an_app_cannot_edit_or_delete_the_message_of_another(
    slack: SlackEmulator, client: AsyncWebClient
) -> None:
    channel = slack.add_channel("one")
    ts = slack.say(channel, "mine").ts
    assert (await refused(client.chat_update(channel=channel, ts=ts, text="x")))["error"] == "cant_update_message"
    assert (await refused(client.chat_delete(channel=channel, ts=ts)))["error"] == "cant_delete_message"
    assert (await refused(client.chat_delete(channel=channel, ts="1.000000")))["error"] == "message_not_found"


async def test_a_deleted_message_is_gone(slack: SlackEmulator, client: AsyncWebClient) -> None:
    channel = slack.add_channel("one")
    ts = (await client.chat_postMessage(channel=channel, text="x"))["ts"]
    await client.chat_delete(channel=channel, ts=ts)
    assert slack.messages(channel) == []


async def test_text_beyond_40000_characters_is_cut_with_a_warning(slack: SlackEmulator, client: AsyncWebClient) -> None:
    channel = slack.add_channel("one")
    answer = await client.chat_postMessage(channel=channel, text="x" * 40_001)
    assert answer["response_metadata"]["warnings"] == ["message_truncated"]
    assert len(slack.messages(channel)[0].text) == 40_000


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ({"archived": True}, "is_archived"),
        ({"read_only": True}, "restricted_action_read_only_channel"),
        ({"private": True, "member": False}, "channel_not_found"),
    ],
)
async def test_channels_refuse_as_they_are(
    slack: SlackEmulator, client: AsyncWebClient, flags: dict[str, bool], error: str
) -> None:
    channel = slack.add_channel("one", **flags)
    assert (await refused(client.chat_postMessage(channel=channel, text="x")))["error"] == error


async def test_outside_a_public_channel_a_post_needs_a_scope_of_its_own(
    slack: SlackEmulator, client: AsyncWebClient
) -> None:
    channel = slack.add_channel("one", member=False)
    assert (await client.chat_postMessage(channel=channel, text="x"))["ok"]
    assert (await refused(client.conversations_history(channel=channel)))["error"] == "not_in_channel"
    slack.bot.scopes = ("chat:write",)
    assert (await refused(client.chat_postMessage(channel=channel, text="x")))["error"] == "not_in_channel"


async def test_a_missing_scope_is_named_with_those_that_are_there(slack: SlackEmulator, client: AsyncWebClient) -> None:
    slack.bot.scopes = ("channels:read",)
    data = await refused(client.chat_postMessage(channel=slack.add_channel("one"), text="x"))
    assert (data["error"], data["needed"], data["provided"]) == ("missing_scope", "chat:write", "channels:read")


@pytest.mark.parametrize(
    ("token", "bot_error", "error"),
    [("xoxb-unknown", "", "invalid_auth"), ("xoxb-second", "token_revoked", "token_revoked")],
)
async def test_tokens_are_checked(
    slack: SlackEmulator, client: AsyncWebClient, token: str, bot_error: str, error: str
) -> None:
    slack.add_token("xoxb-second").error = bot_error
    client.token = token
    assert (await refused(client.auth_test()))["error"] == error


async def test_the_granted_scopes_stand_in_a_header(slack: SlackEmulator, client: AsyncWebClient) -> None:
    answer = await client.auth_test()
    assert answer.headers["x-oauth-scopes"].split(",") == list(slack.bot.scopes)


async def test_answers_carry_the_date_of_the_emulators_clock(
    slack: SlackEmulator, client: AsyncWebClient, clock: ManualClock
) -> None:
    clock.advance(3600)
    assert (await client.auth_test()).headers["Date"] == "Wed, 10 Sep 2025 11:26:40 GMT"


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"event_type": "a"}, "invalid_metadata_format"),
        ({"event_type": "", "event_payload": {}}, "invalid_metadata_schema"),
        ({"event_type": "a", "event_payload": {"x": "y" * 9000}}, "metadata_too_large"),
    ],
)
async def test_metadata_is_checked(slack: SlackEmulator, client: AsyncWebClient, metadata: dict, error: str) -> None:
    call = client.chat_postMessage(channel=slack.add_channel("one"), text="x", metadata=metadata)
    assert (await refused(call))["error"] == error


async def test_an_unknown_method_says_so(client: AsyncWebClient) -> None:
    assert (await refused(client.api_call("chat.shout")))["error"] == "unknown_method"


async def test_a_mention_in_text_or_mrkdwn_counts_as_a_ping(slack: SlackEmulator, client: AsyncWebClient) -> None:
    channel = slack.add_channel("one")
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "hi <@U123>"}}]
    await client.chat_postMessage(channel=channel, text="<!channel> &lt;!here&gt;", blocks=blocks)
    assert slack.messages(channel)[0].pings == ["<!channel>", "<@U123>"]
