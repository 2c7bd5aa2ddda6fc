"""The Web API methods, on the workspace, without HTTP (Slack, Web API methods; errors as each page lists them)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from connector.emulators.slack.blocks import check_blocks
from connector.emulators.slack.errors import SlackError
from connector.emulators.slack.reading import history, info, replies
from connector.emulators.slack.rights import need, reachable, writable
from connector.emulators.slack.socket import check_view
from connector.emulators.slack.workspace import Bot, Channel, Ephemeral, Message, Workspace

Args = dict[str, Any]
ResponseBody = dict[str, Any]
TEXT_MOST = 40_000
METADATA_MOST = 8_000


def auth_test(workspace: Workspace, bot: Bot, _args: Args) -> ResponseBody:
    return {
        "ok": True,
        "url": "https://example.slack.com/",
        "team": workspace.team,
        "team_id": workspace.team_id,
        "user": bot.name,
        "user_id": bot.user_id,
        "bot_id": bot.bot_id,
    }


def post(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "chat:write")
    channel = writable(workspace, bot, str(args.get("channel", "")))
    return publish(workspace, bot.bot_id, channel, args)


def publish(workspace: Workspace, bot_id: str, channel: Channel, args: Args) -> ResponseBody:
    """Stores a message of a post or a webhook."""
    text, blocks, metadata, warnings = content(args)
    thread = str(args.get("thread_ts") or "")
    if thread and thread not in channel.messages:
        raise SlackError("thread_not_found")
    ts = workspace.next_ts()
    message = Message(channel.id, ts, bot_id, text, blocks, metadata, raw=dict(args), thread_ts=thread)
    message.broadcast = bool(thread) and flag(args.get("reply_broadcast"))
    channel.messages[ts] = message
    return {"ok": True, "channel": channel.id, "ts": ts, "message": message.wire(metadata=False), **warnings}


def update(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "chat:write")
    channel = reachable(workspace, bot, str(args.get("channel", "")))
    if channel.archived:
        raise SlackError("is_inactive")
    message = _own(channel, bot, args, "cant_update_message")
    kept = {"blocks": message.blocks, "text": message.text, "metadata": message.metadata}
    text, blocks, metadata, warnings = content({**kept, **args})
    message.text, message.blocks, message.metadata, message.edited = text, blocks, metadata, True
    return {"ok": True, "channel": channel.id, "ts": message.ts, "text": text, **warnings}


def delete(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "chat:write")
    channel = reachable(workspace, bot, str(args.get("channel", "")))
    message = _own(channel, bot, args, "cant_delete_message")
    del channel.messages[message.ts]
    return {"ok": True, "channel": channel.id, "ts": message.ts}


def post_ephemeral(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "chat:write")
    channel = writable(workspace, bot, str(args.get("channel", "")))
    text, *_ = content(args)
    workspace.ephemerals.append(Ephemeral(channel.id, str(args.get("user", "")), text))
    return {"ok": True, "message_ts": workspace.next_ts()}


def open_view(workspace: Workspace, _bot: Bot, args: Args) -> ResponseBody:
    trigger = str(args.get("trigger_id", ""))
    if trigger not in workspace.triggers:
        raise SlackError("expired_trigger_id")
    view = {**check_view(decoded(args.get("view"))), "id": f"V{len(workspace.views) + 1:09d}"}
    workspace.triggers.remove(trigger)
    with workspace.view_opened:
        workspace.views.append(view)
        workspace.view_opened.notify_all()
    return {"ok": True, "view": view}


def group_members(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "usergroups:read")
    members = workspace.groups.get(str(args.get("usergroup", "")))
    if members is None:
        raise SlackError("no_such_subteam")
    return {"ok": True, "users": members}


def unknown(_workspace: Workspace, _bot: Bot, _args: Args) -> ResponseBody:
    raise SlackError("unknown_method")


def _own(channel: Channel, bot: Bot, args: Args, refusal: str) -> Message:
    message = channel.messages.get(str(args.get("ts", "")))
    if message is None:
        raise SlackError("message_not_found")
    if message.bot_id != bot.bot_id:
        raise SlackError(refusal)
    return message


def content(args: Args) -> tuple[str, list[dict[str, Any]], dict[str, Any], ResponseBody]:
    """Text, blocks, metadata and warnings of a message, checked as Slack checks them."""
    text = str(args.get("text") or "")
    blocks = check_blocks(decoded(args.get("blocks") or []))
    metadata = _metadata(decoded(args.get("metadata") or {}))
    if not text.strip() and not blocks:
        raise SlackError("no_text")
    if len(text) <= TEXT_MOST:
        return text, blocks, metadata, {}
    return text[:TEXT_MOST], blocks, metadata, {"response_metadata": {"warnings": ["message_truncated"]}}


def _metadata(value: Any) -> dict[str, Any]:
    if value == {}:
        return {}
    if not isinstance(value, dict) or not isinstance(value.get("event_payload"), dict):
        raise SlackError("invalid_metadata_format")
    if not isinstance(value.get("event_type"), str) or not value["event_type"]:
        raise SlackError("invalid_metadata_schema")
    if len(json.dumps(value)) > METADATA_MOST:
        raise SlackError("metadata_too_large")
    return value


def decoded(value: Any) -> Any:
    """Returns an argument that is JSON text in a form."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def flag(value: Any) -> bool:
    return value is True or str(value).lower() in {"1", "true"}


Method = Callable[[Workspace, Bot, Args], ResponseBody]
METHODS: dict[str, Method] = {
    "auth.test": auth_test,
    "chat.postMessage": post,
    "chat.update": update,
    "chat.delete": delete,
    "conversations.history": history,
    "conversations.replies": replies,
    "conversations.info": info,
    "chat.postEphemeral": post_ephemeral,
    "views.open": open_view,
    "usergroups.users.list": group_members,
}
