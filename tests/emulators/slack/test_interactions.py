"""Socket Mode in the emulator: the connection of an envelope, its acknowledgement, and refused dialogs."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from connector.emulators.slack import SlackEmulator
from connector.emulators.slack.workspace import Message

BUTTON = {"type": "actions", "elements": [{"type": "button", "action_id": "go", "value": "1"}]}


@pytest.fixture
def message(slack: SlackEmulator) -> Message:
    slack.sockets.ack_seconds = 0.3
    made = slack.say(slack.add_channel("hiring"), "press it")
    made.blocks = [BUTTON]
    return made


async def connect(
    client: AsyncWebClient, session: aiohttp.ClientSession, slack: SlackEmulator, stack: AsyncExitStack
) -> aiohttp.ClientWebSocketResponse:
    """Opens a connection, which says hello."""
    opened = await client.apps_connections_open(app_token=slack.app_token)
    socket = await stack.enter_async_context(session.ws_connect(opened["url"]))
    assert (await socket.receive_json())["type"] == "hello"
    return socket


async def test_an_envelope_goes_to_one_connection_and_is_acknowledged_by_its_id(slack, client, session, message):
    async with AsyncExitStack() as stack:
        sockets = [await connect(client, session, slack, stack) for _ in range(2)]
        sent = asyncio.wrap_future(slack.press(message, "go", "UANA"))
        receiving = [asyncio.create_task(socket.receive_json()) for socket in sockets]
        [got], [idle] = await asyncio.wait(receiving, return_when=asyncio.FIRST_COMPLETED)
        envelope = got.result()
        await sockets[receiving.index(got)].send_str(json.dumps({"envelope_id": envelope["envelope_id"]}))
        idle.cancel()

        assert (await sent).acknowledged == [True]
        assert (envelope["type"], envelope["payload"]["type"]) == ("interactive", "block_actions")
        assert envelope["payload"]["actions"][0]["value"] == "1"


async def test_an_envelope_without_an_acknowledgement_can_be_sent_again(slack, client, session, message):
    async with AsyncExitStack() as stack:
        socket = await connect(client, session, slack, stack)
        envelope = await asyncio.wrap_future(slack.press(message, "go", "UANA"))
        again = await asyncio.wrap_future(slack.redeliver(envelope))
        received = [await socket.receive_json() for _ in range(2)]

        assert again.acknowledged == [False, False]
        assert received[0] == received[1]


async def test_without_a_connection_nothing_is_acknowledged(slack, message):
    assert (await asyncio.wrap_future(slack.press(message, "go", "UANA"))).acknowledged == [False]


async def test_a_connection_needs_an_app_level_token(slack, client):
    with pytest.raises(SlackApiError, match="not_allowed_token_type"):
        await client.apps_connections_open(app_token=slack.token)


async def test_a_trigger_opens_one_dialog(slack, client, message):
    envelope = await asyncio.wrap_future(slack.press(message, "go", "UANA"))
    trigger = envelope.payload["trigger_id"]
    view = {"type": "modal", "title": {"type": "plain_text", "text": "Discard"}, "blocks": []}
    await client.views_open(trigger_id=trigger, view=view)
    with pytest.raises(SlackApiError, match="expired_trigger_id"):
        await client.views_open(trigger_id=trigger, view=view)


async def test_a_title_that_is_too_long_is_refused(slack, client, message):
    envelope = await asyncio.wrap_future(slack.press(message, "go", "UANA"))
    view = {"type": "modal", "title": {"type": "plain_text", "text": "Discard the candidate now"}, "blocks": []}
    with pytest.raises(SlackApiError, match="invalid_arguments"):
        await client.views_open(trigger_id=envelope.payload["trigger_id"], view=view)
