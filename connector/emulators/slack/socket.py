"""Socket Mode: connections of apps, and the envelopes that Slack sends when users press buttons and submit dialogs.

Slack, Using Socket Mode: an envelope goes to one connection of the app, which acknowledges it by its id. Slack sends
`disconnect` before it closes a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from connector.emulators.slack.errors import SlackError
from connector.emulators.slack.workspace import Message, Workspace

TITLE_MAX = 24
"""Characters of the title and the buttons of a dialog (Slack, Views)."""
PRIVATE_MAX = 3000
"""Characters of `private_metadata`."""
ACK_SECONDS = 3.0
"""Within this time an app has to acknowledge an envelope (Slack, Handling user interaction)."""


@dataclass
class Envelope:
    """One interaction of a user. `acknowledged` says whether each of the times that it was sent was acknowledged."""

    id: str
    payload: dict[str, Any]
    acknowledged: list[bool] = field(default_factory=list)


class Sockets:
    """The open connections. Everything runs in the loop of the emulator."""

    def __init__(self) -> None:
        self.connections: list[web.WebSocketResponse] = []
        self.opened = 0
        """Connections since the start."""
        self.ack_seconds = ACK_SECONDS
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._sent = 0
        self._tickets = 0

    def address(self, url: str) -> str:
        """Returns the address of a new connection. Each address is valid for one connection."""
        self._tickets += 1
        return f"{url.replace('http://', 'ws://')}/socket?ticket={self._tickets}"

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Holds one connection until a side closes it."""
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        await connection.send_json({"type": "hello", "num_connections": len(self.connections) + 1})
        self.connections.append(connection)
        self.opened += 1
        try:
            async for message in connection:
                if message.type is WSMsgType.TEXT:
                    self._acknowledge(json.loads(message.data))
        finally:
            self.connections.remove(connection)
        return connection

    async def send(self, envelope: Envelope) -> Envelope:
        """Sends an envelope to the next connection, and waits for the acknowledgement."""
        self._sent += 1
        acknowledged = self._waiting[envelope.id] = asyncio.get_running_loop().create_future()
        body = {"envelope_id": envelope.id, "type": "interactive", "payload": envelope.payload}
        try:
            async with asyncio.timeout(self.ack_seconds):
                connection = self.connections[self._sent % len(self.connections)]
                await connection.send_json({**body, "accepts_response_payload": True})
                await acknowledged
        except (TimeoutError, ZeroDivisionError):
            envelope.acknowledged.append(False)
        else:
            envelope.acknowledged.append(True)
        finally:
            del self._waiting[envelope.id]
        return envelope

    async def refresh(self) -> None:
        """Asks every app to connect again, and closes the connections, as Slack does every few hours."""
        for connection in list(self.connections):
            with contextlib.suppress(ConnectionError):
                await connection.send_json({"type": "disconnect", "reason": "refresh_requested"})

    async def close(self) -> None:
        """Closes the connections without the message `disconnect`."""
        for connection in list(self.connections):
            await connection.close()

    def _acknowledge(self, message: dict[str, Any]) -> None:
        waiting = self._waiting.get(str(message.get("envelope_id")))
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


def button_of(message: Message, action_id: str) -> dict[str, Any]:
    """Returns a button of a message. Raises `KeyError` when it has none with this id."""
    for item in _elements(message.blocks):
        if item.get("action_id") == action_id:
            return item
    raise KeyError(action_id)


def _elements(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        yield from block.get("elements", [])
        if "accessory" in block:
            yield block["accessory"]


def pressed(workspace: Workspace, message: Message, button: dict[str, Any], user: str, number: int) -> dict[str, Any]:
    """The payload of a pressed button (Slack, block_actions payload)."""
    return {
        "type": "block_actions",
        "user": {"id": user, "username": user.lower(), "team_id": workspace.team_id},
        "team": {"id": workspace.team_id, "domain": "example"},
        "trigger_id": trigger_id(number),
        "container": {"type": "message", "message_ts": message.ts, "channel_id": message.channel},
        "channel": {"id": message.channel, "name": workspace.channels[message.channel].name},
        "message": message.wire(metadata=False),
        "actions": [{**button, "action_ts": f"{int(workspace.clock())}.{number:06d}", "block_id": f"b{number}"}],
    }


def submitted(workspace: Workspace, view: dict[str, Any], values: dict[str, str | None], user: str) -> dict[str, Any]:
    """The payload of a submitted dialog (Slack, view_submission payload); `values` by the `action_id` of an input."""
    state: dict[str, Any] = {}
    for block in view["blocks"]:
        if block["type"] == "input":
            element = block["element"]
            value = {"type": element["type"], "value": values.get(element["action_id"])}
            state[block["block_id"]] = {element["action_id"]: value}
    return {
        "type": "view_submission",
        "user": {"id": user, "username": user.lower(), "team_id": workspace.team_id},
        "team": {"id": workspace.team_id, "domain": "example"},
        "view": {**view, "state": {"values": state}},
    }


def trigger_id(number: int) -> str:
    """The id with which an app may open one dialog."""
    return f"{number}.1234567890.emulated"


def check_view(view: Any) -> dict[str, Any]:
    """Returns the view. Raises `SlackError` for what Slack refuses (Slack, Modal views)."""
    if not isinstance(view, dict) or view.get("type") != "modal":
        raise SlackError("invalid_arguments")
    texts = {name: view.get(name, {}).get("text", "") for name in ("title", "submit", "close")}
    if not texts["title"] or any(len(text) > TITLE_MAX for text in texts.values()):
        raise SlackError("invalid_arguments")
    if len(view.get("private_metadata", "")) > PRIVATE_MAX:
        raise SlackError("invalid_arguments")
    return view
